//! The agent's end of links that hubs dial: accepts, proves itself, introduces itself, serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carrier::within;
use crate::dialler::MakeHandler;
use crate::enrol::{Answering, serve_call};
use crate::error::LinkError;
use crate::handshake::{Hello, introduce};
use crate::metered::Traffic;
use crate::peer::PeerCertificate;
use crate::session::{Settings, reason, serve};
use crate::tls::{Met, ServerTls};
use crate::{BoxIo, socket};

/// Connections at a time. Hubs are few; the rest is for strangers, who have ten seconds each to
/// prove who they are. More wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// After a failed accept (no descriptors left) the next is tried after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest that links may take to end once the end was asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// What an agent that listens needs.
pub struct Listening {
    /// Asked for each connection, so that new identities and invitations count at once.
    pub tls: Arc<dyn Fn() -> Result<ServerTls, LinkError> + Send + Sync>,
    /// Asked for each connection.
    pub hello: Arc<dyn Fn(&PeerCertificate) -> Hello + Send + Sync>,
    /// How links are tuned.
    pub settings: Settings,
    /// Bytes of all links.
    pub traffic: Arc<Traffic>,
    /// Makes the handler for a hub.
    pub make_handler: MakeHandler,
    /// Answers path and body of an enrolment.
    pub enrol: Answering,
}

/// Accepts hubs until the token is cancelled; then ends the links.
pub async fn listen(listener: TcpListener, listening: Listening, shutdown: CancellationToken) {
    let listening = Arc::new(listening);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let links = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let (listening, shutdown) = (Arc::clone(&listening), shutdown.clone());
        links.spawn(async move {
            if let Err(error) = welcome_hub(stream, listening, shutdown).await {
                tracing::debug!(reason = %reason(&error), "a hub's connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    links.close();
    if tokio::time::timeout(DRAIN_DEADLINE, links.wait()).await.is_err() {
        tracing::debug!("links that did not end in time were cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let accepted = listener.accept().await.and_then(|(stream, _)| socket::tune(&stream).map(|()| stream));
    match accepted {
        Ok(stream) => Some((stream, place)),
        Err(error) => {
            tracing::debug!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn welcome_hub(
    stream: TcpStream,
    listening: Arc<Listening>,
    shutdown: CancellationToken,
) -> Result<(), LinkError> {
    let tls = (listening.tls)()?;
    let (peer, mut stream): (PeerCertificate, TlsStream<BoxIo>) =
        match within("TLS handshake", tls.accept(stream)).await? {
            Met::Peer(peer, stream) => (peer, stream),
            Met::Enrolling(stream) => return serve_call(stream, Arc::clone(&listening.enrol)).await,
            // Agents say nothing to those who prove nothing.
            Met::Nobody(_) => return Err(LinkError::NoCertificate),
        };
    let welcome = introduce(&mut stream, &(listening.hello)(&peer)).await?;
    let handler = (listening.make_handler)(&peer, &welcome);
    let traffic = Arc::clone(&listening.traffic);
    serve(stream, handler, &listening.settings, traffic, shutdown).await
}
