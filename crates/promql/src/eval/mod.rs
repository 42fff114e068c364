//! Evaluation: an expression over a grid of instants. Every node yields whole columns, one number
//! an instant and series; `ABSENT` stands where a series has none.

mod aggregate;
mod answer;
mod binary;
mod budget;
mod calendar;
mod call;
mod histogram;
mod ranked;
mod relabel;
mod select;
mod sums;
mod window;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use fieldpost_model::{TimeMs, is_absent};

pub use answer::{Answer, SeriesAnswer, SeriesPoint, Value};
pub use budget::{Limits, Quota};

use budget::Budget;

use crate::syntax::{At, Expr, Node, Span, Type, parse};
use crate::{Annotations, Labels, QueryError, SeriesSource};

/// Instants from the first to the last one, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First instant.
    pub from_ms: TimeMs,
    /// No instant after this.
    pub to_ms: TimeMs,
    /// Between two; more than 0.
    pub step_ms: i64,
}

/// How queries are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// How long a sample stands for its series, milliseconds.
    pub lookback_ms: i64,
    /// Between the instants of a subquery that says nothing of it, milliseconds.
    pub subquery_step_ms: i64,
    /// Names are dropped at the very end, as with Prometheus' `promql-delayed-name-removal`.
    pub delayed_names: bool,
    /// Samples that are looked at are counted for each instant.
    pub counts_steps: bool,
    /// How much one query may ask for.
    pub limits: Limits,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            delayed_names: false,
            counts_steps: false,
            limits: Limits::default(),
        }
    }
}

impl Engine {
    /// Answers at one instant. `is_over` is asked now and then whether the caller's time is over.
    pub fn instant(
        &self,
        source: &dyn SeriesSource,
        text: &str,
        at_ms: TimeMs,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        let expr = parse(text)?;
        let range = Range { from_ms: at_ms, to_ms: at_ms, step_ms: 1 };
        let evaluation = Evaluation::new(self, source, text, (range, false), is_over);
        let value = match expr.kind() {
            Type::Matrix => evaluation.matrix(&expr, at_ms)?,
            _ => answer::instant(evaluation.finished(&expr, &evaluation.grid(range)?)?, at_ms),
        };
        Ok(evaluation.answer(value))
    }

    /// Answers at every instant of a range.
    pub fn range(
        &self,
        source: &dyn SeriesSource,
        text: &str,
        range: Range,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        let expr = parse(text)?;
        if !matches!(expr.kind(), Type::Scalar | Type::Vector) {
            let words = expr.kind().words();
            let what = format!(
                "invalid expression type {words:?} for range query, must be Scalar or instant Vector"
            );
            return Err(QueryError::Kind(what));
        }
        let evaluation = Evaluation::new(self, source, text, (range, true), is_over);
        let grid = evaluation.grid(range)?;
        let value = answer::range(evaluation.finished(&expr, &grid)?, &grid);
        Ok(evaluation.answer(value))
    }
}

/// Equally spaced instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub start_ms: TimeMs,
    pub step_ms: i64,
    pub n: usize,
}

impl Grid {
    /// Every instant.
    pub fn times(self) -> impl Iterator<Item = TimeMs> {
        (0..self.n).map(move |index| self.start_ms + index as i64 * self.step_ms)
    }
}

/// A series on the grid.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub labels: Labels,
    /// The name is to be dropped at the end.
    pub drop_name: bool,
    /// One number an instant.
    pub values: Vec<f64>,
}

/// What a node yields.
#[derive(Debug, Clone)]
pub(crate) enum Columns {
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
    Text(String),
}

/// A query under way.
pub(crate) struct Evaluation<'a> {
    pub engine: &'a Engine,
    pub source: &'a dyn SeriesSource,
    pub text: &'a str,
    /// The query's own first and last instant.
    pub ends: (TimeMs, TimeMs),
    /// Between two instants of a query over a range; none at one instant.
    pub step_ms: Option<i64>,
    pub budget: Budget<'a>,
    notes: RefCell<Annotations>,
}

impl<'a> Evaluation<'a> {
    fn new(
        engine: &'a Engine,
        source: &'a dyn SeriesSource,
        text: &'a str,
        (range, is_range): (Range, bool),
        is_over: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let (ends, step_ms) = ((range.from_ms, range.to_ms), is_range.then_some(range.step_ms));
        let n_steps = range.to_ms.saturating_sub(range.from_ms).max(0) / range.step_ms.max(1) + 1;
        let n_counted = if engine.counts_steps { n_steps.unsigned_abs().min(engine.limits.steps) } else { 0 };
        let (budget, notes) = (Budget::new(engine.limits, n_counted as usize, is_over), RefCell::default());
        Self { engine, source, text, ends, step_ms, budget, notes }
    }

    fn answer(self, value: Value) -> Answer {
        let mut annotations = self.notes.into_inner();
        self.source.remarks().into_iter().for_each(|remark| annotations.remark(remark));
        let (n_samples, n_looked_at, by_step) = self.budget.spent();
        let step_ms = self.step_ms.unwrap_or_default();
        let instants = (0..).map(|step| self.ends.0 + step * step_ms);
        let n_looked_at_by_step = instants.zip(by_step).collect();
        Answer { value, annotations, n_samples, n_looked_at, n_looked_at_by_step }
    }

    /// The instants of a range; an error where there are too many.
    pub fn grid(&self, range: Range) -> Result<Grid, QueryError> {
        let span = range.to_ms.saturating_sub(range.from_ms);
        if span < 0 {
            return Ok(Grid { start_ms: range.from_ms, step_ms: range.step_ms.max(1), n: 0 });
        }
        let n = (span / range.step_ms.max(1)).unsigned_abs() + 1;
        self.budget.check_steps(n)?;
        Ok(Grid { start_ms: range.from_ms, step_ms: range.step_ms.max(1), n: n as usize })
    }

    pub fn warn(&self, span: Span, what: &str) {
        self.notes.borrow_mut().warn_at(self.text, span, what);
    }

    pub fn inform(&self, span: Span, what: &str) {
        self.notes.borrow_mut().inform_at(self.text, span, what);
    }

    /// The instant of a modifier `@`.
    pub fn instant_of(&self, at: At) -> TimeMs {
        match at {
            At::Time(ms) => ms,
            At::Start => self.ends.0,
            At::End => self.ends.1,
        }
    }

    /// Evaluates the whole query: names that are to go are gone.
    fn finished(&self, expr: &Expr, grid: &Grid) -> Result<Columns, QueryError> {
        match self.evaluate(expr, grid)? {
            Columns::Vector(rows) => Ok(Columns::Vector(merge_same(drop_names(rows))?)),
            other => Ok(other),
        }
    }

    /// Evaluates a node that is no range.
    pub fn evaluate(&self, expr: &Expr, grid: &Grid) -> Result<Columns, QueryError> {
        match &expr.node {
            Node::Number(value) => Ok(Columns::Scalar(vec![*value; grid.n])),
            Node::Text(text) => Ok(Columns::Text(text.clone())),
            Node::Selector(selector) => Ok(Columns::Vector(self.select(selector, grid)?)),
            Node::Paren(inner) => self.evaluate(inner, grid),
            Node::Unary { negative, expr: inner } => self.signed(*negative, inner, grid),
            Node::Binary { op, is_bool, matching, left, right, .. } => {
                let operator = binary::Operator { op: *op, is_bool: *is_bool, matching };
                self.binary(&operator, left, right, grid)
            }
            Node::Aggregate(aggregation) => Ok(Columns::Vector(self.aggregate(aggregation, grid)?)),
            Node::Call { function, args } => self.call(function, args, expr, grid),
            Node::Range { .. } | Node::Subquery { .. } => {
                Err(QueryError::execution("a range vector stands where none can be evaluated"))
            }
        }
    }

    fn signed(&self, negative: bool, inner: &Expr, grid: &Grid) -> Result<Columns, QueryError> {
        let mut columns = self.evaluate(inner, grid)?;
        if !negative {
            return Ok(columns);
        }
        match &mut columns {
            Columns::Scalar(values) => values.iter_mut().for_each(|value| *value = -*value),
            Columns::Vector(rows) => {
                let rows = std::mem::take(rows);
                return Ok(Columns::Vector(self.map(rows, |_, value| -value)?));
            }
            Columns::Text(_) => {}
        }
        Ok(columns)
    }

    /// Every number that there is through a function of the instant's position and the number;
    /// the name goes.
    pub fn map(&self, mut rows: Vec<Row>, each: impl Fn(usize, f64) -> f64) -> Result<Vec<Row>, QueryError> {
        for row in &mut rows {
            self.budget.check_time()?;
            for (index, value) in row.values.iter_mut().enumerate() {
                if !is_absent(*value) {
                    *value = each(index, *value);
                }
            }
        }
        self.unnamed(rows)
    }

    /// Marks the names as to be dropped, or drops them at once.
    pub fn unnamed(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        rows.iter_mut().for_each(|row| row.drop_name = true);
        self.settled(rows)
    }

    /// Drops marked names unless that is for the end, and puts rows of the same labels together.
    pub fn settled(&self, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        merge_same(if self.engine.delayed_names { rows } else { drop_names(rows) })
    }

    pub fn vector(&self, expr: &Expr, grid: &Grid) -> Result<Vec<Row>, QueryError> {
        match self.evaluate(expr, grid)? {
            Columns::Vector(rows) => Ok(rows),
            _ => Err(QueryError::execution("expected an instant vector")),
        }
    }

    pub fn scalar(&self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        match self.evaluate(expr, grid)? {
            Columns::Scalar(values) => Ok(values),
            _ => Err(QueryError::execution("expected a scalar")),
        }
    }

    pub fn words(&self, expr: &Expr) -> Result<String, QueryError> {
        match &expr.bare().node {
            Node::Text(text) => Ok(text.clone()),
            _ => Err(QueryError::execution("expected a string")),
        }
    }

    /// A column of nothing.
    pub fn blank(&self, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        self.budget.blank(grid)
    }
}

fn drop_names(mut rows: Vec<Row>) -> Vec<Row> {
    for row in rows.iter_mut().filter(|row| row.drop_name) {
        row.labels = row.labels.without_name();
        row.drop_name = false;
    }
    rows
}

/// Rows of the same labels become one, unless both have a number at the same instant.
pub(crate) fn merge_same(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(rows.len());
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.entry(row.labels.clone()) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(row);
            }
            Entry::Occupied(place) => {
                let known = &mut merged[*place.get()];
                known.drop_name |= row.drop_name;
                for (value, other) in known.values.iter_mut().zip(row.values) {
                    if is_absent(*value) {
                        *value = other;
                    } else if !is_absent(other) {
                        return Err(QueryError::execution(
                            "vector cannot contain metrics with the same labelset",
                        ));
                    }
                }
            }
        }
    }
    Ok(merged)
}
