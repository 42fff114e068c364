//! Results that are taken as they come, by many side by side, while the hub is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fieldpost_bed::{unix_send, wait_for};
use serde_json::{Value, json};

use super::Field;

/// Who takes results at the same time.
const N_TAKERS: usize = 6;

/// Asks the hub; none if it went away meanwhile.
fn ask(socket: &Path, path: &str, body: &Value) -> Option<Value> {
    let answer = unix_send(socket, "POST", &format!("/api/v1/results/{path}"), &body.to_string()).ok()?;
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    // Cut off in the middle it is no answer.
    serde_json::from_slice(&answer.body).ok()
}

/// Orders so many short runs of both agents; answers their ids.
fn work(field: &Field, n_runs: usize) -> BTreeSet<String> {
    let job = |n: usize| json!({ "name": "part", "shell": format!("echo '20::{n}'"), "output": "levels" });
    (0..n_runs).map(|n| field.order_of(["a", "b"][n % 2], &job(n))).collect()
}

/// What takers got for good, and how often nobody knows whether they got it: no answer came.
#[derive(Default)]
struct Taken {
    times: Mutex<BTreeMap<String, u32>>,
    n_unsure: Mutex<usize>,
}

impl Taken {
    /// Takes until told to end. What is lent is settled; counted is what was given for good.
    fn take(&self, socket: &Path, lend: &str, is_over: &AtomicBool) {
        let is_lent = !lend.is_empty();
        while !is_over.load(Ordering::Relaxed) {
            let Some(told) = ask(socket, &format!("pop?job=part&wait=500ms{lend}"), &Value::Null) else {
                *self.n_unsure.lock().unwrap() += usize::from(!is_lent);
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            for result in told["results"].as_array().unwrap() {
                if is_lent && !self.is_settled(socket, &result["receipt"]) {
                    continue;
                }
                assert_eq!(result["state"], "succeeded", "{result}");
                assert!(result["data"]["level"] == 20, "{result}");
                let id = result["id"].as_str().unwrap().to_owned();
                *self.times.lock().unwrap().entry(id).or_default() += 1;
            }
        }
    }

    /// Was it settled, in time? Of one without an answer nobody knows; if it was not, it comes back.
    fn is_settled(&self, socket: &Path, receipt: &Value) -> bool {
        let settled = ask(socket, "settle", &json!({ "receipts": [receipt] }));
        *self.n_unsure.lock().unwrap() += usize::from(settled.is_none());
        settled.is_some_and(|settled| settled["late"] == json!([]))
    }

    fn ids(&self) -> BTreeSet<String> {
        self.times.lock().unwrap().keys().cloned().collect()
    }
}

/// Takers side by side over a kill of the hub in the middle; answers what they got until nothing is left.
fn taken_over_a_kill(field: &mut Field, lend: &str, ids: &BTreeSet<String>) -> Taken {
    let (taken, is_over, socket) = (Taken::default(), AtomicBool::new(false), field.hub.socket());
    std::thread::scope(|scope| {
        for _ in 0..N_TAKERS {
            scope.spawn(|| taken.take(&socket, lend, &is_over));
        }
        let some = || (taken.ids().len() >= ids.len() / 3).then_some(());
        let begun = wait_for("a third of the results", some);
        let killed = field.hub.kill().and_then(|()| field.hub.start_again());
        let all = || {
            let n_over = ids.iter().filter(|id| field.run(id)["state"] == "succeeded").count();
            let n_unsure = *taken.n_unsure.lock().ok()?;
            (n_over == ids.len() && taken.ids().len() + n_unsure >= ids.len()).then_some(())
        };
        let ended = begun.and(wait_for("all results", all));
        // Whoever waits in vain says so.
        std::thread::sleep(Duration::from_millis(600));
        is_over.store(true, Ordering::Relaxed);
        killed.unwrap();
        ended.unwrap();
    });
    taken
}

#[test]
fn each_result_is_taken_once_by_many_side_by_side_over_a_kill_of_the_hub() {
    let mut field = Field::new(&[("a", &[]), ("b", &[])]);
    let socket = field.hub.socket();
    // Given for good: none twice, and what is missing was on its way to who was cut off.
    let ids = work(&field, 20);
    let taken = taken_over_a_kill(&mut field, "", &ids);
    assert!(taken.times.lock().unwrap().values().all(|times| *times == 1));
    assert!(taken.ids().is_subset(&ids));
    let n_missed = ids.len() - taken.ids().len();
    assert!(n_missed <= *taken.n_unsure.lock().unwrap(), "{n_missed} are missing");
    let left = ask(&socket, "pop?limit=100", &Value::Null).unwrap();
    assert_eq!(left, json!({ "results": [] }));
    // Lent: whatever is cut off, what was not settled comes back.
    let ids = work(&field, 20);
    let taken = taken_over_a_kill(&mut field, "&lend=2s", &ids);
    assert!(taken.times.lock().unwrap().values().all(|times| *times == 1), "settled twice");
    assert!(taken.ids().is_subset(&ids));
    assert_choices(&field);
}

/// What is chosen by, who may, and what the command line makes of it.
fn assert_choices(field: &Field) {
    let order = json!({
        "job": { "name": "chosen", "shell": "echo '20::{\"n\": 7}'; exit 3", "output": "levels", "tags": { "k": "v" } },
        "target": { "roles": ["*"], "fanout": true },
    });
    let answer = field.send("POST", "/runs", &order);
    let ordered: Value = serde_json::from_slice(&answer.body).unwrap();
    let batch = ordered["batch"].as_str().unwrap();
    let popped = |more: &[&str]| {
        let output = field.client(&[&["run", "result", "--pop", "--wait"], more].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, told) = popped(&["20s", "--tag", "k=v", "--on", "b"]);
    assert_eq!((code, said.trim()), (Some(3), "{\"n\": 7}"), "{told}");
    assert!(told.starts_with("b: run ") && told.contains("failed: exit 3"), "{told}");
    let (_, said, _) = popped(&["20s", "--batch", batch, "--json"]);
    let result: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&result["agent"], result.get("receipt")), (&json!("a"), None), "{result}");
    let (code, said, told) = popped(&["1ms", "--batch", batch]);
    assert_eq!((code, said.as_str(), told.trim()), (Some(120), "", "no result waits to be taken"));
    // An order that is called off has a result, too: nobody waits for it in vain.
    let late =
        json!({ "job": { "command": "true", "name": "late" }, "target": { "labels": { "no": "where" } } });
    let refused = field.send("POST", "/runs", &late);
    assert_eq!(refused.status, 409, "nobody matches");
    let status = |path: &str| field.send("POST", &format!("/results/{path}"), &json!({})).status;
    assert_eq!([status("pop?agent=nobody"), status("pop?lend=2d"), status("pop?tag=x")], [404, 400, 400]);
    assert_eq!(status("pop?lend=0s"), 400);
}
