//! Functions of a window of samples: rates, extrapolated as Prometheus does it, and all that is
//! called `_over_time`.

use fieldpost_model::TimeMs;

use super::sums::{Mean, Spread, Sum, quantile};

/// What one call of such a function sees.
pub(crate) struct Window<'a> {
    /// At least one sample, by rising time.
    pub samples: &'a [(TimeMs, f64)],
    /// The window's first instant, not itself in the window.
    pub start_ms: TimeMs,
    /// The window's last instant.
    pub end_ms: TimeMs,
    /// The instant of the evaluation.
    pub at_ms: TimeMs,
    /// Further arguments.
    pub args: [f64; 2],
    /// What the counter had before each time that it fell within the window.
    pub falls: &'a [Fall],
}

/// A counter fell: at this place among the samples of its series, from this number.
pub(crate) struct Fall {
    pub at: usize,
    pub from: f64,
}

/// Every fall of a series, looked for once and not in each window.
pub(crate) fn falls(samples: &[(TimeMs, f64)]) -> Vec<Fall> {
    // Most have none. Without an early end several are looked at at a time.
    if !samples.windows(2).fold(false, |any, pair| any | (pair[1].1 < pair[0].1)) {
        return Vec::new();
    }
    let pairs = samples.windows(2).enumerate().filter(|(_, pair)| pair[1].1 < pair[0].1);
    pairs.map(|(at, pair)| Fall { at: at + 1, from: pair[0].1 }).collect()
}

/// Is it a function of counters, which looks at falls?
pub(crate) fn looks_at_falls(name: &str) -> bool {
    matches!(name, "rate" | "increase")
}

/// Such a function; none: no answer.
pub(crate) type WindowFunction = fn(&Window<'_>) -> Option<f64>;

/// Finds it by its name.
pub(crate) fn function(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "rate" => |window| extrapolated(window, true, true),
        "increase" => |window| extrapolated(window, true, false),
        "delta" => |window| extrapolated(window, false, false),
        "irate" => |window| newest_two(window, true),
        "idelta" => |window| newest_two(window, false),
        "avg_over_time" => |window| Some(fold(window, Mean::default(), Mean::add).mean()),
        "sum_over_time" => |window| Some(fold(window, Sum::default(), Sum::add).total()),
        "stdvar_over_time" => |window| Some(fold(window, Spread::default(), Spread::add).variance()),
        "stddev_over_time" => |window| Some(fold(window, Spread::default(), Spread::add).variance().sqrt()),
        "count_over_time" => |window| Some(window.samples.len() as f64),
        "present_over_time" => |_| Some(1.0),
        "min_over_time" => |window| extreme(window, |value, best| value < best).map(|(_, value)| value),
        "max_over_time" => |window| extreme(window, |value, best| value > best).map(|(_, value)| value),
        "ts_of_min_over_time" => |window| extreme(window, |value, best| value <= best).map(seconds),
        "ts_of_max_over_time" => |window| extreme(window, |value, best| value >= best).map(seconds),
        "ts_of_first_over_time" => |window| window.samples.first().copied().map(seconds),
        "ts_of_last_over_time" => |window| window.samples.last().copied().map(seconds),
        "first_over_time" => |window| window.samples.first().map(|(_, value)| *value),
        "last_over_time" => |window| window.samples.last().map(|(_, value)| *value),
        "quantile_over_time" => |window| Some(quantile(window.args[0], &mut values(window))),
        "mad_over_time" => median_deviation,
        "changes" => |window| Some(count_pairs(window, |a, b| a != b && !(a.is_nan() && b.is_nan()))),
        "resets" => |window| Some(count_pairs(window, |a, b| b < a)),
        "deriv" => |window| Some(regression(window, window.samples.first()?.0)?.0),
        "predict_linear" => |window| {
            let (slope, intercept) = regression(window, window.at_ms)?;
            Some(slope * window.args[0] + intercept)
        },
        "double_exponential_smoothing" | "holt_winters" => smoothed,
        _ => return None,
    })
}

fn seconds((time_ms, _): (TimeMs, f64)) -> f64 {
    time_ms as f64 / 1000.0
}

fn values(window: &Window<'_>) -> Vec<f64> {
    window.samples.iter().map(|(_, value)| *value).collect()
}

fn fold<T>(window: &Window<'_>, mut state: T, add: fn(&mut T, f64)) -> T {
    window.samples.iter().for_each(|(_, value)| add(&mut state, *value));
    state
}

/// The first sample that beats all before it; not-a-numbers are beaten by everything.
fn extreme(window: &Window<'_>, beats: fn(f64, f64) -> bool) -> Option<(TimeMs, f64)> {
    let (first, rest) = window.samples.split_first()?;
    Some(rest.iter().fold(
        *first,
        |best, sample| {
            if beats(sample.1, best.1) || best.1.is_nan() { *sample } else { best }
        },
    ))
}

fn count_pairs(window: &Window<'_>, counts: fn(f64, f64) -> bool) -> f64 {
    window.samples.windows(2).filter(|pair| counts(pair[0].1, pair[1].1)).count() as f64
}

fn median_deviation(window: &Window<'_>) -> Option<f64> {
    let mut values = values(window);
    if values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(quantile(0.5, &mut values))
}

/// How much it rose from the first to the last sample, stretched to the whole window where the
/// samples reach near its ends; a counter is never stretched below zero.
fn extrapolated(window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
    let [first, .., last] = window.samples else { return None };
    let mut rise = last.1 - first.1;
    if is_counter {
        window.falls.iter().for_each(|fall| rise += fall.from);
    }
    let seconds = |from: TimeMs, to: TimeMs| (to - from) as f64 / 1000.0;
    let mut to_start = seconds(window.start_ms, first.0);
    let mut to_end = seconds(last.0, window.end_ms);
    let sampled = seconds(first.0, last.0);
    let between = sampled / (window.samples.len() - 1) as f64;
    // A sample that is nearer than this to the end of the window leaves no room for another one.
    let threshold = between * 1.1;
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if is_counter && rise > 0.0 && first.1 >= 0.0 {
        to_start = to_start.min(sampled * (first.1 / rise));
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if is_rate {
        factor /= seconds(window.start_ms, window.end_ms);
    }
    Some(rise * factor)
}

/// From the last sample but one to the last one.
fn newest_two(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let [.., before, last] = window.samples else { return None };
    if !is_rate {
        return Some(last.1 - before.1);
    }
    let rise = if last.1 < before.1 { last.1 } else { last.1 - before.1 };
    let interval_ms = last.0 - before.0;
    (interval_ms != 0).then(|| rise / (interval_ms as f64 / 1000.0))
}

/// Slope a second, and value at an instant, by least squares.
fn regression(window: &Window<'_>, intercept_ms: TimeMs) -> Option<(f64, f64)> {
    let samples = window.samples;
    let [first, _, ..] = samples else { return None };
    if samples.iter().all(|(_, value)| *value == first.1) {
        return Some(if first.1.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.1) });
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time_ms, value) in samples {
        let at = (time_ms - intercept_ms) as f64 / 1000.0;
        x.add(at);
        y.add(*value);
        xy.add(at * value);
        xx.add(at * at);
    }
    let n = samples.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(|sum| sum.sum + sum.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some((slope, y / n - slope * x / n))
}

/// Holt's smoothing by level and trend.
fn smoothed(window: &Window<'_>) -> Option<f64> {
    let [level_factor, trend_factor] = window.args;
    let values = values(window);
    let [first, second, ..] = values[..] else { return None };
    let (mut before, mut level, mut trend) = (0.0, first, second - first);
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = level_factor * value + (1.0 - level_factor) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, samples: &[(TimeMs, f64)], end_ms: TimeMs, range_ms: i64) -> Option<f64> {
        let start_ms = end_ms - range_ms;
        let (args, falls) = ([0.5, 0.5], falls(samples));
        function(name)?(&Window { samples, start_ms, end_ms, at_ms: end_ms, args, falls: &falls })
    }

    #[test]
    fn rates_are_stretched_but_not_below_zero() {
        let steady: Vec<_> = (1..=6).map(|n| (n * 10_000, 100.0 + n as f64)).collect();
        assert_eq!(call("increase", &steady, 60_000, 60_000), Some(6.0));
        let young: Vec<_> = (3..=6).map(|n| (n * 10_000, (n - 3) as f64)).collect();
        assert_eq!(call("increase", &young, 60_000, 60_000), Some(3.0));
        assert_eq!(call("rate", &steady[..1], 60_000, 60_000), None);
    }

    #[test]
    fn counters_that_fall_began_anew() {
        let samples = [(10_000, 5.0), (20_000, 7.0), (30_000, 1.0)];
        assert_eq!(call("resets", &samples, 30_000, 30_000), Some(1.0));
        assert_eq!(call("increase", &samples, 30_000, 25_000), Some(3.75));
        assert_eq!(call("irate", &samples, 30_000, 30_000), Some(0.1));
        assert_eq!(call("delta", &samples, 30_000, 20_000), Some(-4.0));
    }
}
