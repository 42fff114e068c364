//! Jobs: runs that outlive the agent. Each run is owned by a shim, a process of its own; the agent
//! starts shims, finds them again after its own end, and keeps what is known of each run.
//!
//! ```text
//! post ──> jobs.db (queued) ──> its turn ──> jobs.db (starting) ──> keeper forks the shim
//!                                                                        │
//!   runs/ID/ATTEMPT/started.json  <── whoever makes it first decides ────┤  barrier
//!                   out-000000...  <── output ── command <───────────────┤
//!                   sock           ──> orders: end it, signal it ────────┤
//!                   exit.json      <── how it ended, durably ────────────┘
//!                      │
//!   jobs.db (succeeded, failed, ...) <── the agent, this one or the next
//! ```

mod account;
mod again;
mod changes;
mod config;
mod durable;
mod end;
mod execution;
mod failpoint;
mod gather;
mod handle;
mod hooks;
mod identity;
mod keeper_link;
mod launch;
mod mask;
mod output;
mod places;
mod protocol;
mod recovery;
mod row;
mod sampling;
mod schedule;
pub mod shim;
mod shim_link;
mod standing;
mod state;
mod tally;
mod tasks;
mod ticker;
mod traffic;
mod upkeep;

pub use changes::RunChanges;
pub use config::Config;
pub use end::signal_number;
pub use execution::JobsOptions;
pub use failpoint::{FAILPOINTS, Failpoint};
pub use fieldpost_store::{RunPage, RunQuery};
pub use gather::Interval;
pub use handle::{Clock, Jobs, KillError, Killed, N_RECORDS_MAX, NewRun, PostError};
pub use row::{Levels, LogRow};
pub use sampling::RunSample;
pub use standing::KilledAll;
pub use tally::{JobTally, Key as JobKey};
pub use tasks::{Given, LastRun, NotTaken, Origin, TaskError, TaskView, faults_of};
pub use upkeep::OUTPUT_DROPPED;
