//! What the hub's store needs from outside, and how much it takes from one agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fieldpost_model::{ByteSize, Period};
use serde::{Deserialize, Serialize};

use crate::belief::{Clock, Monotonic};
use crate::config::Retention;

/// What the hub's store needs from outside.
#[derive(Clone)]
pub struct HubStoreOptions {
    /// Folder of its files, of its own; made if it is missing.
    pub path: PathBuf,
    /// How long each thing is kept.
    pub retention: Retention,
    /// The most bytes that the folder may take; the oldest go first.
    pub quota: ByteSize,
    /// Bytes of the file system that are left to others, by giving up the oldest.
    pub min_free: ByteSize,
    /// How much is taken from one agent.
    pub limits: HubLimits,
    /// The wall clock.
    pub clock: Clock,
    /// A clock that nobody sets: nothing goes by age before the two have agreed for an hour.
    pub monotonic: Monotonic,
}

/// Bytes that a hub's store may take unless it is told otherwise.
const QUOTA_BYTES: u64 = 64 << 30;
/// Bytes that it leaves to others unless it is told otherwise.
const MIN_FREE_BYTES: u64 = 1 << 30;

impl HubStoreOptions {
    /// Defaults for a folder, with the machine's own clocks.
    pub fn new(path: PathBuf) -> Self {
        let clock: Clock = Arc::new(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        });
        let began = Instant::now();
        Self {
            path,
            retention: Retention::default(),
            quota: ByteSize(QUOTA_BYTES),
            min_free: ByteSize(MIN_FREE_BYTES),
            limits: HubLimits::default(),
            clock,
            monotonic: Arc::new(move || began.elapsed()),
        }
    }
}

/// How much is taken from one agent. What goes beyond is refused, and the agent is told why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubLimits {
    /// Series that an agent may describe in a day.
    pub series: usize,
    /// Bytes of all that it says about them.
    pub described_bytes: ByteSize,
    /// Labels of a series.
    pub labels: usize,
    /// Bytes of a label's name or value, or of a family's name.
    pub label_bytes: usize,
    /// Bytes of an item as it was sealed.
    pub item_bytes: ByteSize,
    /// Samples of an item.
    pub item_samples: u64,
    /// How far ahead of the hub's clock an item may end.
    pub ahead: Period,
    /// Holes in the numbers of one stream.
    pub holes: usize,
    /// Spools under which an agent may have streams.
    pub spools: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            series: 100_000,
            described_bytes: ByteSize(32 << 20),
            labels: 64,
            label_bytes: 4_096,
            item_bytes: ByteSize(4 << 20),
            item_samples: 1_000_000,
            ahead: Period::from_secs(600),
            holes: 10_000,
            spools: 32,
        }
    }
}
