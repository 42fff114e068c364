//! The agent's door for programs that ask a Prometheus: plain HTTP on loopback, TLS elsewhere, and the
//! owner's token everywhere.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use fieldpost_link::{Identity, OuterTls, outer_server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::process_setup::bind_tcp;
use crate::agent::{Agent, Http};
use crate::api::{self, Listener};

/// Connections that it serves at a time.
const CONNECTIONS_MAX: usize = 64;

/// The door, bound but not open yet.
pub struct ProgramsDoor {
    listener: Listener,
    token: String,
}

impl ProgramsDoor {
    /// Binds it; none where the config has none.
    pub async fn open(config: &Http) -> anyhow::Result<Option<Self>> {
        let (Some(address), Some(token)) = (config.listen, config.token()?) else { return Ok(None) };
        let (tcp, address) = bind_tcp("api.http.listen", address).await?;
        let listener = listener(tcp, config)?;
        tracing::info!(%address, "programs may ask as they ask a Prometheus");
        Ok(Some(Self { listener, token }))
    }

    /// Serves until the end.
    pub async fn serve(self, agent: Arc<Agent>, shutdown: CancellationToken) -> Result<(), Infallible> {
        let router = api::agent_http_router(agent, self.token);
        api::serve(self.listener, router, CONNECTIONS_MAX, shutdown).await
    }
}

fn listener(tcp: TcpListener, config: &Http) -> anyhow::Result<Listener> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Ok(Listener::Tcp(tcp));
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let identity = Identity { key: read(key)?, chain: read(certificate)?, ca: String::new() };
    let tls = outer_server(&identity).context("api.http.certificate cannot be used with api.http.key")?;
    Ok(Listener::Tls(tcp, handshake(tls)))
}

/// What makes TLS of each connection.
pub fn handshake(tls: OuterTls) -> api::Handshake {
    Arc::new(move |stream| {
        let tls = tls.clone();
        Box::pin(async move {
            let stream: Box<dyn api::Stream> = Box::new(tls.accept(stream).await?);
            Ok(stream)
        })
    })
}
