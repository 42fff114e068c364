//! Jobs that are defined at the hub run by themselves on the agents that they are for, and take nothing
//! away from the hosts' own.

use fieldpost_bed::{unix_send, wait_for};
use serde_json::{Value, json};

use super::Field;

#[test]
fn job_of_the_hub_runs_on_its_agents_also_without_the_hub_and_ends_when_it_is_removed() {
    let mut field = Field::new(&[("a", &["--role", "web"]), ("b", &["--role", "web"]), ("c", &[])]);
    let own = json!({ "name": "own", "command": "true", "every": "1h" });
    let socket = field.agents[0].socket();
    unix_send(&socket, "POST", "/v1/jobs", &own.to_string()).unwrap().ok().unwrap();
    let mut beat = field.marking("beat", "true");
    beat["every"] = json!("1s");
    let target = json!({ "roles": ["web"], "fanout": true });
    let wish = json!({ "job": beat, "target": target });
    let checked =
        field.send("POST", "/jobs/check", &json!({ "job": { "name": "x", "every": "1ms" }, "target": {} }));
    let checked: Value = serde_json::from_str(checked.ok().unwrap()).unwrap();
    assert!(checked["faults"].as_array().unwrap().len() >= 2, "{checked:#}");
    field.send("PUT", "/jobs/beat", &wish).ok().unwrap();
    field.send("POST", "/jobs", &json!({ "job": own, "target": target })).ok().unwrap();
    wait_for("beats of both", || (field.n_effects("beat") >= 4).then_some(())).unwrap();
    wait_for("the host's own job to be told of", || {
        let jobs = field.get("/jobs");
        let own = jobs["hub"].as_array()?.iter().find(|job| job["job"]["name"] == "own")?.clone();
        (own["faults"][0]["agent"] == "a").then_some(())
    })
    .unwrap();
    let told = wait_for("runs at the hub", || {
        let runs = field.get("/runs?job=beat")["runs"].as_array()?.clone();
        let has = |name: &str| runs.iter().any(|run| run["agent"] == name && run["cause"]["kind"] == "slot");
        (has("a") && has("b")).then_some(runs)
    });
    assert!(told.unwrap().iter().all(|run| run["agent"] != "c"));
    field.hub.kill().unwrap();
    let n = field.n_effects("beat");
    wait_for("beats without a hub", || (field.n_effects("beat") >= n + 2).then_some(())).unwrap();
    field.hub.start_again().unwrap();
    field.send("DELETE", "/jobs/beat", &Value::Null);
    let has_beat = |field: &Field| {
        let answer = field.agents[1].api("/v1/jobs").unwrap();
        answer.ok().unwrap().contains("beat")
    };
    wait_for("the job to be gone", || (!has_beat(&field)).then_some(())).unwrap();
    let left = field.agents[0].api("/v1/jobs").unwrap();
    assert!(left.ok().unwrap().contains("\"own\""), "the host's own stays");
}
