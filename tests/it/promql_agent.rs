//! A lone agent is a Prometheus to those who ask it: over its Unix socket, on its listener for programs,
//! and through its hub; and `fieldpost query` shows the answers.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use fieldpost_bed::{
    Agent, Connection, Prometheus, Scratch, free_port, get, get_with, now_ms, unix_get, wait_for,
};
use serde_json::Value;

use crate::pair::HubProcess;

/// The token of the listener for programs.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An answer from the agent's socket.
fn asked(agent: &Agent, path: &str) -> Value {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/?&=_.".contains(&byte);
    let path: String = path
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let answer = unix_get(&agent.socket(), &format!("/api/v1/{path}")).unwrap();
    serde_json::from_str(answer.text().unwrap()).unwrap()
}

/// Instants of the samples of the only series, milliseconds.
fn instants(answer: &Value) -> Vec<i64> {
    let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    values.iter().map(|pair| (pair[0].as_f64().unwrap() * 1_000.0).round() as i64).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn agent_answers_what_is_stored_and_what_is_not_yet() {
    let agent =
        Agent::start(Path::new(crate::fieldpost()), "interval: 100ms\nstore:\n  window: 1s\n").unwrap();
    let counted = || asked(&agent, "query?query=count_over_time(node_load1[1m]) > 15");
    let enough = || Some(counted()).filter(|answer| answer["data"]["result"][0].is_object());
    wait_for("fifteen ticks", enough).unwrap();
    // Asked late in a second, what was sampled in this second is not sealed yet.
    let mut is_newest_there = false;
    for _ in 0..5 {
        let second_ms = now_ms() / 1_000 * 1_000;
        let at_ms = second_ms + 850;
        let until = u64::try_from(at_ms + 50 - now_ms()).unwrap_or(0);
        std::thread::sleep(std::time::Duration::from_millis(until));
        let path = format!("query?query=node_load1[10s]&time={}.{:03}", at_ms / 1_000, at_ms % 1_000);
        let first = instants(&asked(&agent, &path));
        is_newest_there |= first.last().is_some_and(|newest| *newest > second_ms);
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let second = instants(&asked(&agent, &path));
        assert!(first.len() > 10 && second.starts_with(&first), "{first:?}\nsealed: {second:?}");
        assert!(first.is_sorted_by(|a, b| a < b), "{first:?}");
        if is_newest_there {
            break;
        }
    }
    assert!(is_newest_there, "the newest second is never there");
    let labels = asked(&agent, "series?match[]=node_load1");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let expected = serde_json::json!([{ "__name__": "node_load1", "instance": host, "job": "fieldpost" }]);
    assert_eq!(labels["data"], expected);
    for (path, n) in [
        ("query?query=node_load1{job=\"other\"}", 0),
        ("query?query=node_load1{instance!=\"\"}", 1),
        ("query?query=count(node_load1{exported_job=\"\"})", 1),
    ] {
        assert_eq!(asked(&agent, path)["data"]["result"].as_array().unwrap().len(), n, "{path}");
    }
    assert_eq!(asked(&agent, "label/job/values")["data"], serde_json::json!(["fieldpost"]));
    assert_eq!(asked(&agent, "metadata?metric=node_load1")["data"]["node_load1"][0]["type"], "gauge");
    let top = asked(&agent, "status/tsdb?limit=1");
    assert_eq!(top["data"]["labelValueCountByLabelName"][0]["name"], "__name__");
    let page = unix_get(&agent.socket(), "/federate?match[]=node_load1").unwrap();
    assert!(page.ok().unwrap().starts_with("# TYPE node_load1 untyped\nnode_load1{"), "{page:?}");
    assert!(get(agent.metrics_address(), "/api/v1/labels").unwrap().status == 404, "on the page's listener");
    commands_show_answers(&agent);
}

fn commands_show_answers(agent: &Agent) {
    let query = |arguments: &[&str]| agent.client(&[&["query"], arguments].concat()).unwrap();
    let table = shown(&query(&["node_memory_MemTotal_bytes or node_load1"]));
    assert!(table.contains("iB") && table.contains("NAME"), "{table}");
    let json: Value = serde_json::from_str(&shown(&query(&["1 + 1", "--json"]))).unwrap();
    assert_eq!(json["data"]["resultType"], "scalar");
    let csv = shown(&query(&["node_load1", "--from", "10s", "--step", "1s", "--csv"]));
    assert!(csv.lines().count() > 3 && csv.starts_with("time_ms,series,value\n"), "{csv}");
    let plot = shown(&query(&["node_load1", "--plot", "--from", "5s"]));
    assert!(plot.contains(|c: char| ('\u{2801}'..='\u{28ff}').contains(&c)), "{plot}");
    assert!(plot.lines().all(|line| line.chars().count() <= 80), "{plot}");
    let refused = query(&["rate(node_load1)"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("expected type range vector"), "{}", text(&refused.stderr));
}

#[test]
fn programs_reach_the_agent_by_its_owners_token() {
    let scratch = Scratch::new().unwrap();
    let file = scratch.write("token", &format!("{TOKEN}\n")).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let config = format!("api:\n  http:\n    listen: {address}\n    token_file: {}\n", file.display());
    let agent = Agent::start(Path::new(crate::fieldpost()), &config).unwrap();
    let bearer = format!("Bearer {TOKEN}");
    let good = [("Authorization", bearer.as_str())];
    for wrong in [&[][..], &[("Authorization", "Bearer 0123456789abcdef0123456789abcdeX")]] {
        for path in ["/api/v1/labels", "/federate?match[]=up", "/api/v1/status/buildinfo"] {
            assert_eq!(get_with(address, path, wrong).unwrap().status, 401, "{path}");
        }
    }
    assert_eq!(get(address, "/-/ready").unwrap().status, 200);
    assert_eq!(get_with(address, "/v1/processes", &good).unwrap().status, 404, "only what a Prometheus has");
    let form = [good[0], ("Content-Type", "application/x-www-form-urlencoded")];
    let ask = || {
        let mut connection = Connection::open(address).unwrap();
        connection.post_with("/api/v1/query", &form, b"query=node_load1").ok()
    };
    let found =
        wait_for("a load", || ask().filter(|answer| answer.body.windows(6).any(|part| part == b"node_l")));
    assert_eq!(found.unwrap().status, 200);
    drop(agent);
}

/// A Prometheus that has nothing of its own reads a lone agent, over TLS; in clear nobody is answered.
#[test]
fn prometheus_reads_an_agent_over_tls() {
    let scratch = Scratch::new().unwrap();
    let own = rcgen::generate_simple_self_signed(["agent.test".to_owned()]).unwrap();
    let token = scratch.write("token", TOKEN).unwrap();
    let certificate = scratch.write("agent.pem", &own.cert.pem()).unwrap();
    let key = scratch.write("agent.key", &own.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let config = format!(
        "interval: 100ms\nstore:\n  window: 1s\napi:\n  http:\n    listen: {address}\n    token_file: {}\n    \
         certificate: {}\n    key: {}\n",
        token.display(),
        certificate.display(),
        key.display()
    );
    let _agent = Agent::start(Path::new(crate::fieldpost()), &config).unwrap();
    let clear = get_with(address, "/api/v1/labels", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert!(clear.is_err(), "answered in clear: {clear:?}");
    let config = format!(
        "remote_read:\n- url: https://{address}/api/v1/read\n  read_recent: true\n  authorization:\n    \
         credentials_file: {}\n  tls_config: {{ca_file: {}, server_name: agent.test}}\n",
        token.display(),
        certificate.display()
    );
    let prometheus = Prometheus::start(&config, &[]).unwrap();
    let reader = prometheus.address;
    let loads = || {
        let answer = get(reader, "/api/v1/query?query=count_over_time(node_load1%5B1m%5D)").unwrap();
        let answer: Value = serde_json::from_str(answer.text().ok()?).ok()?;
        let n: f64 = answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()?;
        (n > 15.0).then_some(())
    };
    wait_for("fifteen loads by remote read", loads).unwrap();
}

#[test]
fn hub_knows_what_its_agents_are_called_and_asks_them() {
    let hub = HubProcess::start();
    let agent = hub.joined_agent("web1", "");
    let socket = hub.socket().display().to_string();
    let query = |arguments: &[&str]| {
        let mut command = Command::new(crate::fieldpost());
        command.args(["query", "--socket", &socket]).args(arguments).output().unwrap()
    };
    let own = shown(&query(&["--agent", "web1", "node_load1", "--csv"]));
    assert!(own.contains("job=\"\"fieldpost\"\""), "{own}");
    let nobody = query(&["--agent", "web9", "node_load1"]);
    assert!(!nobody.status.success() && text(&nobody.stderr).contains("web9"), "{}", text(&nobody.stderr));
    let joined = "node_load1 * on (instance) group_left (version, status) fieldpost_agent_info";
    let joined =
        || Some(shown(&query(&[joined, "--csv"]))).filter(|csv| csv.contains("status=\"\"online\"\""));
    wait_for("the agent's info beside its load", joined).unwrap();
    // Nobody watches: the hub has what it has stored, and no more. While somebody does, it has the newest
    // second as well.
    let mut watching = UnixStream::connect(hub.socket()).unwrap();
    watching.write_all(b"GET /api/v1/live?agent=web1 HTTP/1.1\r\nHost: hub\r\n\r\n").unwrap();
    let is_ahead = || {
        let newest = shown(&query(&["timestamp(node_time_seconds{instance=\"web1\"})", "--json"]));
        let answer: Value = serde_json::from_str(&newest).unwrap();
        let newest_s: f64 = answer["data"]["result"][0]["value"][1].as_str()?.parse().unwrap();
        let stored_ms = hub.get("/api/v1/agents")[0]["newest_ms"].as_f64().unwrap();
        (newest_s * 1_000.0 >= stored_ms).then_some(())
    };
    wait_for("a sample that is not stored yet", is_ahead).unwrap();
    drop(agent);
}
