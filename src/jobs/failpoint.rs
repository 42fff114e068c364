//! Places at which a test has this process end at once, as kill -9 does: each stands between two steps
//! that have to hold whatever becomes of the process in between. Which one counts is said by whoever
//! wires the agent; by itself none does.

use anyhow::bail;
use serde::{Deserialize, Serialize};

/// All of them, in the order in which a run comes by. Those of the shim end the shim.
pub const FAILPOINTS: [&str; 16] = [
    "post_before_commit",
    "post_after_commit",
    "launch_before_folder",
    "launch_after_record",
    "launch_after_order",
    "launch_after_shim",
    "shim_before_cgroups",
    "shim_before_fork",
    "shim_before_started",
    "shim_after_started",
    "shim_after_barrier",
    "running_before_commit",
    "shim_before_ended",
    "shim_after_ended",
    "end_before_commit",
    "end_after_commit",
];

/// The one that counts, if any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failpoint(Option<String>);

impl Failpoint {
    /// The one of this name.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        if !FAILPOINTS.contains(&name) {
            bail!("\"{name}\" is no failpoint; there are {}", FAILPOINTS.join(", "));
        }
        Ok(Self(Some(name.to_owned())))
    }

    /// Does none count?
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// This place is reached.
    pub fn reach(&self, name: &str) {
        debug_assert!(FAILPOINTS.contains(&name), "{name} is not in the list");
        if self.0.as_deref() == Some(name) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // It takes the kernel a moment.
            loop {
                std::thread::park();
            }
        }
    }
}
