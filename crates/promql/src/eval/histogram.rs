//! Quantiles and fractions of classic histograms: cumulated counts by the label `le`.

use std::collections::HashMap;

use fieldpost_model::is_absent;

use super::{Evaluation, Grid, Row};
use crate::labels::METRIC_NAME;
use crate::syntax::{Expr, format_number, quote};
use crate::{Labels, QueryError};

/// Counts that differ by less than this part of themselves are equal.
const TOLERANCE: f64 = 1e-12;

/// So many observations up to this bound.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// Rows of one histogram.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    /// Bound and row of each bucket.
    buckets: Vec<(f64, usize)>,
}

impl Evaluation<'_> {
    /// `histogram_quantile(q, buckets)`.
    pub(super) fn histogram_quantile(&self, args: &[Expr], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let [q, buckets] = args else { return Ok(Vec::new()) };
        let qs = self.scalar(q, grid)?;
        if let Some(wrong) = qs.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            let wrong = format_number(*wrong);
            self.warn(q.span, &format!("quantile value should be between 0 and 1, got {wrong}"));
        }
        self.each_histogram(buckets, grid, |index, buckets| {
            let mut forced = false;
            let value = bucket_quantile(qs[index], buckets, &mut forced);
            (value, forced)
        })
    }

    /// `histogram_fraction(lower, upper, buckets)`.
    pub(super) fn histogram_fraction(&self, args: &[Expr], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let [lower, upper, buckets] = args else { return Ok(Vec::new()) };
        let (lower, upper) = (self.scalar(lower, grid)?, self.scalar(upper, grid)?);
        self.each_histogram(buckets, grid, |index, buckets| {
            (bucket_fraction(lower[index], upper[index], buckets), false)
        })
    }

    fn each_histogram(
        &self,
        buckets: &Expr,
        grid: &Grid,
        of: impl Fn(usize, &mut Vec<Bucket>) -> (f64, bool),
    ) -> Result<Vec<Row>, QueryError> {
        let rows = self.vector(buckets, grid)?;
        let mut results = Vec::new();
        let mut held = Vec::new();
        for histogram in self.histograms(&rows, buckets) {
            let mut values = self.blank(grid)?;
            for (index, value) in values.iter_mut().enumerate() {
                held.clear();
                let present = histogram.buckets.iter().map(|(bound, row)| (*bound, rows[*row].values[index]));
                held.extend(
                    present
                        .filter(|(_, count)| !is_absent(*count))
                        .map(|(bound, count)| Bucket { bound, count }),
                );
                if held.is_empty() {
                    continue;
                }
                let (result, forced) = of(index, &mut held);
                if forced {
                    let what = "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name";
                    let name = quote(histogram.labels.get(METRIC_NAME));
                    self.inform(buckets.span, &format!("{what} {name}"));
                }
                *value = result;
            }
            results.push(Row { labels: histogram.labels, drop_name: histogram.drop_name, values });
        }
        self.unnamed(results)
    }

    fn histograms(&self, rows: &[Row], buckets: &Expr) -> Vec<Histogram> {
        let mut histograms: Vec<Histogram> = Vec::new();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let text = row.labels.get("le");
            let Some(bound) = crate::syntax::parse_bound(text) else {
                let name = quote(row.labels.get(METRIC_NAME));
                let what = format!(
                    "bucket label \"le\" is missing or has a malformed value of {} for metric name {name}",
                    quote(text)
                );
                self.warn(buckets.span, &what);
                continue;
            };
            let labels = row.labels.keep(|name| name != "le");
            let place =
                *places.entry(labels.without_name_if(!self.engine.delayed_names)).or_insert_with(|| {
                    histograms.push(Histogram { labels, drop_name: true, buckets: Vec::new() });
                    histograms.len() - 1
                });
            histograms[place].buckets.push((bound, at));
        }
        histograms
    }
}

/// By rising bound, those of equal bounds as one. None: the last one is not infinite.
fn sort(buckets: &mut Vec<Bucket>) -> Option<()> {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    buckets.last().filter(|last| last.bound == f64::INFINITY)?;
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    Some(())
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// Counts never fall. Tells whether one fell by more than rounding.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let Some(mut before) = buckets.first().map(|bucket| bucket.count) else { return false };
    let mut forced = false;
    for bucket in &mut buckets[1..] {
        if bucket.count == before {
            continue;
        }
        if almost_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            forced = true;
        } else {
            before = bucket.count;
        }
    }
    forced
}

fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>, forced: &mut bool) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if sort(buckets).is_none() {
        return f64::NAN;
    }
    *forced = make_monotonic(buckets);
    let [below @ .., last] = &buckets[..] else { return f64::NAN };
    let [first, ..] = below else { return f64::NAN };
    if last.count == 0.0 || last.count.is_nan() {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    let at = below.partition_point(|bucket| bucket.count < rank);
    if at == below.len() {
        return below[at - 1].bound;
    }
    if at == 0 && first.bound <= 0.0 {
        return first.bound;
    }
    let Bucket { bound: end, mut count } = below[at];
    let mut start = 0.0;
    if at > 0 {
        start = below[at - 1].bound;
        count -= below[at - 1].count;
        rank -= below[at - 1].count;
    }
    start + (end - start) * (rank / count)
}

fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if sort(buckets).is_none() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    let all = buckets.last().map_or(0.0, |last| last.count);
    if all == 0.0 || all.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, all) - rank_of(lower, buckets, all)) / all
}

/// How many observations lie below a number.
fn rank_of(number: f64, buckets: &[Bucket], all: f64) -> f64 {
    let mut rank = 0.0;
    let mut start = match buckets.first() {
        Some(first) if first.bound > 0.0 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if start >= number {
            return rank;
        }
        if bucket.bound > number {
            // Of a bucket without an end nothing is known but its count.
            let part = match (start.is_infinite(), bucket.bound.is_infinite()) {
                (true, _) => 1.0,
                (false, true) => 0.0,
                (false, false) => (number - start) / (bucket.bound - start),
            };
            return (rank + (bucket.count - rank) * part).min(all);
        }
        (rank, start) = (bucket.count, bucket.bound);
    }
    all
}
