//! Answers as a table and as CSV. What all series share is said once, above the table.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Table, presets};

use super::answer::{Metric, Outcome};
use super::unit::Unit;
use crate::cli::{instant, terminal};

/// The label that is a series' name.
const NAME: &str = "__name__";
/// Eighths of a line's height.
const BARS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
/// The widest course of a series, columns.
const COURSE_COLUMNS_MAX: usize = 60;
/// What a row takes beside its course and its labels.
const FIGURES_COLUMNS: usize = 44;

/// A table: a row a series.
pub fn text(outcome: &Outcome, unit: Unit, width: usize) -> String {
    match outcome {
        Outcome::Single(_, text) => terminal::printable(text).into_owned(),
        Outcome::Vector(series) => {
            let rows = series.iter().map(|(metric, (_, value))| (metric, vec![unit.show(*value)]));
            whole(&rows.collect::<Vec<_>>(), &["VALUE"])
        }
        Outcome::Matrix(series) => {
            let widest =
                series.iter().map(|(metric, _)| metric.values().map(String::len).sum::<usize>()).max();
            let room = width.saturating_sub(FIGURES_COLUMNS + widest.unwrap_or(0));
            let columns = room.clamp(10, COURSE_COLUMNS_MAX);
            let ends = ends(series);
            let rows = series.iter().map(|(metric, values)| (metric, figures(values, ends, unit, columns)));
            whole(&rows.collect::<Vec<_>>(), &["LEAST", "MEAN", "MOST", "LAST", "COURSE"])
        }
    }
}

/// A line a value: milliseconds since 1970, the series, the value.
pub fn csv(outcome: &Outcome) -> String {
    let line = |metric: &Metric, (at, value): (f64, f64)| {
        let series = series_text(metric).replace('"', "\"\"");
        format!("{},\"{series}\",{}\n", (at * 1_000.0).round(), fieldpost_promql::format_value(value))
    };
    let lines: String = match outcome {
        Outcome::Single(at, text) => {
            format!("{},\"\",\"{}\"\n", (at * 1_000.0).round(), text.replace('"', "\"\""))
        }
        Outcome::Vector(series) => series.iter().map(|(metric, point)| line(metric, *point)).collect(),
        Outcome::Matrix(series) => {
            let lines =
                series.iter().flat_map(|(metric, points)| points.iter().map(move |point| (metric, *point)));
            lines.map(|(metric, point)| line(metric, point)).collect()
        }
    };
    format!("time_ms,series,value\n{lines}")
}

/// A series as PromQL writes it.
pub fn series_text(metric: &Metric) -> String {
    let own = metric.get(NAME).map_or("", String::as_str);
    let labels: Vec<(&str, &str)> =
        metric.iter().filter(|(name, _)| *name != NAME).map(|(n, v)| (n.as_str(), v.as_str())).collect();
    if own.is_empty() && labels.is_empty() {
        return "{}".to_owned();
    }
    fieldpost_model::series_text(own, "", &labels)
}

/// Labels that all series have alike, and names of the others.
pub fn shared<'a>(metrics: impl Iterator<Item = &'a Metric> + Clone) -> (Metric, BTreeSet<String>) {
    let Some(first) = metrics.clone().next() else { return Default::default() };
    let mut same = first.clone();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut n_series = 0;
    for metric in metrics {
        same.retain(|name, value| metric.get(name) == Some(value));
        names.extend(metric.keys().cloned());
        n_series += 1;
    }
    if n_series == 1 {
        // One series has nothing to be told apart from: the whole of it stands in the table.
        return (Metric::new(), names);
    }
    names.retain(|name| !same.contains_key(name));
    (same, names)
}

fn whole(rows: &[(&Metric, Vec<String>)], figures: &[&str]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let (same, names) = shared(rows.iter().map(|(metric, _)| *metric));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head = |name: &String| if name == NAME { "NAME".to_owned() } else { name.to_uppercase() };
    table.set_header(names.iter().map(head).chain(figures.iter().map(|text| (*text).to_owned())));
    for (metric, figures) in rows {
        let label = |name: &String| {
            let value = metric.get(name).map_or("-", String::as_str);
            terminal::printable(value).into_owned()
        };
        table.add_row(names.iter().map(label).chain(figures.iter().cloned()));
    }
    for position in 0..figures.len().min(4) {
        if let Some(column) = table.column_mut(names.len() + position) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let above = if same.is_empty() {
        String::new()
    } else {
        format!("{}\n", terminal::printable(&series_text(&same)))
    };
    above + &terminal::table_text(&table)
}

/// First and last instant of all series, seconds.
fn ends(series: &[(Metric, Vec<(f64, f64)>)]) -> (f64, f64) {
    let times = || series.iter().flat_map(|(_, values)| values.iter().map(|(at, _)| *at));
    (times().fold(f64::INFINITY, f64::min), times().fold(f64::NEG_INFINITY, f64::max))
}

fn figures(values: &[(f64, f64)], ends: (f64, f64), unit: Unit, columns: usize) -> Vec<String> {
    let known: Vec<f64> = values.iter().map(|(_, value)| *value).filter(|value| !value.is_nan()).collect();
    let least = known.iter().copied().fold(f64::INFINITY, f64::min);
    let most = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if known.is_empty() {
        return vec!["NaN".to_owned(); 4].into_iter().chain([String::new()]).collect();
    }
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    let last = values.last().map_or(f64::NAN, |(_, value)| *value);
    let mut figures: Vec<String> = [least, mean, most, last].map(|value| unit.show(value)).to_vec();
    figures.push(course(values, ends, (least, most), columns));
    figures
}

/// How it went, by the mean of each part of the span; nothing where there is no value.
fn course(
    values: &[(f64, f64)],
    (from, to): (f64, f64),
    (least, most): (f64, f64),
    columns: usize,
) -> String {
    let mut parts: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (at, value) in values.iter().filter(|(_, value)| value.is_finite()) {
        let place = if to > from { (at - from) / (to - from) * (columns - 1) as f64 } else { 0.0 };
        let (sum, n) = parts.entry(place.round() as usize).or_default();
        *sum += value;
        *n += 1.0;
    }
    let bar = |place: usize| {
        parts.get(&place).map_or(' ', |(sum, n)| {
            let height = if most > least { (sum / n - least) / (most - least) } else { 0.0 };
            BARS[((height * 7.0).round() as usize).min(7)]
        })
    };
    // With fewer values than columns each bar reaches to the next one.
    let mut text = String::new();
    let mut before = ' ';
    let gap = columns / values.len().max(1);
    let mut since = 0;
    for place in 0..columns {
        let own = bar(place);
        if own == ' ' && since < gap {
            since += 1;
        } else {
            (before, since) = (own, 0);
        }
        text.push(before);
    }
    text.trim_end().to_owned()
}

/// An instant as an axis shows it.
pub fn clock(seconds: f64, with_date: bool) -> String {
    let shown = instant::show((seconds * 1_000.0) as i64);
    let (date, time) = shown.split_once(' ').unwrap_or((&shown, ""));
    if with_date { format!("{} {}", &date[5..], &time[..5]) } else { time.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(pairs: &[(&str, &str)]) -> Metric {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_all_share_is_said_once() {
        let series = |mode: &str, value: f64| {
            (metric(&[(NAME, "cpu_seconds"), ("job", "j"), ("mode", mode)]), (5.0, value))
        };
        let answer = Outcome::Vector(vec![series("idle", 90.0), series("user\x1b", 0.5)]);
        let expected = "cpu_seconds{job=\"j\"}\n MODE    VALUE\n idle     90 s\n user   500 ms";
        assert_eq!(text(&answer, Unit::Seconds, 80), expected);
        let csv = csv(&answer);
        assert_eq!(csv.lines().nth(1), Some("5000,\"cpu_seconds{job=\"\"j\"\",mode=\"\"idle\"\"}\",90"));
    }

    #[test]
    fn span_is_shown_by_its_course() {
        let values = (0..8).map(|n| (f64::from(n), f64::from(n))).collect();
        let answer = Outcome::Matrix(vec![(metric(&[("a", "1")]), values)]);
        let lines = text(&answer, Unit::Plain, 40);
        assert!(lines.contains("\u{2581}") && lines.trim_end().ends_with('\u{2588}'), "{lines}");
        assert!(lines.contains("3.5"), "{lines}");
    }
}
