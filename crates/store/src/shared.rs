//! What the threads of one open store share: the folder, the clocks, the queue, the spool, and
//! which files the writer has open.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fieldpost_model::{Event, EventKind, Intervals, Lost, Stream, TimeMs};
use parking_lot::Mutex;

use crate::belief::{Belief, Clock};
use crate::folder::StoreFile;
use crate::maintain::Wake;
use crate::queue::Queue;
use crate::spool::Spool;
use crate::state::GapReason;
use crate::stats::StoreStats;
use crate::{Config, StoreOptions};

/// What the threads of one open store share.
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    belief: Belief,
    pub(crate) queue: Queue,
    pub(crate) spool: Spool,
    pub(crate) stats: Mutex<StoreStats>,
    /// The files that the writer has open, or is about to open: hot file and tables.
    pub(crate) current: Mutex<Vec<StoreFile>>,
    pub(crate) wake: Wake,
    /// Files that a reader found damaged.
    suspects: Mutex<Vec<StoreFile>>,
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
            spool: Spool::default(),
            stats: Mutex::default(),
            current: Mutex::default(),
            wake: Wake::default(),
            suspects: Mutex::default(),
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

    /// Notes that items are no more, and why; the samples are counted with the last of them.
    pub(crate) fn lose(
        &self,
        stream: Stream,
        seqs: &Intervals,
        (from_ms, to_ms): (TimeMs, TimeMs),
        n_samples: u64,
        reason: GapReason,
    ) {
        for (from, to) in seqs.ranges().iter().copied() {
            let n_samples = if Some(to) == seqs.last() { n_samples } else { 0 };
            let reason = reason.as_str().to_owned();
            self.queue.push_lost(stream, Lost { from, to, from_ms, to_ms, n_samples, reason });
        }
    }

    /// Has a file checked soon that a reader found damaged.
    pub(crate) fn suspect(&self, file: &StoreFile) {
        let mut suspects = self.suspects.lock();
        if !suspects.contains(file) {
            suspects.push(file.clone());
        }
        drop(suspects);
        self.wake.wake();
    }

    /// The files that readers found damaged since the last look.
    pub(crate) fn take_suspects(&self) -> Vec<StoreFile> {
        std::mem::take(&mut self.suspects.lock())
    }

    /// Was the disk full since the last look?
    pub(crate) fn take_full(&self) -> bool {
        self.full.swap(false, Ordering::Relaxed)
    }
}
