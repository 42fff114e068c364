//! The config from outside: bad files get their message, good ones are shown with the origin of each value.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fieldpost::config::{Config, Files, KeyPath, Request, yaml};

use crate::{fieldpost, repository_file};

/// Set this variable to have the expected texts written anew.
const REWRITE: &str = "FIELDPOST_REWRITE";

/// `fieldpost check` in this folder, with nothing of the environment but what is given.
fn check(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(fieldpost());
    command.arg("check").args(arguments).current_dir(dir).env_clear().envs(variables.iter().copied());
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folders(path: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository_file(path)).unwrap();
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// A copy that nobody else may write, whatever the umask of whoever checked the repository out.
fn private_copy(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let copied =
        Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(from).arg(dir.path().join("cfg")).status();
    assert!(copied.unwrap().success());
    assert!(Command::new("chmod").args(["-R", "go-w"]).arg(dir.path()).status().unwrap().success());
    dir
}

#[test]
fn each_case_gets_its_message() {
    let mut wrong = Vec::new();
    for case in folders("tests/it/cases/config") {
        let dir = private_copy(&case);
        let output = check(dir.path(), &["--config-dir", "cfg"], &[]);
        let found = format!("{}rc={}\n", stderr(&output), output.status.code().unwrap());
        let expected = case.join("expected");
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(&expected, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}:\n{found}instead of:\n{expected}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{} (to accept it set {REWRITE}=1)", wrong.join("\n"));
}

#[test]
fn later_sources_win_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "cfg/agent.yaml",
        "store: {path: /a, window: 20s}\nmetrics:\n  listen: 127.0.0.1:1\ninterval: 2s\n",
    );
    write("cfg/conf.d/10-site.yaml", "metrics:\n  listen: 0.0.0.0:9100\nstore:\n  quota: 2G\n");
    let variables = [("FIELDPOST__STORE__QUOTA", "3G"), ("FIELDPOST__STORE__PATH", "/b")];
    let output = check(dir.path(), &["--config-dir", "cfg", "--set", "store.path=/c"], &variables);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = stdout(&output).lines().map(words).collect();
    assert_eq!(
        lines[..5],
        [
            "interval 2s cfg/agent.yaml:4",
            "metrics.listen 0.0.0.0:9100 cfg/conf.d/10-site.yaml:2",
            "store.path /c --set",
            "store.quota 3G environment FIELDPOST__STORE__QUOTA",
            "store.window 20s cfg/agent.yaml:1",
        ]
    );
    assert!(lines.contains(&"history.interval 5s default".to_owned()));
    assert!(lines.contains(&"api.socket /c/fieldpost.sock default".to_owned()));
}

#[test]
fn errors_of_environment_and_flags_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let output = check(dir.path(), &["--set", "store.windw=5s"], &[("FIELDPOST__INTERVAL", "fast")]);
    assert_eq!(
        stderr(&output),
        "environment FIELDPOST__INTERVAL: interval: \"fast\" is no duration; write 500ms, 5s, 2m, 1h30m\n\
         --set: store.windw: no such key; did you mean window?\n\
         2 errors in 2 places; nothing was started or changed\n"
    );
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn folder_and_file_that_were_named_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, text) in [
        (["--config-dir", "none"], "none: no such folder; name one that holds agent.yaml\n"),
        (["--config", "none.yaml"], "none.yaml: cannot be read: No such file or directory\n"),
    ] {
        let output = check(dir.path(), &arguments, &[]);
        assert_eq!(stderr(&output), format!("{text}1 error in 1 file; nothing was started or changed\n"));
        assert_eq!(output.status.code(), Some(78));
    }
}

#[test]
fn effective_config_is_also_json() {
    let dir = tempfile::tempdir().unwrap();
    let output = check(dir.path(), &["--json", "--set", "interval=3s"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["values"][0]["key"], "interval");
    assert_eq!(json["values"][0]["value"], "3s");
    assert_eq!(json["values"][0]["origin"], "--set");
}

/// Takes the # from keys that are commented out; prose has a space behind it.
fn uncommented(text: &str) -> String {
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    let line = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if is_key(rest) => format!("{}{rest}\n", &line[..line.len() - line.trim_start().len()]),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn rows(file: &Path) -> Vec<(String, yaml::Value)> {
    let files = Files { named_file: Some(file.to_owned()), ..Files::default() };
    let loaded = Request { files, ..Request::default() }.load().unwrap();
    let mut rows: Vec<_> = loaded.rows().into_iter().map(|row| (row.key, row.value)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

#[test]
fn agent_yaml_names_every_key_with_its_default() {
    let text = std::fs::read_to_string(repository_file("config/agent.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (whole, empty) = (dir.path().join("whole.yaml"), dir.path().join("empty.yaml"));
    std::fs::write(&whole, uncommented(&text)).unwrap();
    std::fs::write(&empty, "").unwrap();
    let of_program = rows(&empty);
    let is_other = |row: &&(String, yaml::Value)| !of_program.contains(row);
    let others: Vec<_> = rows(&whole)
        .iter()
        .filter(is_other)
        .map(|(key, value)| format!("{key}: {}", yaml::show(value)))
        .collect();
    assert!(
        others.is_empty(),
        "these defaults in config/agent.yaml are not the program's: {}",
        others.join(", ")
    );
    let tree = yaml::value_from(&Config::default());
    let document = yaml::Document::read(&uncommented(&text));
    let is_missing = |key: &KeyPath| yaml::find(&document.root, key).is_none();
    let keys = yaml::leaves(&tree).into_iter().map(|(key, _)| key);
    let missing: Vec<String> = keys.filter(is_missing).map(|key| key.to_string()).collect();
    assert!(missing.is_empty(), "config/agent.yaml does not tell of {}", missing.join(", "));
}

#[test]
fn every_example_loads() {
    for file in folders("config/examples") {
        rows(&file);
    }
}
