//! The `load` blocks of scripts: series in Prometheus' notation, kept in memory.

use std::collections::BTreeMap;

use fieldpost_model::{ABSENT, Matcher};
use fieldpost_promql::{
    Allowance, Expr, Labels, METRIC_NAME, SeriesSource, SourceError, Stored, Take, parse, parse_duration,
    parse_selector,
};

/// The values of a series: none where there is no sample; or of a kind that is not ours.
pub enum Notation {
    Numbers(Vec<Option<f64>>),
    Native,
}

/// Series in memory.
#[derive(Default)]
pub struct Memory {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    /// Native histograms, which were left out.
    dropped: Vec<Labels>,
}

impl Memory {
    /// Takes in a block; gives the lines that cannot be read.
    pub fn load(&mut self, line: &str, block: &[String]) -> Vec<String> {
        let mut unread = Vec::new();
        let mut words = line.split_whitespace();
        let with_native = words.next() == Some("load_with_nhcb");
        let step_ms = words.next().and_then(seconds_ms).unwrap_or(1);
        for line in block {
            match series_line(line) {
                Some((labels, Notation::Numbers(numbers))) => {
                    if let Some(name) =
                        labels.get(METRIC_NAME).strip_suffix("_bucket").filter(|_| with_native)
                    {
                        let pairs = labels.iter().filter(|(name, _)| !matches!(*name, "le" | METRIC_NAME));
                        self.dropped.push(Labels::new(pairs.chain([(METRIC_NAME, name)])));
                    }
                    let samples = self.series.entry(labels).or_default();
                    for (index, number) in numbers.into_iter().enumerate() {
                        samples.extend(number.map(|number| (index as i64 * step_ms, number)));
                    }
                }
                Some((labels, Notation::Native)) => self.dropped.push(labels),
                None => unread.push(line.clone()),
            }
        }
        unread
    }

    pub fn push(&mut self, labels: Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        self.series.entry(labels).or_default().extend(samples);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &BTreeMap<i64, f64>)> {
        self.series.iter()
    }

    /// A native histogram that the query selects.
    pub fn needs_dropped(&self, query: &str) -> Option<String> {
        let expr = parse(query).ok()?;
        let mut selectors = Vec::new();
        expr.each(&mut |expr: &Expr| selectors.extend(expr.matchers().map(<[Matcher]>::to_vec)));
        let selected = |labels: &&Labels| selectors.iter().any(|matchers| accepts(matchers, labels));
        self.dropped.iter().find(selected).map(ToString::to_string)
    }
}

fn accepts(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.label)))
}

impl SeriesSource for Memory {
    fn each(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        allowance: &dyn Allowance,
        take: Take<'_>,
    ) -> Result<(), SourceError> {
        let selected = || self.series.iter().filter(|(labels, _)| accepts(matchers, labels));
        allowance.series(selected().count() as u64)?;
        for (labels, samples) in selected() {
            let samples: Vec<_> = if from_ms <= to_ms {
                samples.range(from_ms..=to_ms).map(|(at, value)| (*at, *value)).collect()
            } else {
                Vec::new()
            };
            allowance.samples(samples.len() as u64)?;
            if !samples.is_empty() {
                take(Stored::of(labels.clone(), samples))?;
            }
        }
        Ok(())
    }
}

/// A duration or a number of seconds.
pub fn seconds_ms(text: &str) -> Option<i64> {
    parse_duration(text).or_else(|| text.parse::<f64>().ok().map(|seconds| (seconds * 1000.0).round() as i64))
}

/// `name{label="value"} 1 2+3x4 _ stale`.
pub fn series_line(line: &str) -> Option<(Labels, Notation)> {
    let end = description_end(line);
    let (description, values) = line.split_at(end);
    // Instants at which counters began.
    let (description, is_start) = match description.trim().strip_suffix("@st") {
        Some(description) => (description, true),
        None => (description, values.starts_with("@st")),
    };
    let labels = match description.trim() {
        "{}" => Labels::default(),
        text => {
            let selector = parse_selector(text).ok()?;
            Labels::new(
                selector.matchers.iter().map(|matcher| (matcher.label.as_str(), matcher.value.as_str())),
            )
        }
    };
    if values.contains("{{") || is_start {
        return Some((labels, Notation::Native));
    }
    let mut numbers = Vec::new();
    for word in values.split_whitespace() {
        expand(word, &mut numbers)?;
    }
    Some((labels, Notation::Numbers(numbers)))
}

/// Where the values begin: after the braces, or after the first word.
fn description_end(line: &str) -> usize {
    let (mut quote, mut inside, mut escaped) = (None, false, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => inside = true,
            (None, '}') => return at + 1,
            (None, c) if c.is_whitespace() && !inside && !line[at..].trim_start().starts_with('{') => {
                return at;
            }
            (None, c) if c.is_whitespace() && !inside && line[at..].trim_start().starts_with("{{") => {
                return at;
            }
            _ => {}
        }
    }
    line.len()
}

/// A number at the start of a text, and the rest.
pub fn number(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign = text.len() - unsigned.len();
    let lower = unsigned.to_ascii_lowercase();
    let length = if lower.starts_with("inf") || lower.starts_with("nan") {
        3
    } else {
        let mut previous = ' ';
        let end = lower.find(|c: char| {
            let belongs =
                c.is_ascii_digit() || matches!(c, '.' | 'e') || matches!(c, '+' | '-') && previous == 'e';
            previous = c;
            !belongs
        });
        end.unwrap_or(lower.len())
    };
    let (own, rest) = text.split_at(sign + length);
    Some((own.parse().ok()?, rest))
}

/// `1`, `_`, `stale`, `_x3`, `1x3`, `1+2x3`, `1-2x3`.
fn expand(word: &str, numbers: &mut Vec<Option<f64>>) -> Option<()> {
    if word == "stale" {
        numbers.push(Some(ABSENT));
        return Some(());
    }
    if let Some(rest) = word.strip_prefix('_') {
        let n: usize = rest.strip_prefix('x').map_or(Some(1), |n| n.parse().ok())?;
        numbers.extend(std::iter::repeat_n(None, n));
        return Some(());
    }
    let (first, rest) = number(word)?;
    if rest.is_empty() {
        numbers.push(Some(first));
        return Some(());
    }
    let (step, times) = match rest.strip_prefix('x') {
        Some(times) => (0.0, times),
        None => {
            let (step, rest) = number(rest)?;
            (step, rest.strip_prefix('x')?)
        }
    };
    let n: usize = times.parse().ok()?;
    // Added up one after the other, as Prometheus does it.
    let mut value = first;
    for _ in 0..=n {
        numbers.push(Some(value));
        value += step;
    }
    Some(())
}
