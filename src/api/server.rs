//! The accept loop of every listener: bounded in connections, in the time a client may take to
//! ask, and ended by the shutdown signal with what is under way answered.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stall::Impatient;

/// The longest that a client may take to send the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that a client may leave an answer without taking any of it.
const TAKE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that answers under way may take once the end was asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// The longest that a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// After a failed accept (no descriptors left) the next is tried after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What makes a TLS connection of a TCP one.
pub type Handshake =
    Arc<dyn Fn(TcpStream) -> BoxFuture<'static, std::io::Result<Box<dyn Stream>>> + Send + Sync>;

/// Where connections come from.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// TCP with TLS inside.
    Tls(TcpListener, Handshake),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Who is at the other end of a connection, as the kernel says. On every request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An address, and whether TLS is in between.
    Network {
        /// The address.
        address: SocketAddr,
        /// Is what is said protected on its way?
        tls: bool,
    },
    /// A user of this machine, by number.
    Local(u32),
}

/// A connection that has just been accepted.
struct Accepted {
    stream: BoxFuture<'static, std::io::Result<Box<dyn Stream>>>,
    peer: Peer,
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = tuned(listener).await?;
                let stream: Box<dyn Stream> = Box::new(stream);
                Ok(Accepted { stream: Box::pin(ready(Ok(stream))), peer: Peer::Network { address, tls: false } })
            }
            Self::Tls(listener, handshake) => {
                let (stream, address) = tuned(listener).await?;
                let handshake = handshake(stream);
                let stream = Box::pin(async {
                    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
                    tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await.map_err(late)?
                });
                Ok(Accepted { stream, peer: Peer::Network { address, tls: true } })
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::Local(stream.peer_cred()?.uid());
                let stream: Box<dyn Stream> = Box::new(stream);
                Ok(Accepted { stream: Box::pin(ready(Ok(stream))), peer })
            }
        }
    }
}

async fn tuned(listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address))
}

/// Serves until the shutdown; then lets answers under way finish. `connections_max` are served at
/// a time, more wait in the kernel's queue; those that were upgraded are others' affair.
pub async fn serve(
    listener: Listener,
    router: Router,
    connections_max: usize,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(64 << 10);
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((accepted, place)) = accepted else { continue };
        let (http, router, shutdown) = (http.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            if let Err(error) = converse(accepted, &http, router, shutdown).await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_DEADLINE, connections.wait()).await.is_err() {
        tracing::debug!("answers still under way at the end were cut off");
    }
    Ok(())
}

/// Serves one connection until it ends or is upgraded.
async fn converse(
    accepted: Accepted,
    http: &hyper::server::conn::http1::Builder,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Accepted { stream, peer } = accepted;
    let stream = Impatient::new(stream.await?, TAKE_DEADLINE);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> Option<(Accepted, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok(accepted) => Some((accepted, place)),
        Err(error) => {
            tracing::debug!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
