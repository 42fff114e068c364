//! Agents and hubs that are killed and links that are cut while orders are on their way.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use fieldpost_bed::{FaultProxy, Random, wait_for};
use serde_json::{Value, json};

use super::Field;

/// Nobody listens there.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

#[test]
fn order_for_an_agent_that_is_away_waits_for_it_and_runs_once() {
    let mut field = Field::new(&[("a", &[])]);
    field.agents[0].kill().unwrap();
    field.wait_for_link("a", "down");
    let job = field.marking("late", "true");
    let target = json!({ "agent": "a" });
    let order = json!({ "job": job, "target": target, "secrets": { "KEY": "canary-value" } });
    let answer = field.send("POST", "/runs", &order);
    let ordered: Value = serde_json::from_slice(&answer.body).unwrap();
    let id = ordered["runs"][0]["id"].as_str().unwrap().to_owned();
    let never = field.order_of("a", &field.marking("never", "true"));
    assert_eq!(field.run(&id)["delivered"], false);
    field.hub.kill().unwrap();
    // What is secret waits in no file in clear.
    for file in ["state.db", "state.db-wal", "runs.db", "runs.db-wal"] {
        let bytes = std::fs::read(field.hub.data().join(file)).unwrap_or_default();
        assert!(!bytes.windows(12).any(|part| part == b"canary-value"), "{file}");
    }
    field.hub.start_again().unwrap();
    assert_eq!(field.run(&id)["state"], "queued");
    let killed = field.send("POST", &format!("/runs/{never}/kill"), &json!({}));
    assert!(killed.ok().unwrap().contains("called_off"));
    field.agents[0].start_again().unwrap();
    let run = field.in_state(&id, "succeeded");
    assert_eq!((field.n_effects("late"), &run["secret_names"]), (1, &json!(["KEY"])));
    assert_eq!((field.run(&never)["state"].as_str(), field.n_effects("never")), (Some("cancelled"), 0));
}

#[test]
fn nothing_is_doubled_or_lost_when_hub_and_agents_are_killed_at_any_moment() {
    let mut field = Field::new(&[("a", &[]), ("b", &[])]);
    let mut ids = Vec::new();
    for round in 0..6 {
        for n in 0..4 {
            let agent = if n % 2 == 0 { "a" } else { "b" };
            ids.push(field.order_of(agent, &field.marking(&format!("effect-{round}-{n}"), "sleep 0.05")));
        }
        // Orders are on their way at this moment.
        match round % 3 {
            0 => field.hub.kill().unwrap(),
            1 => field.agents[0].kill().unwrap(),
            _ => {
                field.agents[1].kill().unwrap();
                field.hub.kill().unwrap();
            }
        }
        match round % 3 {
            0 => field.hub.start_again().unwrap(),
            1 => field.agents[0].start_again().unwrap(),
            _ => {
                field.hub.start_again().unwrap();
                field.agents[1].start_again().unwrap();
            }
        }
    }
    for id in &ids {
        field.in_state(id, "succeeded");
    }
    for (round, n) in (0..6).flat_map(|round| (0..4).map(move |n| (round, n))) {
        assert_eq!(field.n_effects(&format!("effect-{round}-{n}")), 1, "round {round}, order {n}");
    }
    assert_eq!(field.get("/runs")["runs"].as_array().unwrap().len(), ids.len());
}

#[test]
fn run_whose_agent_is_gone_is_unknown_and_corrected_when_the_link_is_back() {
    let front = FaultProxy::to(NOWHERE, Random::seeded()).unwrap();
    let field = Field::behind(front, &[("a", &[])]);
    let go = field.effects().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done; echo done", go.display());
    let id = field.order_of("a", &field.marking("long", &wait));
    field.in_state(&id, "running");
    field.hub.front().lead_to(NOWHERE);
    field.hub.front().cut_all();
    let gone =
        wait_for("run to be unknown", || Some(field.run(&id)).filter(|run| run["unknown_since_ms"].is_i64()));
    assert_eq!(gone.unwrap()["state"], "running", "what was said last");
    let refused = field.send("POST", &format!("/runs/{id}/kill"), &json!({}));
    assert_eq!(refused.status, 502);
    std::fs::write(&go, "").unwrap();
    field.hub.front().lead_to(field.hub.address());
    let run = field.in_state(&id, "succeeded");
    assert!(run["unknown_since_ms"].is_null());
    assert_eq!(field.n_effects("long"), 1);
}
