//! The configs from outside: bad files get their message, good ones are shown with the origin of each value.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fieldpost::config::{Config, Files, KeyPath, Request, Root, yaml};
use fieldpost::hub;

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
    assert_messages("tests/it/cases/config", &["--config-dir", "cfg"]);
}

#[test]
fn each_case_of_a_hub_gets_its_message() {
    assert_messages("tests/it/cases/config_hub", &["hub", "--config-dir", "cfg"]);
}

fn assert_messages(cases: &str, arguments: &[&str]) {
    let mut wrong = Vec::new();
    for case in folders(cases) {
        let dir = private_copy(&case);
        let output = check(dir.path(), arguments, &[]);
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

/// A config folder of both faces, and what is checked in it.
fn folder_of_both(agent: &str, hub: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cfg")).unwrap();
    std::fs::write(dir.path().join("cfg/agent.yaml"), agent).unwrap();
    std::fs::write(dir.path().join("cfg/hub.yaml"), hub).unwrap();
    dir
}

#[test]
fn both_configs_are_shown_under_their_names_where_there_are_both() {
    let dir = folder_of_both("interval: 2s\n", "listen: 127.0.0.1:7000\n");
    let shown = stdout(&check(dir.path(), &["--config-dir", "cfg"], &[]));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let (agent, hub) = shown.split_once("\nhub:\n").unwrap();
    assert_eq!(
        agent.lines().take(2).map(words).collect::<Vec<_>>(),
        ["agent:", "interval 2s cfg/agent.yaml:1"]
    );
    assert_eq!(hub.lines().next().map(words).unwrap(), "listen 127.0.0.1:7000 cfg/hub.yaml:1");
    assert!(hub.lines().map(words).any(|line| line == "public_url http://127.0.0.1:7000 default"), "{hub}");
    for (whose, absent) in [("agent", "listen  "), ("hub", "interval  ")] {
        let one = stdout(&check(dir.path(), &[whose, "--config-dir", "cfg"], &[]));
        assert!(!one.contains(&format!("{whose}:\n")) && !one.starts_with(absent), "{one}");
    }
    let json = check(dir.path(), &["--config-dir", "cfg", "--json"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["values"][0]["key"], &json["hub"]["values"][0]["key"]),
        (&"interval".into(), &"listen".into())
    );
}

#[test]
fn errors_of_both_configs_are_told_at_once() {
    let dir = folder_of_both("interval: fast\n", "lsiten: 127.0.0.1:7000\nlisten: 7000\n");
    let output = check(dir.path(), &["--config-dir", "cfg", "--set", "stoer.path=/x"], &[]);
    assert_eq!(
        stderr(&output),
        "cfg/agent.yaml:1:11: interval: \"fast\" is no duration; write 500ms, 5s, 2m, 1h30m\n\
         --set: stoer: no such key; did you mean store?\n\
         cfg/hub.yaml:1:1: lsiten: no such key; did you mean listen?\n\
         cfg/hub.yaml:2:9: listen: 7000 given; expected an address with a port, such as 127.0.0.1:7700\n\
         4 errors in 3 places; nothing was started or changed\n"
    );
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn what_is_meant_for_the_other_face_is_left_out() {
    let dir = folder_of_both("", "");
    let variables = [("FIELDPOST__INTERVAL", "3s"), ("FIELDPOST__LIMITS__ITEM_BYTES", "1MiB")];
    let arguments = ["--config-dir", "cfg", "--set", "agents.late_after=1m", "--set", "history.interval=7s"];
    let output = check(dir.path(), &arguments, &variables);
    let shown = stdout(&output);
    let (agent, hub) = shown.split_once("\nhub:\n").unwrap();
    for (table, key, origin) in [
        (agent, "interval", "environment FIELDPOST__INTERVAL"),
        (agent, "history.interval", "--set"),
        (hub, "limits.item_bytes", "environment FIELDPOST__LIMITS__ITEM_BYTES"),
        (hub, "agents.late_after", "--set"),
    ] {
        let row = table.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
        assert!(row.ends_with(origin), "{row}");
    }
    // A command line that is for one face alone is checked as a whole.
    let output = check(dir.path(), &["hub", "--set", "history.interval=7s"], &[]);
    assert!(stderr(&output).starts_with("--set: history: no such key"), "{}", stderr(&output));
}

#[test]
fn one_folder_for_both_faces_is_refused() {
    let dir = folder_of_both("store: {path: /a}\n", "store:\n  path: /a\n");
    let output = check(dir.path(), &["--config-dir", "cfg"], &[]);
    assert_eq!(
        stderr(&output),
        "cfg/hub.yaml:2:9: store.path: is the folder of the agent and of the hub; each needs one of its own\n\
         1 error in 1 file; nothing was started or changed\n"
    );
    assert_eq!(output.status.code(), Some(78));
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

fn rows<R: Root>(file: &Path) -> Vec<(String, yaml::Value)> {
    let files = Files { named_file: Some(file.to_owned()), ..Files::default() };
    let loaded = Request { files, ..Request::default() }.load::<R>().unwrap();
    let mut rows: Vec<_> = loaded.rows().into_iter().map(|row| (row.key, row.value)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

#[test]
fn agent_yaml_names_every_key_with_its_default() {
    assert_names_every_key::<Config>("config/agent.yaml");
}

#[test]
fn hub_yaml_names_every_key_with_its_default() {
    assert_names_every_key::<hub::Config>("config/hub.yaml");
}

fn assert_names_every_key<R: Root>(file: &str) {
    let text = std::fs::read_to_string(repository_file(file)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (whole, empty) = (dir.path().join("whole.yaml"), dir.path().join("empty.yaml"));
    std::fs::write(&whole, uncommented(&text)).unwrap();
    std::fs::write(&empty, "").unwrap();
    let of_program = rows::<R>(&empty);
    let is_other = |row: &&(String, yaml::Value)| !of_program.contains(row);
    let others: Vec<_> = rows::<R>(&whole)
        .iter()
        .filter(is_other)
        .map(|(key, value)| format!("{key}: {}", yaml::show(value)))
        .collect();
    assert!(others.is_empty(), "these defaults in {file} are not the program's: {}", others.join(", "));
    let tree = yaml::value_from(&R::default());
    let document = yaml::Document::read(&uncommented(&text));
    let is_missing = |key: &KeyPath| yaml::find(&document.root, key).is_none();
    let keys = yaml::leaves(&tree).into_iter().map(|(key, _)| key);
    let missing: Vec<String> = keys.filter(is_missing).map(|key| key.to_string()).collect();
    assert!(missing.is_empty(), "{file} does not tell of {}", missing.join(", "));
}

#[test]
fn every_example_loads() {
    for file in folders("config/examples") {
        rows::<Config>(&file);
    }
}
