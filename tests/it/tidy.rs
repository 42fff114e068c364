//! Rules of the house that a machine can keep, so that no reviewer has to. ARCHITECTURE.md and
//! CONTRIBUTING.md say why; a failure here names the file, the line and the rule.

mod doors;
mod source;

use std::process::Command;

use fieldpost_bed::repository;

use source::{Fault, Source, rust_sources, text_files};

/// A function fits on one screen; past this it holds a second idea.
const FUNCTION_LINES_MAX: usize = 70;

/// Lists, not code: an entry for each of many equal things, and nothing to decide between them.
/// A function of a file, or no function: the file itself.
const LISTS: &[(&str, &str)] = &[("collectors/src/config.rs", "default"), ("collectors/src/list.rs", "")];

/// A file is one idea; past this it holds a second one.
const FILE_LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];

/// Rooms that stay synchronous: their callers choose the thread.
const SYNCHRONOUS: &[&str] =
    &["crates/model/", "crates/formats/", "crates/store/", "crates/promql/", "collectors/"];

/// What reads the environment. Only `src/cli` may, so that every other part gets arguments.
const ENVIRONMENT: &[&str] = &["env::var", "env::args", "env::home_dir", "env::temp_dir", "env::set_"];

/// Panics with every fault on a line of its own.
fn assert_none(rule: &str, faults: &[Fault]) {
    let list: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    assert!(faults.is_empty(), "{rule}: {} found{list}\n", faults.len());
}

#[test]
fn doors_between_crates_are_one_way() {
    assert_none("A crate depends on one that its doors do not allow", &doors::crates());
}

#[test]
fn doors_between_rooms_are_one_way() {
    let faults: Vec<Fault> = rust_sources().iter().flat_map(doors::rooms).collect();
    assert_none("A room of src/ uses one that its doors do not allow", &faults);
}

#[test]
fn external_packages_are_named_only_in_their_homes() {
    let faults: Vec<Fault> = rust_sources().iter().flat_map(doors::homes).collect();
    assert_none("A package is named outside its home", &faults);
}

#[test]
fn external_packages_are_a_closed_list() {
    assert_none(
        "A dependency has neither a home nor a place among the vocabulary",
        &doors::unknown_packages(),
    );
}

#[test]
fn files_begin_with_what_they_are_for() {
    let faults: Vec<Fault> = rust_sources().iter().flat_map(header).collect();
    assert_none("A file does not begin with //! and a sentence", &faults);
}

#[test]
fn files_and_functions_are_short() {
    let mut faults: Vec<Fault> = rust_sources().iter().flat_map(long_functions).collect();
    faults.extend(rust_sources().iter().flat_map(long_file));
    assert_none("Too long for one idea", &faults);
}

#[test]
fn modules_have_names_that_say_something() {
    let faults: Vec<Fault> = rust_sources().iter().flat_map(empty_name).collect();
    assert_none("A module is named after nothing", &faults);
}

#[test]
fn nothing_is_left_for_later() {
    let faults: Vec<Fault> = text_files().iter().flat_map(left_for_later).collect();
    assert_none("A note to somebody else", &faults);
}

#[test]
fn synchronous_rooms_stay_synchronous() {
    let faults: Vec<Fault> = rust_sources().iter().flat_map(asynchronous).collect();
    assert_none("async in a room that stays synchronous", &faults);
}

#[test]
fn only_cli_reads_the_environment() {
    let faults: Vec<Fault> = rust_sources().iter().flat_map(environment).collect();
    assert_none("The environment is read outside src/cli", &faults);
}

#[test]
fn every_config_file_loads() {
    let mut n_files = 0;
    for entry in std::fs::read_dir(repository().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let whose = path.file_stem().unwrap();
            let mut command = Command::new(crate::fieldpost());
            let output = command.arg("check").arg(whose).arg("--config").arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} does not load: {}\n{said}", path.display(), output.status);
            n_files += 1;
        }
    }
    assert!(n_files > 0, "config/ holds no YAML file");
}

fn header(source: &Source) -> Option<Fault> {
    let first = source.text.lines().next().unwrap_or_default();
    let sentence = first.strip_prefix("//! ").unwrap_or_default();
    (sentence.len() < 10).then(|| source.fault(1, "line 1 is not //! with what the file is for"))
}

fn long_file(source: &Source) -> Option<Fault> {
    let n_lines = source.text.lines().count();
    let what = format!("{n_lines} lines; at most {FILE_LINES_MAX}");
    let is_list = LISTS.contains(&(source.path.as_str(), ""));
    (n_lines > FILE_LINES_MAX && !is_list).then(|| source.fault(n_lines, &what))
}

/// Relies on rustfmt: a function ends at the first `}` that stands as far in as its `fn` line, and a
/// declaration in a trait at the first `)` that stands there and ends in a semicolon.
fn long_functions(source: &Source) -> Vec<Fault> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut faults = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let ends = |other: &&str| {
            let at_margin =
                other.get(indent..).filter(|_| other[..indent].trim().is_empty()).unwrap_or_default();
            at_margin.trim_end() == "}" || (at_margin.starts_with(')') && at_margin.ends_with(';'))
        };
        let Some(length) = lines[start..].iter().position(ends) else { continue };
        let n_lines = length + 1;
        if LISTS.contains(&(source.path.as_str(), name)) {
            continue;
        }
        if n_lines > FUNCTION_LINES_MAX && line.trim_end().ends_with(['{', '(']) {
            faults.push(
                source.fault(start + 1, &format!("fn {name}: {n_lines} lines; at most {FUNCTION_LINES_MAX}")),
            );
        }
    }
    faults
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    let modifier = |word: &str| {
        matches!(word, "async" | "const" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub")
    };
    let first = words.by_ref().find(|word| !modifier(word))?;
    if first != "fn" {
        return None;
    }
    words.next()?.split(['(', '<']).next()
}

fn empty_name(source: &Source) -> Option<Fault> {
    let mut parts = source.path.trim_end_matches(".rs").split('/');
    let part = parts.find(|part| EMPTY_NAMES.contains(part))?;
    Some(source.fault(1, &format!("{part:?} says nothing about what is inside; name the idea")))
}

fn left_for_later(source: &Source) -> Vec<Fault> {
    // Put together here, so that this file does not hold the words.
    let words = ["TO", "FIX", "XX"].into_iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let words: Vec<String> = words.collect();
    let mut faults = Vec::new();
    for (number, line) in source.numbered() {
        if let Some(word) = words.iter().find(|word| has_word(line, word)) {
            faults.push(source.fault(number, &format!("{word}: do it, or leave it out")));
        }
        if names_an_issue(line) {
            faults.push(source.fault(number, "an issue number; say the reason itself"));
        }
    }
    faults
}

/// Does the line hold this word, not as a part of a longer one?
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|other| other == word)
}

/// The word for an issue with a number behind it, or a number behind a hash: they mean nothing to
/// who reads the code.
fn names_an_issue(line: &str) -> bool {
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "()[],.;:".contains(c)).collect();
    let number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let after_word = words.windows(2).any(|pair| {
        matches!(pair[0].to_ascii_lowercase().as_str(), "issue" | "pr" | "ticket")
            && number(pair[1].trim_start_matches('#'))
    });
    after_word || words.iter().any(|word| word.strip_prefix('#').is_some_and(number))
}

fn asynchronous(source: &Source) -> Vec<Fault> {
    if !SYNCHRONOUS.iter().any(|room| source.path.starts_with(room)) {
        return Vec::new();
    }
    let is_async =
        |line: &str| line.contains("async fn") || line.contains("async move") || line.contains(".await");
    let found = source.code().filter(|(_, line)| is_async(line) || line.contains("tokio::"));
    found.map(|(number, _)| source.fault(number, "let the caller choose the thread")).collect()
}

fn environment(source: &Source) -> Vec<Fault> {
    let trial = ["/tests/", "/examples/", "/benches/"].iter().any(|folder| source.path.contains(folder));
    let product =
        !trial && ["src/", "crates/", "collectors/"].iter().any(|room| source.path.starts_with(room));
    if !product || source.path.starts_with("src/cli") || source.path == "src/main.rs" {
        return Vec::new();
    }
    let found = source.code().filter(|(_, line)| ENVIRONMENT.iter().any(|word| line.contains(word)));
    found
        .map(|(number, _)| source.fault(number, "take it as an argument; src/cli reads the environment"))
        .collect()
}

/// Each rule must find the fault it is for: a rule that finds nothing keeps nothing.
#[cfg(test)]
mod controls {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn missing_header_is_found() {
        assert!(header(&source("src/a.rs", "use std::fs;\n")).is_some());
        assert!(header(&source("src/a.rs", "//! What it is for.\n")).is_none());
    }

    #[test]
    fn long_function_is_found_and_named() {
        let body = "        work();\n".repeat(FUNCTION_LINES_MAX);
        let text = format!(
            "impl A {{\n    pub(crate) async fn long(&self) {{\n{body}    }}\n\n    fn short() {{}}\n}}\n"
        );
        let faults = long_functions(&source("src/a.rs", &text));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].to_string().contains("src/a.rs:2: fn long: 72 lines"), "{}", faults[0]);
    }

    #[test]
    fn declaration_is_no_long_function() {
        let rest = "    fn b();\n\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("trait A {{\n    fn a(\n        one: u8,\n    ) -> u8;\n\n{rest}}}\n");
        assert_eq!(long_functions(&source("src/a.rs", &text)).len(), 0);
    }

    #[test]
    fn empty_names_are_found() {
        assert!(empty_name(&source("src/agent/utils.rs", "")).is_some());
        assert!(empty_name(&source("src/helpers/disk.rs", "")).is_some());
        assert!(empty_name(&source("src/agent/sampler.rs", "")).is_none());
    }

    #[test]
    fn issue_numbers_are_found() {
        assert!(names_an_issue(&format!("// As issue {} says.", 12)));
        assert!(names_an_issue(&format!("// Broken before (#{}).", 1234)));
        assert!(!names_an_issue("let text = r#\"12\"#;"));
        assert!(!names_an_issue("// The first issue of three."));
    }

    #[test]
    fn async_is_found_in_synchronous_rooms_only() {
        assert_eq!(asynchronous(&source("crates/store/src/a.rs", "pub async fn a() {}\n")).len(), 1);
        assert_eq!(asynchronous(&source("crates/store/src/a.rs", "// No async fn here.\n")).len(), 0);
        assert_eq!(asynchronous(&source("src/agent/a.rs", "pub async fn a() {}\n")).len(), 0);
    }

    #[test]
    fn environment_is_found_outside_cli() {
        assert_eq!(environment(&source("src/agent/a.rs", "let a = std::env::var(\"A\");\n")).len(), 1);
        assert_eq!(environment(&source("src/cli/a.rs", "let a = std::env::var(\"A\");\n")).len(), 0);
    }
}
