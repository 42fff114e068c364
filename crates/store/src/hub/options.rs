//! What the hub's store needs from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fieldpost_model::ByteSize;
use fieldpost_model::hub_record::HubLimits;

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
