//! The hub and its agents as people meet them: joining and being refused, the list, the end of
//! trust.

use std::process::Output;

use fieldpost_bed::{Agent, Hub, Scratch, wait_for};
use serde_json::Value;

use crate::hub_faults::{FAST, NAME, joined, program, settled, wait_until_up};

/// What came of a join, and what it said.
fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn unusable_join_strings_are_refused_with_what_is_wrong() {
    let hub = Hub::start(program(), "").unwrap();
    let other = Hub::start(program(), "").unwrap();
    let agent = Agent::start(program(), FAST).unwrap();
    let refused = |word: &str| {
        let (code, said) = told(&agent.join(word, &[]).unwrap());
        assert_eq!(code, Some(1), "{word}: {said}");
        assert!(!agent.store().join("hubs").read_dir().is_ok_and(|mut hubs| hubs.next().is_some()), "{said}");
        said
    };
    let word = hub.join_string().unwrap();
    assert!(refused("").contains("there is no join string on standard input"));
    assert!(refused("https://hub.example").contains("there is no join string on standard input"));
    assert!(refused(&word[..word.len() - 9]).contains("the end of the word is missing"));
    let damaged = word.replacen(&word[40..41], if &word[40..41] == "A" { "B" } else { "A" }, 1);
    assert!(refused(&damaged).contains("damaged"), "{}", refused(&damaged));

    let used = hub.join_string().unwrap();
    let guest = Agent::start(program(), FAST).unwrap();
    assert!(guest.join(&used, &["--name", "guest"]).unwrap().status.success());
    let said = refused(&used);
    assert!(said.contains("used"), "{said}");

    let listed: Vec<Value> =
        serde_json::from_str(&hub.client(&["token", "list", "--json"]).unwrap()).unwrap();
    let open = listed.iter().find(|token| token["uses"] == 0).unwrap()["id"].as_str().unwrap().to_owned();
    hub.client(&["token", "revoke", &open]).unwrap();
    let said = refused(&word);
    assert!(said.contains("revoked"), "{said}");

    // A good string of a hub that is not there any more.
    let word = other.join_string().unwrap();
    drop(other);
    let said = refused(&word);
    assert!(said.contains("cannot reach"), "{said}");
    assert_eq!(hub.agents().unwrap().len(), 1);
}

/// Many hosts come by one string at once: one is let in, all others are told why not.
#[test]
fn token_lets_one_host_in_however_many_come_at_once() {
    const N_HOSTS: usize = 20;
    let hub = Hub::start(program(), "").unwrap();
    let word = hub.join_string().unwrap();
    let hosts: Vec<Scratch> = (0..N_HOSTS).map(|_| Scratch::new().unwrap()).collect();
    let children: Vec<_> = hosts.iter().map(|host| joining(host, &word)).collect();
    let outputs: Vec<Output> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let n_in = outputs.iter().filter(|output| output.status.success()).count();
    for (code, said) in outputs.iter().filter(|output| !output.status.success()).map(told) {
        assert!(code == Some(1) && said.contains("used"), "{code:?}: {said}");
    }
    assert_eq!((n_in, hub.agents().unwrap().len()), (1, 1));
}

fn joining(host: &Scratch, word: &str) -> std::process::Child {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    host.write("config/agent.yaml", "").unwrap();
    let mut command = Command::new(program());
    command.args(["join", "-", "--config-dir"]).arg(host.path().join("config"));
    command.arg("--set").arg(format!("store.path={}", host.path().join("data").display()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(word.as_bytes()).unwrap();
    child
}

#[test]
fn list_of_agents_shows_link_lag_and_coverage() {
    let hub = Hub::start(program(), "").unwrap();
    assert!(hub.client(&["agents"]).unwrap().contains("no agent yet"));
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    let whole = || {
        let agent = hub.agent(NAME).ok()?;
        let coverage = &agent["coverage"];
        (coverage["of_ms"].as_i64()? > 0).then(|| coverage["share"].as_f64()).flatten()
    };
    assert_eq!(wait_for("a coverage", whole).unwrap(), 1.0);
    let line = line_of(&hub, NAME);
    assert!(line.contains(" up ") && line.contains("100 % of "), "{line}");
    let lag_ms = hub.agent(NAME).unwrap()["lag_ms"].as_i64().unwrap();
    assert!(lag_ms < 15_000, "the newest sample at the hub is {lag_ms} ms old");

    settled(&hub, &mut agent, NAME, &[]);
    let down = || (hub.link_of(NAME).ok()? == "down").then_some(());
    wait_for("the end of the link", down).unwrap();
    assert!(line_of(&hub, NAME).contains(" down since "), "{}", line_of(&hub, NAME));
}

fn line_of(hub: &Hub, name: &str) -> String {
    let list = hub.client(&["agents"]).unwrap();
    list.lines().find(|line| line.contains(name)).unwrap_or(&list).to_owned()
}

#[test]
fn revoked_agent_is_cut_off_at_once_and_told_why() {
    let hub = Hub::start(program(), "").unwrap();
    let agent = joined(&hub, FAST, NAME);
    let other = joined(&hub, FAST, "web2");
    wait_until_up(&hub, &agent, NAME);
    wait_until_up(&hub, &other, "web2");
    hub.client(&["agents", "revoke", NAME]).unwrap();
    let reason = || {
        let hubs: Value = serde_json::from_str(agent.api("/v1/hubs").ok()?.ok().ok()?).ok()?;
        let reason = hubs[0]["reason"].as_str()?.to_owned();
        (hubs[0]["state"] == "down" && reason.contains("revoked")).then_some(reason)
    };
    wait_for("the refusal", reason).unwrap();
    assert!(line_of(&hub, NAME).contains(" revoked "), "{}", line_of(&hub, NAME));
    assert_eq!(hub.link_of("web2").unwrap(), "up");
}

#[test]
fn address_without_encryption_is_for_loopback_alone() {
    let scratch = Scratch::new().unwrap();
    let path = scratch.write("hub.yaml", "public_url: http://192.0.2.1:7700\n").unwrap();
    let mut command = std::process::Command::new(program());
    let (code, said) = told(&command.args(["check", "hub", "--config"]).arg(path).output().unwrap());
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("public_url: must be https:// where it leads to another machine"), "{said}");
    let parsed = "http://192.0.2.1:7700".parse::<fieldpost_link::HubUrl>();
    let said = parsed.unwrap_err().to_string();
    assert!(said.contains("https://"), "{said}");
    assert!("http://127.0.0.1:7700".parse::<fieldpost_link::HubUrl>().is_ok());
}
