//! What the threads of an open hub store share: the ledger, the queue, and who uses which file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fieldpost_model::TimeMs;
use parking_lot::Mutex;

use crate::belief::Belief;
use crate::folder::StoreFile;
use crate::hub::floor::Floor;
use crate::hub::ledger::Ledger;
use crate::hub::options::HubStoreOptions;
use crate::hub::queue::Queue;
use crate::hub::scopes::Scopes;
use crate::hub::stats::HubStoreStats;
use crate::maintain::Wake;
use crate::writer::chain;
use crate::{StoreError, quarantine};

/// Who has a file in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Writing,
    Merging,
}

/// What the threads of an open hub store share.
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) options: HubStoreOptions,
    belief: Belief,
    pub(crate) ledger: Ledger,
    pub(crate) scopes: Scopes,
    pub(crate) queue: Queue,
    pub(crate) stats: Mutex<HubStoreStats>,
    pub(crate) floor: Mutex<Floor>,
    pub(crate) wake: Wake,
    uses: Mutex<HashMap<PathBuf, Use>>,
    /// The disk was full at the last attempt.
    full: AtomicBool,
}

impl Shared {
    /// For a folder that is prepared and locked.
    pub(crate) fn new(folder: PathBuf, options: HubStoreOptions, floor: Floor) -> Self {
        let belief = Belief::new(Arc::clone(&options.clock), Arc::clone(&options.monotonic));
        Self {
            folder,
            options,
            belief,
            ledger: Ledger::default(),
            scopes: Scopes::default(),
            queue: Queue::default(),
            stats: Mutex::default(),
            floor: Mutex::new(floor),
            wake: Wake::default(),
            uses: Mutex::default(),
            full: AtomicBool::new(false),
        }
    }

    pub(crate) fn now_ms(&self) -> TimeMs {
        (self.options.clock)()
    }

    /// The present as far as age is concerned: none while the clock is not to be believed, and
    /// never later than the newest of these files, which are all there are.
    pub(crate) fn present_ms(&self, files: &[StoreFile]) -> Option<TimeMs> {
        let now_ms = self.belief.now_ms()?;
        let newest_ms = files.iter().map(StoreFile::end_ms).max()?;
        Some(now_ms.min(newest_ms))
    }

    /// The writer wants to open a file: not while it is being merged.
    pub(crate) fn claim_for_writing(&self, file: &StoreFile) -> bool {
        let mut uses = self.uses.lock();
        *uses.entry(file.path.clone()).or_insert(Use::Writing) == Use::Writing
    }

    /// These are to be merged, put together or let go: all of them, or none while one is written.
    pub(crate) fn claim_for_merging(&self, files: &[StoreFile]) -> bool {
        let mut uses = self.uses.lock();
        let free = files.iter().all(|file| !uses.contains_key(&file.path));
        if free {
            uses.extend(files.iter().map(|file| (file.path.clone(), Use::Merging)));
        }
        free
    }

    /// Nobody has the file in hand any more.
    pub(crate) fn give_back(&self, file: &StoreFile) {
        self.uses.lock().remove(&file.path);
    }

    /// Has the writer, or a merge, this file in hand?
    pub(crate) fn is_in_use(&self, file: &StoreFile) -> bool {
        self.uses.lock().contains_key(&file.path)
    }

    /// A damaged file must not stop anything: it makes way for a new one, and the agents are
    /// asked again for what was in it alone.
    pub(crate) fn put_aside_if_damaged(&self, file: &StoreFile, error: &StoreError) {
        if !error.is_damage() || !file.path.exists() {
            return;
        }
        match quarantine::put_aside(&self.folder, &file.path, self.now_ms()) {
            Ok(moved) => {
                self.ledger.forget(&file.path);
                let mut stats = self.stats.lock();
                stats.n_quarantined += 1;
                stats.last_error = Some(chain(error));
                let (file, moved) = (file.path.display(), moved.display());
                let error = chain(error);
                tracing::error!(%file, %moved, error, "a damaged file was put aside; agents send it again");
            }
            Err(error) => tracing::error!(error = chain(&error), "a damaged file cannot be put aside"),
        }
    }

    pub(crate) fn count_error(&self, error: &StoreError) {
        let mut stats = self.stats.lock();
        stats.n_write_errors += 1;
        stats.last_error = Some(chain(error));
        drop(stats);
        if error.is_full() {
            self.full.store(true, Ordering::Relaxed);
            self.wake.wake();
        }
    }

    /// Was the disk full since the last look?
    pub(crate) fn take_full(&self) -> bool {
        self.full.swap(false, Ordering::Relaxed)
    }
}
