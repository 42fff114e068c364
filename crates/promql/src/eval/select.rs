//! Series out of the source: at instants, and as windows of ranges and subqueries.

use std::ops::Range as StdRange;

use fieldpost_model::{Matcher, TimeMs, is_absent};

use super::answer::{SeriesAnswer, Value};
use super::{
    Columns, Evaluation, Grid, Held, Range, Row, SAMPLE_BYTES, SERIES_BYTES, drop_names, merge_same,
};
use crate::syntax::{Expr, Node, Shift, VectorSelector};
use crate::{Labels, QueryError, Stored};

/// Series of samples, to be looked at through a window that ends at each instant of a grid.
pub(crate) struct Windows<'a> {
    /// Room for the samples, taken until the windows go.
    held: Held<'a>,
    pub series: Vec<WindowSeries>,
    /// How far back each window reaches; its first instant does not belong to it.
    pub range_ms: i64,
    shift: Shifted,
}

/// A series whose samples have no stale markers among them.
pub(crate) struct WindowSeries {
    pub labels: Labels,
    pub drop_name: bool,
    pub samples: Vec<(TimeMs, f64)>,
}

/// The modifiers, resolved.
#[derive(Clone, Copy)]
struct Shifted {
    at: Option<TimeMs>,
    offset_ms: i64,
}

impl Shifted {
    /// When is looked at, for this instant of the grid.
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

impl Windows<'_> {
    /// When is looked at, for this instant of the grid.
    pub fn end(&self, time_ms: TimeMs) -> TimeMs {
        self.shift.apply(time_ms)
    }

    /// Calls with each instant's position, the instant, and what its window holds of the series.
    /// Ends when the query's time is over: long windows at many instants are much to look at.
    pub fn each(
        &self,
        evaluation: &Evaluation<'_>,
        series: &WindowSeries,
        grid: &Grid,
        mut each: impl FnMut(usize, TimeMs, &[(TimeMs, f64)]),
    ) -> Result<(), QueryError> {
        let samples = &series.samples;
        self.each_place(evaluation, series, grid, |index, time_ms, place| {
            each(index, time_ms, &samples[place]);
        })
    }

    /// The same, with the place of the window's samples among all of the series.
    pub fn each_place(
        &self,
        evaluation: &Evaluation<'_>,
        series: &WindowSeries,
        grid: &Grid,
        mut each: impl FnMut(usize, TimeMs, StdRange<usize>),
    ) -> Result<(), QueryError> {
        let samples = &series.samples;
        let (mut from, mut to) = (0, 0);
        let (mut n_looked_at, mut n_samples) = (0, 0);
        for (index, time_ms) in grid.times().enumerate() {
            let end = self.end(time_ms);
            let start = end.saturating_sub(self.range_ms);
            while to < samples.len() && samples[to].0 <= end {
                to += 1;
            }
            while from < to && samples[from].0 <= start {
                from += 1;
            }
            n_looked_at += 1 + to - from;
            n_samples += to - from;
            if n_looked_at >= N_LOOKED_AT_MAX {
                evaluation.check_time()?;
                n_looked_at = 0;
            }
            each(index, time_ms, from..to);
        }
        evaluation.looked_at(n_samples as u64);
        Ok(())
    }
}

impl<'a> Evaluation<'a> {
    fn shifted(&self, shift: Shift) -> Shifted {
        let at = shift.at.map(|at| self.instant_of(at));
        Shifted { at, offset_ms: shift.offset_ms.unwrap_or_default() }
    }

    /// What the source has, as much as the limits allow.
    fn stored(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        held: &Held<'_>,
    ) -> Result<Vec<Stored>, QueryError> {
        self.check_time()?;
        let charge = |n: u64| {
            self.charge(n)?;
            held.take(n * SAMPLE_BYTES)
        };
        let stored = self.source.select(matchers, from_ms, to_ms, &charge)?;
        held.take(stored.len() as u64 * SERIES_BYTES)?;
        let (found, most) = (stored.len() as u64, self.engine.limits.series);
        if found > most {
            let advice = "select fewer by more labels";
            return Err(QueryError::Limit { what: "series of a selector", found, most, advice });
        }
        Ok(stored)
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
        of: impl Fn(TimeMs, f64) -> f64,
    ) -> Result<Vec<Row>, QueryError> {
        let shift = self.shifted(selector.shift);
        let Some((first, last)) = shift.ends(grid) else { return Ok(Vec::new()) };
        let lookback_ms = self.engine.lookback_ms;
        let from_ms = first.saturating_sub(lookback_ms).saturating_add(1);
        let mut rows = Vec::new();
        let held = Held::new(self);
        let mut n_looked_at = 0;
        for stored in self.stored(&selector.matchers, from_ms, last, &held)? {
            let mut values = self.blank(grid)?;
            let mut next = 0;
            let samples = &stored.samples;
            for (value, time_ms) in values.iter_mut().zip(grid.times()) {
                let at = shift.apply(time_ms);
                while next < samples.len() && samples[next].0 <= at {
                    next += 1;
                }
                let Some((sample_ms, sample)) = next.checked_sub(1).map(|newest| samples[newest]) else {
                    continue;
                };
                if sample_ms > at.saturating_sub(lookback_ms) && !is_absent(sample) {
                    *value = of(sample_ms, sample);
                    n_looked_at += 1;
                }
            }
            if values.iter().any(|value| !is_absent(*value)) {
                rows.push(Row { labels: stored.labels, drop_name: false, values });
            }
        }
        self.looked_at(n_looked_at);
        Ok(rows)
    }

    /// The windows of a range or subquery.
    pub fn windows(&'a self, expr: &Expr, grid: &Grid) -> Result<Windows<'a>, QueryError> {
        match &expr.bare().node {
            Node::Range { selector, range_ms } => self.range_windows(selector, *range_ms, grid),
            Node::Subquery { expr, range_ms, step_ms, shift } => {
                let step_ms = step_ms.unwrap_or(self.engine.subquery_step_ms);
                self.subquery_windows(expr, (*range_ms, step_ms), *shift, grid)
            }
            _ => Err(QueryError::execution("expected a range vector")),
        }
    }

    fn range_windows(
        &'a self,
        selector: &VectorSelector,
        range_ms: i64,
        grid: &Grid,
    ) -> Result<Windows<'a>, QueryError> {
        let shift = self.shifted(selector.shift);
        let mut windows = Windows { held: Held::new(self), series: Vec::new(), range_ms, shift };
        let Some((first, last)) = shift.ends(grid) else { return Ok(windows) };
        let from_ms = first.saturating_sub(range_ms).saturating_add(1);
        for mut stored in self.stored(&selector.matchers, from_ms, last, &windows.held)? {
            stored.samples.retain(|(_, value)| !is_absent(*value));
            let Stored { labels, samples } = stored;
            windows.series.push(WindowSeries { labels, drop_name: false, samples });
        }
        Ok(windows)
    }

    fn subquery_windows(
        &'a self,
        expr: &Expr,
        (range_ms, step_ms): (i64, i64),
        shift: Shift,
        grid: &Grid,
    ) -> Result<Windows<'a>, QueryError> {
        let shift = self.shifted(shift);
        let mut windows = Windows { held: Held::new(self), series: Vec::new(), range_ms, shift };
        let Some((first, last)) = shift.ends(grid) else { return Ok(windows) };
        // Instants are multiples of the step, whatever the query's own grid; the window is open at
        // its left end.
        let start = first.saturating_sub(range_ms);
        let mut from_ms = step_ms * (start / step_ms);
        if from_ms <= start {
            from_ms += step_ms;
        }
        let inner = self.grid(Range { from_ms, to_ms: last, step_ms })?;
        if inner.n == 0 {
            return Ok(windows);
        }
        let rows = match self.evaluate(expr, &inner)? {
            Columns::Vector(rows) => rows,
            Columns::Scalar(values) => vec![Row { labels: Labels::default(), drop_name: false, values }],
            Columns::Text(_) => Vec::new(),
        };
        for row in rows {
            let samples = inner.times().zip(row.values).filter(|(_, value)| !is_absent(*value));
            let samples: Vec<_> = samples.collect();
            self.charge(samples.len() as u64)?;
            windows.held.take(samples.len() as u64 * SAMPLE_BYTES + SERIES_BYTES)?;
            let (labels, drop_name) = (row.labels, row.drop_name);
            windows.series.push(WindowSeries { labels, drop_name, samples });
        }
        Ok(windows)
    }

    /// The samples of a range themselves, at one instant.
    pub fn matrix(&self, expr: &Expr, at_ms: TimeMs) -> Result<Value, QueryError> {
        let grid = Grid { start_ms: at_ms, step_ms: 1, n: 1 };
        let windows = self.windows(expr, &grid)?;
        let mut answers = Vec::new();
        let named = windows.series.iter().map(|series| Row {
            labels: series.labels.clone(),
            drop_name: series.drop_name,
            values: vec![0.0],
        });
        // Only for the check that no two are called the same.
        let names = merge_same(drop_names(named.collect()))?;
        for (series, row) in windows.series.iter().zip(names) {
            windows.each(self, series, &grid, |_, _, samples| {
                if !samples.is_empty() {
                    answers.push(SeriesAnswer { labels: row.labels.clone(), samples: samples.to_vec() });
                }
            })?;
        }
        answers.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(answers))
    }
}
