//! Who gets an order, and who not; what comes back.

use serde_json::{Value, json};

use super::Field;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn order_runs_on_the_agent_that_is_named_or_on_one_or_all_that_hold_a_role() {
    let field = Field::new(&[
        ("web-1", &["--role", "web", "--label", "site=a"]),
        ("web-2", &["--role", "web", "--role", "db"]),
        ("shut", &["--role", "web", "--allow-jobs", "off"]),
    ]);
    let named = field.order_of("web-2", &field.marking("named", "exit 3"));
    let run = field.in_state(&named, "failed");
    assert_eq!((&run["agent"], &run["outcome"]["code"]), (&json!("web-2"), &json!(3)));

    let any = field.order(&field.marking("any", "true"), &json!({ "roles": ["*"] }));
    assert_eq!(any.len(), 1);
    field.in_state(&any[0], "succeeded");
    assert_eq!(field.n_effects("any"), 1, "any one agent, never all of them");

    let all = field.order(&field.marking("all", "true"), &json!({ "roles": ["web"], "fanout": true }));
    assert_eq!(all.len(), 2, "one admits no jobs");
    let mut agents: Vec<_> = all.iter().map(|id| field.in_state(id, "succeeded")["agent"].clone()).collect();
    agents.sort_by_key(ToString::to_string);
    assert_eq!(agents, ["web-1", "web-2"]);
    assert_eq!(field.n_effects("all"), 2);

    let one = field.order(&field.marking("label", "true"), &json!({ "labels": { "site": "a" } }));
    assert_eq!(field.in_state(&one[0], "succeeded")["agent"], "web-1");
}

#[test]
fn target_that_cannot_be_or_that_nobody_is_says_why_and_what_people_say_of_an_agent_counts() {
    let field = Field::new(&[("a", &["--role", "web"]), ("named", &["--allow-jobs", "named"])]);
    let refused = |target: &Value| {
        let answer = field.send("POST", "/runs", &json!({ "job": { "command": "true" }, "target": target }));
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, problem["code"].as_str().unwrap().to_owned(), problem["detail"].to_string())
    };
    for (target, status, code, words) in [
        (json!({ "agent": "a", "roles": ["web"] }), 422, "invalid_target", "not both"),
        (json!({ "fanout": true }), 422, "invalid_target", "fans out without a role"),
        (json!({}), 422, "invalid_target", "names nobody"),
        (json!({ "agent": "b" }), 404, "no_such_agent", "no agent `b`"),
        (json!({ "roles": ["db"] }), 409, "nobody_matches", "has not the role db"),
        (json!({ "agent": "named" }), 409, "nobody_matches", "remote_jobs: named"),
    ] {
        let (is_status, is_code, detail) = refused(&target);
        assert_eq!((is_status, is_code.as_str()), (status, code), "{target} {detail}");
        assert!(detail.contains(words), "{target} {detail}");
    }
    let who = field.send("POST", "/targets", &json!({ "target": { "roles": ["*"] } }));
    let who: Value = serde_json::from_str(who.ok().unwrap()).unwrap();
    assert_eq!((who["matches"].as_array().unwrap().len(), &who["others"][0]["agent"]), (1, &json!("named")));

    field.hub.client(&["agents", "set-status", "a", "maintenance", "--comment", "new disks"]).unwrap();
    let id = field.order_of("a", &field.marking("later", "true"));
    let run = field.run(&id);
    assert!(run["changes"][0]["reason"].as_str().unwrap().contains("new disks"), "{run:#}");
    let says = |field: &Field| field.agents[0].api("/v1/agent/status").ok()?.text().ok().map(str::to_owned);
    fieldpost_bed::wait_for("the agent to be told", || {
        says(&field).filter(|text| text.contains("new disks"))
    })
    .unwrap();
    assert!(field.get("/agents/a/ping")["round_trip_ms"].as_f64().unwrap() > 0.0);
    field.hub.client(&["agents", "set-status", "a", "online"]).unwrap();
    field.in_state(&id, "succeeded");
    assert_eq!(field.n_effects("later"), 1);
}

#[test]
fn client_runs_follows_ends_and_lists_through_the_hub() {
    let field = Field::new(&[("a", &["--role", "web"]), ("b", &["--role", "web"])]);
    let one = field.client(&["run", "--on", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(one.status.code(), Some(3), "{}", text(&one.stderr));
    assert_eq!(text(&one.stdout), "out\n");
    assert!(text(&one.stderr).contains("err\n") && text(&one.stderr).contains("exit 3"));

    let all = ["run", "--role", "web", "--fanout", "--name", "all", "--", "sh", "-c", "exec true"];
    assert_eq!(field.client(&all).status.code(), Some(0), "{}", text(&field.client(&all).stderr));
    let folder = field.effects().join("first");
    let failing = format!("mkdir {} && echo fine", folder.display());
    let partly = field.client(&["run", "--role", "web", "--fanout", "--", "sh", "-c", &failing]);
    assert_eq!(partly.status.code(), Some(122), "{}", text(&partly.stderr));
    assert!(text(&partly.stderr).contains("1 of 2 succeeded") && text(&partly.stdout).contains(": fine"));

    let id = field.client(&["run", "--on", "b", "--detach", "--", "sh", "-c", "echo begun; exec sleep 600"]);
    let id = text(&id.stdout).trim().to_owned();
    field.in_state(&id, "running");
    let killed = field.client(&["run", "kill", &id, "--on", "b"]);
    assert!(killed.status.success(), "{}", text(&killed.stderr));
    let logs = field.client(&["run", "logs", "-f", &id, "--on", "b"]);
    assert_eq!(text(&logs.stdout), "begun\n", "{}", text(&logs.stderr));
    let result = field.client(&["run", "result", &id, "--on", "b", "--wait", "60s"]);
    assert_eq!(result.status.code(), Some(143), "{}", text(&result.stderr));
    let listed = text(&field.client(&["runs", "--all", "--state", "killed"]).stdout);
    assert!(listed.contains("AGENT") && listed.contains("killed"), "{listed}");
    let shown = text(&field.client(&["run", "show", &id, "--on", "b"]).stdout);
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["agent", "b"])), "{shown}");
    let audit = field.hub.client(&["audit", "--json"]).unwrap();
    assert!(audit.contains("run.order") && audit.contains("run.kill"), "{audit}");
}
