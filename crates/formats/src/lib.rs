//! The formats of others: Prometheus text, written and strictly read, and what is pushed: remote write and OTLP, and remote read.
//! No input or output here: bytes in, bytes out.

mod delivery;
pub mod negotiate;
pub mod otlp;
pub mod parse;
mod parsed;
pub mod pushed;
pub mod remote_read;
pub mod remote_write;
mod scanner;
mod wire;
pub mod write;

pub use negotiate::Dialect;
pub use parse::{ParseError, parse};
pub use parsed::{ParsedFamily, ParsedSample};
pub use pushed::{Limits, Metadata, Outcome, Pushed, PushedSeries, Sample};
pub use wire::WireError;
