//! Why a query gets no answer, in the words that Prometheus uses for it.

use crate::syntax::Span;

/// The text is no PromQL. Positions are bytes from the start; shown are line and column from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// Line of its start, from 1.
    pub line: usize,
    /// Column of its start, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl ParseError {
    /// A fault of the text at this span.
    pub(crate) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = place(text, span.start);
        Self { span, line, column, message: message.into() }
    }
}

/// Line and column of a byte, each from 1.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, before.len() - start + 1)
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// The text is no PromQL.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It yields what cannot be asked for in this way.
    #[error("{0}")]
    Kind(String),
    /// It is PromQL, but cannot be evaluated over these series.
    #[error("{0}")]
    Execution(String),
    /// It asks for more than is allowed: which limit, and by how much.
    #[error("{what}: {found} where at most {most} are allowed; {advice}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much, as far as was counted.
        found: u64,
        /// How much is allowed.
        most: u64,
        /// What to do.
        advice: &'static str,
    },
    /// The caller's time was over.
    #[error("query timed out in expression evaluation; ask for less, or with a longer timeout")]
    Timeout,
    /// The source of the series failed.
    #[error("expanding series: {0}")]
    Source(String),
}

impl QueryError {
    pub(crate) fn execution(what: impl Into<String>) -> Self {
        QueryError::Execution(what.into())
    }
}
