//! The links that this agent dials: one for each hub that it belongs to, kept up for ever.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_link::{Dialler, DiallerStats, Hello, LinkState, MakeHandler, PROTOCOL, Settings, Token};
use fieldpost_model::TimeMs;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Clock;
use super::hubs::{Hubs, Membership};
use super::outbox::Outbox;

/// How often it is looked whether hubs have everything, at the end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest that links may take to end.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// What is told to hubs of this host.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// What jobs this host's owner allows: off, named, any.
    pub jobs: String,
}

/// A hub as `--status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// The hub's id.
    pub hub_id: String,
    /// Its first address.
    pub url: String,
    /// The name of this agent there.
    pub name: String,
    /// `up`, `connecting`, `down`.
    pub state: String,
    /// Since when; 0 while it is being dialled.
    pub since_ms: TimeMs,
    /// Why it is down.
    pub reason: String,
}

struct Running {
    membership: Membership,
    cancel: CancellationToken,
    state: watch::Receiver<LinkState>,
}

/// All dialled links.
pub struct Uplinks {
    hubs: Hubs,
    outbox: Arc<Outbox>,
    clock: Arc<dyn Clock>,
    introduction: Introduction,
    make_handler: MakeHandler,
    running: Mutex<HashMap<String, Running>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Uplinks {
    /// Links for the hubs of this data folder; none is dialled before `refresh`.
    pub fn new(
        data: &Path,
        outbox: Arc<Outbox>,
        clock: Arc<dyn Clock>,
        introduction: Introduction,
        make_handler: MakeHandler,
    ) -> Arc<Self> {
        let (running, tasks, shutdown) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        Arc::new(Self {
            hubs: Hubs::of(data),
            outbox,
            clock,
            introduction,
            make_handler,
            running,
            tasks,
            shutdown,
        })
    }

    /// Looks which hubs this agent belongs to now: dials new ones, hangs up on those it has left.
    /// Runs within the runtime.
    pub fn refresh(&self) -> anyhow::Result<()> {
        let memberships = self.hubs.load()?;
        let mut running = self.running.lock();
        running.retain(|hub_id, link| {
            let stays = memberships.iter().any(|kept| kept.hub_id == *hub_id && *kept == link.membership);
            if !stays {
                link.cancel.cancel();
            }
            stays
        });
        let ids: Vec<String> = memberships.iter().map(|membership| membership.hub_id.clone()).collect();
        self.outbox.owe_only(&ids)?;
        for membership in memberships {
            if !membership.urls.is_empty() && !running.contains_key(&membership.hub_id) {
                let hub_id = membership.hub_id.clone();
                running.insert(hub_id, self.dial(membership));
            }
        }
        Ok(())
    }

    fn dial(&self, membership: Membership) -> Running {
        let (state, seen) = watch::channel(LinkState::Connecting);
        let cancel = self.shutdown.child_token();
        let (outbox, introduction) = (Arc::clone(&self.outbox), self.introduction.clone());
        let clock = Arc::clone(&self.clock);
        let identity = membership.identity.clone();
        let dialler = Dialler {
            urls: membership.urls.clone(),
            identity: Arc::new(move || identity.clone()),
            hello: Arc::new(move || hello(&outbox, &introduction)),
            clock: Arc::new(move || clock.wall_ms()),
            random: Arc::new(random),
            settings: Settings::default(),
            state,
            stats: Arc::new(DiallerStats::default()),
            proxy: None,
            make_handler: Arc::clone(&self.make_handler),
        };
        self.tasks.spawn(dialler.run(cancel.clone()));
        Running { membership, cancel, state: seen }
    }

    /// Every hub, and what is so of its link.
    pub fn status(&self) -> Vec<UplinkStatus> {
        let running = self.running.lock();
        let mut all: Vec<UplinkStatus> = running.values().map(Running::status).collect();
        all.sort_by(|a, b| a.hub_id.cmp(&b.hub_id));
        all
    }

    /// Ends all links, once the hubs at their other ends have everything, or after this patience.
    pub async fn end(&self, patience: Duration) {
        let up: Vec<String> = {
            let running = self.running.lock();
            let is_up = |link: &Running| matches!(*link.state.borrow(), LinkState::Up { .. });
            running.iter().filter(|(_, link)| is_up(link)).map(|(hub_id, _)| hub_id.clone()).collect()
        };
        let everything = async {
            while up.iter().any(|hub_id| !self.outbox.has_everything(hub_id)) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(patience, everything).await.is_err() {
            tracing::info!("the links end before the hubs have everything; it goes on at the next start");
        }
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(END_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::debug!("links that did not end in time are cut off");
        }
    }
}

impl Running {
    fn status(&self) -> UplinkStatus {
        let (state, since_ms, reason) = match &*self.state.borrow() {
            LinkState::Connecting => ("connecting", 0, String::new()),
            LinkState::Up { since_ms, .. } => ("up", *since_ms, String::new()),
            LinkState::Down { since_ms, reason, .. } => ("down", *since_ms, reason.clone()),
        };
        UplinkStatus {
            hub_id: self.membership.hub_id.clone(),
            url: self.membership.urls.first().map(ToString::to_string).unwrap_or_default(),
            name: self.membership.name.clone(),
            state: state.to_owned(),
            since_ms,
            reason,
        }
    }
}

fn hello(outbox: &Outbox, introduction: &Introduction) -> Hello {
    let head = outbox.head();
    Hello {
        protocols: PROTOCOL,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        agent_id: head.agent_id,
        boot_id: introduction.boot_id.clone(),
        spool_ids: vec![head.spool_id],
        capabilities: vec![format!("jobs={}", introduction.jobs)],
    }
}

/// From 0 to 1; spreads reconnects. Without randomness everybody waits half as long as they may.
fn random() -> f64 {
    let bytes = Token::random().and_then(|token| token.reveal().first_chunk::<8>().copied());
    bytes.map_or(0.5, |bytes| (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64)
}
