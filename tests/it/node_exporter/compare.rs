//! Sets two metrics pages side by side: the oracle's, and two of ours taken before and after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fieldpost_bed::{Family, Page, Series};

/// What may differ, where, and why. Anything else that differs is a fault.
pub struct Difference {
    /// Name of the family, or its beginning and `*`.
    pub family: &'static str,
    /// What may differ.
    pub what: What,
    /// Why; a sentence for whoever wonders in a year.
    pub why: &'static str,
}

/// Lists of differences, all of which hold.
pub type Lists = &'static [&'static [Difference]];

/// What may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The family is not compared at all.
    Everything,
    /// The help text.
    Help,
    /// Ours may have this label, theirs not.
    NewLabel(&'static str),
    /// Which series there are; those that both have are compared.
    Series,
    /// The values; the series are compared.
    Value,
}

/// What came out of one comparison or of several of the same kind.
pub struct Outcome {
    n_families: usize,
    n_series: usize,
    n_ours_alone: usize,
    explained: BTreeMap<&'static str, BTreeSet<String>>,
    /// What differs without an explanation: where, and how.
    pub faults: BTreeMap<String, String>,
}

impl Outcome {
    /// A later comparison of the live machine: only what differs each time is a fault.
    pub fn and(mut self, later: Self) -> Self {
        self.faults.retain(|place, _| later.faults.contains_key(place));
        Self { faults: self.faults, ..later }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "compared {} families with {} series: {} faults; {} families are ours alone",
            self.n_families,
            self.n_series,
            self.faults.len(),
            self.n_ours_alone
        )?;
        for (why, families) in &self.explained {
            let names: Vec<&str> = families.iter().take(4).map(String::as_str).collect();
            let more = families.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            writeln!(f, "  expected  {}{more}: {why}", names.join(" "))?;
        }
        for (place, how) in &self.faults {
            writeln!(f, "  FAULT  {place}: {how}")?;
        }
        Ok(())
    }
}

/// Compares the oracle's page with ours. `before` and `after` are the same page on a fixed tree.
pub fn compare(before: &Page, theirs: &Page, after: &Page, differences: Lists) -> Outcome {
    let mut comparison = Comparison { differences, explained: BTreeMap::new(), faults: BTreeMap::new() };
    let mut n_families = 0;
    let mut n_series = 0;
    for (name, family) in &theirs.families {
        if comparison.allowed(name, |what| what == What::Everything) {
            continue;
        }
        n_families += 1;
        n_series += family.series.len();
        match (before.families.get(name), after.families.get(name)) {
            (Some(before), Some(after)) => comparison.family(name, before, family, after),
            _ if comparison.allowed(name, |what| what == What::Series) => {}
            _ => comparison.fault(name.clone(), format!("missing, with {} series", family.series.len())),
        }
    }
    let n_ours_alone = after.families.keys().filter(|name| !theirs.families.contains_key(*name)).count();
    Outcome { n_families, n_series, n_ours_alone, explained: comparison.explained, faults: comparison.faults }
}

struct Comparison {
    differences: Lists,
    explained: BTreeMap<&'static str, BTreeSet<String>>,
    faults: BTreeMap<String, String>,
}

impl Comparison {
    fn fault(&mut self, place: String, how: String) {
        self.faults.insert(place, how);
    }

    /// Is there an explanation? Then it is written down, so that the outcome shows what it was used for.
    fn allowed(&mut self, family: &str, what: impl Fn(What) -> bool) -> bool {
        let found = self
            .differences
            .iter()
            .copied()
            .flatten()
            .find(|known| what(known.what) && is_named(known.family, family));
        if let Some(known) = found {
            self.explained.entry(known.why).or_default().insert(family.to_owned());
        }
        found.is_some()
    }

    fn family(&mut self, name: &str, before: &Family, theirs: &Family, after: &Family) {
        if after.help != theirs.help && !self.allowed(name, |what| what == What::Help) {
            self.fault(format!("{name} help"), format!("{:?}, theirs {:?}", after.help, theirs.help));
        }
        if after.kind != theirs.kind {
            self.fault(format!("{name} type"), format!("{}, theirs {}", after.kind, theirs.kind));
        }
        let before = self.without_new_labels(name, before, theirs);
        let after = self.without_new_labels(name, after, theirs);
        for (series, value) in &theirs.series {
            match (before.get(series), after.get(series)) {
                (Some(before), Some(after)) => {
                    self.value(name, series, &theirs.kind, (*before, *value, *after));
                }
                _ if self.allowed(name, |what| what == What::Series) => {}
                _ => self.fault(series.to_string(), "missing".to_owned()),
            }
        }
        for series in after.keys().filter(|series| !theirs.series.contains_key(series)) {
            if before.contains_key(series) && !self.allowed(name, |what| what == What::Series) {
                self.fault(series.to_string(), "theirs has no such series".to_owned());
            }
        }
    }

    /// Our series with the labels taken off that are known to be newer than the oracle.
    fn without_new_labels(&mut self, name: &str, ours: &Family, theirs: &Family) -> BTreeMap<Series, f64> {
        let known = theirs.series.keys().next();
        let mut stripped = BTreeMap::new();
        for (series, value) in &ours.series {
            let mut series = series.clone();
            let labels: Vec<String> = series.labels.keys().cloned().collect();
            for label in
                labels.iter().filter(|label| known.is_some_and(|series| !series.labels.contains_key(*label)))
            {
                if self.allowed(name, |what| matches!(what, What::NewLabel(new) if new == label)) {
                    series.labels.remove(label);
                }
            }
            stripped.insert(series, *value);
        }
        stripped
    }

    fn value(&mut self, name: &str, series: &Series, kind: &str, values: (f64, f64, f64)) {
        let (before, theirs, after) = values;
        if is_between(before, theirs, after, slack(kind, before, after))
            || self.allowed(name, |what| what == What::Value)
        {
            return;
        }
        let ours = if before == after { format!("{before}") } else { format!("{before} then {after}") };
        self.fault(series.to_string(), format!("{ours}, theirs {theirs}"));
    }
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// How far a value may lie outside of our two. Counters are exact but for rounding. A gauge that
/// moved between our two looks, or is large, may have been elsewhere in the meantime; one that
/// stands still must be equal.
fn slack(kind: &str, before: f64, after: f64) -> f64 {
    let largest = before.abs().max(after.abs());
    let rounding = largest * 1e-9;
    if kind == "counter" || before == after {
        rounding
    } else {
        rounding + largest * 0.1 + (after - before).abs()
    }
}

fn is_between(before: f64, theirs: f64, after: f64, slack: f64) -> bool {
    if theirs.is_nan() || theirs.is_infinite() {
        return theirs.to_bits() == after.to_bits() || (theirs.is_nan() && after.is_nan());
    }
    before.min(after) - slack <= theirs && theirs <= before.max(after) + slack
}

/// The comparison must find what it is for.
#[cfg(test)]
mod controls {
    use super::*;

    const NONE: Lists = &[];

    fn page(text: &str) -> Page {
        Page::parse(text).unwrap()
    }

    fn faults(ours: &str, theirs: &str, differences: Lists) -> Vec<String> {
        let ours = page(ours);
        let outcome = compare(&ours, &page(theirs), &ours, differences);
        outcome.faults.iter().map(|(place, how)| format!("{place}: {how}")).collect()
    }

    #[test]
    fn missing_and_surplus_series_are_found() {
        assert_eq!(faults("a{x=\"1\"} 1\n", "a{x=\"2\"} 1\n", NONE).len(), 2);
        assert_eq!(faults("a 1\n", "a 1\nb 1\n", NONE), ["b: missing, with 1 series"]);
    }

    #[test]
    fn help_type_and_value_are_compared() {
        let ours = "# HELP a One.\n# TYPE a gauge\na 1\n";
        assert_eq!(faults(ours, "# HELP a Two.\n# TYPE a counter\na 2\n", NONE).len(), 3);
        assert_eq!(faults(ours, ours, NONE).len(), 0);
    }

    #[test]
    fn new_labels_are_taken_off() {
        const NEW: Lists = &[&[Difference { family: "a*", what: What::NewLabel("n"), why: "New." }]];
        assert_eq!(faults("ab{n=\"1\",x=\"1\"} 1\n", "ab{x=\"1\"} 1\n", NEW).len(), 0);
        assert_eq!(faults("ab{n=\"1\",x=\"1\"} 1\n", "ab{x=\"1\"} 1\n", NONE).len(), 2);
    }

    #[test]
    fn counter_lies_between_our_two_looks() {
        let text = |value: u64| page(&format!("# TYPE a counter\na {value}\n"));
        assert!(compare(&text(10), &text(11), &text(12), NONE).faults.is_empty());
        assert!(!compare(&text(10), &text(13), &text(12), NONE).faults.is_empty());
    }

    #[test]
    fn only_what_differs_each_time_is_a_fault() {
        let outcome = |theirs: &str| compare(&page("a 1\nb 1\n"), &page(theirs), &page("a 1\nb 1\n"), NONE);
        let both = outcome("a 2\nb 2\n").and(outcome("a 1\nb 2\n"));
        assert_eq!(both.faults.keys().collect::<Vec<_>>(), ["b{}"]);
    }
}
