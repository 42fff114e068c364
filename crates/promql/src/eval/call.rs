//! Calls: which function is answered by what.

use std::sync::atomic::{AtomicBool, Ordering};

use fieldpost_model::is_absent;

use super::relabel::absent_labels;
use super::select::{WindowSeries, row};
use super::window::{self, Window, WindowFunction};
use super::{Columns, Evaluation, Grid, Row, calendar};
use crate::functions::Function;
use crate::labels::METRIC_NAME;
use crate::syntax::{Expr, Node, Type, format_number, quote};
use crate::{Labels, QueryError};

/// Functions of one number.
fn of_number(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "sgn" => |value| match value {
            value if value < 0.0 => -1.0,
            value if value > 0.0 => 1.0,
            value => value,
        },
        _ => return None,
    })
}

/// The greater one, as Go has it: infinity wins over not-a-number.
fn greater(a: f64, b: f64) -> f64 {
    match (a, b) {
        (a, b) if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        (a, b) if a.is_nan() || b.is_nan() => f64::NAN,
        (a, b) => a.max(b),
    }
}

/// The lesser one.
fn lesser(a: f64, b: f64) -> f64 {
    -greater(-a, -b)
}

impl Evaluation<'_> {
    pub(super) fn call(
        &self,
        function: &Function,
        args: &[Expr],
        call: &Expr,
        grid: &Grid,
    ) -> Result<Columns, QueryError> {
        if let Some(window) = window::function(function.name) {
            return Ok(Columns::Vector(self.over_windows(function.name, window, args, grid)?));
        }
        if let Some(math) = of_number(function.name) {
            let rows = self.vector(&args[0], grid)?;
            return Ok(Columns::Vector(self.map(rows, |_, value| math(value))?));
        }
        if let Some(part) = calendar::function(function.name) {
            return Ok(Columns::Vector(self.part_of_date(part, args, grid)?));
        }
        self.other_call(function, args, call, grid)
    }

    fn other_call(
        &self,
        function: &Function,
        args: &[Expr],
        call: &Expr,
        grid: &Grid,
    ) -> Result<Columns, QueryError> {
        let rows = || self.vector(&args[0], grid);
        Ok(Columns::Vector(match function.name {
            "time" => {
                return Ok(Columns::Scalar(grid.times().map(|time_ms| time_ms as f64 / 1000.0).collect()));
            }
            "start" => return Ok(Columns::Scalar(vec![seconds(self.ends.0); grid.n])),
            "end" => return Ok(Columns::Scalar(vec![seconds(self.ends.1); grid.n])),
            "range" => return Ok(Columns::Scalar(vec![seconds(self.ends.1 - self.ends.0); grid.n])),
            "step" => return Ok(Columns::Scalar(vec![seconds(self.step_ms.unwrap_or(0)); grid.n])),
            "max_of" | "min_of" => {
                let (a, b) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                let one = if function.name == "max_of" { greater } else { lesser };
                let is_nan = |a: f64, b: f64| a.is_nan() || b.is_nan();
                let of = |(a, b): (&f64, &f64)| if is_nan(*a, *b) { f64::NAN } else { one(*a, *b) };
                return Ok(Columns::Scalar(a.iter().zip(&b).map(of).collect()));
            }
            "pi" => return Ok(Columns::Scalar(vec![std::f64::consts::PI; grid.n])),
            "scalar" => return Ok(Columns::Scalar(only(&rows()?, grid))),
            "vector" => {
                vec![Row {
                    labels: Labels::default(),
                    drop_name: false,
                    values: self.scalar(&args[0], grid)?,
                }]
            }
            "timestamp" => self.timestamps(&args[0], grid)?,
            "absent" => vec![self.absent(&rows()?, &args[0], grid)?],
            "absent_over_time" => vec![self.absent_over_time(&args[0], grid)?],
            "clamp" | "clamp_min" | "clamp_max" => self.clamped(function.name, args, grid)?,
            "round" => {
                let to = args.get(1).map(|to| self.scalar(to, grid)).transpose()?;
                let to = to.unwrap_or_else(|| vec![1.0; grid.n]);
                let inverse: Vec<f64> = to.iter().map(|to| 1.0 / to).collect();
                self.map(rows()?, |index, value| (value * inverse[index] + 0.5).floor() / inverse[index])?
            }
            name if name.starts_with("sort") && self.step_ms.is_some() => {
                let what = "sort is ineffective for range queries since results are always ordered by labels";
                self.warn(call.span, what);
                rows()?
            }
            "sort" => self.sorted(rows()?, false, grid),
            "sort_desc" => self.sorted(rows()?, true, grid),
            "sort_by_label" | "sort_by_label_desc" => {
                let labels = args[1..].iter().map(|arg| self.words(arg)).collect::<Result<Vec<_>, _>>()?;
                self.sorted_by_labels(rows()?, &labels, function.name == "sort_by_label_desc")
            }
            "label_replace" => self.label_replace(args, grid)?,
            "label_join" => self.label_join(args, grid)?,
            "histogram_quantile" => self.histogram_quantile(args, grid)?,
            "histogram_fraction" => self.histogram_fraction(args, grid)?,
            name => {
                let (line, column) = crate::error::place(self.text, call.span.start);
                let what = format!("function {name:?} at {line}:{column} is not supported");
                return Err(QueryError::Execution(what));
            }
        }))
    }

    /// A function of windows, over every series and instant.
    fn over_windows(
        &self,
        name: &str,
        function: WindowFunction,
        args: &[Expr],
        grid: &Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let Some(ranged) = args.iter().find(|arg| arg.kind() == Type::Matrix) else { return Ok(Vec::new()) };
        let mut numbers = Vec::new();
        for arg in args.iter().filter(|arg| arg.kind() == Type::Scalar) {
            numbers.push(self.scalar(arg, grid)?);
        }
        self.check_numbers(name, args, &numbers)?;
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let looks_at_falls = window::looks_at_falls(name);
        let budget = &self.budget;
        let rows = self.reduced(ranged, grid, &|frame, series| {
            let WindowSeries { labels, drop_name, samples } = series;
            let mut values = budget.blank(grid)?;
            let falls = if looks_at_falls { window::falls(&samples) } else { Vec::new() };
            let (mut first, mut last) = (0, 0);
            frame.each_place(budget, &samples, grid, |index, at_ms, place| {
                // A fall to the window's first sample lies before it.
                first += falls[first..].iter().take_while(|fall| fall.at <= place.start).count();
                last += falls[last..].iter().take_while(|fall| fall.at < place.end).count();
                let falls = &falls[first..last.max(first)];
                let samples = &samples[place];
                if samples.is_empty() {
                    return;
                }
                let end_ms = frame.end(at_ms);
                let number =
                    |which: usize| numbers.get(which).map_or(f64::NAN, |column: &Vec<f64>| column[index]);
                let args = [number(0), number(1)];
                let start_ms = end_ms.saturating_sub(frame.range_ms);
                if let Some(value) = function(&Window { samples, start_ms, end_ms, at_ms, args, falls }) {
                    values[index] = value;
                }
            })?;
            Ok(row(labels, drop_name, values))
        })?;
        rows.iter().for_each(|row| self.check_counter(name, ranged, &row.labels));
        if keeps_name { self.settled(rows) } else { self.unnamed(rows) }
    }

    fn check_numbers(&self, name: &str, args: &[Expr], numbers: &[Vec<f64>]) -> Result<(), QueryError> {
        match name {
            "quantile_over_time" => {
                let wrong = numbers.iter().flatten().find(|q| !(0.0..=1.0).contains(*q));
                if let Some(q) = wrong.map(|q| format_number(*q)) {
                    self.warn(args[0].span, &format!("quantile value should be between 0 and 1, got {q}"));
                }
            }
            "double_exponential_smoothing" | "holt_winters" => {
                for (numbers, what) in numbers.iter().zip(["smoothing", "trend"]) {
                    let sign = if what == "smoothing" { "sf" } else { "tf" };
                    if let Some(wrong) = numbers.iter().find(|number| !(**number > 0.0 && **number < 1.0)) {
                        let what =
                            format!("invalid {what} factor. Expected: 0 < {sign} < 1, got: {wrong:.6}");
                        return Err(QueryError::Execution(what));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Names of counters end in a known way; what does not may be none.
    fn check_counter(&self, name: &str, ranged: &Expr, labels: &Labels) {
        if !matches!(name, "rate" | "increase" | "irate") {
            return;
        }
        let metric = labels.get(METRIC_NAME);
        let ends = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end));
        if !metric.is_empty() && !ends {
            let what = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
            self.inform(ranged.span, &format!("{what}: {}", quote(metric)));
        }
    }

    fn part_of_date(&self, part: fn(f64) -> f64, args: &[Expr], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let rows = match args.first() {
            Some(arg) => self.vector(arg, grid)?,
            None => {
                let values = grid.times().map(|time_ms| time_ms as f64 / 1000.0).collect();
                vec![Row { labels: Labels::default(), drop_name: false, values }]
            }
        };
        self.map(rows, |_, value| if value.is_nan() { value } else { part(value) })
    }

    fn timestamps(&self, arg: &Expr, grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let times: Vec<f64> = grid.times().map(|time_ms| time_ms as f64 / 1000.0).collect();
        match &arg.bare().node {
            Node::Selector(selector) => {
                let rows = self.newest(selector, grid, |time_ms, _| time_ms as f64 / 1000.0)?;
                self.unnamed(rows)
            }
            _ => self.map(self.vector(arg, grid)?, |index, _| times[index]),
        }
    }

    fn absent(&self, rows: &[Row], arg: &Expr, grid: &Grid) -> Result<Row, QueryError> {
        let mut values = self.blank(grid)?;
        for (index, value) in values.iter_mut().enumerate() {
            if rows.iter().all(|row| is_absent(row.values[index])) {
                *value = 1.0;
            }
        }
        Ok(Row { labels: absent_labels(arg), drop_name: false, values })
    }

    fn absent_over_time(&self, arg: &Expr, grid: &Grid) -> Result<Row, QueryError> {
        let present: Vec<AtomicBool> = (0..grid.n).map(|_| AtomicBool::new(false)).collect();
        let budget = &self.budget;
        self.reduced(arg, grid, &|frame, series| {
            frame.each_place(budget, &series.samples, grid, |index, _, place| {
                if !place.is_empty() {
                    present[index].store(true, Ordering::Relaxed);
                }
            })?;
            Ok(None)
        })?;
        let mut values = self.blank(grid)?;
        for (value, _) in
            values.iter_mut().zip(present).filter(|(_, present)| !present.load(Ordering::Relaxed))
        {
            *value = 1.0;
        }
        Ok(Row { labels: absent_labels(arg), drop_name: false, values })
    }

    fn clamped(&self, name: &str, args: &[Expr], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let rows = self.vector(&args[0], grid)?;
        let first = self.scalar(&args[1], grid)?;
        match name {
            "clamp_min" => self.map(rows, |index, value| greater(first[index], value)),
            "clamp_max" => self.map(rows, |index, value| lesser(first[index], value)),
            _ => {
                let most = self.scalar(&args[2], grid)?;
                // Bounds that are the wrong way round leave nothing.
                self.map(rows, |index, value| {
                    let (least, most) = (first[index], most[index]);
                    if most < least { fieldpost_model::ABSENT } else { greater(least, lesser(most, value)) }
                })
            }
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The one number at each instant at which there is one only.
fn only(rows: &[Row], grid: &Grid) -> Vec<f64> {
    let at = |index: usize| {
        let mut present = rows.iter().map(|row| row.values[index]).filter(|value| !is_absent(*value));
        match (present.next(), present.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..grid.n).map(at).collect()
}
