//! The second thread of an open store: merges what is closed, lets go of what is too old or too
//! much, and keeps the ballast. It touches no file that the writer has open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::{Period, Stream, TimeMs};
use parking_lot::{Condvar, Mutex};

use crate::calendar::{DAY_HOURS, DAY_MS, HOUR_MS};
use crate::damage::put_aside;
use crate::folder::{self, FileKind, StoreFile, free_bytes};
use crate::record::numbers_merged_into;
use crate::rows::read_hours;
use crate::shared::Shared;
use crate::source::open_file;
use crate::spool::stream_of;
use crate::state::{Gap, GapReason};
use crate::writer::chain;
use crate::{StoreError, ballast, heap, merge, quarantine, rollup, spool};

/// How often it looks when nobody wakes it.
const PERIOD: Duration = Duration::from_secs(60);
/// How long a gap may take to reach the disk before its samples go all the same: on a full disk
/// it is written only after they went.
const GAP_PATIENCE: Duration = Duration::from_secs(2);
/// How long an hour's windows stay as they are after it is over, so that a hub that was restored
/// from a backup can ask for them again.
const GRACE_MS: i64 = HOUR_MS;
/// The priority of this thread among all: lowest but one.
const NICE: i32 = 15;

/// Wakes the maintenance thread, or ends it.
#[derive(Default)]
pub(crate) struct Wake {
    inner: Mutex<(u64, bool, u64)>,
    changed: Condvar,
}

impl Wake {
    /// There may be something to do.
    pub(crate) fn wake(&self) {
        self.inner.lock().0 += 1;
        self.changed.notify_all();
    }

    /// Ends the thread after what it is doing.
    pub(crate) fn end(&self) {
        self.inner.lock().1 = true;
        self.changed.notify_all();
    }

    /// Does all there is to do now, and waits for it.
    pub(crate) fn settle(&self, patience: Duration) -> bool {
        let mut inner = self.inner.lock();
        inner.0 += 1;
        let wanted = inner.0;
        self.changed.notify_all();
        let deadline = std::time::Instant::now() + patience;
        while inner.2 < wanted && !inner.1 {
            if self.changed.wait_until(&mut inner, deadline).timed_out() {
                return inner.2 >= wanted;
            }
        }
        inner.2 >= wanted
    }

    /// Is the thread asked to end? Looked at between two merges.
    pub(crate) fn is_ending(&self) -> bool {
        self.inner.lock().1
    }

    pub(crate) fn wait(&self, done: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        inner.2 = done;
        self.changed.notify_all();
        if inner.0 == done && !inner.1 {
            self.changed.wait_for(&mut inner, PERIOD);
        }
        (!inner.1).then_some(inner.0)
    }
}

/// The maintenance thread.
pub(crate) fn run(shared: &Arc<Shared>) {
    // Being nice is a wish: where it is refused, merging goes on as it is.
    let _ = rustix::process::nice(NICE);
    let mut done = 0;
    let mut complaint = String::new();
    while let Some(wanted) = shared.wake.wait(done) {
        let outcome = Maintenance { shared }.pass();
        let text = outcome.err().map(|error| chain(&error)).unwrap_or_default();
        if !text.is_empty() && text != complaint {
            tracing::warn!(error = text, "the store cannot be tended; it is tried again every minute");
            shared.stats.lock().last_error = Some(text.clone());
        }
        complaint = text;
        done = wanted;
    }
}

/// Samples become minutes, minutes become hours.
const N_KINDS_IN_TURN: usize = 3;

struct Maintenance<'a> {
    shared: &'a Arc<Shared>,
}

impl Maintenance<'_> {
    fn pass(&self) -> Result<(), StoreError> {
        let folder = &self.shared.folder;
        if self.shared.take_full() {
            // Room is made from the past, never from the hour that is being written; the clock
            // may have been set, so that the files say which hour that is.
            let files = self.list()?;
            let present = files.iter().map(|file| file.hour).max();
            if !ballast::give_up(folder)? && files.first().map(|file| file.hour) < present {
                self.evict_oldest()?;
            }
        }
        self.check_suspects()?;
        self.merge()?;
        self.forget_old()?;
        self.keep_quota()?;
        ballast::take_in(folder, self.shared.config.quota.0)?;
        measure(self.shared)
    }

    /// Looks into files that a reader found damaged: what is whole of them comes back.
    fn check_suspects(&self) -> Result<(), StoreError> {
        for file in self.shared.take_suspects() {
            if self.shared.is_current(&file) || !file.path.exists() {
                continue;
            }
            match spool::examine(&file) {
                Err(error) if error.is_damage() => {
                    put_aside(self.shared, &file, &error, i64::MAX)?;
                }
                examined => examined?,
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<StoreFile>, StoreError> {
        folder::list(&self.shared.folder)
    }

    fn now_ms(&self) -> TimeMs {
        (self.shared.clock)()
    }

    fn merge(&self) -> Result<(), StoreError> {
        let files = self.list()?;
        let current = self.shared.current.lock().clone();
        let mut hours: Vec<i64> = hot(&files).map(|file| file.hour).collect();
        hours.dedup();
        hours.retain(|hour| current.iter().all(|file| file.kind != FileKind::Hot || file.hour != *hour));
        let present_ms = self.shared.present_ms(&files);
        let due: Vec<_> = hours
            .into_iter()
            .map(|hour| (hour, self.due(&files, hour, present_ms)))
            .filter(|(_, sources)| hot(sources).next().is_some())
            .collect();
        let oldest = due.first().map_or(0, |(hour, _)| (self.now_ms() - (hour + 1) * HOUR_MS).max(0));
        self.shared.stats.lock().merge_lag_ms = oldest;
        for (hour, sources) in due {
            if self.shared.wake.is_ending() {
                return Ok(());
            }
            self.merge_hour(hour, &sources)?;
        }
        self.shared.stats.lock().merge_lag_ms = 0;
        self.merge_days(current.iter().map(StoreFile::day).max())
    }

    /// The files of an hour that may be merged now: of its hot files those before the first that
    /// is kept for a hub, for later windows win over earlier ones.
    fn due(&self, files: &[StoreFile], hour: i64, present_ms: Option<TimeMs>) -> Vec<StoreFile> {
        let mut sources = of_hour(files, hour);
        let kept =
            sources.iter().position(|file| file.kind == FileKind::Hot && self.is_kept(file, present_ms));
        sources.truncate(kept.unwrap_or(sources.len()));
        sources
    }

    /// Must the items of a hot file stay as they are, for a hub that wants them or may want them
    /// again? No longer than samples are kept at all.
    fn is_kept(&self, file: &StoreFile, present_ms: Option<TimeMs>) -> bool {
        let too_old = || present_ms.is_some_and(|now| older(file, self.shared.config.retention.raw, now));
        // A clock that is far from the file in either direction says nothing about its age.
        let around = file.begin_ms() - GRACE_MS..file.end_ms() + GRACE_MS;
        let spool = &self.shared.spool;
        spool.has_cursors() && (spool.is_owed(file) || around.contains(&self.now_ms())) && !too_old()
    }

    fn merge_hour(&self, hour: i64, sources: &[StoreFile]) -> Result<(), StoreError> {
        let merged = merge::merge_hour(&self.shared.folder, hour, sources);
        let done = merged.is_ok();
        if done {
            self.shared.spool.merged_away(hot(sources));
        }
        self.count(merged)?;
        self.shared.stats.lock().n_hours_merged += u64::from(done);
        Ok(())
    }

    /// Days that are over by the clock and by the writer.
    fn merge_days(&self, writing: Option<i64>) -> Result<(), StoreError> {
        let files = self.list()?;
        let today = self.now_ms().div_euclid(DAY_MS);
        let mut days: Vec<i64> =
            files.iter().filter(|file| file.kind == FileKind::Hour).map(StoreFile::day).collect();
        days.dedup();
        for day in days {
            let busy = day >= today || writing == Some(day) || hot(&files).any(|file| file.day() == day);
            if busy || self.shared.wake.is_ending() {
                continue;
            }
            let rows = |file: &&StoreFile| matches!(file.kind, FileKind::Day | FileKind::Hour);
            let mut sources: Vec<_> =
                files.iter().filter(rows).filter(|file| file.day() == day).cloned().collect();
            sources.sort_by_key(|file| (file.kind, file.hour));
            let merged = merge::merge_day(&self.shared.folder, day, &sources);
            self.shared.spool.merged_anew();
            self.count(merged)?;
        }
        Ok(())
    }

    /// Counts damaged blobs; a damaged file is put aside, and merging goes on at the next pass.
    fn count(&self, merged: Result<u64, StoreError>) -> Result<(), StoreError> {
        match merged {
            Ok(n_damaged) => {
                self.shared.stats.lock().n_bad_blobs += n_damaged;
                heap::give_back();
                Ok(())
            }
            Err(error) if error.is_damage() => {
                let files = self.list()?;
                let Some(file) = files.iter().find(|file| error.path() == Some(&file.path)) else {
                    return Err(error);
                };
                put_aside(self.shared, file, &error, i64::MAX)?;
                self.shared.wake.wake();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Lets go of what reached its age. What an old file leaves behind (its minutes, their hours)
    /// may have reached its own, so that it takes as many rounds as there are kinds.
    fn forget_old(&self) -> Result<(), StoreError> {
        (0..N_KINDS_IN_TURN).try_for_each(|_| self.forget_old_once())
    }

    fn forget_old_once(&self) -> Result<(), StoreError> {
        let files = self.list()?;
        let Some(now_ms) = self.shared.present_ms(&files) else { return Ok(()) };
        let retention = &self.shared.config.retention;
        for file in files {
            let age = match file.kind {
                FileKind::Hot => continue,
                FileKind::Hour | FileKind::Day => retention.raw,
                FileKind::Tables => retention.processes,
                FileKind::Minutes => retention.rollup_1m,
                FileKind::Hours => retention.rollup_1h,
            };
            if older(&file, age, now_ms) && !self.shared.is_current(&file) {
                self.forget(&file, GapReason::Age)?;
            }
        }
        Ok(())
    }

    fn keep_quota(&self) -> Result<(), StoreError> {
        let config = &self.shared.config;
        loop {
            let files = self.list()?;
            let used: u64 =
                files.iter().map(StoreFile::bytes).sum::<u64>() + quarantine::bytes(&self.shared.folder);
            let free = free_bytes(&self.shared.folder).unwrap_or(u64::MAX);
            let limit = config.quota.0.min(used.saturating_add(free).saturating_sub(config.min_free.0));
            // Others may fill the disk: they do not make us forget everything.
            let fits = used <= limit.max(config.quota.0 / 16);
            if fits || !(self.merge_oldest(&files)? || self.evict_oldest()?) {
                return Ok(());
            }
        }
    }

    /// Where the oldest samples are kept unmerged for a hub, merging them makes room first: they
    /// are no items any more then, but still there. Answers whether anything was merged.
    fn merge_oldest(&self, files: &[StoreFile]) -> Result<bool, StoreError> {
        let busy = |hour| hot(&self.shared.current.lock()).any(|file| file.hour == hour);
        let oldest = files.iter().find(|file| !is_rollups(file) && !self.shared.is_current(file));
        match oldest {
            Some(file) if file.kind == FileKind::Hot && !busy(file.hour) => {
                let sources = of_hour(files, file.hour);
                match self.merge_hour(file.hour, &sources) {
                    // No room to make room in: then it goes as it is.
                    Err(error) if error.is_full() => Ok(false),
                    merged => merged.map(|()| !file.path.exists()),
                }
            }
            _ => Ok(false),
        }
    }

    /// Lets go of the oldest samples or tables; of rollups only when there is nothing else.
    fn evict_oldest(&self) -> Result<bool, StoreError> {
        let files = self.list()?;
        let idle = || files.iter().filter(|file| !self.shared.is_current(file));
        let oldest = idle().find(|file| !is_rollups(file)).or_else(|| idle().find(|file| is_rollups(file)));
        match oldest {
            Some(file) => self.forget(file, GapReason::Quota).map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes a file; what it had is noted as a gap, and its rollups live on.
    fn forget(&self, file: &StoreFile, reason: GapReason) -> Result<(), StoreError> {
        let n_samples = n_samples(file).unwrap_or(0);
        if let Err(error) = self.keep_rollups(file) {
            tracing::warn!(error = chain(&error), file = %file.path.display(), "its rollups are lost");
        }
        let (from_ms, to_ms) = (file.begin_ms(), file.end_ms());
        if n_samples > 0 {
            self.shared.queue.push_gap(Gap { from_ms, to_ms, n_samples, reason });
        }
        let stream = stream_of(file.kind).unwrap_or(Stream::Metrics);
        let seqs = self.shared.spool.seqs_of(file).map_or_else(|| numbers_merged_into(file), Ok);
        // What cannot be read any more is lost for a reason that nobody knows.
        let seqs = seqs.unwrap_or_default();
        self.shared.lose(stream, &seqs, (from_ms, to_ms), n_samples, reason);
        if n_samples > 0 || !seqs.is_empty() {
            self.shared.queue.wait_drained(GAP_PATIENCE);
        }
        tracing::info!(file = %file.path.display(), n_samples, reason = reason.as_str(), "removed from the store");
        file.remove()?;
        self.shared.spool.merged_away([file]);
        Ok(())
    }

    /// What outlives a file: the minutes of a day's samples, the hours of a day's minutes.
    fn keep_rollups(&self, file: &StoreFile) -> Result<(), StoreError> {
        let folder = &self.shared.folder;
        match file.kind {
            FileKind::Day | FileKind::Hour => {
                let minutes = StoreFile::new(folder, FileKind::Minutes, file.day() * DAY_HOURS, 0);
                rollup::keep_minutes(file, &minutes)
            }
            FileKind::Minutes => {
                let (year, month, _) = crate::calendar::civil(file.day());
                let first = crate::calendar::day_of(year, month, 1);
                let hours = StoreFile::new(folder, FileKind::Hours, first * DAY_HOURS, 0);
                rollup::keep_hours(file, &hours)
            }
            _ => Ok(()),
        }
    }
}

fn hot(files: &[StoreFile]) -> impl Iterator<Item = &StoreFile> {
    files.iter().filter(|file| file.kind == FileKind::Hot)
}

/// The files of an hour, those that win over others last.
fn of_hour(files: &[StoreFile], hour: i64) -> Vec<StoreFile> {
    let of_hour =
        |file: &&StoreFile| file.hour == hour && matches!(file.kind, FileKind::Hot | FileKind::Hour);
    let mut files: Vec<_> = files.iter().filter(of_hour).cloned().collect();
    files.sort_by_key(|file| (file.kind, file.seq));
    files
}

fn is_rollups(file: &StoreFile) -> bool {
    matches!(file.kind, FileKind::Minutes | FileKind::Hours)
}

/// Notes how many files there are, and their bytes.
pub(crate) fn measure(shared: &Shared) -> Result<(), StoreError> {
    let files = folder::list(&shared.folder)?;
    let bytes = files.iter().map(StoreFile::bytes).sum();
    let mut stats = shared.stats.lock();
    (stats.n_files, stats.bytes) = (files.len(), bytes);
    Ok(())
}

fn older(file: &StoreFile, age: Period, now_ms: TimeMs) -> bool {
    file.end_ms().saturating_add(age.as_ms()) < now_ms
}

/// Samples in a file.
pub(crate) fn n_samples(file: &StoreFile) -> Result<u64, StoreError> {
    let connection = open_file(file)?;
    let total: i64 = match file.kind {
        FileKind::Hour | FileKind::Day => {
            read_hours(&connection, &file.path)?.iter().map(|(_, made_of)| made_of.n_samples).sum()
        }
        FileKind::Hot => {
            let sql = "SELECT coalesce(sum(n_samples), 0) FROM windows";
            let total = connection.query_row(sql, [], |row| row.get(0));
            total.map_err(StoreError::sql("read", &file.path))?
        }
        _ => 0,
    };
    Ok(total.max(0) as u64)
}

/// Removes what a merge that was cut off left behind.
pub(crate) fn sweep(folder: &Path) -> Result<(), StoreError> {
    let entries = std::fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}
