//! The writer thread: the one place from which the store's hot files and `state.db` are written
//! and their logs copied. Whatever queued during a commit goes into the next one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fieldpost_model::{Event, EventKind, TableTick, TimeMs, Window};
use parking_lot::Mutex;

use crate::belief::{Belief, Clock};
use crate::calendar::{DAY_HOURS, DAY_MS, HOUR_MS, TIME_MS_MAX};
use crate::dictionary::Dictionary;
use crate::folder::{self, FileKind, StoreFile};
use crate::hot::Hot;
use crate::maintain::{self, Wake};
use crate::queue::{Batch, Queue};
use crate::state::{Gap, GapReason, State};
use crate::stats::StoreStats;
use crate::tables::TableWriter;
use crate::{Config, StoreError, StoreOptions};

/// How long the writer sleeps when there is nothing to write.
const IDLE: Duration = Duration::from_secs(30);
/// Pause between two attempts when the disk does not take what there is.
const RETRY: Duration = Duration::from_secs(1);
/// The same trouble is logged once in this span.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What the threads of one open store share.
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    belief: Belief,
    pub(crate) queue: Queue,
    pub(crate) stats: Mutex<StoreStats>,
    /// The files that the writer has open, or is about to open: hot file and tables.
    pub(crate) current: Mutex<Vec<StoreFile>>,
    pub(crate) wake: Wake,
    /// The disk was full at the last attempt.
    pub(crate) full: AtomicBool,
}

impl Shared {
    /// For a folder that is prepared and locked.
    pub(crate) fn new(folder: PathBuf, options: StoreOptions) -> Self {
        let belief = Belief::new(Arc::clone(&options.clock), options.monotonic);
        Self {
            folder,
            belief,
            config: options.config,
            clock: options.clock,
            queue: Queue::default(),
            stats: Mutex::default(),
            current: Mutex::default(),
            wake: Wake::default(),
            full: AtomicBool::new(false),
        }
    }

    /// Notes an event at the present time.
    pub(crate) fn note(&self, kind: EventKind, subject: &str, text: String) {
        let time_ms = (self.clock)();
        self.queue.push_event(Event { time_ms, kind, subject: subject.to_owned(), text });
    }

    /// Has the writer this file open?
    pub(crate) fn is_current(&self, file: &StoreFile) -> bool {
        self.current.lock().contains(file)
    }

    /// Before a file is opened for writing: from now on nobody else touches it.
    pub(crate) fn set_current(&self, file: &StoreFile) {
        let mut current = self.current.lock();
        current.retain(|other| other.kind != file.kind);
        current.push(file.clone());
    }

    /// The present as far as age is concerned: none while the clock is not to be believed, and
    /// never later than the newest of these files, which are all there are.
    pub(crate) fn present_ms(&self, files: &[StoreFile]) -> Option<TimeMs> {
        let now_ms = self.belief.now_ms()?;
        let newest_ms = files.iter().map(StoreFile::end_ms).max()?;
        Some(now_ms.min(newest_ms))
    }

    /// Was the disk full since the last look?
    pub(crate) fn take_full(&self) -> bool {
        self.full.swap(false, Ordering::Relaxed)
    }
}

/// The writer thread's own things.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    state: Option<State>,
    hot: Option<Hot>,
    tables: TableWriter,
    /// The hot file that a full disk kept from growing.
    full_file: Option<StoreFile>,
    next_seq: i64,
    logged: Option<Instant>,
    failing: bool,
}

impl Writer {
    /// Goes on with what was found when the store was opened.
    pub(crate) fn new(shared: Arc<Shared>, state: State, hot: Option<Hot>, next_seq: i64) -> Self {
        let tables = TableWriter::default();
        let (logged, full_file) = (None, None);
        Self { shared, state: Some(state), hot, tables, full_file, next_seq, logged, failing: false }
    }

    /// Writes until the store is closed and everything is written, or cannot be.
    pub(crate) fn run(mut self) -> Result<(), StoreError> {
        loop {
            let batch = self.shared.queue.take(IDLE);
            let closing = batch.closing;
            if batch.is_empty() {
                if closing {
                    return self.close();
                }
                self.idle();
                continue;
            }
            let outcome = self.write(batch);
            let failed = outcome.is_err();
            self.report(outcome);
            if failed && closing {
                let n_samples = self.shared.queue.abandon();
                tracing::error!(n_samples, "the store closes with samples that could not be written");
                return self.close();
            }
            if failed {
                self.shared.queue.pause(RETRY);
            }
        }
    }

    /// Writes what was taken up; what was not written is given back.
    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let Batch { windows, mut tables, mut events, mut gaps, .. } = batch;
        let written = self.write_windows(&windows).and_then(|()| {
            self.write_tables(&tables)?;
            tables.clear();
            self.write_notes(&events, &gaps)?;
            events.clear();
            gaps.clear();
            Ok(())
        });
        self.shared.queue.give_back(tables, events, gaps);
        written
    }

    /// Commits windows in the order in which they came, all of the same hour at once.
    fn write_windows(&mut self, windows: &[Arc<Window>]) -> Result<(), StoreError> {
        for run in windows.chunk_by(|a, b| hour_of(a) == hour_of(b)) {
            match hour_of(&run[0]) {
                Some(hour) => self.commit(hour, run)?,
                None => self.refuse(run),
            }
            self.shared.queue.stored(run.len());
        }
        Ok(())
    }

    fn commit(&mut self, hour: i64, run: &[Arc<Window>]) -> Result<(), StoreError> {
        let began = Instant::now();
        let first_seq = self.next_seq;
        let hot = self.hot_of(hour)?;
        if let Err(error) = hot.append(first_seq, run.iter().map(Arc::as_ref)) {
            // After a failed commit nobody knows what the connection believes: it is opened anew.
            let file = hot.file.clone();
            self.discard(&error);
            self.put_aside_if_damaged(&file, &error);
            self.full_file = error.is_full().then_some(file);
            return Err(error);
        }
        // A log that cannot be copied now is copied later; the windows are safe in it.
        let tended = hot.tend_log();
        let wal_bytes = hot.wal_bytes();
        self.next_seq += run.len() as i64;
        let mut stats = self.shared.stats.lock();
        stats.n_windows_stored += run.len() as u64;
        stats.n_samples_stored += run.iter().map(|window| window.n_samples()).sum::<u64>();
        stats.last_seq = self.next_seq - 1;
        stats.n_commits += 1;
        stats.commit_ms_last = began.elapsed().as_secs_f64() * 1e3;
        stats.wal_bytes = wal_bytes;
        drop(stats);
        if let Err(error) = tended {
            self.discard(&error);
        }
        Ok(())
    }

    /// The hot file of this hour, which becomes the present one.
    fn hot_of(&mut self, hour: i64) -> Result<&mut Hot, StoreError> {
        if self.hot.as_ref().is_some_and(|hot| hot.file.hour != hour) {
            self.roll()?;
        }
        let hot = match self.hot.take() {
            Some(hot) => hot,
            None => self.make_hot(hour)?,
        };
        Ok(self.hot.insert(hot))
    }

    fn make_hot(&mut self, hour: i64) -> Result<Hot, StoreError> {
        let next_seq = self.next_seq;
        let files = folder::list(&self.shared.folder)?;
        // A file that could not grow on a full disk goes on; so does one that an attempt left empty.
        let fresh = StoreFile::new(&self.shared.folder, FileKind::Hot, hour, next_seq);
        let full = self.full_file.clone().filter(|file| file.hour == hour && files.contains(file));
        let left = full.or_else(|| files.contains(&fresh).then(|| fresh.clone()));
        if let Some(file) = left {
            self.shared.set_current(&file);
            let reopened = Hot::reopen(file.clone(), self.shared.config.durability, false);
            let hot = reopened.inspect_err(|error| self.put_aside_if_damaged(&file, error))?;
            self.full_file = None;
            return Ok(hot);
        }
        let age_ms = self.shared.config.retention.events.as_ms();
        let kept_from_ms = self.shared.present_ms(&files).map_or(TimeMs::MIN, |now_ms| now_ms - age_ms);
        let state = self.state()?;
        state.set_next_seq(next_seq)?;
        state.trim(kept_from_ms)?;
        self.shared.set_current(&fresh);
        let dictionary = self.dictionary_of(hour.div_euclid(DAY_HOURS))?;
        Hot::create(&fresh, self.shared.config.durability, dictionary)
    }

    /// All series that files of this day know, so that a series keeps its number all day.
    fn dictionary_of(&self, day: i64) -> Result<Dictionary, StoreError> {
        let mut dictionary = Dictionary::default();
        let files = folder::list(&self.shared.folder)?;
        for file in files.iter().filter(|file| file.day() == day) {
            match crate::source::entries_of(file) {
                Ok(entries) => dictionary.absorb(entries),
                // It was merged away meanwhile; the file it went into is read at the next roll,
                // and a merge gives series new numbers where two files differ.
                Err(error) if error.is_vanished() => {}
                Err(error) if error.is_damage() => self.put_aside_if_damaged(file, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(dictionary)
    }

    /// A damaged file must not stop the writer for ever: it makes way for a new one.
    fn put_aside_if_damaged(&self, file: &StoreFile, error: &StoreError) {
        if !error.is_damage() || !file.path.exists() {
            return;
        }
        if let Err(error) = maintain::put_aside(&self.shared, file, error, self.next_seq) {
            tracing::error!(error = chain(&error), "a damaged file cannot be put aside");
        }
    }

    /// Closes the present hot file.
    fn roll(&mut self) -> Result<(), StoreError> {
        if let Some(hot) = self.hot.take() {
            hot.close()?;
            self.shared.wake.wake();
        }
        Ok(())
    }

    fn write_tables(&mut self, ticks: &[TableTick]) -> Result<(), StoreError> {
        let good = |tick: &TableTick| (0..TIME_MS_MAX).contains(&tick.time_ms);
        for run in ticks.chunk_by(|a, b| good(a) == good(b)) {
            if good(&run[0]) {
                let day = run[run.len() - 1].time_ms.div_euclid(DAY_MS);
                let file = StoreFile::new(&self.shared.folder, FileKind::Tables, day * DAY_HOURS, 0);
                self.shared.set_current(&file);
                let appended = self.tables.append(&self.shared.folder, run);
                appended.inspect_err(|error| self.put_aside_if_damaged(&file, error))?;
            } else {
                self.shared.stats.lock().n_tables_lost += run.len() as u64;
            }
        }
        Ok(())
    }

    fn discard(&mut self, error: &StoreError) {
        self.hot = None;
        self.state = None;
        tracing::debug!(error = chain(error), "connections are opened anew");
    }

    fn count_error(&self, error: &StoreError) {
        let mut stats = self.shared.stats.lock();
        stats.n_write_errors += 1;
        stats.last_error = Some(chain(error));
        drop(stats);
        if error.is_full() {
            self.shared.full.store(true, Ordering::Relaxed);
            self.shared.wake.wake();
        }
    }

    fn refuse(&mut self, run: &[Arc<Window>]) {
        for window in run {
            let n_samples = window.n_samples();
            self.shared.stats.lock().n_samples_lost += n_samples;
            let (from_ms, to_ms) = (window.from_ms, window.to_ms);
            self.shared.queue.push_gap(Gap { from_ms, to_ms, n_samples, reason: GapReason::Clock });
        }
    }

    fn write_notes(&mut self, events: &[Event], gaps: &[Gap]) -> Result<(), StoreError> {
        if events.is_empty() && gaps.is_empty() {
            return Ok(());
        }
        let added = self.state()?.add(events, gaps);
        if let Err(error) = &added {
            self.discard(error);
        }
        added
    }

    /// `state.db`, opened anew after an error.
    fn state(&mut self) -> Result<&mut State, StoreError> {
        let state = match self.state.take() {
            Some(state) => state,
            None => maintain::open_state(&self.shared)?.0,
        };
        Ok(self.state.insert(state))
    }

    /// Says once a minute that something is wrong, and once that it is well again.
    fn report(&mut self, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                self.logged = None;
                tracing::info!("the store can be written again");
                self.shared.note(EventKind::Store, "", "the store can be written again".into());
            }
            Ok(()) => {}
            Err(error) => {
                self.count_error(&error);
                if !self.failing {
                    let text = format!("the store cannot be written: {}", chain(&error));
                    self.shared.note(EventKind::Store, "", text);
                }
                self.failing = true;
                if self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                    self.logged = Some(Instant::now());
                    let n_windows = self.shared.queue.n_windows();
                    tracing::warn!(error = chain(&error), n_windows, "sampling goes on in memory only");
                }
            }
        }
    }

    /// Nothing to write: logs are emptied.
    fn idle(&mut self) {
        let emptied = self.state.as_ref().map_or(Ok(()), State::checkpoint);
        if let Err(error) = emptied {
            self.discard(&error);
        }
    }

    fn close(mut self) -> Result<(), StoreError> {
        let rolled = self.roll().and(self.tables.close());
        let next_seq = self.next_seq;
        let state = self.state()?;
        state.set_next_seq(next_seq)?;
        rolled?;
        match self.state.take() {
            Some(state) => state.close(),
            None => Ok(()),
        }
    }
}

impl State {
    fn set_next_seq(&mut self, next_seq: i64) -> Result<(), StoreError> {
        self.set("next_seq", next_seq)
    }
}

/// The hour of a window's file; none where its time is no time.
fn hour_of(window: &Window) -> Option<i64> {
    let good = window.from_ms >= 0 && window.to_ms < TIME_MS_MAX && window.to_ms >= window.from_ms;
    good.then(|| window.from_ms.div_euclid(HOUR_MS))
}

/// An error with everything that led to it, on one line.
pub(crate) fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
