//! Jobs that run by themselves: each slot once, kept jobs always, retries as often as they should.

use std::collections::BTreeSet;
use std::path::Path;

use fieldpost_bed::{Agent, Scratch, soak, soaked, wait_for};
use serde_json::{Value, json};

use super::{QUICK, Stage, is_alive, n_lines};

fn with_jobs(text: &str) -> Stage {
    Stage::with_jobs(text, &[])
}

fn runs_of(stage: &Stage, job: &str) -> Vec<Value> {
    stage.runs_of(job)
}

fn task(stage: &Stage, name: &str) -> Value {
    let list: Value = serde_json::from_str(stage.agent.api("/v1/jobs").unwrap().ok().unwrap()).unwrap();
    list["jobs"].as_array().unwrap().iter().find(|task| task["job"]["name"] == name).unwrap().clone()
}

#[test]
fn each_slot_is_dealt_with_once_whatever_is_killed() {
    let mut stage = with_jobs("jobs: []\n");
    let folder = stage.folder();
    let file = stage.agent.config_dir().join("jobs.d/10-test.yaml");
    let line = "shell: echo $FIELDPOST_SLOT_MS >> slots";
    let text = format!("jobs:\n- name: beat\n  {line}\n  every: 1s\n  dir: {}\n", folder.display());
    std::fs::write(&file, text).unwrap();
    assert!(stage.client(&["agent", "--reload"]).status.success());
    let slots_file = folder.join("slots");
    wait_for("first slots", || (n_lines(&slots_file) >= 2).then_some(())).unwrap();
    for _ in 0..2 * soak() {
        stage.agent.kill().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        stage.agent.start_again().unwrap();
        let n_slots = n_lines(&slots_file);
        wait_for("next slots", || (n_lines(&slots_file) >= n_slots + 2).then_some(())).unwrap();
    }
    assert!(stage.client(&["job", "disable", "beat"]).status.success());
    let paused = task(&stage, "beat");
    assert_eq!((&paused["paused"], &paused["next_ms"]), (&json!(true), &Value::Null));
    let runs = runs_of(&stage, "beat");
    runs.iter().for_each(|run| drop(stage.ended(run["id"].as_str().unwrap())));
    let text = std::fs::read_to_string(&slots_file).unwrap();
    let ran: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
    let distinct: BTreeSet<i64> = ran.iter().copied().collect();
    assert_eq!(distinct.len(), ran.len(), "a slot ran twice: {ran:?}");
    // What did not run is recorded as missed, or left out because the one before still ran.
    let (first, last) = (*distinct.first().unwrap(), *distinct.last().unwrap());
    let mut accounted = distinct.len();
    for run in runs.iter().filter(|run| run["state"] == "cancelled") {
        let reason = run["changes"][1]["reason"].as_str().unwrap();
        let n_slots = reason.strip_prefix("missed ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let slot = run["cause"]["slot_ms"].as_i64().unwrap();
        accounted += if slot > first && slot < last { n_slots.unwrap_or(1) } else { 0 };
    }
    let expected = ((last - first) / 1_000 + 1) as usize;
    // A record of missed slots names the last of them; it may begin before the first one that ran.
    assert_eq!(accounted, expected, "{distinct:?} of {expected}");
}

#[test]
fn overlaps_go_as_the_job_says() {
    let job = |name: &str, overlap: &str, line: &str| {
        format!("- {{name: {name}, shell: '{line}', every: 1s, overlap: {overlap}}}\n")
    };
    let text = [
        "jobs:\n".to_owned(),
        job("forbid", "forbid", "sleep 600"),
        job("replace", "replace", "sleep 600"),
        job("queue", "queue", "sleep 1.3"),
        job("allow", "allow", "sleep 600"),
    ];
    let stage = with_jobs(&text.concat());
    wait_for("three slots", || (runs_of(&stage, "allow").len() >= 3).then_some(())).unwrap();
    let in_state =
        |job: &str, state: &str| runs_of(&stage, job).iter().filter(|run| run["state"] == state).count();
    wait_for("a slot left out", || (in_state("forbid", "cancelled") >= 1).then_some(())).unwrap();
    wait_for("a run replaced", || (in_state("replace", "killed") >= 1).then_some(())).unwrap();
    wait_for("a run that waited", || (in_state("queue", "succeeded") >= 1).then_some(())).unwrap();
    assert_eq!(in_state("forbid", "running"), 1);
    assert!(in_state("replace", "running") <= 1 && in_state("queue", "running") <= 1);
    wait_for("runs beside each other", || (in_state("allow", "running") >= 2).then_some(())).unwrap();
    let reason = runs_of(&stage, "replace").into_iter().find(|run| run["state"] == "killed").unwrap();
    assert!(reason.to_string().contains("overlap: replace"), "{reason}");
    for name in ["forbid", "replace", "queue", "allow"] {
        stage.client(&["job", "disable", name]);
        runs_of(&stage, name).iter().for_each(|run| drop(stage.kill(run["id"].as_str().unwrap())));
    }
}

#[test]
fn kept_jobs_come_back_and_failed_ones_are_tried_again() {
    let mut stage = with_jobs(
        "jobs:\n- {name: kept, command: sleep, args: ['600'], keep: true, restart: {backoff: 100ms}}\n\
         - {name: fast, command: 'false', keep: true, restart: {max: 2, backoff: 50ms}}\n",
    );
    let pid = |stage: &Stage| {
        let is_running = |run: &Value| run["state"] == "running";
        wait_for("a kept run", || runs_of(stage, "kept").into_iter().find(is_running)?["pid"].as_u64())
            .unwrap() as u32
    };
    let first = pid(&stage);
    stage.again();
    assert_eq!(pid(&stage), first, "it goes on, it does not begin anew");
    super::signal(first, rustix::process::Signal::KILL);
    wait_for("end", || (!is_alive(first)).then_some(())).unwrap();
    // The agent may not know of the end yet.
    let another = || Some(pid(&stage)).filter(|pid| *pid != first);
    let second = wait_for("the kept run begun anew", another).unwrap();
    stage.client(&["job", "disable", "kept"]);
    wait_for("end of what was disabled", || (!is_alive(second)).then_some(())).unwrap();
    wait_for("its end told", || (runs_of(&stage, "kept")[0]["state"] == "killed").then_some(())).unwrap();
    wait_for("three runs at least", || (runs_of(&stage, "fast").len() >= 3).then_some(())).unwrap();
    let job = json!({ "command": "false", "name": "again", "retry": { "max": 2, "backoff": "20ms" } });
    stage.post(job);
    let all_ended = |runs: &Vec<Value>| runs.len() == 3 && runs.iter().all(|run| run["state"] == "failed");
    let runs = wait_for("both tries", || Some(runs_of(&stage, "again")).filter(all_ended)).unwrap();
    assert_eq!(runs[0]["cause"], json!({ "kind": "retry", "of": runs[2]["id"], "number": 2 }));
    // Each of an agent's lives begins the count anew; within one it stops.
    assert!(runs_of(&stage, "fast").len() <= 6, "a fast-failing job stormed");
    assert_eq!(runs_of(&stage, "again").len(), 3, "no more than asked for");
}

/// The longest that making tasks may take before they are due, milliseconds.
const MAKING_MS_MAX: i64 = 150_000;

#[test]
fn very_many_tasks_due_at_once_all_run_once() {
    let stage = Stage::start();
    let n_tasks = soaked(64, 10_000);
    let at = chrono_like(now_ms() + (3_000 + 30 * n_tasks as i64).min(MAKING_MS_MAX));
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (stage, at) = (&stage, &at);
            scope.spawn(move || {
                for number in (part..n_tasks).step_by(8) {
                    let job = json!({ "name": format!("t{number}"), "command": "true", "at": at });
                    assert_eq!(stage.send("POST", "/v1/jobs", &job).unwrap().status, 200);
                }
            });
        }
    });
    let over = json!({ "name": "late", "command": "true", "at": chrono_like(now_ms() - 60_000) });
    assert_eq!(stage.send("POST", "/v1/jobs", &over).unwrap().status, 422);
    for number in 0..n_tasks {
        let is_done = || {
            let runs = runs_of(&stage, &format!("t{number}"));
            (runs.len() == 1 && runs[0]["state"] == "succeeded").then_some(())
        };
        // A thousand of them are given a minute.
        let n_waits = 1 + n_tasks / 1_000;
        assert!(
            (0..n_waits).any(|_| wait_for("each of them", is_done).is_ok()),
            "t{number} did not run once"
        );
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// An instant as RFC 3339, to the second.
fn chrono_like(time_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(time_ms).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Each example of docs/jobs.md is taken as it stands, and its jobs run.
#[test]
fn examples_of_the_manual_run() {
    let manual = std::fs::read_to_string(crate::repository_file("docs/jobs.md")).unwrap();
    let examples: Vec<&str> =
        manual.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 12);
    let scratch = Scratch::new().unwrap();
    for (number, example) in examples.iter().enumerate() {
        scratch.write(&format!("config/jobs.d/{number}.yaml"), example).unwrap();
    }
    let stage = Stage { agent: Agent::start_in(scratch, Path::new(crate::fieldpost()), QUICK, &[]).unwrap() };
    let checked = stage.client(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let list: Value = serde_json::from_str(stage.agent.api("/v1/jobs").unwrap().ok().unwrap()).unwrap();
    let jobs = list["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 13);
    for job in jobs.iter().map(|task| &task["job"]) {
        let name = job["name"].as_str().unwrap();
        if job["keep"] == true {
            wait_for(name, || (runs_of(&stage, name).first()?["state"] == "running").then_some(())).unwrap();
            stage.client(&["job", "disable", name]);
            continue;
        }
        let given = if name == "restore" { json!({ "params": { "day": "2026-11-21" } }) } else { json!({}) };
        let answer = stage.send("POST", &format!("/v1/jobs/{name}/trigger"), &given).unwrap();
        let run: Value = serde_json::from_slice(&answer.body).unwrap();
        let run = stage.ended(run["id"].as_str().unwrap_or_else(|| panic!("{name}: {run}")));
        assert_eq!(run["state"], "succeeded", "{name}: {run}");
    }
    let result = runs_of(&stage, "check-disk")[0]["data"]["text"].clone();
    assert_eq!(result, "{\"free_percent\": 7}\n");
    let counted = &runs_of(&stage, "load-orders")[0]["stats"];
    assert_eq!(
        (&counted["orders.loaded"]["sum"], &counted["queue.depth"]["last"]),
        (&json!(30.0), &json!(5.0))
    );
}

#[test]
fn files_with_faults_hold_up_only_what_is_at_fault() {
    let stage = with_jobs(
        "jobs:\n- {name: good, command: 'true', cron: '30 2 * * *', tz: Europe/Berlin}\n- {name: bad, comand: x}\n",
    );
    assert_eq!(task(&stage, "good")["schedule"], "cron 30 2 * * * Europe/Berlin");
    let refused = stage.client(&["agent", "--reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("jobs[1].comand: no such key; did you mean command?"),
        "{said}"
    );
    let by_command = stage.client(&["run", "--name", "beat", "--every", "1h", "--", "date"]);
    let said = String::from_utf8_lossy(&by_command.stdout).into_owned();
    assert!(said.starts_with("task beat: every 1h, next at "), "{said}");
    let triggered = stage.client(&["job", "trigger", "good"]);
    let id = String::from_utf8(triggered.stdout).unwrap().trim().to_owned();
    assert_eq!(stage.ended(&id)["state"], "succeeded");
    let listed = String::from_utf8(stage.client(&["jobs"]).stdout).unwrap();
    assert!(
        listed.contains("beat") && listed.contains("by command") && listed.contains("10-test.yaml"),
        "{listed}"
    );
    let removed = stage.client(&["job", "rm", "good"]);
    assert!(String::from_utf8_lossy(&removed.stderr).contains("change that file"), "a file is its owner's");
    assert!(stage.client(&["job", "rm", "beat"]).status.success());
    assert!(!String::from_utf8(stage.client(&["jobs"]).stdout).unwrap().contains("beat"));
}
