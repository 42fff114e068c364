//! The agent is killed -9 again and again under live runs of many kinds: same processes, exact exit
//! codes, whole output, no second start.

use fieldpost_bed::{Random, soaked};
use serde_json::{Value, json};

use super::{Stage, is_alive, n_lines};

/// Kills, and those of `make soak`.
const N_KILLS: (u64, u64) = (8, 200);

/// What a run does after it has left its mark, and what it has to come to.
struct Kind {
    line: &'static str,
    code: i64,
    output: fn() -> String,
}

fn nothing() -> String {
    String::new()
}

fn numbers(to: u32) -> String {
    (1..=to).map(|n| format!("{n}\n")).collect()
}

/// Each waits for the file `go`, so that it ends after the last kill.
const KINDS: [Kind; 10] = [
    Kind { line: "wait_go", code: 0, output: nothing },
    Kind { line: "wait_go; exit 255", code: 255, output: nothing },
    Kind { line: "wait_go; exit 7", code: 7, output: nothing },
    Kind { line: "wait_go; kill -SEGV $$", code: 128 + 11, output: nothing },
    Kind { line: "wait_go; kill -KILL $$", code: 128 + 9, output: nothing },
    Kind { line: "i=0; while [ ! -e go ]; do i=$((i+1)); done; exit 3", code: 3, output: nothing },
    Kind { line: "seq 1 2000; wait_go; seq 2001 4000", code: 0, output: || numbers(4_000) },
    Kind { line: "wait_go; seq 1 50000; exit 4", code: 4, output: || numbers(50_000) },
    Kind { line: "(wait_go; echo inner) | cat; exit 5", code: 5, output: || "inner\n".to_owned() },
    Kind { line: "trap 'exit 6' TERM; wait_go & wait; kill -TERM $$", code: 6, output: nothing },
];

#[test]
fn runs_outlive_the_agent() {
    let mut stage = Stage::start();
    let folder = stage.folder();
    let mut random = Random::seeded();
    let runs: Vec<(String, &Kind)> = KINDS
        .iter()
        .enumerate()
        .map(|(number, kind)| {
            let line = format!(
                "wait_go() {{ while [ ! -e go ]; do sleep 0.05; done; }}; echo x >> mark{number}; {}",
                kind.line
            );
            (stage.post(json!({ "shell": line, "dir": folder })), kind)
        })
        .collect();
    let pids: Vec<u64> = runs.iter().map(|(id, _)| stage.running(id)["pid"].as_u64().unwrap()).collect();
    for _ in 0..soaked(N_KILLS.0, N_KILLS.1) {
        std::thread::sleep(std::time::Duration::from_millis(random.below(200)));
        stage.again();
        for ((id, _), pid) in runs.iter().zip(&pids) {
            let run = stage.run(id).unwrap();
            assert_eq!((&run["state"], run["pid"].as_u64()), (&json!("running"), Some(*pid)), "{id}");
            assert!(is_alive(*pid as u32));
        }
    }
    // Some end while nobody is there to see it.
    stage.agent.kill().unwrap();
    std::fs::write(folder.join("go"), "").unwrap();
    for pid in &pids {
        fieldpost_bed::wait_for("end", || (!is_alive(*pid as u32)).then_some(())).unwrap();
    }
    stage.agent.start_again().unwrap();
    for (number, (id, kind)) in runs.iter().enumerate() {
        let run = stage.ended(id);
        assert_eq!(code(&run), kind.code, "{}: {run}", kind.line);
        assert_eq!(String::from_utf8_lossy(&stage.output(id)), (kind.output)(), "{}", kind.line);
        assert_eq!(n_lines(&folder.join(format!("mark{number}"))), 1, "{} began more than once", kind.line);
        assert_eq!(run["attempt"], 1);
        let n_running =
            run["changes"].as_array().unwrap().iter().filter(|change| change["state"] == "running");
        assert_eq!(n_running.count(), 1, "{run}");
    }
}

/// The number that a shell would see.
pub fn code(run: &Value) -> i64 {
    let outcome = &run["outcome"];
    outcome["signal"].as_i64().map_or_else(|| outcome["code"].as_i64().unwrap(), |signal| 128 + signal)
}

#[test]
fn machine_that_went_down_is_told_and_nobody_is_signalled() {
    let mut stage = Stage::start();
    let id = stage.post(json!({ "command": "sleep", "args": ["600"] }));
    let pid = stage.running(&id)["pid"].as_u64().unwrap() as u32;
    stage.agent.kill().unwrap();
    let file = stage.agent.store().join(format!("jobs/runs/{id}/1/started.json"));
    let mut started: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    started["boot_id"] = json!("another");
    std::fs::write(&file, started.to_string()).unwrap();
    stage.agent.start_again().unwrap();
    assert_eq!(stage.ended(&id)["state"], "interrupted_by_reboot");
    assert!(is_alive(pid), "an innocent process was signalled");
}

#[test]
fn numbers_of_others_are_not_taken_for_ours() {
    let mut stage = Stage::start();
    let id = stage.post(json!({ "command": "sleep", "args": ["600"] }));
    stage.running(&id);
    stage.agent.kill().unwrap();
    let mut innocent = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let file = stage.agent.store().join(format!("jobs/runs/{id}/1/started.json"));
    let mut started: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    // As if both numbers had been given to somebody else meanwhile.
    started["shim"]["pid"] = json!(innocent.id());
    started["child"]["pid"] = json!(innocent.id());
    started["cgroups"] = json!([]);
    std::fs::write(&file, started.to_string()).unwrap();
    stage.agent.start_again().unwrap();
    assert_eq!(stage.ended(&id)["state"], "lost");
    assert!(innocent.try_wait().unwrap().is_none(), "an innocent process was signalled");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[test]
fn damaged_file_is_put_aside_and_live_runs_are_taken_up() {
    let mut stage = Stage::start();
    let id = stage.shell("sleep 0.7; echo said; exit 5");
    stage.running(&id);
    stage.agent.kill().unwrap();
    std::fs::write(stage.agent.store().join("jobs/jobs.db"), [0x55; 8_192]).unwrap();
    stage.agent.start_again().unwrap();
    let run = stage.ended(&id);
    assert_eq!((run["state"].as_str(), code(&run)), (Some("failed"), 5));
    assert_eq!(stage.output(&id), b"said\n");
}
