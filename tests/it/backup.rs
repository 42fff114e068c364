//! Backup and restore of a hub that has an agent: nothing is lost that the agent still has, the key
//! is in no backup that was not asked for it, and nothing is overwritten without a word.

use std::os::unix::fs::PermissionsExt;

use fieldpost_bed::{now_ms, wait_for};
use serde_json::Value;

use crate::pair::HubProcess;

const CONFIG: &str = "interval: 200ms\nstore:\n  window: 2s\n";

/// Waits until the hub has everything of a span.
fn wait_until_whole(hub: &HubProcess, from_ms: i64, to_ms: i64) {
    let path = format!("/api/v1/coverage?agent=web1&from={from_ms}&to={to_ms}");
    let is_whole = |page: &Value| {
        let stretches = page["stretches"].as_array().unwrap();
        stretches.iter().all(|stretch| stretch["coverage"] == "whole")
    };
    wait_for("all samples at the hub", || Some(hub.get(&path)).filter(is_whole)).unwrap();
}

/// Runs what has to fail, and gives why.
fn refused(hub: &HubProcess, arguments: &[&str]) -> String {
    let output = hub.run(arguments, "");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn restored_hub_asks_agents_for_what_came_after_the_backup() {
    let mut hub = HubProcess::start();
    let _agent = hub.joined_agent("web1", CONFIG);
    let begun_ms = now_ms();
    wait_until_whole(&hub, begun_ms, begun_ms + 1_000);
    let folder = hub.scratch().join("backup");
    let folder = folder.to_str().unwrap();
    let told = hub.ok(&["backup", folder], "");
    assert!(told.contains("no key"), "{told}");
    assert!(!hub.scratch().join("backup/keys/ca.key").exists());
    let mode = std::fs::metadata(hub.scratch().join("backup/state.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(refused(&hub, &["backup", folder]).contains("holds something already"));
    let after_ms = now_ms();
    wait_until_whole(&hub, begun_ms, after_ms + 3_000);
    let running = refused(&hub, &["restore", folder]);
    assert!(running.contains("stop it first"), "{running}");
    hub.stop();
    let present = refused(&hub, &["restore", folder]);
    assert!(present.contains("--replace"), "{present}");
    hub.ok(&["restore", folder, "--replace"], "");
    hub.start_again();
    wait_until_whole(&hub, begun_ms, after_ms + 3_000);
    let agents = hub.get("/api/v1/agents");
    assert_eq!((&agents[0]["name"], agents.as_array().unwrap().len()), (&"web1".into(), 1));
    let did: Vec<String> = hub.get("/api/v1/audit")["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    assert!(did.contains(&"hub.backup".to_owned()) && did.contains(&"state.restore".to_owned()), "{did:?}");
    assert!(hub.ok(&["audit", "--verify"], "").contains("all as they were written"));
}

#[test]
fn backup_goes_to_another_place_with_its_key_only_if_that_was_asked_for() {
    let hub = HubProcess::start();
    let folder = |name: &str| hub.scratch().join(name).display().to_string();
    hub.ok(&["backup", &folder("without")], "");
    hub.ok(&["backup", &folder("with"), "--with-keys"], "");
    for (name, has_key) in [("without", false), ("with", true)] {
        let data = hub.scratch().join(format!("new-{name}"));
        let output = hub.run_on(&data, &["restore", &folder(name)], "");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains("put ca.key into"), !has_key, "{told}");
        assert_eq!(data.join("keys/ca.key").exists(), has_key);
        assert!(data.join("keys/ca.pem").exists() && data.join("state.db").exists());
    }
    let torn = hub.scratch().join("with/backup.json");
    std::fs::remove_file(torn).unwrap();
    let output = hub.run_on(&hub.scratch().join("other"), &["restore", &folder("with")], "");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no whole backup"), "{told}");
}

#[test]
fn users_and_api_tokens_are_made_at_the_terminal() {
    let hub = HubProcess::start();
    let link = hub.ok(&["user", "add", "alice", "--role", "operator"], "");
    assert!(link.contains("/#sign-in="), "{link}");
    hub.ok(&["user", "add", "bob", "--password"], "a long enough password\n");
    hub.ok(&["user", "set-role", "alice", "viewer"], "");
    hub.ok(&["user", "disable", "bob"], "");
    let users: Value = serde_json::from_str(&hub.ok(&["user", "list", "--json"], "")).unwrap();
    let short = |user: &Value| (user["name"].clone(), user["role"].clone(), user["disabled"].clone());
    let found: Vec<_> = users.as_array().unwrap().iter().map(short).collect();
    let expected = [("alice", "viewer", false), ("bob", "viewer", true)];
    assert_eq!(found, expected.map(|(name, role, disabled)| (name.into(), role.into(), disabled.into())));
    let weak = hub.run(&["user", "set-password", "bob"], "short\n");
    assert!(String::from_utf8(weak.stderr).unwrap().contains("at least 10 characters"));
    hub.ok(&["user", "remove", "bob"], "");
    let secret = hub.ok(&["api-token", "create", "grafana", "--scope", "viewer", "--ttl", "30d"], "");
    let tokens: Value = serde_json::from_str(&hub.ok(&["api-token", "list", "--json"], "")).unwrap();
    assert_eq!((&tokens[0]["name"], &tokens[0]["scope"]), (&"grafana".into(), &"viewer".into()));
    hub.ok(&["api-token", "revoke", tokens[0]["id"].as_str().unwrap()], "");
    let audit = hub.ok(&["audit"], "");
    for action in ["user.add", "user.remove", "api_token.add", "api_token.revoke"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    assert!(!audit.contains(secret.trim()) && !audit.contains("long enough"));
}
