//! The carrier that an agent dials: TCP, the outer TLS, a WebSocket. Passes every proxy that
//! passes WebSockets.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::address::HubUrl;
use crate::error::LinkError;
use crate::websocket::{Carrier, config};
use crate::{BoxIo, Io, socket, tls};

/// The longest that the outer TLS and the WebSocket may take, each.
const STEP_DEADLINE: Duration = Duration::from_secs(10);

/// Dials a hub, as far as the bytes inside of its WebSocket. Proves nothing about the hub: the
/// inner TLS does.
pub async fn dial_hub(url: &HubUrl) -> Result<BoxIo, LinkError> {
    let stream = socket::connect(url.host(), url.port()).await?;
    if url.is_tls() {
        within("WebSocket", open(url, wrap(url, stream).await?)).await
    } else {
        within("WebSocket", open(url, stream)).await
    }
}

async fn wrap(url: &HubUrl, stream: TcpStream) -> Result<impl Io + 'static, LinkError> {
    let name = ServerName::try_from(url.host().to_owned()).map_err(|_| LinkError::Name)?;
    let connector = tls::outer_client()?;
    within("outer TLS handshake", async {
        connector.connect(name, stream).await.map_err(LinkError::from_tls)
    })
    .await
}

async fn open(url: &HubUrl, stream: impl Io + 'static) -> Result<BoxIo, LinkError> {
    let request = url.link_uri().into_client_request().map_err(|error| opening(url, error))?;
    let (socket, _) = client_async_with_config(request, stream, Some(config()))
        .await
        .map_err(|error| opening(url, error))?;
    Ok(Box::new(Carrier::new(socket)))
}

fn opening(url: &HubUrl, error: Error) -> LinkError {
    match error {
        Error::Http(response) => LinkError::NotAHub {
            address: format!("{}:{}", url.host(), url.port()),
            status: response.status().as_u16(),
        },
        Error::Io(source) => LinkError::broken(source, "opening the WebSocket"),
        other => LinkError::Carrier(other.to_string()),
    }
}

/// Ends a step that takes too long.
pub(crate) async fn within<T>(
    what: &'static str,
    step: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    timeout(STEP_DEADLINE, step).await.unwrap_or(Err(LinkError::TooLate { what, after: STEP_DEADLINE }))
}
