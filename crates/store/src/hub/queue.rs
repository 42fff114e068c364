//! What waits for the hub's writer thread: bounded in bytes, and full is said at once, so that
//! whoever brings more stops reading from its link. Nothing is ever dropped here.

use std::collections::VecDeque;
use std::time::Duration;

use fieldpost_model::hub_record::Done;
use parking_lot::{Condvar, Mutex};

use crate::StoreError;
use crate::hub::batch::Checked;

/// Bytes of batches that may wait.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes of batches that are written at once.
const TAKEN_BYTES_MAX: usize = 16 << 20;

/// A batch that waits.
pub(crate) struct Job {
    pub(crate) checked: Checked,
    pub(crate) n_bytes: usize,
    /// Is called on the writer's thread.
    pub(crate) done: Done,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    /// Bytes of those that wait, and of those that are being checked on their way here.
    n_bytes: usize,
    closing: bool,
}

/// The queue before the hub's writer thread.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

impl Queue {
    /// Takes room for a batch before it is checked. Answers whether there is any; an empty queue
    /// has room for everything.
    pub(crate) fn reserve(&self, n_bytes: usize) -> Result<bool, StoreError> {
        let mut inner = self.inner.lock();
        if inner.closing {
            return Err(StoreError::Closed);
        }
        let room = inner.n_bytes == 0 || inner.n_bytes + n_bytes <= WAITING_BYTES_MAX;
        inner.n_bytes += if room { n_bytes } else { 0 };
        Ok(room)
    }

    /// Gives room back that was taken.
    pub(crate) fn release(&self, n_bytes: usize) {
        self.inner.lock().n_bytes -= n_bytes;
    }

    /// Puts a batch into the room that was taken for it.
    pub(crate) fn push(&self, job: Job) {
        self.inner.lock().jobs.push_back(job);
        self.filled.notify_one();
    }

    /// Takes up what waits; waits for it at most this long. None once the queue is closed and empty.
    pub(crate) fn take(&self, patience: Duration) -> Option<Vec<Job>> {
        let mut inner = self.inner.lock();
        if inner.jobs.is_empty() && !inner.closing {
            self.filled.wait_for(&mut inner, patience);
        }
        if inner.jobs.is_empty() && inner.closing {
            return None;
        }
        let (mut jobs, mut n_bytes) = (Vec::new(), 0);
        while n_bytes < TAKEN_BYTES_MAX {
            let Some(job) = inner.jobs.pop_front() else { break };
            n_bytes += job.n_bytes;
            jobs.push(job);
        }
        Some(jobs)
    }

    /// Refuses what comes from now on; what waits is still written.
    pub(crate) fn close(&self) {
        self.inner.lock().closing = true;
        self.filled.notify_all();
    }

    /// Batches and bytes that wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.jobs.len(), inner.n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let queue = Queue::default();
        let whole = WAITING_BYTES_MAX;
        assert!(queue.reserve(2 * whole).unwrap(), "an empty queue has room for everything");
        assert!(!queue.reserve(1).unwrap());
        queue.release(2 * whole);
        assert!(queue.reserve(whole / 2).unwrap() && queue.reserve(whole / 2).unwrap());
        assert!(!queue.reserve(1).unwrap());
        assert_eq!(queue.waiting(), (0, whole));
        queue.close();
        assert!(matches!(queue.reserve(1), Err(StoreError::Closed)));
        assert!(queue.take(Duration::ZERO).is_none());
    }
}
