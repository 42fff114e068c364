//! The words of Fieldpost as types, shared by every room: series and their catalog, samples,
//! ticks, windows, tables of processes and units, events, the record, matchers, units of measure,
//! jobs and runs.
//! No input or output, no async, no global state.

mod catalog;
mod culprit;
mod event;
pub mod hub_record;
pub mod hub_runs;
pub mod hub_state;
pub mod job;
mod lives;
mod log;
mod matcher;
mod record;
mod remote_jobs;
mod table;
mod tick;
mod units;
mod window;

pub use catalog::{Catalog, CatalogView, Family, Kind, Owner, Series, SeriesId, series_text};
pub use culprit::{Culprits, Life, Share, Span};
pub use event::{Event, EventKind};
pub use lives::Lives;
pub use log::LogEntry;
pub use matcher::{Matcher, MatcherError, MatcherOp, Pattern, Selector};
pub use record::{Frame, Intervals, Item, Lost, SEQ_MAX, Seq, Stream};
pub use remote_jobs::RemoteJobs;
pub use table::{Entity, EntityRow, ProcessRow, TableKind, TableTick, USER_HZ, UnitRow};
pub use tick::{Sample, Tick};
pub use units::{ByteSize, Period, UnitError, format_bytes, format_span};
pub use window::{ABSENT, ENDED, Group, Window, is_absent, is_ended};

/// Milliseconds since 1970-01-01T00:00:00Z; the one unit of time in ticks, windows and rows.
pub type TimeMs = i64;
