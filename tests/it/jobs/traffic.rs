//! What runs send and receive, told apart by network namespaces of their own; needs root.

use std::process::{Child, Command, Stdio};

use fieldpost_bed::wait_for;
use serde_json::{Value, json};

use super::Stage;

/// Two ends of a wire in a namespace of its own; a hundred packets of a kilobyte go over it.
const TALKS: &str = "ip link add v0 type veth peer name v1 && ip link set lo up && ip link set v0 up && \
    ip link set v1 up && ip addr add 10.213.0.1/24 dev v0 && ip neigh add 10.213.0.2 lladdr 02:00:00:00:00:01 dev v0 && \
    for i in $(seq 100); do head -c 1000 /dev/zero > /dev/udp/10.213.0.2/9; done && \
    for i in $(seq 900); do head -c 1000 /dev/zero > /dev/udp/127.0.0.1/9; done; exec sleep 600";

/// A process in a network namespace of its own that is no run.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _over = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn traffic_of_a_run_is_counted_where_nobody_else_is() {
    let probe = Command::new("unshare").args(["--net", "ip", "link", "add", "v0", "type", "veth"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "skipped: no network namespaces with interfaces can be made here; root and veth are needed"
        );
        return;
    }
    let stage = Stage::start();
    let mut other = Command::new("unshare");
    let other = Other(other.args(["--net", "sleep", "600"]).stdout(Stdio::null()).spawn().unwrap());
    let enter = format!("--net=/proc/{}/ns/net", other.0.id());
    let job = |name: &str, argv: &[&str]| json!({ "name": name, "command": argv[0], "args": argv[1..] });
    let own = stage.post(job("own", &["unshare", "--net", "bash", "-c", TALKS]));
    let shared = stage.post(job("shared", &["nsenter", &enter, "sleep", "600"]));
    let plain = stage.post(job("plain", &["sleep", "600"]));
    let stats = |id: &str| -> Value {
        let answer = stage.agent.api(&format!("/v1/runs/{id}/stats")).unwrap();
        serde_json::from_str(answer.ok().unwrap()).unwrap()
    };
    let newest = |id: &str| stats(id)["samples"].as_array().unwrap().last().cloned();
    let is_talked = || newest(&own).filter(|sample| sample["net_sent_bytes"].as_u64() >= Some(100_000));
    let sample = wait_for("its packets", is_talked).unwrap();
    // Sent at one end is received at the other; what went over the loopback is not there.
    let (received, sent) = (sample["net_received_bytes"].as_u64(), sample["net_sent_bytes"].as_u64());
    assert!(received >= Some(100_000) && sent < Some(400_000), "{sample}");
    for id in [&shared, &plain] {
        let sample = wait_for("a sample", || newest(id)).unwrap();
        assert_eq!(sample.get("net_sent_bytes"), None, "others are counted there, too: {sample}");
    }
    let said = String::from_utf8(stage.client(&["run", "stats", &own]).stdout).unwrap();
    assert!(said.contains("received     1") && said.contains("sent  "), "{said}");
    for id in [&own, &shared, &plain] {
        stage.kill(id);
        stage.ended(id);
    }
    let record = stage.run(&own).unwrap();
    assert!(record["usage"]["net_sent_bytes"].as_u64() >= sent, "{record}");
    let shown = String::from_utf8(stage.client(&["run", "show", &own]).stdout).unwrap();
    assert!(shown.contains(", received "), "{shown}");
    let page = wait_for("its series", || {
        let text = stage.agent.get("/metrics").ok()?.text().ok()?.to_owned();
        text.contains("fieldpost_job_network_bytes_total").then_some(text)
    });
    let page = page.unwrap();
    let of = |name: &str| {
        page.lines().filter(|line| line.contains("network_bytes_total{") && line.contains(name)).count()
    };
    assert_eq!((of("\"own\""), of("\"plain\"") + of("\"shared\"")), (2, 0));
}
