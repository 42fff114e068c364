//! What is asked of agents through the hub, what of their runs is told while they go on, how runs are
//! forgotten, and what is said of those that were forgotten too early.

use fieldpost_bed::{unix_send, wait_for};
use serde_json::{Value, json};

use super::Field;

/// What the client says, as JSON.
fn told(field: &Field, arguments: &[&str]) -> Value {
    let output = field.client(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Why the client fails.
fn refused(field: &Field, arguments: &[&str]) -> String {
    let output = field.client(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn assert_host_is_told(field: &Field) {
    for (subject, fact) in
        [("os", "/kernel"), ("cpu", "/threads"), ("mem", "/total_bytes"), ("nic", "/0/name")]
    {
        let facts = told(field, &["info", subject, "--on", "a"]);
        assert!(!facts.pointer(fact).unwrap_or(&Value::Null).is_null(), "{subject}: {facts}");
    }
    assert!(told(field, &["info", "disk", "--on", "a"]).is_array());
    assert!(refused(field, &["info", "os", "--on", "nobody"]).contains("no agent `nobody`"));
    let arguments = ["processes", "--on", "a", "--limit", "3"];
    let rows = wait_for("processes", || Some(told(field, &arguments)).filter(|rows| rows[0]["pid"].is_u64()));
    assert_eq!(rows.unwrap().as_array().unwrap().len(), 3);
    let top = told(field, &["top", "--on", "a"]);
    assert!(top["processes"].as_array().is_some_and(|rows| rows.len() > 3) && top["status"].is_object());
    // The gate is that of all reads, and what has no end is not to be had here.
    assert_eq!(field.send("GET", "/agents/a/v1/record", &Value::Null).status, 404);
    assert_eq!(field.send("GET", "/agents/a/v1/info/weather", &Value::Null).status, 404);
    let pong = field.hub.client(&["agents", "ping", "a"]).unwrap();
    assert!(pong.contains("a answers in"), "{pong}");
}

fn assert_messages_are_told(field: &Field) {
    let line = "for i in 1 2 3 4 5; do echo \"7::careful $i\"; done; echo '5::quiet'; echo plain";
    let job = json!({ "name": "talks", "shell": line, "output": "levels", "loglevels_hub": "6-9" });
    let id = field.order_of("a", &job);
    field.in_state(&id, "succeeded");
    let texts = |list: &Value| -> Vec<String> {
        let messages = list["messages"].as_array().unwrap().iter();
        messages.map(|one| one["text"].as_str().unwrap().trim_end().to_owned()).collect()
    };
    let all = told(field, &["messages", "--on", "a", "--job", "talks"]);
    let careful = |n: [u32; 5]| n.map(|n| format!("careful {n}")).to_vec();
    assert_eq!(texts(&all), careful([5, 4, 3, 2, 1]), "and not what the agent keeps for itself");
    let first = told(field, &["messages", "--on", "a", "--levels", "7", "--limit", "2"]);
    let rest = ["messages", "--on", "a", "--levels", "7", "--after", first["next"].as_str().unwrap()];
    assert_eq!([texts(&first), texts(&told(field, &rest))].concat(), careful([5, 4, 3, 2, 1]));
    let one = told(field, &["messages", "--on", "a", "--run", &id, "--text", "careful 3"]);
    assert_eq!(texts(&one), ["careful 3"]);
    assert_eq!(texts(&told(field, &["messages", "--on", "a", "--to", "2026-01-01 00:00"])).len(), 0);
}

fn assert_live_runs_are_told(field: &Field) {
    let burn =
        |domain: &str| json!({ "name": "burn", "domain": domain, "command": "sleep", "args": ["600"] });
    let (shop, other) = (field.order_of("a", &burn("shop")), field.order_of("b", &burn("other")));
    field.in_state(&shop, "running");
    field.in_state(&other, "running");
    let live = |more: &[&str]| told(field, &[&["runs", "--live", "--all"], more].concat());
    let sampled = wait_for("samples of both", || {
        let live = live(&["--job", "burn"]);
        let runs = live["runs"].as_array()?.clone();
        (runs.len() == 2 && runs.iter().all(|run| run["memory_bytes"].as_u64() > Some(0))).then_some(runs)
    });
    let mut agents: Vec<Value> = sampled.unwrap().iter().map(|run| run["agent"].clone()).collect();
    agents.sort_by_key(Value::to_string);
    assert_eq!(agents, ["a", "b"]);
    let of_shop = live(&["--domain", "shop"]);
    assert_eq!((&of_shop["runs"][0]["id"], of_shop["runs"].as_array().unwrap().len()), (&json!(shop), 1));
    assert_eq!(live(&["--name", "nothing"])["runs"], json!([]));
    assert_eq!(told(field, &["runs", "--live", "--on", "b"])["runs"][0]["id"], json!(other));
    // One that still goes on is not forgotten.
    assert!(refused(field, &["run", "rm", &shop, "--on", "a"]).contains("end it first"));
    field.send("POST", &format!("/runs/{shop}/kill"), &json!({})).ok().unwrap();
    field.in_state(&shop, "killed");
    let table = String::from_utf8(field.client(&["runs", "--live", "--all"]).stdout).unwrap();
    assert!(table.contains("AGENT") && table.contains("burn"), "{table}");
}

#[test]
fn agents_answer_through_the_hub_and_runs_are_forgotten_everywhere() {
    let mut field = Field::new(&[("a", &[]), ("b", &[])]);
    assert_host_is_told(&field);
    assert_messages_are_told(&field);
    assert_live_runs_are_told(&field);
    let over = field.order_of("a", &json!({ "shell": "echo gone", "name": "over" }));
    field.in_state(&over, "succeeded");
    let kept = field.order_of("b", &json!({ "command": "true" }));
    field.in_state(&kept, "succeeded");
    let forgotten = field.client(&["run", "rm", &over[over.len() - 8..], "--on", "a"]);
    assert!(forgotten.status.success(), "{}", String::from_utf8_lossy(&forgotten.stderr));
    assert_eq!(field.agents[0].api(&format!("/v1/runs/{over}")).unwrap().status, 404);
    assert!(!field.agents[0].store().join("jobs/runs").join(&over).exists());
    assert!(refused(&field, &["run", "rm", &over, "--on", "a"]).contains("there is no run"));
    field.agents[1].kill().unwrap();
    field.wait_for_link("b", "down");
    for asked in
        [&["run", "rm", &kept, "--on", "b"][..], &["info", "os", "--on", "b"], &["messages", "--on", "b"]]
    {
        let why = refused(&field, asked);
        assert!(why.contains("there is no link to b, it was last heard of"), "{why}");
    }
    // An answer is up to a second old.
    let silent = wait_for("the agent to be missed", || {
        let live = told(&field, &["runs", "--live", "--all"]);
        Some(live["silent"][0].clone()).filter(Value::is_object)
    });
    let silent = silent.unwrap();
    assert_eq!((&silent["agent"], &silent["n_runs"]), (&json!("b"), &json!(1)), "{silent}");
    let never = field.order_of("b", &json!({ "command": "true" }));
    field.send("POST", &format!("/runs/{never}/kill"), &json!({})).ok().unwrap();
    assert!(field.client(&["run", "rm", &never, "--on", "b"]).status.success(), "no agent has it");
    field.hub.kill().unwrap();
    field.hub.start_again().unwrap();
    for id in [&over, &never] {
        assert_eq!(
            field.send("GET", &format!("/runs/{id}"), &Value::Null).status,
            404,
            "not after a restart"
        );
    }
    let audit = field.hub.client(&["audit", "--json"]).unwrap();
    assert_eq!(audit.matches("run.remove").count(), 2, "{audit}");
}

#[test]
fn what_an_agent_forgets_before_the_hub_has_drawn_it_is_marked_and_the_copy_is_kept_in_backups() {
    let mut field = Field::new(&[("a", &[])]);
    let before = field.order_of("a", &json!({ "command": "true", "name": "before" }));
    field.in_state(&before, "succeeded");
    let backup = field.hub.data().join("../backup");
    field.hub.client(&["backup", backup.to_str().unwrap()]).unwrap();
    field.hub.kill().unwrap();
    let own = |method: &str, path: &str, body: &Value| {
        unix_send(&field.agents[0].socket(), method, path, &body.to_string()).unwrap()
    };
    let ids: Vec<String> = (0..3).map(|n| format!("unseen-{n}")).collect();
    for id in &ids {
        assert_eq!(own("POST", "/v1/runs", &json!({ "id": id, "job": { "command": "true" } })).status, 201);
        let ended = || {
            own("GET", &format!("/v1/runs/{id}"), &Value::Null)
                .text()
                .ok()?
                .contains("\"succeeded\"")
                .then_some(())
        };
        wait_for("end of a run", ended).unwrap();
    }
    // As when it is over its time: and one that the hub knows, which is no gap.
    for id in [&ids[0], &ids[1], &before] {
        assert_eq!(own("DELETE", &format!("/v1/runs/{id}"), &Value::Null).status, 204);
    }
    field.hub.start_again().unwrap();
    let drawn = |field: &Field| {
        let told = || {
            field
                .send("GET", &format!("/runs/{}", ids[2]), &Value::Null)
                .text()
                .ok()?
                .contains("succeeded")
                .then_some(())
        };
        wait_for("what is not forgotten", told).unwrap();
    };
    drawn(&field);
    let listed = |field: &Field| field.get("/runs?limit=10");
    let marked =
        wait_for("the gap", || Some(listed(&field)).filter(|list| list["gaps"][0]["n_runs"].is_u64()))
            .unwrap();
    let gap = &marked["gaps"][0];
    assert_eq!((&gap["n_runs"], &gap["agent"], &gap["at_most"]), (&json!(2), &json!("a"), &json!(false)));
    assert_eq!(marked["gaps"].as_array().unwrap().len(), 1, "{marked:#}");
    let shown = field.client(&["runs", "--all"]);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains("a: 2 runs between") && said.contains("forgotten there before"), "{said}");
    // What came before is not with the agent any more: only the backup has it.
    field.hub.stop().unwrap();
    field.hub.client(&["restore", backup.to_str().unwrap(), "--replace"]).unwrap();
    field.hub.start_again().unwrap();
    assert_eq!(field.run(&before)["state"], "succeeded");
    drawn(&field);
    let marked =
        wait_for("the gap again", || Some(listed(&field)).filter(|list| list["gaps"][0]["n_runs"] == 2));
    assert_eq!(marked.unwrap()["gaps"].as_array().unwrap().len(), 1);
}

/// The words of a line of the shell; quotes hold what is between them together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// The commands of the manual's section on the hub are typed as they stand there.
#[test]
fn commands_of_the_manual_work_through_the_hub() {
    let manual = std::fs::read_to_string(crate::repository_file("docs/jobs.md")).unwrap();
    let section = manual.split("\n## ").find(|section| section.starts_with("From the hub\n")).unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("$ fieldpost ")).collect();
    assert!(commands.len() >= 15, "{commands:?}");
    let field = Field::new(&[("web-1", &["--role", "web"]), ("db-1", &["--role", "db"])]);
    let backup = "jobs:\n  - {name: backup, command: 'true', every: 6h}\n";
    let folder = field.agents[1].config_dir().join("jobs.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("10-backup.yaml"), backup).unwrap();
    unix_send(&field.agents[1].socket(), "POST", "/v1/reload", "").unwrap().ok().unwrap();
    for command in commands {
        // The id in the manual stands for a run that the command suits.
        let id = match command {
            _ if !command.contains("8f3ac201") => String::new(),
            _ if command.starts_with("run kill") => {
                let id = field.order_of("web-1", &json!({ "command": "sleep", "args": ["600"] }));
                field.in_state(&id, "running");
                id
            }
            _ => {
                let id = field.order_of("web-1", &json!({ "shell": "echo said" }));
                field.in_state(&id, "succeeded");
                id
            }
        };
        let line = command.replace("8f3ac201", &id);
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = field.client(&words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "fieldpost {line}\n{said}{why}");
        match command {
            _ if command.starts_with("run logs") => assert_eq!(said, "said\n"),
            _ if command.starts_with("jobs") => {
                assert!(said.contains("rotate") && said.contains("backup"), "{said}");
            }
            _ if command.contains("--fanout -- uname") => {
                assert!(said.contains("web-1") && said.contains("db-1"), "{said}");
            }
            _ => {}
        }
    }
    let runs = field.get("/runs?job=backup");
    assert_eq!(runs["runs"][0]["agent"], "db-1", "{runs:#}");
}
