//! The language: tokens, the tree that they make, and which trees mean something.

mod check;
mod lex;
mod operand;
mod parse;
mod print;
mod text;
mod tree;

pub use parse::{parse, parse_selector};
pub use print::{format_query, operator_text};
pub(crate) use text::{format_number, format_short, is_whole_text, parse_bound, quote, shown};
pub use text::{format_value, parse_duration};
pub use tree::{
    Aggregation, Aggregator, At, BinaryOp, Cardinality, Expr, Matching, Node, Shift, Span, Type,
    VectorSelector,
};
