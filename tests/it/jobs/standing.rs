//! The STATUS of an agent, and the ways in which it leaves its work: nothing new, nothing cut off, and
//! nothing forgotten.

use fieldpost_bed::wait_for;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Stage, is_alive, n_lines};

fn status(stage: &Stage) -> Value {
    serde_json::from_str(stage.agent.api("/v1/agent/status").unwrap().ok().unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn agent_out_of_service_finishes_what_runs_and_begins_nothing() {
    let jobs = "jobs:\n- {name: beat, shell: echo $FIELDPOST_SLOT_MS >> slots, every: 1s, dir: /DIR}\n";
    let mut stage = Stage::with_jobs("jobs: []\n", &[]);
    let folder = stage.folder();
    let file = stage.agent.config_dir().join("jobs.d/10-test.yaml");
    std::fs::write(file, jobs.replace("/DIR", &folder.display().to_string())).unwrap();
    assert!(stage.client(&["agent", "--reload"]).status.success());
    let slots = folder.join("slots");
    wait_for("first slots", || (n_lines(&slots) >= 2).then_some(())).unwrap();
    let goes_on = stage.shell("while [ ! -e go ]; do sleep 0.05; done; exit 4");
    let goes_on_here =
        stage.post(json!({ "shell": "while [ ! -e go ]; do sleep 0.05; done; exit 4", "dir": folder }));
    let waits = stage.post(json!({ "command": "true", "queue": { "name": "q" } }));
    stage.ended(&waits);
    stage.running(&goes_on_here);
    let refused = stage.client(&["agent", "set-status", "offline"]);
    assert!(text(&refused.stderr).contains("offline needs a comment"), "{refused:?}");
    assert_eq!(status(&stage)["status"], "online");
    let set = stage.client(&["agent", "set-status", "offline", "--comment", "disk is being replaced"]);
    assert!(text(&set.stdout).starts_with("offline since "), "{set:?}");
    let n_slots = n_lines(&slots);
    let refused = stage.client(&["run", "--", "true"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(
        text(&refused.stderr).contains("takes no new runs: it is offline (disk is being replaced)"),
        "{refused:?}"
    );
    let triggered = stage.send("POST", "/v1/jobs/beat/trigger", &json!({})).unwrap();
    assert_eq!(triggered.status, 409, "every door is shut");
    stage.again();
    let deferred = stage.client(&["agent", "--restart"]);
    assert!(text(&deferred.stdout).contains("starts anew once it is online"), "{deferred:?}");
    assert!(text(&stage.client(&["agent", "--status"]).stdout).contains("offline since"));
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(n_lines(&slots) <= n_slots + 1, "a slot ran while the agent was out of service");
    std::fs::write(folder.join("go"), "").unwrap();
    assert_eq!(super::kills::code(&stage.ended(&goes_on_here)), 4, "what ran is finished");
    let began = |stage: &Stage| -> Option<i64> {
        let answer = stage.agent.api("/v1/status").ok()?;
        serde_json::from_slice::<Value>(&answer.body).ok()?["started_ms"].as_i64()
    };
    let before = began(&stage).unwrap();
    assert!(stage.client(&["agent", "set-status", "online"]).status.success());
    wait_for("the deferred restart", || began(&stage).filter(|began| *began > before)).unwrap();
    wait_for("slots again", || (n_lines(&slots) >= n_slots + 3).then_some(())).unwrap();
    let missed =
        |run: &Value| run["changes"][1]["reason"].as_str().unwrap_or_default().starts_with("missed ");
    assert!(stage.runs_of("beat").iter().any(missed), "what was left out is on record");
    stage.client(&["job", "disable", "beat"]);
    assert_eq!(stage.state(&goes_on).unwrap(), "running");
    let killed = stage.client(&["killall"]);
    assert!(text(&killed.stdout).contains(" asked to end"), "{killed:?}");
    assert_eq!(stage.ended(&goes_on)["state"], "killed");
    assert_eq!(text(&stage.client(&["killall"]).stdout), "nothing runs\n");
    let many: Vec<String> =
        (0..60).map(|_| stage.post(json!({ "command": "sleep", "args": ["681"] }))).collect();
    many.iter().for_each(|id| drop(stage.running(id)));
    stage.client(&["killall", "--signal", "KILL"]);
    // What was noted of the request must not be written over the end.
    many.iter().for_each(|id| assert_eq!(stage.ended(id)["state"], "killed"));
    assert!(many.iter().all(|id| stage.state(id).unwrap() == "killed"));
}

const KEPT: &str =
    "jobs:\n- {name: kept, shell: \"trap 'exit 0' TERM; while :; do sleep 0.1; done\", keep: true}\n";

fn kept(stage: &Stage) -> u32 {
    let is_running = |run: &Value| run["state"] == "running";
    wait_for("the kept job", || stage.runs_of("kept").into_iter().find(is_running)?["pid"].as_u64()).unwrap()
        as u32
}

#[test]
fn agent_that_is_to_leave_ends_once_nothing_runs_and_kept_jobs_come_back() {
    let mut stage = Stage::with_jobs(KEPT, &[]);
    let first = kept(&stage);
    let folder = stage.folder();
    let last = stage.post(json!({ "shell": "while [ ! -e go ]; do sleep 0.05; done; echo done", "dir": folder, "queue": { "name": "q" } }));
    let waits = stage.post(json!({ "shell": "echo x >> waited", "dir": folder, "queue": { "name": "q" } }));
    stage.running(&last);
    let pid = stage.agent.process().pid();
    super::signal(pid, Signal::USR1);
    let refused = || (stage.client(&["run", "--", "true"]).status.code() == Some(125)).then_some(());
    wait_for("a closed door", refused).unwrap();
    assert!(is_alive(pid) && is_alive(first), "it waits for what runs");
    std::fs::write(folder.join("go"), "").unwrap();
    wait_for("its end", || (!is_alive(pid)).then_some(())).unwrap();
    assert!(!is_alive(first), "kept jobs end with it");
    assert_eq!(n_lines(&folder.join("waited")), 0, "what waits is the next agent's");
    // The bed does not know yet that it has gone.
    let _gone_already = stage.agent.kill();
    stage.agent.start_again().unwrap();
    assert_eq!(stage.ended(&last)["state"], "succeeded");
    assert_eq!(stage.ended(&waits)["state"], "succeeded");
    assert_eq!(n_lines(&folder.join("waited")), 1);
    assert_ne!(kept(&stage), first);
    stage.client(&["job", "disable", "kept"]);
}
