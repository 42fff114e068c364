//! The second thread of an open store: merges what is closed, lets go of what is too old or too
//! much, and keeps the ballast. It touches no file that the writer has open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::{EventKind, Period, TimeMs};
use parking_lot::{Condvar, Mutex};

use crate::calendar::{DAY_HOURS, DAY_MS, HOUR_MS};
use crate::folder::{self, FileKind, StoreFile, free_bytes};
use crate::rows::read_hours;
use crate::salvage::Salvage;
use crate::source::open_file;
use crate::state::{Found, Gap, GapReason, State};
use crate::writer::{Shared, chain};
use crate::{StoreError, ballast, merge, quarantine, rollup};

/// How often it looks when nobody wakes it.
const PERIOD: Duration = Duration::from_secs(60);
/// How long a gap may take to reach the disk before its samples go all the same: on a full disk
/// it is written only after they went.
const GAP_PATIENCE: Duration = Duration::from_secs(2);
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
        self.merge()?;
        self.forget_old()?;
        self.keep_quota()?;
        ballast::take_in(folder, self.shared.config.quota.0)
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
        let oldest = hours.first().map_or(0, |hour| (self.now_ms() - (hour + 1) * HOUR_MS).max(0));
        self.shared.stats.lock().merge_lag_ms = oldest;
        for hour in hours {
            if self.shared.wake.is_ending() {
                return Ok(());
            }
            let mut sources: Vec<_> = files.iter().filter(|file| of_hour(file, hour)).cloned().collect();
            sources.sort_by_key(|file| (file.kind, file.seq));
            let merged = merge::merge_hour(&self.shared.folder, hour, &sources);
            self.count(merged)?;
            self.shared.stats.lock().n_hours_merged += 1;
        }
        self.shared.stats.lock().merge_lag_ms = 0;
        self.merge_days(current.iter().map(StoreFile::day).max())
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
            self.count(merged)?;
        }
        Ok(())
    }

    /// Counts damaged blobs; a damaged file is put aside, and merging goes on at the next pass.
    fn count(&self, merged: Result<u64, StoreError>) -> Result<(), StoreError> {
        match merged {
            Ok(n_damaged) => {
                self.shared.stats.lock().n_bad_blobs += n_damaged;
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
            if used <= limit.max(config.quota.0 / 16) || !self.evict_oldest()? {
                return Ok(());
            }
        }
    }

    /// Lets go of the oldest samples or tables; of rollups only when there is nothing else.
    fn evict_oldest(&self) -> Result<bool, StoreError> {
        let files = self.list()?;
        let rollups = |file: &StoreFile| matches!(file.kind, FileKind::Minutes | FileKind::Hours);
        let idle = || files.iter().filter(|file| !self.shared.is_current(file));
        let oldest = idle().find(|file| !rollups(file)).or_else(|| idle().find(|file| rollups(file)));
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
        if n_samples > 0 {
            let (from_ms, to_ms) = (file.begin_ms(), file.end_ms());
            self.shared.queue.push_gap(Gap { from_ms, to_ms, n_samples, reason });
            self.shared.queue.wait_drained(GAP_PATIENCE);
        }
        tracing::info!(file = %file.path.display(), n_samples, reason = reason.as_str(), "removed from the store");
        file.remove()
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

fn of_hour(file: &StoreFile, hour: i64) -> bool {
    file.hour == hour && matches!(file.kind, FileKind::Hot | FileKind::Hour)
}

fn older(file: &StoreFile, age: Period, now_ms: TimeMs) -> bool {
    file.end_ms().saturating_add(age.as_ms()) < now_ms
}

/// Samples in a file.
fn n_samples(file: &StoreFile) -> Result<u64, StoreError> {
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

/// Puts a damaged file aside, and says so as an event and gaps. What can still be read of the
/// windows before this number comes back in a new file of the same name.
pub(crate) fn put_aside(
    shared: &Shared,
    file: &StoreFile,
    error: &StoreError,
    before_seq: i64,
) -> Result<PathBuf, StoreError> {
    let n_samples = n_samples(file).unwrap_or(0);
    let salvage = salvage(file, before_seq, (shared.clock)());
    let moved = quarantine::put_aside(&shared.folder, &file.path, (shared.clock)())?;
    shared.stats.lock().n_quarantined += 1;
    let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = format!("{name} is damaged ({}) and was put aside as {}", chain(error), moved.display());
    let (from_ms, to_ms) = (file.begin_ms(), file.end_ms());
    let mut gaps = vec![Gap { from_ms, to_ms, n_samples, reason: GapReason::Damage }];
    if let Some(salvage) = salvage {
        salvage.put_in_place()?;
        text += &format!("; {} windows were read out of it", salvage.n_windows);
        gaps = salvage.gaps;
    }
    tracing::error!("{text}");
    shared.note(EventKind::Quarantine, &name, text);
    gaps.into_iter().for_each(|gap| shared.queue.push_gap(gap));
    Ok(moved)
}

/// What can still be read of a hot file; trouble here costs the file, never the store.
fn salvage(file: &StoreFile, before_seq: i64, now_ms: TimeMs) -> Option<Salvage> {
    if file.kind != FileKind::Hot {
        return None;
    }
    Salvage::read(file, before_seq, now_ms).unwrap_or_else(|error| {
        tracing::warn!(file = %file.path.display(), error = chain(&error), "nothing can be salvaged");
        None
    })
}

/// Opens `state.db`; a damaged one is put aside and a new one begun. Answers where the old one is.
pub(crate) fn open_state(shared: &Shared) -> Result<(State, Found, Option<PathBuf>), StoreError> {
    let error = match State::open(&shared.folder) {
        Err(error) if error.is_damage() => error,
        outcome => return outcome.map(|(state, found)| (state, found, None)),
    };
    let path = State::path(&shared.folder);
    let moved = quarantine::put_aside(&shared.folder, &path, (shared.clock)())?;
    let text =
        format!("state.db is damaged ({}) and was put aside; events before now are in it", chain(&error));
    tracing::error!("{text}");
    shared.note(EventKind::Quarantine, "state.db", text);
    shared.stats.lock().n_quarantined += 1;
    let (state, _) = State::open(&shared.folder)?;
    Ok((state, Found { new: false, clean: false }, Some(moved)))
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
