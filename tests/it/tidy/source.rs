//! The files that tidy looks at, and what it says about them.

use std::fmt;
use std::path::Path;

use fieldpost_bed::repository;

/// Folders that hold no text of ours.
const SKIPPED: &[&str] =
    &["target", ".git", "data", "node_modules", "dist", "fixtures", "corpus", "artifacts"];

/// Endings of files that people read.
const TEXT: &[&str] = &["rs", "md", "toml", "yaml", "sh", "sql", "service", "conf"];

/// One file.
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// Whole.
    pub text: String,
}

/// What is wrong, and where.
pub struct Fault {
    place: String,
    what: String,
}

impl Fault {
    /// A fault of a place that is no line of a source file.
    pub fn at(place: &str, what: &str) -> Self {
        Self { place: place.to_owned(), what: what.to_owned() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Source {
    /// A fault in one line, counted from 1.
    pub fn fault(&self, line: usize, what: &str) -> Fault {
        Fault { place: format!("{}:{line}", self.path), what: what.to_owned() }
    }

    /// Lines with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines of code, without comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code =
            self.numbered().map(|(number, line)| (number, line.split("//").next().unwrap_or_default()));
        code.filter(|(_, line)| !line.trim().is_empty())
    }
}

/// Every Rust file of the repository.
pub fn rust_sources() -> Vec<Source> {
    let mut sources = text_files();
    sources.retain(|source| source.path.ends_with(".rs"));
    assert!(sources.len() > 20, "only {} sources found: is this the repository?", sources.len());
    sources
}

/// Every file that people read.
pub fn text_files() -> Vec<Source> {
    let mut sources = Vec::new();
    walk(&repository(), &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn walk(folder: &Path, sources: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(&path, sources);
            }
        } else if path.extension().is_some_and(|ending| TEXT.contains(&ending.to_string_lossy().as_ref())) {
            let relative = path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned();
            sources.push(Source { path: relative, text: lossy(&path) });
        }
    }
}

/// The text of a file; some of those that tests read are no UTF-8, on purpose.
fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}
