//! Series out of the source: at instants, and as windows of ranges and subqueries.

use std::borrow::Cow;
use std::ops::Range as StdRange;

use fieldpost_model::{Matcher, TimeMs, is_absent};
use parking_lot::Mutex;

use super::answer::{SeriesAnswer, Value};
use super::budget::{Budget, Held, SAMPLE_BYTES, SERIES_BYTES};
use super::{Columns, Evaluation, Grid, Range, Row};
use crate::syntax::{Expr, Node, Shift, VectorSelector};
use crate::{Labels, QueryError, Stored};

/// How series of samples are looked at: through a window that ends at each instant of a grid.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// How far back each window reaches; its first instant does not belong to it.
    pub range_ms: i64,
    shift: Shifted,
}

/// A series whose samples have no stale markers among them.
pub(crate) struct WindowSeries<'s> {
    pub labels: Labels,
    pub drop_name: bool,
    pub samples: Cow<'s, [(TimeMs, f64)]>,
}

/// Makes a row of a series, or nothing. Several threads may do so at once.
pub(crate) type Reduce<'a> = &'a (dyn Fn(&Frame, WindowSeries<'_>) -> Result<Option<Row>, QueryError> + Sync);

/// The modifiers, resolved.
#[derive(Clone, Copy)]
struct Shifted {
    at: Option<TimeMs>,
    offset_ms: i64,
}

impl Shifted {
    /// When is looked at, for this instant of the grid.
    #[inline]
    fn apply(self, time_ms: TimeMs) -> TimeMs {
        self.at.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }

    /// The first and last instant that is looked at.
    fn ends(self, grid: &Grid) -> Option<(TimeMs, TimeMs)> {
        let last = grid.times().last()?;
        Some((self.apply(grid.start_ms), self.apply(last)))
    }
}

/// Samples in windows after which the clock is looked at.
const N_LOOKED_AT_MAX: usize = 50_000;

impl Frame {
    /// When is looked at, for this instant of the grid.
    #[inline]
    pub fn end(&self, time_ms: TimeMs) -> TimeMs {
        self.shift.apply(time_ms)
    }

    /// Calls with each instant's position, the instant, and the place of what its window holds among
    /// the samples of a series. Ends when the query's time is over: long windows at many instants are
    /// much to look at.
    pub fn each_place(
        &self,
        budget: &Budget<'_>,
        samples: &[(TimeMs, f64)],
        grid: &Grid,
        mut each: impl FnMut(usize, TimeMs, StdRange<usize>),
    ) -> Result<(), QueryError> {
        let (mut from, mut to) = (0, 0);
        let (mut n_looked_at, mut n_samples) = (0, 0);
        for (index, time_ms) in grid.times().enumerate() {
            let end = self.end(time_ms);
            let start = end.saturating_sub(self.range_ms);
            to = first_after(samples, to, end);
            from = first_after(&samples[..to], from, start);
            n_looked_at += 1 + to - from;
            n_samples += to - from;
            budget.looked_at_step(index, (to - from) as u64);
            if n_looked_at >= N_LOOKED_AT_MAX {
                budget.check_time()?;
                n_looked_at = 0;
            }
            each(index, time_ms, from..to);
        }
        budget.looked_at(n_samples as u64);
        Ok(())
    }
}

/// The place of the first sample after an instant, looked for from a place on by doubled steps: near ones, as
/// instants side by side have them, are found at once, and of long windows few samples are touched.
#[inline]
fn first_after(samples: &[(TimeMs, f64)], from: usize, instant: TimeMs) -> usize {
    let is_before = |place: usize| samples.get(place).is_some_and(|(time_ms, _)| *time_ms <= instant);
    let (mut known, mut step) = (from, 1);
    while is_before(known + step - 1) {
        known += step;
        step *= 2;
    }
    // The one at `known + step - 1` lies after it, or there is none.
    let end = (known + step - 1).min(samples.len());
    known + samples[known..end].partition_point(|(time_ms, _)| *time_ms <= instant)
}

impl<'a> Evaluation<'a> {
    fn shifted(&self, shift: Shift) -> Shifted {
        let at = shift.at.map(|at| self.instant_of(at));
        Shifted { at, offset_ms: shift.offset_ms.unwrap_or_default() }
    }

    /// Makes rows of whatever the source has, as much as the limits allow, by rising labels. What is read of
    /// a series stays only until its row is made.
    fn rows_of(
        &self,
        matchers: &[Matcher],
        (from_ms, to_ms): (TimeMs, TimeMs),
        make: &(dyn Fn(Stored<'_>) -> Result<Option<Row>, QueryError> + Sync),
    ) -> Result<Vec<Row>, QueryError> {
        self.budget.check_time()?;
        let (held, rows) = (Held::new(&self.budget), Mutex::new(Vec::new()));
        self.source.each(matchers, from_ms, to_ms, &held, &|stored| {
            let bytes = stored.samples.len() as u64 * SAMPLE_BYTES;
            let row = make(stored)?;
            held.give_back(bytes);
            rows.lock().extend(row);
            Ok(())
        })?;
        let mut rows: Vec<Row> = rows.into_inner();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(rows)
    }

    /// The newest sample of each series at each instant, unless it is too old or the series ended.
    pub fn select(&self, selector: &VectorSelector, grid: &Grid) -> Result<Vec<Row>, QueryError> {
        self.newest(selector, grid, |_, value| value)
    }

    /// As `select`, but with something made of the instant and the value of the sample.
    pub fn newest(
        &self,
        selector: &VectorSelector,
        grid: &Grid,
        of: impl Fn(TimeMs, f64) -> f64 + Sync,
    ) -> Result<Vec<Row>, QueryError> {
        let shift = self.shifted(selector.shift);
        let Some((first, last)) = shift.ends(grid) else { return Ok(Vec::new()) };
        let lookback_ms = self.engine.lookback_ms;
        let from_ms = first.saturating_sub(lookback_ms).saturating_add(1);
        let budget = &self.budget;
        self.rows_of(&selector.matchers, (from_ms, last), &|stored| {
            let mut values = budget.blank(grid)?;
            let (mut next, mut n_found) = (0, 0);
            let samples = &stored.samples;
            for (step, (value, time_ms)) in values.iter_mut().zip(grid.times()).enumerate() {
                let at = shift.apply(time_ms);
                next = first_after(samples, next, at);
                let Some((sample_ms, sample)) = next.checked_sub(1).map(|newest| samples[newest]) else {
                    continue;
                };
                if sample_ms > at.saturating_sub(lookback_ms) && !is_absent(sample) {
                    *value = of(sample_ms, sample);
                    n_found += 1;
                    budget.looked_at_step(step, 1);
                }
            }
            budget.looked_at(n_found);
            Ok(row(stored.labels, false, values))
        })
    }

    /// Makes rows of the series of a range or subquery.
    pub fn reduced(&self, expr: &Expr, grid: &Grid, reduce: Reduce<'_>) -> Result<Vec<Row>, QueryError> {
        match &expr.bare().node {
            Node::Range { selector, range_ms } => self.reduced_range(selector, *range_ms, grid, reduce),
            Node::Subquery { expr, range_ms, step_ms, shift } => {
                let step_ms = step_ms.unwrap_or(self.engine.subquery_step_ms);
                self.reduced_subquery(expr, (*range_ms, step_ms), *shift, grid, reduce)
            }
            _ => Err(QueryError::execution("expected a range vector")),
        }
    }

    fn reduced_range(
        &self,
        selector: &VectorSelector,
        range_ms: i64,
        grid: &Grid,
        reduce: Reduce<'_>,
    ) -> Result<Vec<Row>, QueryError> {
        let frame = Frame { range_ms, shift: self.shifted(selector.shift) };
        let Some((first, last)) = frame.shift.ends(grid) else { return Ok(Vec::new()) };
        let from_ms = first.saturating_sub(range_ms).saturating_add(1);
        self.rows_of(&selector.matchers, (from_ms, last), &|stored| {
            let Stored { labels, mut samples } = stored;
            // Looked at to the end, which is several at a time and faster than where it could end early.
            if samples.iter().fold(false, |any, (_, value)| any | is_absent(*value)) {
                samples.to_mut().retain(|(_, value)| !is_absent(*value));
            }
            reduce(&frame, WindowSeries { labels, drop_name: false, samples })
        })
    }

    fn reduced_subquery(
        &self,
        expr: &Expr,
        (range_ms, step_ms): (i64, i64),
        shift: Shift,
        grid: &Grid,
        reduce: Reduce<'_>,
    ) -> Result<Vec<Row>, QueryError> {
        let frame = Frame { range_ms, shift: self.shifted(shift) };
        let Some((first, last)) = frame.shift.ends(grid) else { return Ok(Vec::new()) };
        // Instants are multiples of the step, whatever the query's own grid; the window is open at
        // its left end.
        let start = first.saturating_sub(range_ms);
        let mut from_ms = step_ms * (start / step_ms);
        if from_ms <= start {
            from_ms += step_ms;
        }
        let inner = self.grid(Range { from_ms, to_ms: last, step_ms })?;
        if inner.n == 0 {
            return Ok(Vec::new());
        }
        let within = self.budget.inner();
        let evaluated = self.evaluate(expr, &inner)?;
        drop(within);
        let rows = match evaluated {
            Columns::Vector(rows) => rows,
            Columns::Scalar(values) => vec![Row { labels: Labels::default(), drop_name: false, values }],
            Columns::Text(_) => Vec::new(),
        };
        let mut reduced = Vec::with_capacity(rows.len());
        for row in rows {
            let samples = inner.times().zip(row.values).filter(|(_, value)| !is_absent(*value));
            let samples: Vec<_> = samples.collect();
            self.budget.charge(samples.len() as u64)?;
            let held = Held::new(&self.budget);
            held.take(samples.len() as u64 * SAMPLE_BYTES + SERIES_BYTES)?;
            let (labels, drop_name) = (row.labels, row.drop_name);
            reduced.extend(reduce(&frame, WindowSeries { labels, drop_name, samples: Cow::Owned(samples) })?);
        }
        Ok(reduced)
    }

    /// The samples of a range themselves, at one instant.
    pub fn matrix(&self, expr: &Expr, at_ms: TimeMs) -> Result<Value, QueryError> {
        let grid = Grid { start_ms: at_ms, step_ms: 1, n: 1 };
        let (budget, found) = (&self.budget, Mutex::new(Vec::new()));
        self.reduced(expr, &grid, &|frame, series| {
            let mut samples = &[][..];
            let all = &series.samples;
            frame.each_place(budget, all, &grid, |_, _, place| samples = &all[place])?;
            if !samples.is_empty() {
                let labels = series.labels.without_name_if(series.drop_name);
                // The copy stays, until the query ends.
                budget.hold(samples.len() as u64 * SAMPLE_BYTES)?;
                let answer = SeriesAnswer { labels, samples: samples.to_vec() };
                found.lock().push(answer);
            }
            Ok(None)
        })?;
        let mut answers = found.into_inner();
        answers.sort_by(|a, b| a.labels.cmp(&b.labels));
        if answers.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(QueryError::execution("vector cannot contain metrics with the same labelset"));
        }
        Ok(Value::Matrix(answers))
    }
}

/// A row, if there is any number in it.
pub(super) fn row(labels: Labels, drop_name: bool, values: Vec<f64>) -> Option<Row> {
    values.iter().any(|value| !is_absent(*value)).then_some(Row { labels, drop_name, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_after_an_instant_are_found_from_every_place_before_them() {
        let samples: Vec<(TimeMs, f64)> = (0..70).map(|n| (n * n, 0.0)).collect();
        for instant in -2..=4_900 {
            let expected = samples.iter().filter(|(time_ms, _)| *time_ms <= instant).count();
            for from in 0..=expected {
                assert_eq!(first_after(&samples, from, instant), expected, "{instant} from {from}");
            }
        }
        assert_eq!(first_after(&[], 0, 5), 0);
    }
}
