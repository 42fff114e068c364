//! Two hosts and a wire: a hub on one, an agent on the other that joins in one line over TLS.

use std::net::SocketAddr;

use fieldpost_bed::{Agent, Hub, TwoHosts, wait_for};

use crate::hub_faults::{FAST, NAME, program, settled, wait_until_up};

#[test]
fn host_joins_a_hub_on_another_and_outlives_the_wire() {
    let hosts = TwoHosts::new().unwrap();
    let listen: SocketAddr = format!("{}:7700", hosts.address(0)).parse().unwrap();
    let hub = Hub::start_at(hosts.place(0), listen, program(), "").unwrap();
    let mut agent = Agent::start_at(hosts.place(1), program(), FAST).unwrap();
    let output = agent.join(&hub.join_string().unwrap(), &["--name", NAME, "--role", "web"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with(&format!("hub    https://{listen} is the one")), "{said}");
    wait_until_up(&hub, &agent, NAME);

    hosts.cut(1).unwrap();
    let down = || (agent.link_state().ok()? == "down" && hub.link_of(NAME).ok()? == "down").then_some(());
    wait_for("both to notice that the wire is cut", down).unwrap();
    hosts.mend(1).unwrap();
    settled(&hub, &mut agent, NAME, &[]);
}

#[test]
fn hub_speaks_no_plain_http_to_other_hosts() {
    let hosts = TwoHosts::new().unwrap();
    let listen: SocketAddr = format!("{}:7700", hosts.address(0)).parse().unwrap();
    let hub = Hub::start_at(hosts.place(0), listen, program(), "").unwrap();
    let ask = |url: &str| {
        let mut command = hosts.place(1).command("curl".as_ref());
        let output =
            command.args(["--silent", "--insecure", "--max-time", "10", "--write-out", "%{http_code}"]);
        let output = output.args(["--output", "/dev/null", url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask(&format!("http://{listen}/")), "000");
    assert_eq!(ask(&format!("https://{listen}/")), "200");
    drop(hub);
}
