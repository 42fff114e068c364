//! HTTP/2 on a link: the agent serves, the hub asks, whoever dialled. Each side asks after the
//! other in a fixed rhythm, so that a dead link is noticed within half a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::client::conn::http2::{Connection, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Io;
use crate::body::{Body, Received};
use crate::error::LinkError;
use crate::handler::Handler;
use crate::metered::{Metered, Traffic};
use crate::severable::Severable;

/// The longest list of headers, in bytes.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// What a sender may gather for one stream before it waits.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// The longest that requests under way may take once the end was asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// How a link is tuned. The same on both sides, but each may choose its own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rhythm in which the other side is asked after.
    pub ping_every: Duration,
    /// The longest that its answer may take; then the link is dead.
    pub ping_patience: Duration,
    /// Requests under way at a time.
    pub streams_max: u32,
    /// Bytes of one answer that may be on their way unread.
    pub stream_window: u32,
    /// The longest that a request waits for a place.
    pub place_patience: Duration,
}

impl Default for Settings {
    /// A dead link is noticed within 25 s. 64 KiB a stream keep fresh ticks from queueing behind a
    /// backlog.
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(10),
            ping_patience: Duration::from_secs(15),
            streams_max: 64,
            stream_window: 64 << 10,
            place_patience: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// Room for every stream at once, or a few answers that nobody reads would freeze the link.
    fn connection_window(&self) -> u32 {
        self.stream_window.saturating_mul(self.streams_max).min(i32::MAX.unsigned_abs())
    }
}

/// Serves a link until the other side ends it, it dies, or the token is cancelled; then requests
/// under way have two seconds to finish.
pub async fn serve(
    io: impl Io + 'static,
    handler: Handler,
    settings: &Settings,
    traffic: Arc<Traffic>,
    shutdown: CancellationToken,
) -> Result<(), LinkError> {
    let service = service_fn(move |request| handler(request));
    let io = Metered::new(io, traffic);
    let (heard, limit) = (io.heard(), settings.ping_every + settings.ping_patience);
    let io = TokioIo::new(io);
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_every)
        .keep_alive_timeout(settings.ping_patience)
        .max_concurrent_streams(settings.streams_max)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window())
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .enable_connect_protocol();
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(LinkError::from),
        () = heard.silence(limit) => return Err(LinkError::Silent(limit)),
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    timeout(DRAIN_DEADLINE, connection).await.unwrap_or(Ok(())).map_err(LinkError::from)
}

/// The hub's end of a link: asks the agent. Copies share the link, which ends with the last.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Body>,
    places: Arc<Semaphore>,
    settings: Settings,
    state: Arc<State>,
    ended: watch::Receiver<Option<String>>,
}

struct State {
    traffic: Arc<Traffic>,
    n_requests: AtomicU64,
    hang_up: CancellationToken,
}

impl Client {
    /// Begins HTTP/2 on an established stream.
    pub(crate) async fn start(io: impl Io + 'static, settings: &Settings) -> Result<Self, LinkError> {
        let traffic = Arc::new(Traffic::default());
        let hang_up = CancellationToken::new();
        let io = Severable::new(Metered::new(io, Arc::clone(&traffic)), hang_up.clone());
        let (sender, connection) = builder(settings).handshake(TokioIo::new(io)).await?;
        let (end, ended) = watch::channel(None);
        tokio::spawn(drive(connection, hang_up.clone(), end));
        Ok(Self {
            sender,
            places: Arc::new(Semaphore::new(settings.streams_max as usize)),
            settings: settings.clone(),
            state: Arc::new(State { traffic, n_requests: AtomicU64::new(0), hang_up }),
            ended,
        })
    }

    /// Asks the agent. The address needs a path only. Returns when the answer begins; how long
    /// that may take is the caller's to say.
    pub async fn request(&self, mut request: Request<Body>) -> Result<Response<Received>, LinkError> {
        let place = timeout(self.settings.place_patience, Arc::clone(&self.places).acquire_owned());
        let Ok(Ok(place)) = place.await else {
            return Err(LinkError::Busy(self.settings.streams_max as usize));
        };
        *request.uri_mut() = whole(request.uri())?;
        let mut sender = self.sender.clone();
        let sent = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = match sent.await {
            Ok(response) => response,
            Err(error) => return Err(self.explained(error)),
        };
        self.state.n_requests.fetch_add(1, Ordering::Relaxed);
        Ok(response.map(|incoming| Received::new(incoming, place)))
    }

    /// Waits for the end of the link, and says why it ended.
    pub async fn closed(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => why.clone(),
            _ => "the runtime stopped".to_owned(),
        }
    }

    /// Is the link over?
    pub fn is_closed(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Ends the link at once, whatever is under way.
    pub fn hang_up(&self) {
        self.state.hang_up.cancel();
    }

    /// Requests under way.
    pub fn n_open(&self) -> usize {
        self.settings.streams_max as usize - self.places.available_permits()
    }

    /// Requests answered since the link began.
    pub fn n_requests(&self) -> u64 {
        self.state.n_requests.load(Ordering::Relaxed)
    }

    /// Bytes both ways.
    pub fn traffic(&self) -> &Traffic {
        &self.state.traffic
    }

    fn explained(&self, error: hyper::Error) -> LinkError {
        match self.ended.borrow().as_ref() {
            Some(why) => LinkError::Closed(why.clone()),
            None => LinkError::Http(error),
        }
    }
}

fn builder(settings: &Settings) -> hyper::client::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_every)
        .keep_alive_timeout(settings.ping_patience)
        .keep_alive_while_idle(true)
        .initial_max_send_streams(settings.streams_max as usize)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window())
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX);
    builder
}

async fn drive<T: Io + 'static>(
    connection: Connection<TokioIo<T>, Body, TokioExecutor>,
    hang_up: CancellationToken,
    end: watch::Sender<Option<String>>,
) {
    let why = tokio::select! {
        // In this order, or the cut would sometimes be taken for a fault of the connection.
        biased;
        () = hang_up.cancelled() => "this side ended it".to_owned(),
        ended = connection => match ended {
            Ok(()) => "the other side ended it".to_owned(),
            Err(error) => reason(&error),
        },
    };
    end.send_replace(Some(why));
}

/// The whole chain, for hyper's own words say little.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// HTTP/2 wants a scheme and an authority; on a link both are always the same.
fn whole(uri: &Uri) -> Result<Uri, LinkError> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(Authority::from_static("agent"));
    Uri::from_parts(parts).map_err(|_| LinkError::Message("address"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// A wire that is cut takes no bytes, so that not even a farewell can be sent.
    #[tokio::test]
    async fn other_side_that_neither_speaks_nor_listens_is_given_up() {
        let (near, _far) = tokio::io::duplex(16);
        let ms = Duration::from_millis;
        let settings = Settings { ping_every: ms(20), ping_patience: ms(20), ..Settings::default() };
        let echo = crate::handler(service_fn(|request: Request<hyper::body::Incoming>| async {
            Ok::<_, std::convert::Infallible>(Response::new(request.into_body().boxed_unsync()))
        }));
        let served = serve(near, echo, &settings, Arc::default(), CancellationToken::new());
        let ended = timeout(Duration::from_secs(60), served).await.expect("it is held for ever");
        assert!(matches!(ended, Err(LinkError::Silent(_))), "{ended:?}");
    }
}
