//! What is wrong with a config, in words that say what to write instead.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::key::{KeyPath, Step};
use super::root::Names;
use super::yaml::{self, Misfit, Place, Value};

/// Edits between a misspelt word and the one that was meant, at most, for words of six letters
/// and more; shorter words are allowed one.
const EDITS_MAX: usize = 2;
/// Words that are listed when none resembles what was written.
const N_LISTED_MAX: usize = 12;

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file, as it was named.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nobody: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Who gave it.
    pub source: Source,
    /// Where in the file.
    pub place: Option<Place>,
    /// Which key; the top if it is about the file as a whole.
    pub key: KeyPath,
    /// What is wrong, and what was expected.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.key.is_top() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Everything that is wrong with a config, in the order of its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `4 errors in 2 files`.
    pub fn summary(&self) -> String {
        let sources: BTreeSet<&Source> = self.0.iter().map(|problem| &problem.source).collect();
        let only_files = sources.iter().all(|source| matches!(source, Source::File(_)));
        let noun = if only_files { "file" } else { "place" };
        format!("{} in {}", counted(self.0.len(), "error"), counted(sources.len(), noun))
    }
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))?;
        f.write_str(&self.summary())
    }
}

impl std::error::Error for Problems {}

/// What serde said, turned into what a person wants to know. The key is the one to be removed so
/// that the rest can be looked at; `at_key` tells whether the key itself is wrong, or its value.
pub struct Explained {
    /// Which key.
    pub key: KeyPath,
    /// Is it the key that is wrong, and not its value?
    pub at_key: bool,
    /// What is wrong.
    pub text: String,
}

/// Explains what serde found wrong with `tree`, the config of the face of these names. `known` is a
/// tree that has every key.
pub fn explain(misfit: &Misfit, tree: &Value, known: &Value, names: &Names) -> Explained {
    if let Some(rest) = misfit.text.strip_prefix("unknown field `") {
        return unknown_key(misfit, rest, known);
    }
    let shown = yaml::find(tree, &misfit.key).map_or_else(String::new, quoted);
    let text = if let Some(rest) = misfit.text.strip_prefix("unknown variant `") {
        unknown_word(rest)
    } else if let Some((_, expected)) = misfit.text.split_once(", expected ") {
        format!("{shown} given; expected {}", plain_words(expected, names))
    } else if misfit.text.contains("socket address") {
        no_address(&shown, names)
    } else {
        misfit.text.clone()
    };
    Explained { key: misfit.key.clone(), at_key: false, text }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{text}\""),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section".to_owned(),
        other => yaml::show(other),
    }
}

fn no_address(shown: &str, &Names { port, open_port, .. }: &Names) -> String {
    let bare = shown.trim_matches('"');
    match bare.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => format!("{shown} has no port; write {bare}:{open_port}"),
        Ok(std::net::IpAddr::V6(_)) => format!("{shown} has no port; write [{bare}]:{open_port}"),
        Err(_) => format!("{shown} is no address with a port; write 127.0.0.1:{port} or [::1]:{port}"),
    }
}

/// The words of serde for types are those of Rust.
fn plain_words(expected: &str, names: &Names) -> String {
    match expected.trim_end_matches(')') {
        "a string" | "a borrowed string" | "str" => "text".to_owned(),
        "a boolean" | "a bool" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a section, its keys below it and indented".to_owned(),
        "path string" => "a path".to_owned(),
        "socket address" => format!("an address with a port, such as 127.0.0.1:{}", names.port),
        other if other.starts_with("struct ") => "a section, its keys below it and indented".to_owned(),
        other => other.to_owned(),
    }
}

/// `rest` is what follows "unknown field `".
fn unknown_key(misfit: &Misfit, rest: &str, known: &Value) -> Explained {
    let (name, expected) = rest.split_once('`').unwrap_or((rest, ""));
    let key = match misfit.key.0.last() {
        Some(Step::Name(last)) if last == name => misfit.key.clone(),
        _ => misfit.key.name(name),
    };
    let siblings = words_in_backticks(expected);
    let text = match closest(name, &siblings).or_else(|| elsewhere(name, known)) {
        Some(meant) => format!("no such key; did you mean {meant}?"),
        None => format!("no such key; here may stand: {}", listed(&siblings)),
    };
    Explained { key, at_key: true, text }
}

/// `rest` is what follows "unknown variant `".
fn unknown_word(rest: &str) -> String {
    let (word, expected) = rest.split_once('`').unwrap_or((rest, ""));
    let words = words_in_backticks(expected);
    match closest(word, &words) {
        Some(meant) => format!("\"{word}\" is not known here; did you mean {meant}?"),
        None => format!("\"{word}\" is not known here; write one of: {}", listed(&words)),
    }
}

fn listed(words: &[String]) -> String {
    match words.len() {
        0 => "nothing".to_owned(),
        n if n > N_LISTED_MAX => format!("{}, ...", words[..N_LISTED_MAX].join(", ")),
        _ => words.join(", "),
    }
}

fn words_in_backticks(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A key of this name in another section.
fn elsewhere(name: &str, known: &Value) -> Option<String> {
    let is_it = |key: &KeyPath| matches!(key.0.last(), Some(Step::Name(last)) if last == name);
    let mut found = yaml::leaves(known).into_iter().map(|(key, _)| key).filter(is_it);
    let first = found.next()?;
    found.next().is_none().then(|| first.to_string())
}

/// The word that was probably meant.
fn closest(word: &str, words: &[String]) -> Option<String> {
    let allowed = if word.chars().count() < 6 { 1 } else { EDITS_MAX };
    let near = words.iter().map(|candidate| (edits(word, candidate), candidate));
    let best = near.filter(|(edits, _)| *edits <= allowed).min_by_key(|(edits, _)| *edits);
    best.map(|(_, candidate)| candidate.clone())
}

/// How many letters must be changed, added, dropped or swapped with the next one (the optimal
/// string alignment distance).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_find_the_one_that_was_meant() {
        let words = ["filesystem", "filefd", "interval", "path"].map(str::to_owned);
        assert_eq!(closest("filesytem", &words).as_deref(), Some("filesystem"));
        assert_eq!(closest("intreval", &words).as_deref(), Some("interval"));
        assert_eq!(closest("pahT", &words), None);
        assert_eq!(closest("paht", &words).as_deref(), Some("path"));
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in [("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)] {
            assert_eq!(edits(a, b), n, "{a} {b}");
        }
    }

    #[test]
    fn problems_are_counted_by_source() {
        let problem = |source| Problem { source, place: None, key: KeyPath::top(), text: "x".to_owned() };
        let file = || problem(Source::File("a".into()));
        assert_eq!(Problems(vec![file(), file()]).summary(), "2 errors in 1 file");
        assert_eq!(Problems(vec![file(), problem(Source::Flag("--set"))]).summary(), "2 errors in 2 places");
    }
}
