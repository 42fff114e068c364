//! The links of this agent: one for each hub that it belongs to, dialled and kept up for ever, or
//! dialled by the hub where this agent listens.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_link::{
    Dialler, DiallerStats, Handler, Hello, LinkState, PROTOCOL, PeerCertificate, Proxy, Settings, chance,
    listen,
};
use fieldpost_model::{RemoteJobs, TimeMs};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Clock;
use super::ceiling::Ceiling;
use super::hubs::{Hubs, Membership};
use super::identities::Identities;
use super::inbound::{Doorway, Inbound};
use super::invitation::Invitations;
use super::outbox::Outbox;

/// How often it is looked whether hubs have everything, at the end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest that links may take to end.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Makes what is served to the hub of this id.
pub type ServeHub = Arc<dyn Fn(&str) -> Handler + Send + Sync>;

/// What is told to hubs of this host.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// What the owner of this host lets hubs do.
    pub ceiling: Arc<Ceiling>,
}

/// How hubs are dialled.
pub struct UplinkOptions {
    /// The longest pause between two dials.
    pub reconnect_max: Duration,
    /// Through which they are dialled, if at all.
    pub proxy: Option<Proxy>,
    /// Told why, when a hub refuses this agent for good.
    pub on_refused: Option<Arc<dyn Fn(String) + Send + Sync>>,
}

/// A hub as `--status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// The hub's id.
    pub hub_id: String,
    /// Its first address; empty if it dials.
    pub url: String,
    /// The name of this agent there.
    pub name: String,
    /// `up`, `connecting`, `down`; `waiting` for a hub that dials.
    pub state: String,
    /// Since when; 0 while it is being dialled or waited for.
    pub since_ms: TimeMs,
    /// Why it is down.
    pub reason: String,
    /// What jobs it may have run here.
    pub allow_jobs: RemoteJobs,
    /// Items that it has not acknowledged.
    pub lag_items: u64,
    /// First instant of the oldest of them.
    pub oldest_unacked_ms: Option<TimeMs>,
}

struct Running {
    membership: Membership,
    cancel: CancellationToken,
    /// Of the link that is dialled; none where the hub dials.
    state: Option<watch::Receiver<LinkState>>,
}

/// All links.
pub struct Uplinks {
    /// What this agent is to its hubs.
    pub identities: Arc<Identities>,
    invitations: Arc<Invitations>,
    inbound: Arc<Inbound>,
    outbox: Arc<Outbox>,
    clock: Arc<dyn Clock>,
    introduction: Introduction,
    options: UplinkOptions,
    serve_hub: ServeHub,
    running: Mutex<HashMap<String, Running>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Uplinks {
    /// Links for the hubs of this data folder; none is dialled before `refresh`. `serve_hub` gets
    /// the identities as well, for hubs renew them.
    pub fn new(
        data: &Path,
        outbox: Arc<Outbox>,
        clock: Arc<dyn Clock>,
        introduction: Introduction,
        options: UplinkOptions,
        serve_hub: impl FnOnce(Arc<Identities>) -> ServeHub,
    ) -> Arc<Self> {
        let identities = Arc::new(Identities::new(Hubs::of(data), outbox.head().agent_id));
        let serve_hub = serve_hub(Arc::clone(&identities));
        Arc::new(Self {
            identities,
            invitations: Arc::new(Invitations::of(data)),
            inbound: Arc::default(),
            outbox,
            clock,
            introduction,
            options,
            serve_hub,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        })
    }

    /// Looks which hubs this agent belongs to now: dials new ones, hangs up on those it has left;
    /// and whether there is an open invitation. Runs within the runtime.
    pub fn refresh(&self) -> anyhow::Result<()> {
        self.invitations.refresh(self.clock.wall_ms())?;
        let mut running = self.running.lock();
        let memberships = self.identities.refresh()?;
        running.retain(|hub_id, link| {
            let is_it = |kept: &Membership| kept.hub_id == *hub_id && kept.is_same_joining(&link.membership);
            let stays = memberships.iter().any(is_it);
            if !stays {
                link.cancel.cancel();
            }
            stays
        });
        let ids: Vec<String> = memberships.iter().map(|membership| membership.hub_id.clone()).collect();
        self.outbox.owe_only(&ids)?;
        for membership in memberships {
            if !running.contains_key(&membership.hub_id) {
                running.insert(membership.hub_id.clone(), self.begin(membership));
            }
        }
        Ok(())
    }

    fn begin(&self, membership: Membership) -> Running {
        let cancel = self.shutdown.child_token();
        let dials = !membership.urls.is_empty();
        let state = dials.then(|| self.dial(&membership, cancel.clone()));
        Running { membership, cancel, state }
    }

    fn dial(&self, membership: &Membership, cancel: CancellationToken) -> watch::Receiver<LinkState> {
        let (state, seen) = watch::channel(LinkState::Connecting);
        let clock = Arc::clone(&self.clock);
        let (identities, hub_id) = (Arc::clone(&self.identities), membership.hub_id.clone());
        let first = membership.identity.clone();
        let granted = membership.allow_jobs;
        let handler = (self.serve_hub)(&membership.hub_id);
        let dialler = Dialler {
            urls: membership.urls.clone(),
            identity: Arc::new(move || identities.next(&hub_id).unwrap_or_else(|| first.clone())),
            hello: Arc::new({
                let hello = self.hello();
                move || hello(granted)
            }),
            clock: Arc::new(move || clock.wall_ms()),
            reconnect_max: self.options.reconnect_max,
            random: Arc::new(chance),
            settings: Settings::default(),
            state,
            stats: Arc::new(DiallerStats::default()),
            proxy: self.options.proxy.clone(),
            make_handler: Arc::new(move |_, _| Arc::clone(&handler)),
        };
        self.tasks.spawn(dialler.run(cancel.clone()));
        if let Some(on_refused) = self.options.on_refused.clone() {
            let (hub, seen) = (membership.hub_id.clone(), seen.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    Some(reason) = refused_for_good(seen) => on_refused(format!("hub {hub}: {reason}")),
                    () = cancel.cancelled() => {}
                }
            });
        }
        seen
    }

    /// What is told to a hub that was granted these jobs.
    fn hello(&self) -> impl Fn(RemoteJobs) -> Hello + Send + Sync + use<> {
        let (outbox, introduction) = (Arc::clone(&self.outbox), self.introduction.clone());
        move |granted| hello(&outbox, &introduction, granted)
    }

    /// Dials anew whenever what hubs may do here changes, so that they are told.
    pub async fn follow_ceiling(self: Arc<Self>) {
        let mut moves = self.introduction.ceiling.moves();
        let relink = async {
            while moves.changed().await.is_ok() {
                self.running.lock().drain().for_each(|(_, link)| link.cancel.cancel());
                if let Err(error) = self.refresh() {
                    tracing::error!("the hubs of this agent are not dialled: {error:#}");
                }
            }
        };
        tokio::select! {
            () = relink => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Serves hubs that dial this listener, until the links end.
    pub fn listen(self: &Arc<Self>, listener: TcpListener) {
        let doorway = Doorway {
            identities: Arc::clone(&self.identities),
            invitations: Arc::clone(&self.invitations),
            inbound: Arc::clone(&self.inbound),
            clock: Arc::clone(&self.clock),
            ceiling: Arc::clone(&self.introduction.ceiling),
            serve_hub: Arc::clone(&self.serve_hub),
        };
        let (hello, identities) = (self.hello(), Arc::clone(&self.identities));
        let hello = move |peer: &PeerCertificate| {
            let hub_id = peer.authority.and_then(|authority| identities.hub_of(&authority));
            hello(hub_id.map(|hub_id| identities.granted(&hub_id)).unwrap_or_default())
        };
        let listening = doorway.listening(Arc::new(hello), Arc::downgrade(self));
        self.tasks.spawn(listen(listener, listening, self.shutdown.child_token()));
    }

    /// Every hub, and what is so of its link.
    pub fn status(&self) -> Vec<UplinkStatus> {
        let cursors = self.outbox.cursors();
        let running = self.running.lock();
        let mut all: Vec<UplinkStatus> = running.values().map(|link| self.status_of(link)).collect();
        all.sort_by(|a, b| a.hub_id.cmp(&b.hub_id));
        for status in &mut all {
            let Some(cursor) = cursors.iter().find(|cursor| cursor.hub == status.hub_id) else { continue };
            status.lag_items = cursor.streams.values().map(|stream| stream.lag_items).sum();
            status.oldest_unacked_ms =
                cursor.streams.values().filter_map(|stream| stream.oldest_unacked_ms).min();
        }
        all
    }

    fn status_of(&self, link: &Running) -> UplinkStatus {
        let Membership { hub_id, urls, name, .. } = &link.membership;
        let (state, since_ms, reason) = match &link.state {
            Some(state) => told(&state.borrow()),
            None => match self.inbound.since_ms(hub_id) {
                Some(since_ms) => ("up", since_ms, String::new()),
                None => ("waiting", 0, String::new()),
            },
        };
        UplinkStatus {
            hub_id: hub_id.clone(),
            url: urls.first().map(ToString::to_string).unwrap_or_default(),
            name: name.clone(),
            state: state.to_owned(),
            since_ms,
            reason,
            allow_jobs: self.introduction.ceiling.jobs(link.membership.allow_jobs),
            lag_items: 0,
            oldest_unacked_ms: None,
        }
    }

    /// Ends all links, once the hubs at their other ends have everything, or after this patience.
    pub async fn end(&self, patience: Duration) {
        self.outbox.hurry();
        let mut up: Vec<String> = {
            let running = self.running.lock();
            let is_up = |link: &Running| {
                link.state.as_ref().is_some_and(|state| matches!(*state.borrow(), LinkState::Up { .. }))
            };
            running.iter().filter(|(_, link)| is_up(link)).map(|(hub_id, _)| hub_id.clone()).collect()
        };
        up.extend(self.inbound.hub_ids());
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

fn told(state: &LinkState) -> (&'static str, TimeMs, String) {
    match state {
        LinkState::Connecting => ("connecting", 0, String::new()),
        LinkState::Up { since_ms, .. } => ("up", *since_ms, String::new()),
        LinkState::Down { since_ms, reason, .. } => ("down", *since_ms, reason.clone()),
    }
}

/// Waits until the hub says a no that asking again will not change.
async fn refused_for_good(mut state: watch::Receiver<LinkState>) -> Option<String> {
    let is_final =
        |state: &LinkState| matches!(state, LinkState::Down { refused: Some(code), .. } if code.is_final());
    match state.wait_for(is_final).await.as_deref() {
        Ok(LinkState::Down { reason, .. }) => Some(reason.clone()),
        _ => None,
    }
}

fn hello(outbox: &Outbox, introduction: &Introduction, granted: RemoteJobs) -> Hello {
    let head = outbox.head();
    Hello {
        protocols: PROTOCOL,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        agent_id: head.agent_id,
        boot_id: introduction.boot_id.clone(),
        spool_ids: vec![head.spool_id],
        capabilities: vec![format!("jobs={}", introduction.ceiling.jobs(granted))],
    }
}
