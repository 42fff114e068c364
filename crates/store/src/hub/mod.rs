//! The hub's record store: the items of all agents as they sealed them, in files of an hour each,
//! merged in the background into rows of few series and longer spans. Synchronous.
//!
//! ```text
//! append -> checked by the caller's thread -> queue -> writer thread
//!     hot-20261121T09-1.db    items of one hour, all agents; item and progress in one transaction
//!         | an hour that ended ten minutes ago
//!     hour-20261121T09.db     rows of 16 series of one agent and an hour
//!         | daily
//!     day-20261121.db         the same rows, one file
//! ```
//!
//! Every file answers for the numbers of the items that it holds (or once held): progress is the
//! union of all files and of `progress.db`, into which a file's numbers are raised before the
//! file is let go. No promise spans two files.

mod backup;
mod batch;
mod carry;
mod coverage;
mod floor;
mod harvest;
mod index;
mod intake;
mod keep;
mod ledger;
mod logs;
mod merge;
mod notes;
mod options;
mod pool;
mod queue;
mod reader;
mod scopes;
mod shapes;
mod shared;
mod source;
mod stats;
mod store;
mod tables;
mod tend;
mod writer;

pub use backup::HubBackup;
pub use coverage::{Coverage, Stretch};
pub use harvest::{Harvest, Spend, TakeSamples};
pub use logs::{LogAsk, LogPlace};
pub use options::HubStoreOptions;
pub use reader::{AgentLabels, HubReader, HubSeries};
pub use stats::HubStoreStats;
pub use store::{HubOpened, HubStore};
