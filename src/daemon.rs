//! One process per data folder, in the background: the lock that decides who runs, the fork, and
//! the signal that ends it. The one home of `daemonize`.
//!
//! The lock is an `flock` on the pid file and is kept for the life of the process. The pid that
//! stands in the file is for people; before it is ever signalled, its start time and boot must
//! be those that the file names, so that an innocent process is never hit.

mod fork;
mod inherited;
mod lock;
mod process;

pub use fork::{Forked, Outcome, Readiness, fork};
pub use inherited::close_inherited;
pub use lock::{Ended, Lock, Note, State, look};
pub use process::{Ending, boot_id, end_with_parent, stop};
