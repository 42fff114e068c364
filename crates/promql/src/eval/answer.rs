//! What a query answers.

use fieldpost_model::{TimeMs, is_absent};

use super::{Columns, Grid};
use crate::{Annotations, Labels};

/// The answer to a query.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked for.
    pub value: Value,
    /// What there is to say about it.
    pub annotations: Annotations,
    /// Samples that were read, and numbers that were kept on the way.
    pub n_samples: u64,
    /// Samples that were looked at, each as often as it was: once for every window that it lies in.
    pub n_looked_at: u64,
    /// The same by the instants of the query, if the engine counts them.
    pub n_looked_at_by_step: Vec<(TimeMs, u64)>,
}

/// Values by the kind of the expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(TimeMs, f64),
    /// One text.
    Text(TimeMs, String),
    /// One number a series, in the order that the query asks for.
    Vector(Vec<SeriesPoint>),
    /// Samples of each series, by rising labels.
    Matrix(Vec<SeriesAnswer>),
}

/// A series at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoint {
    /// What it is.
    pub labels: Labels,
    /// When.
    pub time_ms: TimeMs,
    /// The number.
    pub value: f64,
}

/// A series over a range.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesAnswer {
    /// What it is.
    pub labels: Labels,
    /// Its samples, by rising time; at least one.
    pub samples: Vec<(TimeMs, f64)>,
}

/// Columns of one instant.
pub(super) fn instant(columns: Columns, time_ms: TimeMs) -> Value {
    match columns {
        Columns::Scalar(values) => Value::Scalar(time_ms, values.first().copied().unwrap_or(f64::NAN)),
        Columns::Text(text) => Value::Text(time_ms, text),
        Columns::Vector(rows) => {
            let points = rows.into_iter().filter_map(|row| {
                let value = row.values.first().copied().filter(|value| !is_absent(*value))?;
                Some(SeriesPoint { labels: row.labels, time_ms, value })
            });
            Value::Vector(points.collect())
        }
    }
}

/// Columns of a range; a scalar is a series without labels.
pub(super) fn range(columns: Columns, grid: &Grid) -> Value {
    let rows = match columns {
        Columns::Scalar(values) => vec![(Labels::default(), values)],
        Columns::Vector(rows) => rows.into_iter().map(|row| (row.labels, row.values)).collect(),
        Columns::Text(_) => Vec::new(),
    };
    let mut answers: Vec<SeriesAnswer> = Vec::with_capacity(rows.len());
    for (labels, values) in rows {
        let samples: Vec<_> = grid.times().zip(values).filter(|(_, value)| !is_absent(*value)).collect();
        if !samples.is_empty() {
            answers.push(SeriesAnswer { labels, samples });
        }
    }
    answers.sort_by(|a, b| a.labels.cmp(&b.labels));
    Value::Matrix(answers)
}
