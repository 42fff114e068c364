//! The open store: what a process that writes holds in its hands.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fieldpost_model::{Event, EventKind, Intervals, Stream, TableTick, TimeMs, Window};
use parking_lot::Mutex;

use crate::belief::{Clock, Monotonic};
use crate::calendar::HOUR_MS;
use crate::folder::{self, FileKind};
use crate::hot::Hot;
use crate::reader::Reader;
use crate::shared::Shared;
use crate::state::{Gap, GapReason};
use crate::stats::StoreStats;
use crate::writer::{Writer, chain};
use crate::{Config, Durability, StoreError, ballast, damage, database, maintain, spool};

/// What a store needs from outside.
#[derive(Clone)]
pub struct StoreOptions {
    /// The section `store:` of the config.
    pub config: Config,
    /// The wall clock.
    pub clock: Clock,
    /// A clock that nobody sets: nothing goes by age before the two have agreed for an hour.
    pub monotonic: Monotonic,
    /// Who this agent is, 32 hexadecimal digits, where somebody else keeps it; wins over what the
    /// store says, which is as new as its file.
    pub agent_id: Option<String>,
    /// Hubs that this agent has joined: each has a cursor from the first moment on.
    pub hubs: Vec<String>,
}

impl StoreOptions {
    /// Options with the machine's own clocks.
    pub fn new(config: Config) -> Self {
        let clock: Clock = Arc::new(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        });
        let began = Instant::now();
        Self { config, clock, monotonic: Arc::new(move || began.elapsed()), agent_id: None, hubs: Vec::new() }
    }
}

/// What was found when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// There was no store before.
    pub new: bool,
    /// The process before this one closed the store.
    pub last_stop_clean: bool,
    /// First instant of what is stored and first after it; to the hour where it is merged.
    pub data_span: Option<(TimeMs, TimeMs)>,
    /// The most that an unclean stop lost: one window, or the time since the last one.
    pub lost_at_most_ms: i64,
    /// Files that were damaged and put aside.
    pub quarantined: Vec<PathBuf>,
    /// Random identity of this agent, in hexadecimal.
    pub agent_id: String,
    /// The spool is not the one of before: hubs are owed everything anew.
    pub new_spool: bool,
}

/// What a store says when it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closed {
    /// Samples on the disk since it was opened.
    pub n_samples_stored: u64,
    /// Samples given up since it was opened.
    pub n_samples_lost: u64,
}

/// An open store. Its methods never wait for the disk, but for `flush`, `tend` and `close`.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    /// Held as long as the store is open.
    lock: Mutex<Option<File>>,
}

struct Threads {
    writer: JoinHandle<Result<(), StoreError>>,
    maintenance: JoinHandle<()>,
}

impl Store {
    /// Opens or makes the store in the config's folder, and starts its threads.
    pub fn open(options: StoreOptions) -> Result<(Self, Opened), StoreError> {
        database::check_version()?;
        let (folder, lock) = folder::prepare(&options.config.path)?;
        maintain::sweep(&folder)?;
        let (agent_id, hubs) = (options.agent_id.clone(), options.hubs.clone());
        let shared = Arc::new(Shared::new(folder, options));
        let mut opened = Opened::default();
        let (mut state, found, put_aside) = damage::open_state(&shared)?;
        let state_is_new = found.new || put_aside.is_some();
        opened.quarantined.extend(put_aside);
        agent_id.iter().try_for_each(|agent_id| state.set_agent_id(agent_id))?;
        opened.agent_id = state.identity("agent_id")?;
        opened.last_stop_clean = found.clean;
        hubs.iter().try_for_each(|hub| state.add_cursor(hub, (shared.clock)()))?;
        let mut hot = resume(&shared, &mut opened)?;
        if !found.clean && shared.config.durability == Durability::Relaxed {
            hot.iter_mut().try_for_each(Hot::begin_lineage)?;
        }
        spool::open(&shared, &mut state, &opened, state_is_new).map(|new| opened.new_spool = new)?;
        shared.stats.lock().last_seq = shared.spool.last(Stream::Metrics) as i64;
        opened.new = found.new;
        opened.data_span = Reader::open(&shared.folder)?.data_span()?;
        if !found.clean {
            note_unclean(&shared, &mut opened);
        }
        ballast::take_in(&shared.folder, shared.config.quota.0)?;
        maintain::measure(&shared)?;
        let threads = start(&shared, Writer::new(Arc::clone(&shared), state, hot))?;
        Ok((Self { shared, threads: Mutex::new(Some(threads)), lock: Mutex::new(Some(lock)) }, opened))
    }

    /// Takes in a sealed window. It is on the disk soon after; memory keeps the newest five
    /// minutes while the disk does not take them. Answers false where an older window had to go.
    pub fn append(&self, window: Window) -> bool {
        self.shared.queue.push_window(Arc::new(window))
    }

    /// Takes in tables of processes and units.
    pub fn append_tables(&self, ticks: Vec<TableTick>) {
        self.shared.queue.push_tables(ticks);
    }

    /// Takes in an event of the agent.
    pub fn append_event(&self, event: Event) {
        self.shared.queue.push_event(event);
    }

    /// Waits until everything taken in is on the disk, at most this long; answers whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.queue.wait_drained(patience)
    }

    /// Merges and lets go of what is due now instead of within a minute, and waits for it, at
    /// most this long; answers whether it is done.
    pub fn tend(&self, patience: Duration) -> bool {
        self.shared.wake.settle(patience)
    }

    /// Figures of now; bytes and number of files are those of the last look at the folder, which
    /// is taken every minute.
    pub fn stats(&self) -> StoreStats {
        let mut stats = self.shared.stats.lock().clone();
        let (n_samples_lost, n_tables_lost) = self.shared.queue.n_lost();
        stats.n_samples_lost += n_samples_lost;
        stats.n_tables_lost += n_tables_lost;
        stats.queue_windows = self.shared.queue.n_windows();
        stats
    }

    /// Begins to keep for this hub what it has not acknowledged; known hubs stay as they are.
    /// Durable when this returns, as are the next ones.
    pub fn add_cursor(&self, hub: &str) -> Result<(), StoreError> {
        let (shared, hub) = (Arc::clone(&self.shared), hub.to_owned());
        let since_ms = (shared.clock)();
        self.shared.queue.run_errand(Box::new(move |state| {
            state.add_cursor(&hub, since_ms)?;
            shared.spool.add_cursor(&hub, since_ms);
            Ok(())
        }))
    }

    /// Keeps nothing for this hub any more.
    pub fn remove_cursor(&self, hub: &str) -> Result<(), StoreError> {
        let (shared, hub) = (Arc::clone(&self.shared), hub.to_owned());
        self.shared.queue.run_errand(Box::new(move |state| {
            state.remove_cursor(&hub)?;
            shared.spool.remove_cursor(&hub);
            Ok(())
        }))
    }

    /// Notes that a hub has these items. Refused where it speaks of another spool than the
    /// present one, or of numbers that were never given.
    pub fn acknowledge(
        &self,
        hub: &str,
        spool_id: &str,
        stream: Stream,
        seqs: &Intervals,
    ) -> Result<(), StoreError> {
        let (shared, hub) = (Arc::clone(&self.shared), hub.to_owned());
        let (spool_id, seqs) = (spool_id.to_owned(), seqs.clone());
        self.shared.queue.run_errand(Box::new(move |state| {
            let acked = shared.spool.acknowledged(&hub, &spool_id, stream, &seqs)?;
            state.set_acked(&hub, stream, &acked)?;
            shared.spool.set_acked(&hub, stream, acked);
            Ok(())
        }))
    }

    /// Begins a new spool, as when this store turns out to be an older state of itself: hubs are
    /// owed all that is there anew. Answers its identity.
    pub fn new_spool(&self, reason: &str) -> Result<String, StoreError> {
        let shared = Arc::clone(&self.shared);
        let reason = reason.to_owned();
        self.shared.queue.run_errand(Box::new(move |state| {
            state.renew_spool()?;
            shared.spool.renew(state.identity("spool_id")?, state.notes()?);
            spool::say_new(&shared, &reason);
            Ok(())
        }))?;
        Ok(self.shared.spool.spool_id())
    }

    /// The folder, with every link in its path resolved.
    pub fn folder(&self) -> &std::path::Path {
        &self.shared.folder
    }

    /// Writes what waits, empties the logs, and marks the store as cleanly closed.
    pub fn close(&self) -> Result<Closed, StoreError> {
        let threads = self.threads.lock().take().ok_or(StoreError::Closed)?;
        self.shared.wake.end();
        // A thread that panicked has said so on its way; what it left is checked at the next start.
        let tended = threads.maintenance.join().map_err(|_| StoreError::Closed);
        self.shared.queue.close();
        let ended = threads.writer.join().unwrap_or(Err(StoreError::Closed));
        *self.lock.lock() = None;
        ended.and(tended)?;
        let stats = self.stats();
        Ok(Closed { n_samples_stored: stats.n_samples_stored, n_samples_lost: stats.n_samples_lost })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        match self.close() {
            Ok(_) | Err(StoreError::Closed) => {}
            Err(error) => tracing::error!(error = chain(&error), "the store could not be closed cleanly"),
        }
    }
}

fn start(shared: &Arc<Shared>, writer: Writer) -> Result<Threads, StoreError> {
    let failed = || StoreError::io("start a thread for", &shared.folder);
    let builder = |name: &str| std::thread::Builder::new().name(name.into());
    let writer = builder("store-writer").spawn(move || writer.run()).map_err(failed())?;
    let tended = Arc::clone(shared);
    let maintenance = builder("store-tend").spawn(move || maintain::run(&tended)).map_err(failed())?;
    Ok(Threads { writer, maintenance })
}

/// Goes on with the newest hot file; a damaged one is put aside.
fn resume(shared: &Shared, opened: &mut Opened) -> Result<Option<Hot>, StoreError> {
    let files = folder::list(&shared.folder)?;
    let newest = files.into_iter().filter(|file| file.kind == FileKind::Hot).max_by_key(|file| file.seq);
    let Some(file) = newest else { return Ok(None) };
    shared.set_current(&file);
    match Hot::reopen(file.clone(), shared.config.durability, true) {
        Err(error) if error.is_damage() => {
            opened.quarantined.push(damage::put_aside(shared, &file, &error, i64::MAX)?);
            let salvaged = file.path.exists();
            salvaged.then(|| Hot::reopen(file, shared.config.durability, false)).transpose()
        }
        outcome => outcome.map(Some),
    }
}

/// An unclean stop lost the open window: said as an event and a gap.
fn note_unclean(shared: &Shared, opened: &mut Opened) {
    let now_ms = (shared.clock)();
    let stored_to_ms = opened.data_span.map_or(now_ms, |(_, to_ms)| to_ms.min(now_ms));
    opened.lost_at_most_ms = shared.config.window.as_ms().min((now_ms - stored_to_ms).max(0));
    let to_ms = (stored_to_ms + opened.lost_at_most_ms).min(stored_to_ms + HOUR_MS);
    shared.queue.push_gap(Gap { from_ms: stored_to_ms, to_ms, n_samples: 0, reason: GapReason::Unclean });
    let text = "the last stop was not clean; the window that was open then is lost".to_owned();
    shared.note(EventKind::UncleanStop, "", text);
}
