//! `fieldpost run` and its kin: output goes where it was said, exit codes are the run's.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::Stage;

#[test]
fn run_says_what_its_command_says_and_ends_as_it_does() {
    let mut stage = Stage::start();
    let folder = stage.folder();
    let dir = folder.to_str().unwrap();
    let output =
        stage.client(&["run", "--name", "hello", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"out\n");
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "err"), "{said}");
    assert!(lines[1].starts_with("run ") && lines[1].contains(" failed: exit 3 after "), "{said}");
    let codes: [(&[&str], i32); 8] = [
        (&["--", "true"], 0),
        (&["--", "sh", "-c", "kill -TERM $$"], 143),
        (&["--", "nosuchcommand"], 127),
        (&["--", "/etc"], 126),
        (&["--timeout", "300ms", "--kill-grace", "100ms", "--", "sleep", "600"], 124),
        (&["--id", "mine", "--", "true"], 0),
        (&["--id", "mine", "--", "true"], 125),
        (&["--cores", "x", "--", "true"], 125),
    ];
    for (arguments, code) in codes {
        let output = stage.client(&[&["run"], arguments].concat());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = stage.client(&[
        "run",
        "--env",
        "A=b c",
        "--dir",
        dir,
        "--tag",
        "t=1",
        "--",
        "sh",
        "-c",
        "pwd; echo $A; umask; echo $FIELDPOST_RUN",
    ]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("{dir}\nb c\n0")), "{said}");
    let id = said.lines().last().unwrap();
    let listed = stage.client(&["runs", "--tag", "t=1", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((listed["runs"][0]["id"].as_str(), listed["runs"].as_array().unwrap().len()), (Some(id), 1));
    let mut child = stage.agent.command(&["run", "--stdin", "-", "--", "tr", "a-z", "A-Z"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"some words\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"SOME WORDS\n");
    if rustix::process::geteuid().is_root() {
        let output = stage.client(&[
            "run",
            "--user",
            "daemon",
            "--",
            "sh",
            "-c",
            "id -un; grep CapEff /proc/self/status",
        ]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "daemon\nCapEff:\t0000000000000000\n");
    }
    stage.agent.stop().unwrap();
    let output = stage.client(&["run", "--", "true"]);
    assert_eq!(output.status.code(), Some(121), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn output_is_followed_across_the_death_of_the_agent() {
    let mut stage = Stage::start();
    let line = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.3; done; exit 9";
    let mut command = stage.agent.command(&["run", "--", "sh", "-c", line]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fieldpost_bed::wait_for("first words", || {
        let runs = stage.agent.api("/v1/runs").ok()?;
        let runs: Value = serde_json::from_slice(&runs.body).ok()?;
        (runs["runs"][0]["state"] == "running").then_some(())
    })
    .unwrap();
    stage.again();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\n3\n4\n5\n6\n7\n8\n");
    assert_eq!(output.status.code(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn everything_about_a_run_can_be_asked_for() {
    let stage = Stage::start();
    let levels = serde_json::json!({ "shell": "echo plain; echo 7::careful; echo '20::{\"a\": 1}'", "output": "levels" });
    let id = stage.post(levels);
    stage.ended(&id);
    let short = &id[id.len() - 8..];
    let said = |arguments: &[&str]| {
        let output = stage.client(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["run", "logs", short]), "plain\ncareful\n{\"a\": 1}\n");
    assert_eq!(said(&["run", "logs", short, "--levels", "7"]), "careful\n");
    assert_eq!(said(&["run", "logs", "-f", &id, "--text", "plain"]), "plain\n");
    assert_eq!(said(&["run", "result", short]), "{\"a\": 1}\n");
    assert!(said(&["run", "show", short]).contains("succeeded  exit 0"));
    assert!(said(&["run", "show", short]).contains("3 lines"));
    let goes_on = stage.shell("echo early; sleep 600");
    stage.running(&goes_on);
    assert!(said(&["run", "show", &goes_on]).contains("counted at its end"));
    assert!(said(&["run", "stats", short]).contains("counted by"));
    assert!(said(&["runs"]).contains(short));
    assert!(said(&["messages"]).contains(" 7  ") && said(&["messages", "--run", short]).contains("careful"));
    let quiet =
        serde_json::json!({ "shell": "echo plain; echo 7::careful", "output": "levels", "loglevels": "7-9" });
    let quiet = stage.post(quiet);
    stage.ended(&quiet);
    assert_eq!(said(&["run", "logs", &quiet]), "careful\n");
    said(&["run", "rm", short]);
    // What is gone is said to who asks about its time, and to nobody else.
    let gaps = |arguments: &[&str]| -> Vec<Value> {
        let list: Value = serde_json::from_str(&said(&[arguments, &["--json"]].concat())).unwrap();
        list["gaps"].as_array().unwrap().clone()
    };
    let gone = gaps(&["messages", "--from", "1h"]);
    assert_eq!(
        (gone.len(), &gone[0]["n_runs"], &gone[0]["reason"]),
        (1, &1.into(), &"these runs are forgotten".into())
    );
    assert_eq!((gaps(&["messages"]).len(), gaps(&["messages", "--from", "1h", "--to", "30m"]).len()), (0, 0));
    assert_eq!(stage.client(&["run", "show", short]).status.code(), Some(1));
    assert!(!stage.agent.store().join("jobs/runs").join(&id).exists());
}
