//! The running agent as others see it: its newest values, its status, and what may be asked of it.

use std::any::Any;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::hub_state::AgentStatus;
use fieldpost_model::{Catalog, Event, EventKind, TimeMs, Window};
use fieldpost_store::Store;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::board::Board;
use super::clock::Clock;
use super::facts::Facts;
use super::live::Watchers;
use super::processes::ProcessTable;
use super::sampler::{Message, Sampler, SamplerOptions, Shared};
use super::status::Status;

/// The longest that a page waits for values that have to be read anew.
const REFRESH_DEADLINE: Duration = Duration::from_millis(250);
/// The longest that a reload waits for the sampler.
const APPLY_DEADLINE: Duration = Duration::from_secs(5);
/// Stack of the sampler's thread, bytes.
const STACK_BYTES: usize = 1 << 20;

/// Counts of the sampler's own doing.
#[derive(Debug, Default)]
pub struct SamplerStats {
    /// Turns of the sampler's loop, a second apart at most: it is alive as long as they go on.
    pub beats: AtomicU64,
    /// Ticks of the grid that were taken.
    pub ticks: AtomicU64,
    /// Ticks of the grid that had passed by.
    pub skipped: AtomicU64,
    /// Passes left out because the one before had not ended.
    pub overruns: AtomicU64,
    /// How late the last tick began, microseconds.
    pub late_microseconds: AtomicU64,
    /// The latest that any tick began, microseconds.
    pub late_max_microseconds: AtomicU64,
}

impl SamplerStats {
    pub(super) fn ticked(&self, late: Duration, skipped: u64) {
        let late = late.as_micros() as u64;
        self.ticks.fetch_add(1, Ordering::Relaxed);
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
        self.late_microseconds.store(late, Ordering::Relaxed);
        self.late_max_microseconds.fetch_max(late, Ordering::Relaxed);
    }

    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn overran(&self) {
        self.overruns.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who this agent is and how it was started.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The host's name.
    pub name: String,
    /// When the agent started.
    pub started_ms: TimeMs,
    /// The config it runs with, for people.
    pub config: String,
    /// Where its data are.
    pub data: PathBuf,
    /// Address of the metrics page, as bound.
    pub metrics: String,
    /// Where it listens for hubs, as bound; none if nowhere.
    pub listen: Option<SocketAddr>,
}

/// The answer to a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Was the new config taken? If not, nothing was changed.
    pub ok: bool,
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys whose new values need a restart.
    pub needs_restart: Vec<String>,
    /// What is wrong with the config, a line each.
    pub errors: Vec<String>,
}

/// Loads the config anew and applies it; made by whoever wires the agent.
pub type Reload = Box<dyn Fn(&Agent) -> Reloaded + Send + Sync>;

/// Asks what people say of this agent; made by whoever wires the agent.
pub type AskStatus = Box<dyn Fn() -> AgentStatus + Send + Sync>;

/// Who is told how the sampler fares.
pub struct Witness {
    /// Called once every collector has had its first pass; not if the end comes before.
    pub ready: Box<dyn FnOnce() + Send>,
    /// Dropped when the sampler's thread ends, however it does.
    pub alive: Box<dyn Any + Send>,
}

/// A running agent.
pub struct Agent {
    /// The series it knows.
    pub catalog: Arc<Catalog>,
    /// Their newest values.
    pub board: Arc<Board>,
    /// Who it is.
    pub identity: Identity,
    /// The sampler's counts.
    pub stats: Arc<SamplerStats>,
    /// The clock it goes by.
    pub clock: Arc<dyn Clock>,
    /// Who watches its ticks.
    pub watchers: Watchers,
    processes: Arc<Mutex<ProcessTable>>,
    facts: Facts,
    store: Arc<Store>,
    inbox: SyncSender<Message>,
    refreshing: tokio::sync::Mutex<()>,
    reload: Reload,
    last_error: Mutex<String>,
    ready: Arc<AtomicBool>,
    ask_status: OnceLock<AskStatus>,
}

impl Agent {
    /// Starts the sampler in a thread of its own. The thread ends after `stop`, with the open
    /// window sealed.
    pub fn start(
        identity: Identity,
        options: SamplerOptions,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        reload: Reload,
        witness: Witness,
    ) -> anyhow::Result<(Arc<Self>, JoinHandle<()>)> {
        let shared = Shared {
            catalog: Catalog::new(),
            board: Arc::default(),
            processes: Arc::default(),
            stats: Arc::default(),
            store,
        };
        let facts = Facts::new(options.collectors.roots());
        let (sampler, inbox) = Sampler::new(options, shared.clone(), Arc::clone(&clock));
        let is_ready = Arc::new(AtomicBool::new(false));
        let agent = Arc::new(Self {
            catalog: shared.catalog,
            board: shared.board,
            identity,
            stats: shared.stats,
            clock,
            watchers: Watchers::default(),
            processes: shared.processes,
            facts,
            store: shared.store,
            inbox,
            refreshing: tokio::sync::Mutex::new(()),
            reload,
            last_error: Mutex::default(),
            ask_status: OnceLock::new(),
            ready: Arc::clone(&is_ready),
        });
        let first_pass_done = move || {
            is_ready.store(true, Ordering::Release);
            (witness.ready)();
        };
        let builder = std::thread::Builder::new().name("sampler".into()).stack_size(STACK_BYTES);
        let thread = builder
            .spawn(move || {
                let _alive = witness.alive;
                sampler.run(first_pass_done);
            })
            .context("cannot start the sampler's thread")?;
        Ok((agent, thread))
    }

    /// What this machine is, as JSON: its os, cpu, mem, disk, nic, users. None if there is no such subject;
    /// an error if it does not tell in time.
    pub async fn facts(&self, subject: &str) -> anyhow::Result<Option<serde_json::Value>> {
        self.facts.of(subject).await
    }

    /// Has every collector had its first pass?
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Asks the sampler to seal what is open and to end.
    pub fn stop(&self) {
        // It fails only if the sampler has ended already.
        drop(self.inbox.send(Message::Stop));
    }

    /// Sees to it that no value is older than 1.5 intervals of its collector, but for those that
    /// are slow by nature or do not answer. Requests that wait share one reading.
    pub async fn refresh_stale(&self) {
        if !self.has_stale() {
            return;
        }
        let _one_at_a_time = self.refreshing.lock().await;
        if !self.has_stale() {
            return;
        }
        let (answer, answered) = sync_channel(1);
        if self.inbox.try_send(Message::Refresh(answer)).is_ok() {
            // No answer in time: the page shows what there is.
            drop(tokio::task::spawn_blocking(move || answered.recv_timeout(REFRESH_DEADLINE)).await);
        }
    }

    /// What was sampled and is not sealed yet. None if there is nothing, or if the sampler does not
    /// answer soon. Waits; not for threads that must not.
    pub(super) fn open_window(&self) -> Option<Window> {
        let (answer, answered) = sync_channel(1);
        self.inbox.try_send(Message::Peek(answer)).ok()?;
        answered.recv_timeout(REFRESH_DEADLINE).ok().flatten()
    }

    /// What the sampler has, and what reads what was stored.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    fn has_stale(&self) -> bool {
        let now = self.clock.wall_ms();
        self.board.read().collectors().iter().any(|state| state.is_stale(now))
    }

    /// Goes on with other settings; returns once the sampler has taken them.
    pub fn apply(&self, options: SamplerOptions) -> anyhow::Result<()> {
        *self.facts.roots.write() = options.collectors.roots();
        let (answer, answered) = sync_channel(1);
        self.inbox.send(Message::Apply(Box::new(options), answer)).context("the sampler has ended")?;
        answered.recv_timeout(APPLY_DEADLINE).context("the sampler did not take the new settings in time")
    }

    /// Loads the config anew; a bad one changes nothing.
    pub fn reload(&self) -> Reloaded {
        let reloaded = (self.reload)(self);
        let text = match (reloaded.ok, reloaded.needs_restart.as_slice()) {
            (false, _) => format!("not reloaded: {} errors in the config", reloaded.errors.len()),
            (true, []) if reloaded.changed.is_empty() => "reloaded, nothing changed".to_owned(),
            (true, []) => format!("reloaded; changed: {}", reloaded.changed.join(", ")),
            (true, keys) => format!("reloaded; needs a restart: {}", keys.join(", ")),
        };
        self.set_last_error(if reloaded.ok { String::new() } else { text.clone() });
        self.event(EventKind::Reload, text);
        reloaded
    }

    /// Adds a line to the agent's log in the store.
    pub fn event(&self, kind: EventKind, text: String) {
        self.store.append_event(Event { time_ms: self.clock.wall_ms(), kind, subject: String::new(), text });
    }

    /// Remembers an error for `--status`.
    pub fn set_last_error(&self, error: String) {
        *self.last_error.lock() = error;
    }

    /// Where to ask what people say of this agent; told once.
    pub fn ask_status_by(&self, ask: AskStatus) {
        // The first one counts.
        let _ = self.ask_status.set(ask);
    }

    /// What people say of this agent.
    pub fn set_status(&self) -> Option<AgentStatus> {
        self.ask_status.get().map(|ask| ask())
    }

    /// The newest process table: when it was taken, and its rows.
    pub fn processes(&self) -> (TimeMs, Vec<fieldpost_model::ProcessRow>) {
        let table = self.processes.lock();
        (table.time_ms(), table.rows())
    }

    /// The store's counts.
    pub fn store_stats(&self) -> fieldpost_store::StoreStats {
        self.store.stats()
    }

    /// Everything `--status` shows.
    pub fn status(&self) -> Status {
        Status::of(self, &self.last_error.lock())
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_store::StoreOptions;

    use super::*;
    use crate::agent::SystemClock;

    fn agent(folder: &std::path::Path, alive: Box<dyn Any + Send>) -> (Arc<Agent>, JoinHandle<()>) {
        let config = fieldpost_store::Config { path: folder.join("data"), ..Default::default() };
        let (store, _) = Store::open(StoreOptions::new(config)).unwrap();
        let identity = Identity {
            name: "host".into(),
            started_ms: 0,
            config: String::new(),
            data: folder.to_owned(),
            metrics: String::new(),
            listen: None,
        };
        let options = SamplerOptions {
            interval: Duration::from_millis(100),
            window: Duration::from_secs(1),
            history: Duration::ZERO,
            collectors: Arc::default(),
        };
        let witness = Witness { ready: Box::new(|| ()), alive };
        let reload: Reload = Box::new(|_| Reloaded::default());
        Agent::start(identity, options, Arc::new(store), Arc::new(SystemClock), reload, witness).unwrap()
    }

    #[test]
    fn stop_during_the_first_pass_ends_the_sampler() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, ended) = sync_channel::<()>(0);
        let (agent, thread) = agent(folder.path(), Box::new(sender));
        agent.stop();
        thread.join().unwrap();
        assert!(ended.recv().is_err(), "whoever watches learns that it has ended");
    }
}
