//! Prometheus text, written and read: the page of metrics in its two dialects, what a client's
//! headers ask for, and the strict parser behind `*.prom` files. No input or output here: bytes in, bytes out.

pub mod negotiate;
pub mod parse;
mod parsed;
mod scanner;
pub mod write;

pub use negotiate::Dialect;
pub use parse::{ParseError, parse};
pub use parsed::{ParsedFamily, ParsedSample};
