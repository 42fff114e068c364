//! What a sink has done, for the agent's own metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of a sink.
#[derive(Debug, Default)]
pub struct SinkStats {
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The last window that there is, and the next one to be sent.
    pub(super) newest: AtomicU64,
    pub(super) next: AtomicU64,
    pub(super) failing: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Samples that the receiver has taken.
    pub n_sent: u64,
    /// Samples that the receiver will never take.
    pub n_refused: u64,
    /// Windows that were gone before they could be sent.
    pub n_lost_items: u64,
    /// Requests that were sent again.
    pub n_retries: u64,
    /// Bytes of requests that were taken.
    pub n_bytes: u64,
    /// Windows that are still to be sent.
    pub lag_items: u64,
    /// Did the last request fail?
    pub is_failing: bool,
}

impl SinkStats {
    pub(super) fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Relaxed);
    }

    pub(super) fn set(value: &AtomicU64, n: u64) {
        value.store(n, Relaxed);
    }

    pub(super) fn get(value: &AtomicU64) -> u64 {
        value.load(Relaxed)
    }

    /// The counts now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            n_sent: self.sent.load(Relaxed),
            n_refused: self.refused.load(Relaxed),
            n_lost_items: self.lost.load(Relaxed),
            n_retries: self.retries.load(Relaxed),
            n_bytes: self.bytes.load(Relaxed),
            lag_items: (self.newest.load(Relaxed) + 1).saturating_sub(self.next.load(Relaxed).max(1)),
            is_failing: self.failing.load(Relaxed) != 0,
        }
    }
}
