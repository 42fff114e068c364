//! The second thread of an open hub store: merges the hours that are over, lets go of what is too
//! old or too much, and keeps the ballast. It touches no file that the writer has in hand.

use std::sync::Arc;

use crate::calendar::{DAY_HOURS, DAY_MS, HOUR_MS};
use crate::folder::{self, FileKind, StoreFile, free_bytes};
use crate::hub::keep;
use crate::hub::ledger::Numbers;
use crate::hub::merge;
use crate::hub::shared::Shared;
use crate::writer::chain;
use crate::{StoreError, ballast, quarantine};

/// The priority of this thread among all: lowest but one.
const NICE: i32 = 15;
/// An hour is merged when it has been over for so long: by then most agents have sent their last
/// window of it.
const MERGE_AFTER_MS: i64 = 600_000;
/// Samples become minutes, minutes become hours.
const N_KINDS_IN_TURN: usize = 3;
/// Others may fill the disk: this share of the quota is not given up for them.
const QUOTA_SHARE_KEPT: u64 = 16;

/// The thread itself.
pub(crate) fn run(shared: &Arc<Shared>) {
    // Being nice is a wish: where it is refused, merging goes on as it is.
    let _ = rustix::process::nice(NICE);
    let mut done = 0;
    let mut complaint = String::new();
    while let Some(wanted) = shared.wake.wait(done) {
        let outcome = Tending { shared }.pass();
        let text = outcome.err().map(|error| chain(&error)).unwrap_or_default();
        if !text.is_empty() && text != complaint {
            tracing::warn!(error = text, "the hub's store cannot be tended; it is tried again every minute");
            shared.stats.lock().last_error = Some(text.clone());
        }
        complaint = text;
        done = wanted;
    }
}

struct Tending<'a> {
    shared: &'a Shared,
}

impl Tending<'_> {
    fn pass(&self) -> Result<(), StoreError> {
        let folder = &self.shared.folder;
        if self.shared.take_full() && !ballast::give_up(folder)? {
            self.evict_oldest()?;
        }
        self.merge_hours()?;
        self.merge_days()?;
        self.forget_old()?;
        self.keep_quota()?;
        ballast::take_in(folder, self.shared.options.quota.0)
    }

    fn list(&self) -> Result<Vec<StoreFile>, StoreError> {
        folder::list(&self.shared.folder)
    }

    /// Hours that are over, the newest first: it is what is asked for most.
    fn merge_hours(&self) -> Result<(), StoreError> {
        let files = self.list()?;
        let now_ms = self.shared.now_ms();
        let due = |hour: &i64| (hour + 1) * HOUR_MS + MERGE_AFTER_MS <= now_ms;
        let mut hours: Vec<i64> = hot(&files).map(|file| file.hour).filter(due).collect();
        hours.dedup();
        let lag_ms = hours.first().map_or(0, |hour| now_ms - (hour + 1) * HOUR_MS - MERGE_AFTER_MS);
        self.shared.stats.lock().merge_lag_ms = lag_ms;
        for hour in hours.into_iter().rev() {
            let of_hour =
                |file: &&StoreFile| file.hour == hour && matches!(file.kind, FileKind::Hot | FileKind::Hour);
            let sources: Vec<_> = files.iter().filter(of_hour).cloned().collect();
            let target = StoreFile::new(&self.shared.folder, FileKind::Hour, hour, 0);
            if self.merge(&target, &sources)? {
                self.shared.stats.lock().n_hours_merged += 1;
            }
        }
        Ok(())
    }

    /// Days that are over, when no hour of theirs waits to be merged.
    fn merge_days(&self) -> Result<(), StoreError> {
        let files = self.list()?;
        let today = (self.shared.now_ms() - MERGE_AFTER_MS).div_euclid(DAY_MS);
        let hours = files.iter().filter(|file| file.kind == FileKind::Hour);
        let mut days: Vec<i64> = hours.map(StoreFile::day).filter(|day| *day < today).collect();
        days.dedup();
        for day in days {
            if hot(&files).any(|file| file.day() == day) {
                continue;
            }
            let rows = |file: &&StoreFile| matches!(file.kind, FileKind::Day | FileKind::Hour);
            let sources: Vec<_> =
                files.iter().filter(rows).filter(|file| file.day() == day).cloned().collect();
            let target = StoreFile::new(&self.shared.folder, FileKind::Day, day * DAY_HOURS, 0);
            if self.merge(&target, &sources)? {
                self.shared.stats.lock().n_days_merged += 1;
            }
        }
        Ok(())
    }

    /// Merges files into one, unless the writer has one of them in hand or the store is closing.
    /// A damaged file is put aside, and merging goes on at the next pass.
    fn merge(&self, target: &StoreFile, sources: &[StoreFile]) -> Result<bool, StoreError> {
        let shared = self.shared;
        if shared.wake.is_ending() || !shared.claim_for_merging(sources) {
            return Ok(false);
        }
        let merged = merge::merge(target, sources, || !shared.wake.is_ending());
        let outcome = match merged {
            Ok(Some(merged)) => self.replace(target, sources, &merged).map(|()| true),
            Ok(None) => Ok(false),
            Err(error) => self.put_aside(sources, error).map(|()| false),
        };
        sources.iter().for_each(|file| shared.give_back(file));
        outcome
    }

    /// The merged file answers for the numbers of its sources, and these go.
    fn replace(
        &self,
        target: &StoreFile,
        sources: &[StoreFile],
        merged: &merge::Merged,
    ) -> Result<(), StoreError> {
        let ledger = &self.shared.ledger;
        let numbers = merged.numbers.iter().map(|(key, numbers)| (ledger.source(key), numbers.clone()));
        ledger.replace(&target.path, numbers.collect());
        self.shared.stats.lock().n_bad_blobs += merged.n_damaged;
        for file in sources.iter().filter(|file| *file != target) {
            file.remove()?;
            ledger.forget(&file.path);
        }
        Ok(())
    }

    fn put_aside(&self, sources: &[StoreFile], error: StoreError) -> Result<(), StoreError> {
        let at_fault = sources.iter().find(|file| error.is_damage() && error.path() == Some(&file.path));
        let Some(file) = at_fault else { return Err(error) };
        self.shared.put_aside_if_damaged(file, &error);
        self.shared.wake.wake();
        Ok(())
    }

    /// Lets go of what reached its age. What an old file leaves behind (its minutes, their hours)
    /// may have reached its own, so that it takes as many rounds as there are kinds.
    fn forget_old(&self) -> Result<(), StoreError> {
        (0..N_KINDS_IN_TURN).try_for_each(|_| self.forget_old_once())
    }

    fn forget_old_once(&self) -> Result<(), StoreError> {
        let files = self.list()?;
        let Some(now_ms) = self.shared.present_ms(&files) else { return Ok(()) };
        let retention = &self.shared.options.retention;
        for file in files {
            let age = match file.kind {
                FileKind::Hot | FileKind::Tables => continue,
                FileKind::Hour | FileKind::Day => retention.raw,
                FileKind::Minutes => retention.rollup_1m,
                FileKind::Hours => retention.rollup_1h,
            };
            if file.end_ms().saturating_add(age.as_ms()) < now_ms && !self.shared.is_in_use(&file) {
                self.forget(&file)?;
            }
        }
        Ok(())
    }

    fn keep_quota(&self) -> Result<(), StoreError> {
        let options = &self.shared.options;
        loop {
            let files = self.list()?;
            let used: u64 =
                files.iter().map(StoreFile::bytes).sum::<u64>() + quarantine::bytes(&self.shared.folder);
            let free = free_bytes(&self.shared.folder).unwrap_or(u64::MAX);
            let limit = options.quota.0.min(used.saturating_add(free).saturating_sub(options.min_free.0));
            if used <= limit.max(options.quota.0 / QUOTA_SHARE_KEPT) || !self.evict_oldest()? {
                return Ok(());
            }
        }
    }

    /// Lets go of the oldest samples, never of the newest hour; of rollups only when there is
    /// nothing else.
    fn evict_oldest(&self) -> Result<bool, StoreError> {
        let files = self.list()?;
        let present = files.iter().map(|file| file.hour).max();
        let rollups = |file: &StoreFile| matches!(file.kind, FileKind::Minutes | FileKind::Hours);
        let idle = || files.iter().filter(|file| !self.shared.is_in_use(file) && Some(file.hour) < present);
        let oldest = idle().find(|file| !rollups(file)).or_else(|| idle().find(|file| rollups(file)));
        match oldest {
            Some(file) => self.forget(file).map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes a file: its numbers are raised into the floor before, and its rollups live on.
    fn forget(&self, file: &StoreFile) -> Result<(), StoreError> {
        if !self.shared.claim_for_merging(std::slice::from_ref(file)) {
            return Ok(());
        }
        let forgotten = self.forget_claimed(file);
        self.shared.give_back(file);
        forgotten
    }

    /// Raises numbers into the floor, on the disk and in memory.
    fn raise(&self, numbers: &Numbers) -> Result<(), StoreError> {
        let floors = self.shared.ledger.raised_floor(numbers);
        self.shared.floor.lock().write(floors.iter().map(|(key, numbers)| (&**key, numbers)))?;
        self.shared.ledger.raise(numbers);
        Ok(())
    }

    fn forget_claimed(&self, file: &StoreFile) -> Result<(), StoreError> {
        let folder = &self.shared.folder;
        let kept = match file.kind {
            FileKind::Day | FileKind::Hour => keep::keep_minutes(folder, file),
            FileKind::Minutes => keep::keep_hours(folder, file),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            tracing::warn!(error = chain(&error), file = %file.path.display(), "its rollups are lost");
        }
        let numbers: Numbers = self.shared.ledger.numbers_of(&file.path);
        match self.raise(&numbers) {
            // On a full disk the file has to make room for the floor. Cut off between the two, the
            // hub asks once more for what was in it.
            Err(error) if error.is_full() => {
                file.remove()?;
                self.raise(&numbers)?;
            }
            raised => raised?,
        }
        file.remove()?;
        self.shared.ledger.forget(&file.path);
        self.shared.stats.lock().n_files_dropped += 1;
        tracing::info!(file = %file.path.display(), "removed from the hub's store");
        Ok(())
    }
}

fn hot(files: &[StoreFile]) -> impl Iterator<Item = &StoreFile> {
    files.iter().filter(|file| file.kind == FileKind::Hot)
}
