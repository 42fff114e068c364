//! Matchers of series (`name{label=~"value"}`) and the anchored patterns behind them and behind
//! the include and exclude filters of collectors.

use std::fmt;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most memory that one compiled pattern may take, bytes: bounds hostile input.
const PATTERN_SIZE_LIMIT_BYTES: usize = 1 << 20;

/// Why a selector or pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The pattern is no regular expression of the RE2 kind.
    #[error("\"{pattern}\" is no regular expression: {reason}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it, on one line.
        reason: String,
    },
    /// The selector cannot be read.
    #[error("\"{selector}\" is no selector ({reason}); write name{{label=\"value\",other=~\"a.*\"}}")]
    Selector {
        /// What was given.
        selector: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A regular expression that has to match the whole text, as in Prometheus.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles it, anchored at both ends.
    pub fn new(source: &str) -> Result<Self, MatcherError> {
        Self::build(source, &format!("^(?s:{source})$"))
    }

    /// Compiles it as it stands: node_exporter's own filters bring their anchors along.
    pub fn unanchored(source: &str) -> Result<Self, MatcherError> {
        Self::build(source, source)
    }

    fn build(source: &str, full: &str) -> Result<Self, MatcherError> {
        let compiled = regex::RegexBuilder::new(full).size_limit(PATTERN_SIZE_LIMIT_BYTES).build();
        let regex = compiled.map_err(|error| MatcherError::Pattern {
            pattern: source.to_owned(),
            reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        })?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// Does it match?
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The template with `$1` and `${name}` replaced by what the pattern captures in the text;
    /// none if it does not match.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let mut expanded = String::new();
        self.regex.captures(text)?.expand(template, &mut expanded);
        Some(expanded)
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// In the config a pattern is unanchored, as node_exporter's flags are.
impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Pattern::unanchored(&source).map_err(serde::de::Error::custom)
    }
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatcherOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

/// One condition on one label; the name of the series is the label `__name__`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How it is compared.
    pub op: MatcherOp,
    /// With what.
    pub value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A condition; compiles the pattern where the comparison needs one.
    pub fn new(label: &str, op: MatcherOp, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatcherOp::Matches | MatcherOp::MatchesNot => Some(Pattern::new(value)?),
            MatcherOp::Equal | MatcherOp::NotEqual => None,
        };
        Ok(Self { label: label.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// Does the label's value (empty where the series lacks the label) satisfy it?
    pub fn accepts(&self, value: &str) -> bool {
        let matched = self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match self.op {
            MatcherOp::Equal => value == self.value,
            MatcherOp::NotEqual => value != self.value,
            MatcherOp::Matches => matched,
            MatcherOp::MatchesNot => !matched,
        }
    }
}

/// A set of conditions, all of which must hold. No condition selects everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selector {
    /// The conditions.
    pub matchers: Vec<Matcher>,
}

impl Selector {
    /// Reads `name`, `name{a="b"}`, `{a=~"b.*",c!="d"}`; escapes in values as in PromQL strings.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        SelectorReader { text, rest: text.trim() }.read()
    }

    /// Do name and labels satisfy every condition?
    pub fn accepts<'a>(&self, name: &str, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| match matcher.label.as_str() {
            "__name__" => matcher.accepts(name),
            label => matcher.accepts(labels(label).unwrap_or_default()),
        })
    }
}

struct SelectorReader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl SelectorReader<'_> {
    fn wrong(&self, reason: impl Into<String>) -> MatcherError {
        MatcherError::Selector { selector: self.text.to_owned(), reason: reason.into() }
    }

    fn read(mut self) -> Result<Selector, MatcherError> {
        let mut matchers = Vec::new();
        let name = self.word(true);
        if !name.is_empty() {
            matchers.push(Matcher::new("__name__", MatcherOp::Equal, &name)?);
        }
        if self.take("{") {
            while !self.take("}") {
                matchers.push(self.matcher()?);
                if !self.take(",") && !self.rest.starts_with('}') {
                    return Err(self.wrong("expected , or }"));
                }
            }
        }
        match (self.rest, matchers.is_empty()) {
            ("", false) => Ok(Selector { matchers }),
            ("", true) => Err(self.wrong("it names nothing")),
            (rest, _) => Err(self.wrong(format!("unexpected {rest:?}"))),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn word(&mut self, colons: bool) -> String {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || colons && c == ':'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        word.to_owned()
    }

    fn matcher(&mut self) -> Result<Matcher, MatcherError> {
        let label = self.word(false);
        if label.is_empty() {
            return Err(self.wrong("expected a label name"));
        }
        let ops = [
            ("=~", MatcherOp::Matches),
            ("!~", MatcherOp::MatchesNot),
            ("!=", MatcherOp::NotEqual),
            ("=", MatcherOp::Equal),
        ];
        let op = ops.iter().find(|(token, _)| self.take(token));
        let (_, op) = op.ok_or_else(|| self.wrong("expected =, !=, =~ or !~"))?;
        let value = self.quoted()?;
        Matcher::new(&label, *op, &value)
    }

    fn quoted(&mut self) -> Result<String, MatcherError> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
        let quote = quote.ok_or_else(|| self.wrong("expected a quoted value"))?;
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = self.rest[at + 1..].trim_start();
                    return Ok(value);
                }
                '\\' if quote != '`' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, escaped)) => value.push(escaped),
                    None => break,
                },
                c => value.push(c),
            }
        }
        Err(self.wrong("the quoted value does not end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(selector: &str, name: &str, labels: &[(&str, &str)]) -> bool {
        let find = |label: &str| labels.iter().find(|(n, _)| *n == label).map(|(_, v)| *v);
        Selector::parse(selector).unwrap().accepts(name, find)
    }

    #[test]
    fn selectors_are_read_and_applied() {
        assert!(accepts("up", "up", &[]));
        assert!(!accepts("up", "down", &[]));
        assert!(accepts("up{a=\"1\"}", "up", &[("a", "1")]));
        assert!(accepts("{__name__=~\"u.\",a!~\"x.*\",}", "up", &[("a", "1")]));
        assert!(!accepts("{a=~\"1\"}", "up", &[("a", "12")]), "patterns are anchored");
        assert!(accepts("up{b=\"\"}", "up", &[]), "a missing label is empty");
        assert!(accepts("up{a=\"x\\\"y\"}", "up", &[("a", "x\"y")]));
    }

    #[test]
    fn wrong_selectors_are_named() {
        for text in ["", "{}", "up{", "up{a}", "up{a=1}", "up{a=\"1}", "up}", "up{a=~\"(\"}"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
