//! Events: what happened to the agent itself, for its log in the store.

use serde::{Deserialize, Serialize};

use crate::TimeMs;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The agent began to sample.
    Start,
    /// The agent ended cleanly.
    Stop,
    /// The last stop was not clean.
    UncleanStop,
    /// The config was loaded anew.
    Reload,
    /// A collector or mount did not answer within its deadline.
    Stuck,
    /// What was stuck answers again.
    Recovered,
    /// Samples between two instants are not stored.
    Gap,
    /// The wall clock jumped, or the machine slept.
    ClockJump,
    /// The store could not write, or can again.
    Store,
    /// A damaged file was put aside.
    Quarantine,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub time_ms: TimeMs,
    /// What happened.
    pub kind: EventKind,
    /// To what: a collector, a mount, a file; empty for the agent as a whole.
    pub subject: String,
    /// For people: what happened, and what follows.
    pub text: String,
}
