//! The local store: windows in SQLite files, merged in the background into rows of few series
//! and an hour each, with rollups, the history of processes and units, retention and quarantine.
//! The same files are the spool towards hubs: windows are merged when each has acknowledged them.
//! Synchronous; the home of rusqlite and of the codecs.
//!
//! ```text
//! append -> queue -> writer thread -> hot-20261121T09-1.db   windows, committed one by one
//!                                         | merge, hourly
//!                                     hour-20261121T09.db    rows of 16 series and an hour
//!                                         | daily
//!                                     day-20261121.db        the same rows, one file
//! ```

mod ballast;
mod belief;
mod calendar;
pub mod codec;
mod config;
mod damage;
mod database;
mod dictionary;
mod error;
mod folder;
mod heap;
mod hot;
pub mod hub;
mod hub_runs;
mod hub_state;
mod jobs;
mod maintain;
mod merge;
mod pages;
mod quarantine;
mod queue;
mod reader;
pub mod record;
mod rollup;
mod rows;
mod salvage;
mod shared;
mod source;
mod spool;
mod state;
mod stats;
mod store;
mod tables;
mod thinned;
mod writer;

pub use belief::{Clock, Monotonic};
pub use config::{Config, Durability, Retention};
pub use error::StoreError;
pub use hub_runs::SqliteHubRuns;
pub use hub_state::{HubStateOpenError, SqliteHubState, restore_hub_state, secret_hash};
pub use jobs::{JobsChange, JobsFile, JobsOpened, OnChange, OnWritten, RunPage, RunQuery, TaskRow, Written};
pub use reader::{Overview, Reader, Samples, StoredSeries};
pub use rollup::Rollup;
pub use state::{Gap, GapReason};
pub use stats::StoreStats;
pub use store::{Closed, Opened, Store, StoreOptions};
pub use thinned::{ThinSpan, samples_of, thin_remarks};
