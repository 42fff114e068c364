//! What the tests stand on: peers and agents as child processes that end with the test, scratch
//! folders, a small HTTP client, and a strict reader of metrics pages that shares no code with
//! what it checks; a proxy that harms connections, and the oracle that compares what an agent has
//! sealed with what a hub has stored; disks that are full, clocks that are turned, and thousands of
//! agents that are made up.

mod agent;
mod copy;
mod fleet;
mod hanging_mount;
mod http;
mod hub;
mod oracle;
mod page;
mod peer;
mod place;
mod process;
mod prometheus;
mod proxy;
mod random;
mod scratch;
mod small_disk;
mod swarm;
mod turned_clock;

pub use self::http::{Connection, Response, get, get_with, unix_get, unix_send};
pub use agent::Agent;
pub use copy::copy_folder;
pub use fleet::Fleet;
pub use hanging_mount::{BLOCKS as HANGING_MOUNT_BLOCKS, HangingMount};
pub use hub::Hub;
pub use oracle::{Sealed, Stored, Verdict};
pub use page::{Family, Labels, Page, PageError, Series};
pub use peer::{library_path, peer};
pub use place::{Place, TwoHosts};
pub use process::Process;
pub use prometheus::Prometheus;
pub use proxy::{FaultProxy, Faults};
pub use random::{Random, soak, soaked};
pub use scratch::{Scratch, free_port, repository, target_dir};
pub use small_disk::SmallDisk;
pub use swarm::{Dialled, Swarm, dial, now_ms};
pub use turned_clock::TurnedClock;

use std::time::{Duration, Instant};

/// How long the bed waits for anything to become ready. Generous: build machines are slow and
/// shared, and a test that waits for less asserts a wall-clock time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again, 20 times a second, until the answer is `Some` or patience is over.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > PATIENCE {
            anyhow::bail!("{what}: not within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
