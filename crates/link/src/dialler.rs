//! The agent's end of a link that it dials itself: dial, introduce, serve, and again for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fieldpost_model::TimeMs;
use tokio::sync::watch;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::address::HubUrl;
use crate::backoff::backoff;
use crate::carrier::{dial_hub, within};
use crate::error::LinkError;
use crate::handler::Handler;
use crate::handshake::{Hello, RefusalCode, Welcome, introduce};
use crate::identity::Identity;
use crate::metered::Traffic;
use crate::peer::PeerCertificate;
use crate::proxy::Proxy;
use crate::session::{Settings, reason, serve};
use crate::tls::ClientTls;
use crate::{BoxIo, Clock};

/// A link that stood this long was a good one: the next pause is a short one again.
const GOOD_LINK: Duration = Duration::from_secs(60);

/// What is so of the link right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Being dialled.
    Connecting,
    /// The hub is there.
    Up {
        /// Since when.
        since_ms: TimeMs,
        /// What the hub said: its id and its clock are in it.
        welcome: Welcome,
    },
    /// The hub is not there.
    Down {
        /// Since when.
        since_ms: TimeMs,
        /// Why, for people.
        reason: String,
        /// What the hub said, if it said no rather than nothing.
        refused: Option<RefusalCode>,
        /// When it is dialled again.
        next_ms: TimeMs,
    },
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct DiallerStats {
    /// Times that the hub was dialled.
    pub n_dials: AtomicU64,
    /// Times that it answered and let us in.
    pub n_ups: AtomicU64,
    /// Bytes of all links.
    pub traffic: Arc<Traffic>,
}

/// Makes what is served to a hub, once it is known who it is.
pub type MakeHandler = Arc<dyn Fn(&PeerCertificate, &Welcome) -> Handler + Send + Sync>;

/// Dials one hub.
pub struct Dialler {
    /// Its addresses, taken in turn.
    pub urls: Vec<HubUrl>,
    /// Through which they are dialled, if at all.
    pub proxy: Option<Proxy>,
    /// Asked before each dial, so that a renewed certificate is used at once.
    pub identity: Arc<dyn Fn() -> Identity + Send + Sync>,
    /// Asked before each dial: spools and capabilities may have changed.
    pub hello: Arc<dyn Fn() -> Hello + Send + Sync>,
    /// The agent's clock.
    pub clock: Clock,
    /// The longest pause between two dials.
    pub reconnect_max: Duration,
    /// Numbers from 0 to 1.
    pub random: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// How the link is tuned.
    pub settings: Settings,
    /// What is so.
    pub state: watch::Sender<LinkState>,
    /// What happened.
    pub stats: Arc<DiallerStats>,
    /// Makes the handler for a hub.
    pub make_handler: MakeHandler,
}

impl Dialler {
    /// Runs until the token is cancelled. Never gives up; whoever wants to end at the first
    /// failure watches the state.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut failures: u32 = 0;
        // The hub's clock, as this agent last heard it.
        let mut hub_time_ms = TimeMs::MIN;
        for url in self.urls.iter().cycle() {
            let mut up_since = None;
            let ended = self.once(url, &mut hub_time_ms, &mut up_since, &shutdown).await;
            if shutdown.is_cancelled() {
                return;
            }
            let good = up_since.is_some_and(|since: Instant| since.elapsed() >= GOOD_LINK);
            failures = if good { 1 } else { failures.saturating_add(1) };
            let pause = backoff(failures, self.reconnect_max, (self.random)());
            self.report(&ended, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn once(
        &self,
        url: &HubUrl,
        hub_time_ms: &mut TimeMs,
        up_since: &mut Option<Instant>,
        shutdown: &CancellationToken,
    ) -> Result<(), LinkError> {
        self.state.send_replace(LinkState::Connecting);
        self.stats.n_dials.fetch_add(1, Ordering::Relaxed);
        let at_ms = (self.clock)().max(*hub_time_ms);
        let (peer, welcome, stream) = tokio::select! {
            opened = self.open(url, at_ms) => opened?,
            () = shutdown.cancelled() => return Ok(()),
        };
        *hub_time_ms = welcome.time_ms;
        *up_since = Some(Instant::now());
        self.stats.n_ups.fetch_add(1, Ordering::Relaxed);
        let handler = (self.make_handler)(&peer, &welcome);
        self.state.send_replace(LinkState::Up { since_ms: (self.clock)(), welcome });
        let traffic = Arc::clone(&self.stats.traffic);
        serve(stream, handler, &self.settings, traffic, shutdown.clone()).await
    }

    async fn open(
        &self,
        url: &HubUrl,
        at_ms: TimeMs,
    ) -> Result<(PeerCertificate, Welcome, TlsStream<BoxIo>), LinkError> {
        let tls = ClientTls::agent_to_hub(&(self.identity)(), at_ms)?;
        let carrier = dial_hub(url, self.proxy.as_ref()).await?;
        let (peer, mut stream) = within("TLS handshake", tls.connect(carrier)).await?;
        let welcome = introduce(&mut stream, &(self.hello)()).await?;
        Ok((peer, welcome, stream))
    }

    fn report(&self, ended: &Result<(), LinkError>, pause: Duration) {
        let reason = match ended {
            Ok(()) => "the hub ended the link".to_owned(),
            Err(error) => reason(error),
        };
        let refused = match ended {
            Err(LinkError::Refused(refusal)) => Some(refusal.code),
            _ => None,
        };
        tracing::debug!(%reason, ?pause, "link down");
        let since_ms = (self.clock)();
        let next_ms = since_ms.saturating_add(TimeMs::try_from(pause.as_millis()).unwrap_or(TimeMs::MAX));
        self.state.send_replace(LinkState::Down { since_ms, reason, refused, next_ms });
    }
}
