//! PromQL, read, checked and evaluated over any source of series. What is measured where, how it
//! is stored and how an answer travels is left to others: no input or output, no async, no clock.

mod annotations;
mod error;
mod eval;
mod functions;
mod labels;
mod source;
mod syntax;

pub use annotations::Annotations;
pub use error::{ParseError, QueryError};
pub use eval::{Answer, Engine, Limits, Quota, Range, SeriesAnswer, SeriesPoint, Value};
pub use functions::{FUNCTIONS, Function, Optional};
pub use labels::{Labels, METRIC_NAME};
pub use source::{Allowance, Catalogue, Described, SeriesSource, SourceError, Stored, Take};
pub use syntax::{
    Aggregation, At, Cardinality, Expr, Matching, Node, Shift, Type, VectorSelector, format_query,
    format_value, operator_text, parse, parse_duration, parse_selector,
};
