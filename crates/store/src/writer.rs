//! The writer thread: the one place from which the store's hot files and `state.db` are written
//! and their logs copied. Whatever queued during a commit goes into the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fieldpost_model::{EventKind, Seq, Stream, TableTick, TimeMs, Window};

use crate::calendar::{DAY_HOURS, DAY_MS, HOUR_MS, TIME_MS_MAX};
use crate::dictionary::Dictionary;
use crate::folder::{self, FileKind, StoreFile};
use crate::hot::{Ancestor, Hot};
use crate::queue::Batch;
use crate::shared::Shared;
use crate::spool::Errand;
use crate::state::{Gap, GapReason, State};
use crate::tables::TableWriter;
use crate::{StoreError, damage};

/// How long the writer sleeps when there is nothing to write.
const IDLE: Duration = Duration::from_secs(30);
/// Pause between two attempts when the disk does not take what there is.
const RETRY: Duration = Duration::from_secs(1);
/// The same trouble is logged once in this span.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The writer thread's own things.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    state: Option<State>,
    hot: Option<Hot>,
    /// What the next hot file goes on with, where it follows upon one that was closed cleanly.
    ancestor: Option<Ancestor>,
    tables: TableWriter,
    /// The hot file that a full disk kept from growing.
    full_file: Option<StoreFile>,
    next_seq: i64,
    logged: Option<Instant>,
    failing: bool,
}

impl Writer {
    /// Goes on with what was found when the store was opened.
    pub(crate) fn new(shared: Arc<Shared>, state: State, hot: Option<Hot>) -> Self {
        let tables = TableWriter::new(shared.spool.last(Stream::Processes) + 1);
        let next_seq = shared.spool.last(Stream::Metrics) as i64 + 1;
        let (logged, full_file, ancestor) = (None, None, None);
        let state = Some(state);
        Self { shared, state, hot, ancestor, tables, full_file, next_seq, logged, failing: false }
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
    fn write(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        let written = self.write_windows(&batch.windows).and_then(|()| {
            self.write_tables(&batch.tables)?;
            batch.tables.clear();
            self.write_notes(&batch)?;
            batch.events.clear();
            batch.gaps.clear();
            batch.losses.clear();
            Ok(())
        });
        // Whoever sent an errand waits for an answer, whatever became of the rest.
        std::mem::take(&mut batch.errands).into_iter().for_each(|errand| self.run_errand(errand));
        self.shared.queue.give_back(batch);
        written
    }

    fn run_errand(&mut self, errand: Errand) {
        let failed = match self.state() {
            Ok(state) => errand.run(Ok(state)),
            Err(error) => errand.run(Err(error)),
        };
        if failed {
            self.state = None;
        }
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
        let file = hot.file.clone();
        self.next_seq += run.len() as i64;
        let mut stats = self.shared.stats.lock();
        stats.n_windows_stored += run.len() as u64;
        stats.n_samples_stored += run.iter().map(|window| window.n_samples()).sum::<u64>();
        stats.last_seq = self.next_seq - 1;
        stats.n_commits += 1;
        stats.commit_ms_last = began.elapsed().as_secs_f64() * 1e3;
        stats.wal_bytes = wal_bytes;
        drop(stats);
        self.shared.spool.stored(&file, first_seq as Seq, self.next_seq as Seq - 1);
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
        let notes = state.notes()?;
        self.shared.spool.noted(notes);
        self.shared.set_current(&fresh);
        let (dictionary, lineage) = self.dictionary_of(hour.div_euclid(DAY_HOURS))?;
        // A file of another hour is full no more once this one is there: its numbers end here.
        self.full_file = None;
        Hot::create(&fresh, self.shared.config.durability, dictionary, lineage)
    }

    /// All series that files of this day know, so that a series keeps its number all day, and the
    /// lineage of the file before if this one goes on with it.
    fn dictionary_of(&mut self, day: i64) -> Result<(Dictionary, Option<String>), StoreError> {
        let ancestor = self.ancestor.take().filter(|ancestor| ancestor.day == day);
        let (mut dictionary, lineage) =
            ancestor.map_or_else(Default::default, |ancestor| (ancestor.dictionary, Some(ancestor.lineage)));
        let files = folder::list(&self.shared.folder)?;
        for file in files.iter().filter(|file| file.day() == day) {
            match crate::source::entries_of(file) {
                Ok(entries) if lineage.is_some() => dictionary.absorb_above(entries),
                Ok(entries) => dictionary.absorb(entries),
                // It was merged away meanwhile; the file it went into is read at the next roll,
                // and a merge gives series new numbers where two files differ.
                Err(error) if error.is_vanished() => {}
                Err(error) if error.is_damage() => self.put_aside_if_damaged(file, &error),
                Err(error) => return Err(error),
            }
        }
        Ok((dictionary, lineage))
    }

    /// A damaged file must not stop the writer for ever: it makes way for a new one.
    fn put_aside_if_damaged(&self, file: &StoreFile, error: &StoreError) {
        if !error.is_damage() || !file.path.exists() {
            return;
        }
        if let Err(error) = damage::put_aside(&self.shared, file, error, self.next_seq) {
            tracing::error!(error = chain(&error), "a damaged file cannot be put aside");
        }
    }

    /// Closes the present hot file.
    fn roll(&mut self) -> Result<(), StoreError> {
        if let Some(hot) = self.hot.take() {
            self.ancestor = None;
            self.ancestor = Some(hot.close()?);
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
                if !self.tables.has_open(&file) {
                    let next_seq = self.tables.next_seq() as i64;
                    self.state()?.set("next_table_seq", next_seq)?;
                }
                self.shared.set_current(&file);
                let spool = &self.shared.spool;
                let mut stored = |file: &StoreFile, from, to| spool.stored(file, from, to);
                let appended = self.tables.append(&self.shared.folder, run, &mut stored);
                appended.inspect_err(|error| self.put_aside_if_damaged(&file, error))?;
            } else {
                self.shared.stats.lock().n_tables_lost += run.len() as u64;
            }
        }
        Ok(())
    }

    fn discard(&mut self, error: &StoreError) {
        self.hot = None;
        self.ancestor = None;
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

    fn write_notes(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.events.is_empty() && batch.gaps.is_empty() && batch.losses.is_empty() {
            return Ok(());
        }
        let state = self.state()?;
        let added = state.add(&batch.events, &batch.gaps, &batch.losses).and_then(|()| state.notes());
        match added {
            Ok(notes) => self.shared.spool.noted(notes),
            Err(error) => {
                self.discard(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// `state.db`, opened anew after an error.
    fn state(&mut self) -> Result<&mut State, StoreError> {
        let state = match self.state.take() {
            Some(state) => state,
            None => self.reopen_state()?,
        };
        Ok(self.state.insert(state))
    }

    /// Opens `state.db`; where it had to be begun anew, the spool is a new one as well, and hubs
    /// are as they were told to be.
    fn reopen_state(&self) -> Result<State, StoreError> {
        let (mut state, _, put_aside) = damage::open_state(&self.shared)?;
        if put_aside.is_some() {
            let hubs = self.shared.spool.hubs();
            hubs.iter().try_for_each(|(hub, since_ms)| state.add_cursor(hub, *since_ms))?;
            state.set_agent_id(&self.shared.spool.record().agent_id)?;
            state.set_next_seq(self.next_seq)?;
            state.set("next_table_seq", self.tables.next_seq() as i64)?;
            self.shared.spool.renew(state.identity("spool_id")?, state.notes()?);
        }
        Ok(state)
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
        let (next_seq, next_table_seq) = (self.next_seq, self.tables.next_seq() as i64);
        let state = self.state()?;
        state.set_next_seq(next_seq)?;
        state.set("next_table_seq", next_table_seq)?;
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
