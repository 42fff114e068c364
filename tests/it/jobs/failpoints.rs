//! The agent or the shim ends at each step of a start and of an end: the command begins at most once,
//! and what became of the run is told.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Mutex;

use fieldpost::jobs::FAILPOINTS;
use fieldpost_bed::{soaked, unix_send, wait_for};
use serde_json::{Value, json};

use super::{Stage, n_lines};

/// Runs that are asked for at once.
const N_RUNS: usize = 3;
/// Agents at a time.
const N_THREADS: usize = 4;

/// What has to be true of a run that came by this place: how often its command began, and the states
/// in which it may have ended.
fn expected(point: &str) -> (std::ops::RangeInclusive<usize>, &'static [&'static str]) {
    match point {
        "shim_before_cgroups" | "shim_before_fork" | "shim_before_started" => (0..=0, &["failed"]),
        "shim_after_started" => (0..=0, &["lost"]),
        // Its shim is gone before the command has come far.
        "shim_after_barrier" => (0..=1, &["lost"]),
        "shim_before_ended" => (1..=1, &["lost"]),
        _ => (1..=1, &["succeeded"]),
    }
}

fn passes(point: &str) {
    let environment = [("FIELDPOST_FAILPOINT", OsStr::new(point))];
    let mut stage = Stage::with_jobs("jobs: []\n", &environment);
    let folder = stage.folder();
    let accepted = Mutex::new(BTreeSet::new());
    let ids: Vec<String> = (0..N_RUNS).map(|number| format!("r{number}")).collect();
    std::thread::scope(|scope| stage.ask_for_all(&ids, &accepted, scope));
    let accepted = accepted.into_inner().unwrap();
    if point.starts_with("shim_") {
        // The agent lives and tells it; the next one has to say the same.
        assert_eq!(accepted.len(), N_RUNS, "{point}");
        ids.iter().for_each(|id| drop(stage.ended(id)));
        stage.again();
    } else {
        let pid = stage.agent.process().pid();
        wait_for(&format!("end of the agent at {point}"), || (!super::is_alive(pid)).then_some(())).unwrap();
        let _gone_already = stage.agent.kill();
        stage.agent.start_again().unwrap();
    }
    for id in &ids {
        let run = stage.run(id).is_ok().then(|| stage.ended(id));
        let n_began = n_lines(&folder.join(id));
        let Some(run): Option<Value> = run else {
            assert!(!accepted.contains(id) && n_began == 0, "{point}: {id} was forgotten");
            continue;
        };
        let (began, states) = expected(point);
        assert!(began.contains(&n_began), "{point}: began {n_began} times: {run}");
        assert!(states.contains(&run["state"].as_str().unwrap()), "{point}: {run}");
    }
    if point == "post_before_commit" {
        assert!(ids.iter().all(|id| stage.run(id).is_err()), "what was not on the disk is not known");
    }
}

#[test]
fn whoever_ends_at_whichever_step_the_command_begins_at_most_once() {
    let points = Mutex::new((0..soaked(1, 20)).flat_map(|_| FAILPOINTS).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..N_THREADS {
            scope.spawn(|| {
                loop {
                    let Some(point) = points.lock().unwrap().pop() else { break };
                    passes(point);
                }
            });
        }
    });
}

#[test]
fn start_that_the_machine_went_down_under_is_told_and_not_done_again() {
    let mut stage =
        Stage::with_jobs("jobs: []\n", &[("FIELDPOST_FAILPOINT", OsStr::new("launch_after_record"))]);
    let folder = stage.folder();
    let body = json!({ "id": "r", "job": { "shell": "echo x >> mark", "dir": folder } }).to_string();
    // It may be answered before the agent ends, or not.
    let _answered = unix_send(&stage.agent.socket(), "POST", "/v1/runs", &body);
    let pid = stage.agent.process().pid();
    wait_for("end of the agent", || (!super::is_alive(pid)).then_some(())).unwrap();
    let _gone_already = stage.agent.kill();
    // The file that says that the command began may have been lost with the machine.
    std::fs::write(stage.agent.store().join("jobs/boot.json"), "\"another\"").unwrap();
    stage.agent.start_again().unwrap();
    let run = stage.ended("r");
    assert_eq!(run["state"], "interrupted_by_reboot", "{run}");
    assert!(run.to_string().contains("it is not known how far it came"), "{run}");
    assert_eq!(n_lines(&folder.join("mark")), 0);
    // The next one of the same boot knows better.
    stage.again();
    let id = stage.post(json!({ "command": "true" }));
    assert_eq!(stage.ended(&id)["state"], "succeeded");
}

#[test]
fn files_that_the_machine_went_down_under_hold_up_nobody() {
    let mut stage = Stage::start();
    let ids: Vec<String> =
        (0..2).map(|_| stage.post(json!({ "command": "sleep", "args": ["671"] }))).collect();
    ids.iter().for_each(|id| drop(stage.running(id)));
    stage.agent.kill().unwrap();
    let folder = |id: &str| stage.agent.store().join(format!("jobs/runs/{id}/1"));
    std::fs::write(folder(&ids[0]).join("exit.json"), "").unwrap();
    std::fs::write(folder(&ids[1]).join("started.json"), "\0\0\0").unwrap();
    std::fs::write(stage.agent.store().join("jobs/boot.json"), "\"another\"").unwrap();
    stage.agent.start_again().unwrap();
    assert_eq!(stage.state(&ids[0]).unwrap(), "running", "an end that says nothing is none");
    assert_eq!(stage.ended(&ids[1])["state"], "interrupted_by_reboot");
}

#[test]
fn place_that_does_not_exist_is_refused() {
    let scratch = fieldpost_bed::Scratch::new().unwrap();
    let mut command = std::process::Command::new(crate::fieldpost());
    command.args(["agent", "--set", "metrics.listen=127.0.0.1:0", "--set", "store.path=./data"]);
    command.current_dir(scratch.path()).env("RUNTIME_DIRECTORY", scratch.path());
    let output = command.env("FIELDPOST_FAILPOINT", "nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("\"nowhere\" is no failpoint"), "{said}");
}
