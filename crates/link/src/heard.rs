//! When the other side was last heard. HTTP/2 asks after it, but ends a dead connection only once
//! its farewell is sent, and over a wire that is cut nothing is sent: this does not wait for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// When bytes last came.
pub(crate) struct Heard {
    begun: Instant,
    /// Milliseconds after the beginning.
    last_ms: AtomicU64,
}

impl Heard {
    /// From now on.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    /// Returns once nothing has come for so long.
    pub(crate) async fn silence(&self, limit: Duration) {
        loop {
            let last = self.begun + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let left = limit.saturating_sub(last.elapsed());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    /// Bytes came.
    pub(crate) fn note(&self) {
        self.last_ms.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}
