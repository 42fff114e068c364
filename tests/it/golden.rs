//! The program from outside against stored text: help, messages, a whole page. What changes from
//! run to run is blanked. `FIELDPOST_BLESS=1` writes the stored text anew; its diff is reviewed
//! like code.

use std::path::Path;
use std::process::{Command, Output};

use crate::node_exporter::tree;

/// Every command, for its `--help`; the first is the program's own.
const COMMANDS: &[&str] = &[
    "",
    "agent",
    "agent set-status",
    "check",
    "completions",
    "culprit",
    "events",
    "export",
    "hub",
    "hub agents",
    "hub api-token",
    "hub audit",
    "hub backup",
    "hub poll",
    "hub restore",
    "hub token",
    "hub token create",
    "hub user",
    "import",
    "import crontab",
    "info",
    "job",
    "job trigger",
    "jobs",
    "join",
    "leave",
    "invite",
    "killall",
    "man",
    "messages",
    "processes",
    "query",
    "run",
    "run kill",
    "run logs",
    "run result",
    "run rm",
    "run show",
    "run stats",
    "runs",
    "sample",
    "series",
    "top",
    "up",
];

/// Runs the program with nothing of this machine's environment that it would heed.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::fieldpost());
    command.args(arguments).env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
    command.current_dir(crate::repository_file("tests/it")).output().unwrap()
}

/// Exit code and both streams, told apart.
fn transcript(arguments: &[&str]) -> String {
    let output = run(arguments);
    let code = output.status.code().unwrap_or(-1);
    let stream = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    format!(
        "$ fieldpost {}\n{}--- stderr\n{}--- exit {code}\n",
        arguments.join(" "),
        stream(output.stdout),
        stream(output.stderr)
    )
}

/// Compares with the stored text of this name, or writes it.
pub fn assert_golden(name: &str, text: &str) {
    let path = crate::repository_file("tests/it/golden").join(name);
    if std::env::var_os("FIELDPOST_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    if stored != text {
        panic!(
            "{} differs from what the program says; FIELDPOST_BLESS=1 writes it anew\n{}",
            path.display(),
            differing_lines(&stored, text)
        );
    }
}

/// The lines that only one side has: enough to see what happened.
fn differing_lines(stored: &str, said: &str) -> String {
    let only = |sign: char, a: &str, b: &str| -> Vec<String> {
        let known: std::collections::HashSet<&str> = b.lines().collect();
        a.lines().filter(|line| !known.contains(line)).take(40).map(|line| format!("{sign} {line}")).collect()
    };
    [only('-', stored, said), only('+', said, stored)].concat().join("\n")
}

#[test]
fn help_of_every_command() {
    for command in COMMANDS {
        let arguments: Vec<&str> =
            command.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect();
        let name = if command.is_empty() { "fieldpost" } else { command };
        assert_golden(&format!("help/{name}.txt"), &transcript(&arguments));
    }
}

#[test]
fn every_command_has_its_help_stored() {
    let help = transcript(&["--help"]);
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let named: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(named.iter().filter(|name| !COMMANDS.contains(name)).count(), 0, "not in COMMANDS: {named:?}");
}

#[test]
fn what_the_program_says_to_mistakes() {
    let mistakes: &[&[&str]] = &[
        &[],
        &["agnet"],
        &["agent", "--sart"],
        &["agent", "--stop", "--start"],
        &["agent", "--status", "--force"],
        &["hub", "--stop", "--start"],
        &["hub", "--status", "--force"],
        &["hub", "--start", "--set", "interval=5s"],
        &["check", "hbu"],
        &["sample", "nosuch"],
        &["sample", "--set", "interval"],
        &["sample", "--set", "collectors.filesytem.enabled=true"],
        &["check", "--config", "nosuch.yaml"],
        &["export", "--from", "yesterdayish"],
        &["export", "--match", "a{b=", "--set", "store.path=nosuch"],
        &["series", "--set", "store.path=nosuch"],
        &["query"],
        &["query", "up", "--hub", "http://hub.example:7700"],
        &["query", "up", "--at", "5m", "--from", "1h"],
    ];
    let said: String = mistakes.iter().map(|arguments| transcript(arguments) + "\n").collect();
    let here = crate::repository_file("tests/it").display().to_string();
    assert_golden("mistakes.txt", &said.replace(&here, "HERE"));
}

#[test]
fn page_of_a_fixed_host() {
    let host = crate::repository_file("tests/it/fixtures/host");
    let mut arguments = vec!["sample".to_owned(), "--set".to_owned(), "collectors.all=true".to_owned()];
    arguments.extend(tree::our_settings(&host).into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_golden("host.prom", &blanked(&String::from_utf8(output.stdout).unwrap(), &host));
}

/// What depends on the moment and on where the tree lies.
fn blanked(page: &str, host: &Path) -> String {
    let moment = ["node_scrape_collector_duration_seconds{", "node_textfile_mtime_seconds{"];
    let page = page.replace(&host.display().to_string(), "HOST");
    let lines = page.lines().map(|line| match line.rsplit_once(' ') {
        Some((series, _)) if moment.iter().any(|name| line.starts_with(name)) => {
            format!("{series} <moment>\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}
