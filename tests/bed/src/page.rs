//! A strict reader of Prometheus text format 0.0.4. It shares no code with the writer it checks
//! and forgives nothing that a Prometheus might trip over: repeated series, split families,
//! a TYPE after its samples, names that are none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Label names and values, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// The name and labels of one series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Its own name, with `_bucket` and the like.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "{}{{{}}}", self.name, labels.join(","))
    }
}

/// A family as the page has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Family {
    /// The help text, unescaped.
    pub help: String,
    /// The word of the TYPE line; `untyped` without one.
    pub kind: String,
    /// The values of its series.
    pub series: BTreeMap<Series, f64>,
}

/// A whole page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// By name.
    pub families: BTreeMap<String, Family>,
}

/// Why a page is none, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the page: {}", self.line, self.what)
    }
}

impl std::error::Error for PageError {}

impl Page {
    /// Reads a page; the first fault is an error.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(PageError { line: text.lines().count(), what: "no newline at the end".to_owned() });
        }
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            reader
                .line(line)
                .map_err(|what| PageError { line: index + 1, what: format!("{what}: {line}") })?;
        }
        Ok(reader.page)
    }

    /// The value of one series, if the page has it.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let series = Series { name: name.to_owned(), labels };
        self.families.values().find_map(|family| family.series.get(&series).copied())
    }

    /// How many series it holds.
    pub fn n_series(&self) -> usize {
        self.families.values().map(|family| family.series.len()).sum()
    }
}

#[derive(Default)]
struct Reader {
    page: Page,
    current: String,
    closed: BTreeSet<String>,
    typed: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            self.open(name)?;
            self.family().help = unescape(help, false)?;
            Ok(())
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a kind")?;
            self.type_line(name, kind)
        } else if line.is_empty() || line.starts_with('#') {
            Ok(())
        } else {
            self.sample(line)
        }
    }

    fn type_line(&mut self, name: &str, kind: &str) -> Result<(), String> {
        self.open(name)?;
        if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
            return Err(format!("no such kind {kind:?}"));
        }
        if !self.family().series.is_empty() {
            return Err("TYPE after samples".to_owned());
        }
        if !self.typed.insert(name.to_owned()) {
            return Err("second TYPE".to_owned());
        }
        kind.clone_into(&mut self.family().kind);
        Ok(())
    }

    /// Turns to a family; coming back to one that another has followed is an error.
    fn open(&mut self, name: &str) -> Result<(), String> {
        if !is_name(name, true) {
            return Err(format!("{name:?} is no metric name"));
        }
        if name == self.current {
            return Ok(());
        }
        let last = std::mem::replace(&mut self.current, name.to_owned());
        self.closed.insert(last);
        if self.closed.contains(name) {
            return Err(format!("family {name} comes in two places"));
        }
        let untyped = Family { kind: "untyped".to_owned(), ..Family::default() };
        self.page.families.insert(name.to_owned(), untyped);
        Ok(())
    }

    fn family(&mut self) -> &mut Family {
        self.page.families.entry(self.current.clone()).or_default()
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, rest) = line.split_at(end);
        if !self.belongs(name) {
            self.open(name)?;
        }
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => labels(inside)?,
            None => (Labels::new(), rest),
        };
        let mut words = rest.split_ascii_whitespace();
        let value = number(words.next().ok_or("no value")?)?;
        if let Some(time) = words.next() {
            time.parse::<i64>().map_err(|_| format!("{time:?} is no time"))?;
        }
        if words.next().is_some() {
            return Err("more words than name, value and time".to_owned());
        }
        let series = Series { name: name.to_owned(), labels };
        match self.family().series.insert(series, value) {
            None => Ok(()),
            Some(_) => Err("series given twice".to_owned()),
        }
    }

    /// Does a series of this name belong to the family that is open?
    fn belongs(&self, name: &str) -> bool {
        let Some(family) = self.page.families.get(&self.current) else { return false };
        let suffixes: &[&str] = match family.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            _ => &[""],
        };
        name.strip_prefix(self.current.as_str()).is_some_and(|suffix| suffixes.contains(&suffix))
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let good = |c: char| c == '_' || c.is_ascii_alphanumeric() || (colon && c == ':');
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(good)
}

/// Reads what follows `{`, up to and with `}`; answers the labels and the rest of the line.
fn labels(mut text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text.split_once("=\"").ok_or("label without a quoted value")?;
        if !is_name(name, false) {
            return Err(format!("{name:?} is no label name"));
        }
        let end = closing_quote(rest).ok_or("label value without an end")?;
        if labels.insert(name.to_owned(), unescape(&rest[..end], true)?).is_some() {
            return Err(format!("label {name} given twice"));
        }
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\\') => plain.push('\\'),
                Some('n') => plain.push('\n'),
                Some('"') if quotes => plain.push('"'),
                other => return Err(format!("no such escape: \\{}", other.unwrap_or(' '))),
            },
            c => plain.push(c),
        }
    }
    Ok(plain)
}

fn number(word: &str) -> Result<f64, String> {
    match word {
        "NaN" => Ok(f64::NAN),
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        word if word.contains(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E') => {
            Err(format!("{word:?} is no number"))
        }
        word => word.parse().map_err(|_| format!("{word:?} is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Page::parse(text).unwrap_err().what
    }

    #[test]
    fn page_is_read() {
        let text = "# HELP a_total Some \\\\ help\n# TYPE a_total counter\na_total{x=\"1\\n\\\"\",y=\"\"} 2e3\na_total 1 123\n";
        let page = Page::parse(text).unwrap();
        assert_eq!(page.value("a_total", &[("x", "1\n\""), ("y", "")]), Some(2000.0));
        assert_eq!(page.value("a_total", &[]), Some(1.0));
        assert_eq!(page.families["a_total"].help, "Some \\ help");
        assert_eq!(page.n_series(), 2);
    }

    #[test]
    fn buckets_belong_to_their_histogram() {
        let text = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n";
        assert_eq!(Page::parse(text).unwrap().families.len(), 1);
    }

    #[test]
    fn faults_are_found() {
        assert!(fault("a 1\na 1\n").contains("twice"));
        assert!(fault("a 1\nb 1\na{x=\"1\"} 1\n").contains("two places"));
        assert!(fault("a 1\n# TYPE a gauge\n").contains("after samples"));
        assert!(fault("a{x=\"1\",x=\"2\"} 1\n").contains("twice"));
        assert!(fault("a{x=\"\\t\"} 1\n").contains("escape"));
        assert!(fault("a 0x10\n").contains("number"));
        assert!(fault("9a 1\n").contains("name"));
        assert!(fault("a 1").contains("newline"));
    }
}
