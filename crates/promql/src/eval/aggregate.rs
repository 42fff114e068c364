//! Many series into one a group: sums, means, extremes, spreads, quantiles, counts of values.

use std::collections::HashMap;

use fieldpost_model::is_absent;

use super::sums::{Mean, Sum, quantile};
use super::{Evaluation, Grid, Row, merge_same};
use crate::labels::METRIC_NAME;
use crate::syntax::{Aggregation, Aggregator, format_number, is_whole_text, quote};
use crate::{Labels, QueryError};

/// What has been seen of a group at an instant.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    n: f64,
    value: f64,
    mean: f64,
    sum: Sum,
    average: Mean,
}

impl Seen {
    fn add(&mut self, op: Aggregator, value: f64) {
        let is_first = self.n == 0.0;
        self.n += 1.0;
        match op {
            Aggregator::Sum => self.sum.add(value),
            Aggregator::Avg => self.average.add(value),
            Aggregator::Min if is_first || value < self.value || self.value.is_nan() => self.value = value,
            Aggregator::Max if is_first || value > self.value || self.value.is_nan() => self.value = value,
            Aggregator::Stddev | Aggregator::Stdvar if is_first => {
                self.mean = value;
                self.value = if value.is_finite() { 0.0 } else { f64::NAN };
            }
            Aggregator::Stddev | Aggregator::Stdvar => {
                let delta = value - self.mean;
                self.mean += delta / self.n;
                self.value += delta * (value - self.mean);
            }
            _ => {}
        }
    }

    fn result(&self, op: Aggregator) -> f64 {
        match op {
            Aggregator::Sum => self.sum.total(),
            Aggregator::Avg => self.average.mean(),
            Aggregator::Count => self.n,
            Aggregator::Group => 1.0,
            Aggregator::Stdvar => self.value / self.n,
            Aggregator::Stddev => (self.value / self.n).sqrt(),
            _ => self.value,
        }
    }
}

/// Rows by what they are grouped by.
pub(super) struct Groups {
    /// Labels of each group, in the order in which they were met.
    pub labels: Vec<Labels>,
    /// Are their names to be dropped at the end?
    pub drop_names: Vec<bool>,
    /// The group of each row.
    pub of_row: Vec<usize>,
}

impl Aggregation {
    /// The labels of the group that a series falls into.
    fn group_labels(&self, labels: &Labels) -> Labels {
        let named = |name: &str| self.grouping.iter().any(|label| label == name);
        if self.without {
            labels.keep(|name| name != METRIC_NAME && !named(name))
        } else {
            labels.keep(named)
        }
    }

    pub(super) fn groups(&self, rows: &[Row]) -> Groups {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut groups = Groups { labels: Vec::new(), drop_names: Vec::new(), of_row: Vec::new() };
        for row in rows {
            let labels = self.group_labels(&row.labels);
            let at = *known.entry(labels).or_insert_with_key(|labels| {
                groups.labels.push(labels.clone());
                groups.drop_names.push(false);
                groups.labels.len() - 1
            });
            groups.drop_names[at] |= row.drop_name;
            groups.of_row.push(at);
        }
        groups
    }
}

impl Evaluation<'_> {
    pub(super) fn aggregate(&self, aggregation: &Aggregation, grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let parameters = match (&aggregation.parameter, aggregation.op) {
            (Some(parameter), op) if op != Aggregator::CountValues => self.scalar(parameter, grid)?,
            _ => Vec::new(),
        };
        self.check_parameters(aggregation, &parameters)?;
        let rows = self.vector(&aggregation.expr, grid)?;
        match aggregation.op {
            Aggregator::Topk | Aggregator::Bottomk | Aggregator::Limitk | Aggregator::LimitRatio => {
                self.ranked(aggregation, rows, &parameters, grid)
            }
            Aggregator::Quantile => self.quantiles(aggregation, &rows, &parameters, grid),
            Aggregator::CountValues => self.count_values(aggregation, &rows, grid),
            _ => self.folded(aggregation, &rows, grid),
        }
    }

    fn check_parameters(&self, aggregation: &Aggregation, parameters: &[f64]) -> Result<(), QueryError> {
        let what = match aggregation.op {
            Aggregator::Quantile => {
                let wrong = parameters.iter().find(|q| !(0.0..=1.0).contains(*q));
                if let (Some(q), Some(parameter)) = (wrong, &aggregation.parameter) {
                    let q = format_number(*q);
                    let what = format!("quantile value should be between 0 and 1, got {q}");
                    self.warn(parameter.span, &what);
                }
                return Ok(());
            }
            Aggregator::LimitRatio => "Ratio value is NaN",
            _ => "Parameter value is NaN",
        };
        if parameters.iter().any(|parameter| parameter.is_nan()) {
            return Err(QueryError::execution(what));
        }
        Ok(())
    }

    fn folded(&self, aggregation: &Aggregation, rows: &[Row], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let groups = aggregation.groups(rows);
        let n_groups = groups.labels.len();
        self.budget.charge((n_groups * grid.n) as u64)?;
        let mut seen = vec![Seen::default(); n_groups * grid.n];
        for (row, group) in rows.iter().zip(&groups.of_row) {
            self.budget.check_time()?;
            let seen = &mut seen[group * grid.n..(group + 1) * grid.n];
            for (seen, value) in seen.iter_mut().zip(&row.values) {
                if !is_absent(*value) {
                    seen.add(aggregation.op, *value);
                }
            }
        }
        let mut results = Vec::with_capacity(n_groups);
        for (at, labels) in groups.labels.iter().enumerate() {
            let mut values = self.blank(grid)?;
            for (value, seen) in values.iter_mut().zip(&seen[at * grid.n..]) {
                if seen.n > 0.0 {
                    *value = seen.result(aggregation.op);
                }
            }
            results.push(Row { labels: labels.clone(), drop_name: groups.drop_names[at], values });
        }
        Ok(results)
    }

    fn quantiles(
        &self,
        aggregation: &Aggregation,
        rows: &[Row],
        parameters: &[f64],
        grid: &Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let groups = aggregation.groups(rows);
        let mut results = Vec::new();
        for (labels, drop_name) in groups.labels.iter().zip(&groups.drop_names) {
            results.push(Row { labels: labels.clone(), drop_name: *drop_name, values: self.blank(grid)? });
        }
        let mut held: Vec<Vec<f64>> = vec![Vec::new(); results.len()];
        for (index, q) in parameters.iter().enumerate() {
            self.budget.check_time()?;
            held.iter_mut().for_each(Vec::clear);
            for (row, group) in rows.iter().zip(&groups.of_row) {
                if !is_absent(row.values[index]) {
                    held[*group].push(row.values[index]);
                }
            }
            for (result, values) in results.iter_mut().zip(&mut held).filter(|(_, values)| !values.is_empty())
            {
                result.values[index] = quantile(*q, values);
            }
        }
        Ok(results)
    }

    fn count_values(
        &self,
        aggregation: &Aggregation,
        rows: &[Row],
        grid: &Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let Some(parameter) = &aggregation.parameter else { return Ok(Vec::new()) };
        let label = self.words(parameter)?;
        if label.is_empty() || !is_whole_text(&label) {
            return Err(QueryError::Execution(format!("invalid label name {}", quote(&label))));
        }
        let groups = aggregation.groups(rows);
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut results: Vec<Row> = Vec::new();
        for index in 0..grid.n {
            self.budget.check_time()?;
            for (row, group) in rows.iter().zip(&groups.of_row) {
                let value = row.values[index];
                if is_absent(value) {
                    continue;
                }
                let labels = groups.labels[*group].with(&label, &format_number(value));
                let place = match places.get(&labels) {
                    Some(place) => *place,
                    None => {
                        let drop_name = groups.drop_names[*group];
                        results.push(Row { labels: labels.clone(), drop_name, values: self.blank(grid)? });
                        places.insert(labels, results.len() - 1);
                        results.len() - 1
                    }
                };
                let count = &mut results[place].values[index];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        merge_same(results)
    }
}
