//! What the parser gives: families with their samples, as they were written or as a registry would show them.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_model::{Kind, TimeMs};

use crate::write;

/// Names and unescaped values of labels.
pub type Labels = Vec<(String, String)>;

/// A family as a file tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedFamily {
    /// Name as in its `# TYPE` line.
    pub name: String,
    /// Unescaped help, if the file has any.
    pub help: Option<String>,
    /// `Untyped` where the file has no `# TYPE` line.
    pub kind: Kind,
    /// At least one.
    pub samples: Vec<ParsedSample>,
}

/// A sample as a line tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedSample {
    /// What its name has after the family's: `_bucket`, `_sum`, `_count` or nothing.
    pub suffix: &'static str,
    /// In the order of the line.
    pub labels: Labels,
    /// The number.
    pub value: f64,
    /// Milliseconds since 1970, if the line has an instant.
    pub time_ms: Option<TimeMs>,
}

impl ParsedFamily {
    /// The family as the usual registry would show it: labels sorted by name, a label that only some samples have
    /// empty in the others, `le` and `quantile` last and written in one way, and every histogram and summary
    /// whole: a sum and a count (0 where the file has none) and the `+Inf` bucket. Instants are left out.
    pub fn normalised(mut self) -> Self {
        let own = own_label(self.kind);
        let names: BTreeSet<String> = self
            .samples
            .iter()
            .flat_map(|s| &s.labels)
            .map(|(n, _)| n.clone())
            .filter(|n| n != own)
            .collect();
        for sample in &mut self.samples {
            sample.time_ms = None;
            sample.fill(&names, own);
        }
        if !own.is_empty() {
            self.samples = whole(self.kind, own, self.samples);
        }
        self
    }
}

impl ParsedSample {
    fn fill(&mut self, names: &BTreeSet<String>, own: &str) {
        let mut given: BTreeMap<String, String> = std::mem::take(&mut self.labels).into_iter().collect();
        let bound = given.remove(own);
        let mut value = |name: &String| (name.clone(), given.remove(name).unwrap_or_default());
        self.labels = names.iter().map(&mut value).collect();
        if let Some(bound) = bound {
            // The parser has read it as a number already.
            let text = bound.parse().map_or(bound, write::label_number);
            self.labels.push((own.to_owned(), text));
        }
    }
}

/// The label that tells the samples of one histogram or summary apart.
pub(crate) fn own_label(kind: Kind) -> &'static str {
    match kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        _ => "",
    }
}

/// Adds what the histograms or summaries of a family lack.
fn whole(kind: Kind, own: &str, samples: Vec<ParsedSample>) -> Vec<ParsedSample> {
    let mut groups: BTreeMap<Labels, Vec<ParsedSample>> = BTreeMap::new();
    for sample in samples {
        let key = sample.labels.iter().filter(|(name, _)| name != own).cloned().collect();
        groups.entry(key).or_default().push(sample);
    }
    let mut out = Vec::new();
    for (labels, mut group) in groups {
        let has = |group: &[ParsedSample], suffix| group.iter().find(|s| s.suffix == suffix).map(|s| s.value);
        let (sum, count) = (has(&group, "_sum"), has(&group, "_count"));
        let infinite = |sample: &ParsedSample| sample.labels.last().is_some_and(|(_, bound)| bound == "+Inf");
        let add = |suffix, labels, value| ParsedSample { suffix, labels, value, time_ms: None };
        if kind == Kind::Histogram && !group.iter().any(|s| s.suffix == "_bucket" && infinite(s)) {
            let mut with_bound = labels.clone();
            with_bound.push((own.to_owned(), "+Inf".to_owned()));
            group.push(add("_bucket", with_bound, count.unwrap_or(0.0)));
        }
        if sum.is_none() {
            group.push(add("_sum", labels.clone(), 0.0));
        }
        if count.is_none() {
            group.push(add("_count", labels, 0.0));
        }
        out.append(&mut group);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn shown(text: &str) -> Vec<String> {
        let families = parse(text.as_bytes()).unwrap();
        let lines = families.into_iter().map(ParsedFamily::normalised).flat_map(|family| {
            let line = |s: &ParsedSample| format!("{}{} {:?} {}", family.name, s.suffix, s.labels, s.value);
            family.samples.iter().map(line).collect::<Vec<_>>()
        });
        lines.map(|line| line.replace('"', "")).collect()
    }

    #[test]
    fn labels_are_sorted_and_filled() {
        assert_eq!(shown("a{z=\"1\"} 1\na{b=\"2\"} 2\n"), ["a [(b, ), (z, 1)] 1", "a [(b, 2), (z, )] 2"]);
    }

    #[test]
    fn histogram_is_made_whole() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1638400.0\"} 3\nh_count 4\n";
        let expected =
            ["h_bucket [(le, 1.6384e+06)] 3", "h_count [] 4", "h_bucket [(le, +Inf)] 4", "h_sum [] 0"];
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn summary_is_made_whole() {
        let text = "# TYPE s summary\ns{quantile=\".5\",b=\"x\"} 3\ns_sum{b=\"x\"} 4\n";
        assert_eq!(shown(text), ["s [(b, x), (quantile, 0.5)] 3", "s_sum [(b, x)] 4", "s_count [(b, x)] 0"]);
    }
}
