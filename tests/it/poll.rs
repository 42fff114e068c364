//! Hubs that dial: an agent that must not dial out invites them, and what they store is what they
//! would store if it had dialled. Several hubs at once, each with what is its own.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use fieldpost_bed::{Agent, Hub, Scratch, Sealed, free_port, wait_for};
use fieldpost_model::{Item, Seq, Stream};
use fieldpost_store::hub::HubReader;
use serde_json::Value;

use crate::hub_faults::{FAST, NAME, joined, program, settled, wait_until_up};

/// What a hub has of an agent, by spool, stream and number.
type Items = BTreeMap<(String, Stream, Seq), Item>;

/// An agent that listens at a port that it keeps.
fn listening(more: &str) -> Agent {
    let config = format!("{FAST}api: {{listen: '127.0.0.1:{}'}}\n{more}", free_port().unwrap());
    Agent::start(program(), &config).unwrap()
}

/// Runs a command with this text on its standard input.
fn with_input(mut command: Command, text: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever refuses without reading closes its input first.
    let _refused = child.stdin.take().unwrap().write_all(text.as_bytes());
    child.wait_with_output().unwrap()
}

fn invitation(agent: &Agent, arguments: &[&str]) -> String {
    let output = agent.client(&[&["invite", "--name", NAME], arguments].concat()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn poll_add(hub: &Hub, word: &str, arguments: &[&str]) -> Output {
    with_input(hub.command(&[&["poll", "add", "-"], arguments].concat()), word)
}

/// Has the agent invite this hub, and the hub come.
fn invited(hub: &Hub, agent: &Agent, interval: &str) {
    let output = poll_add(hub, &invitation(agent, &[]), &["--interval", interval]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn uplinks(agent: &Agent) -> anyhow::Result<Vec<Value>> {
    Ok(serde_json::from_str(agent.api("/v1/hubs")?.ok()?)?)
}

fn link_is(hub: &Hub, state: &str) {
    let is = || (hub.link_of(NAME).ok()? == state).then_some(());
    wait_for(&format!("the link to be {state}"), is).unwrap();
}

/// What this hub has of the agent, up to what was sealed.
fn stored(hub: &Hub, sealed: &Sealed) -> anyhow::Result<Items> {
    let mut items = Items::new();
    let reader = HubReader::open(&hub.data().join("record"), Arc::new(|_| Vec::new()))?;
    for stream in Stream::ALL {
        let last = sealed.last(stream);
        reader.items(&sealed.agent_id, stream, 1..=last, |of, item| {
            let twice = items.insert((of.spool_id.to_owned(), stream, item.seq), item);
            assert!(twice.is_none(), "{stream:?} is there twice");
        })?;
    }
    Ok(items)
}

#[test]
fn push_and_poll_give_stores_that_are_equal_byte_for_byte() {
    let hubs: Vec<Hub> = (0..3).map(|_| Hub::start(program(), "").unwrap()).collect();
    let mut agent = listening("");
    agent.join_hub(&hubs[0], NAME).unwrap();
    invited(&hubs[1], &agent, "0");
    invited(&hubs[2], &agent, "1s");
    link_is(&hubs[0], "up");
    link_is(&hubs[1], "up");
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(agent.stop().unwrap().success());
    let sealed = Sealed::read(&agent.store()).unwrap();
    let n_items: u64 = Stream::ALL.into_iter().map(|stream| sealed.last(stream)).sum();
    assert!(n_items > 5);
    // A hub that comes now and then has the rest once it has come again.
    agent.start_again().unwrap();
    let whole = |hub| stored(hub, &sealed).ok().filter(|items| items.len() as u64 == n_items);
    let stores: Vec<Items> = hubs.iter().map(|hub| wait_for("everything", || whole(hub)).unwrap()).collect();
    assert!(stores[0] == stores[1] && stores[0] == stores[2], "the hubs do not have the same");
}

#[test]
fn each_hub_has_its_own_cursor() {
    let (first, mut second) = (Hub::start(program(), "").unwrap(), Hub::start(program(), "").unwrap());
    let mut agent = joined(&first, FAST, NAME);
    agent.join_hub(&second, NAME).unwrap();
    link_is(&second, "up");
    second.kill().unwrap();
    let lags = || {
        let hubs = uplinks(&agent).ok()?;
        let lag = |place: usize| hubs[place]["lag_items"].as_u64();
        let (mut least, mut most) = (lag(0)?, lag(1)?);
        if least > most {
            (least, most) = (most, least);
        }
        (least <= 5 && most > 10).then_some(())
    };
    wait_for("a lag of one hub alone", lags).unwrap();
    let status = agent.client(&["agent", "--status"]).unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert_eq!(status.matches("\n  hub  http://127.0.0.1:").count(), 2, "{status}");
    assert!(status.contains("  as web1  up since "), "{status}");
    second.start_again().unwrap();
    link_is(&second, "up");
    settled(&first, &mut agent, NAME, &[]).check().unwrap();
    agent.start_again().unwrap();
    settled(&second, &mut agent, NAME, &[]).check().unwrap();
}

#[test]
fn hub_that_dials_comes_back_after_any_restart_and_can_be_left() {
    let mut hub = Hub::start(program(), "").unwrap();
    let mut agent = listening("");
    invited(&hub, &agent, "0");
    wait_until_up(&hub, &agent, NAME);
    let list = hub.client(&["poll", "list"]).unwrap();
    assert!(list.contains("the hub stays") && list.contains("127.0.0.1:"), "{list}");
    agent.kill().unwrap();
    link_is(&hub, "down");
    agent.start_again().unwrap();
    wait_until_up(&hub, &agent, NAME);
    hub.kill().unwrap();
    let waits = || (agent.link_state().ok()? == "waiting").then_some(());
    wait_for("the agent to notice", waits).unwrap();
    hub.start_again().unwrap();
    wait_until_up(&hub, &agent, NAME);
    settled(&hub, &mut agent, NAME, &[]).check().unwrap();
    agent.start_again().unwrap();
    let said = hub.client(&["poll", "set", NAME, "--interval", "1h"]).unwrap();
    assert!(said.contains("every 1 h"), "{said}");
    link_is(&hub, "between");
    let left = agent.client(&["leave"]).unwrap();
    assert!(left.status.success(), "{}", String::from_utf8_lossy(&left.stderr));
    assert_eq!(uplinks(&agent).unwrap(), Vec::<Value>::new());
    hub.client(&["poll", "set", NAME, "--interval", "0"]).unwrap();
    let is_refused = || hub.process().said().contains("cannot be polled").then_some(());
    wait_for("the refusal", is_refused).unwrap();
}

#[test]
fn invitations_are_good_once_for_one_hub_and_until_they_end() {
    let (hub, other) = (Hub::start(program(), "").unwrap(), Hub::start(program(), "").unwrap());
    let deaf = Agent::start(program(), FAST).unwrap();
    let output = deaf.client(&["invite"]).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set api.listen"));

    let agent = listening("");
    let word = invitation(&agent, &[]);
    let said = refused(&poll_add(&hub, &hub.join_string().unwrap(), &[]));
    assert!(said.contains("give it to `fieldpost join -`"), "{said}");
    let said = refused(&poll_add(&hub, "", &[]));
    assert!(said.contains("there is no invitation on standard input"), "{said}");
    let replaced = invitation(&agent, &[]);
    let said = refused(&poll_add(&hub, &word, &[]));
    assert!(said.contains("not taken in"), "{said}");
    assert!(poll_add(&hub, &replaced, &[]).status.success());
    let said = refused(&poll_add(&other, &replaced, &[]));
    assert!(said.contains("another hub came by this invitation"), "{said}");
    assert!(
        poll_add(&hub, &replaced, &[]).status.success(),
        "an answer may be lost: the same hub may repeat"
    );
    link_is(&hub, "up");

    let short = invitation(&agent, &["--ttl", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let said = refused(&poll_add(&other, &short, &[]));
    assert!(said.contains("not taken in"), "{said}");
    assert_eq!((hub.agents().unwrap().len(), other.agents().unwrap().len()), (1, 0));
}

/// The jobs that hubs know they may have run on the agent.
fn allowed(hubs: &[&Hub]) -> Vec<String> {
    let of = |hub: &&Hub| hub.agent(NAME).unwrap()["allow_jobs"].as_str().unwrap().to_owned();
    hubs.iter().map(of).collect()
}

#[test]
fn hubs_may_what_each_was_granted_until_the_config_says_what_all_may() {
    let (dialled, dials) = (Hub::start(program(), "").unwrap(), Hub::start(program(), "").unwrap());
    let hubs = [&dialled, &dials];
    let config = format!("{FAST}api: {{listen: '127.0.0.1:{}'}}\n", free_port().unwrap());
    let agent = Agent::start(program(), &config).unwrap();
    let granting = |jobs: &str| {
        agent.join(&dialled.join_string().unwrap(), &["--name", NAME, "--allow-jobs", jobs]).unwrap()
    };
    let said = granting("named");
    assert!(
        String::from_utf8(said.stdout)
            .unwrap()
            .contains("may: read metrics, events, processes, run the jobs of jobs.d")
    );
    let output = poll_add(&dials, &invitation(&agent, &["--allow-jobs", "any"]), &["--interval", "0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    hubs.iter().for_each(|hub| link_is(hub, "up"));
    assert_eq!(allowed(&hubs), ["named", "any"]);

    let reloaded = |more: &str, jobs: [&str; 2]| {
        std::fs::write(agent.config_dir().join("agent.yaml"), format!("{config}{more}")).unwrap();
        let output = agent.client(&["agent", "--reload"]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        wait_for("the hubs to know", || (allowed(&hubs) == jobs).then_some(())).unwrap();
        hubs.iter().for_each(|hub| link_is(hub, "up"));
    };
    reloaded("remote_jobs: off\n", ["off", "off"]);
    let said = refused(&granting("named"));
    assert!(said.contains("--allow-jobs named is more than remote_jobs: off"), "{said}");
    reloaded("", ["named", "any"]);
}

#[test]
fn stranger_at_the_door_learns_nothing_and_harms_nobody() {
    let hub = Hub::start(program(), "").unwrap();
    let agent = listening("");
    invited(&hub, &agent, "0");
    wait_until_up(&hub, &agent, NAME);
    let status: Value = serde_json::from_str(agent.api("/v1/status").unwrap().ok().unwrap()).unwrap();
    let address: std::net::SocketAddr = status["listen"].as_str().unwrap().parse().unwrap();
    let plain = fieldpost_bed::get(address, "/v1/record");
    assert!(plain.is_err(), "what speaks no TLS gets no answer");
    let mut idle: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    idle.iter_mut().for_each(|stream| drop(stream.write_all(&[0; 64])));
    assert_eq!(hub.link_of(NAME).unwrap(), "up");
}

#[test]
fn push_interval_holds_back_and_the_end_brings_everything() {
    let hub = Hub::start(program(), "").unwrap();
    let mut agent = joined(&hub, &format!("{FAST}link: {{push_interval: 1h}}\n"), NAME);
    wait_until_up(&hub, &agent, NAME);
    let held = || (uplinks(&agent).ok()?[0]["lag_items"].as_u64()? > 5).then_some(());
    wait_for("items that wait for their turn", held).unwrap();
    assert_eq!(hub.link_of(NAME).unwrap(), "up");
    settled(&hub, &mut agent, NAME, &[]).check().unwrap();
}

/// An HTTP proxy of one purpose, which counts how often it led somewhere.
fn proxy() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let led = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&led);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, count) = (near.unwrap(), Arc::clone(&count));
            // Whoever breaks off is no concern of a proxy's.
            std::thread::spawn(move || drop(lead(near, &count)));
        }
    });
    (address, led)
}

fn lead(mut near: TcpStream, led: &AtomicUsize) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        near.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?;
    let target =
        head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).context(head.clone())?;
    if !head.contains("\r\nProxy-Authorization: Basic d2ViOnMzOmNyZXQ=\r\n") {
        near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?;
        return Ok(());
    }
    let far = TcpStream::connect(target)?;
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    led.fetch_add(1, Ordering::SeqCst);
    let (mut far_in, mut near_out) = (far.try_clone()?, near.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut far_in, &mut near_out));
    std::io::copy(&mut near, &mut &far)?;
    Ok(())
}

#[test]
fn agent_joins_and_dials_through_its_proxy() {
    let hub = Hub::start(program(), "").unwrap();
    let (address, led) = proxy();
    let secrets = Scratch::new().unwrap();
    let password = secrets.write("password", "s3:cret\n").unwrap();
    let link = format!("proxy: 'http://web@{address}', proxy_password_file: '{}'", password.display());
    let mut agent = joined(&hub, &format!("{FAST}link: {{{link}}}\n"), NAME);
    wait_until_up(&hub, &agent, NAME);
    assert!(led.load(Ordering::SeqCst) >= 2, "once to join, once for the link");
    settled(&hub, &mut agent, NAME, &[]).check().unwrap();
}

#[test]
fn agent_that_is_to_end_when_it_is_refused_for_good_does() {
    let hub = Hub::start(program(), "").unwrap();
    let mut agent = joined(&hub, &format!("{FAST}link: {{exit_on_fail: true}}\n"), NAME);
    wait_until_up(&hub, &agent, NAME);
    hub.client(&["agents", "revoke", NAME]).unwrap();
    let status = agent.process().wait().unwrap();
    assert!(!status.success());
    let said = agent.process().said();
    assert!(said.contains("link.exit_on_fail: hub ") && said.contains("revoked"), "{said}");
}

#[test]
fn people_decide_who_comes_in_and_what_is_said_of_whom() {
    let hub = Hub::start(program(), "").unwrap();
    let word = hub.client(&["token", "create", "--needs-approval"]).unwrap();
    let agent = Agent::start(program(), FAST).unwrap();
    let output = agent.join(word.trim(), &["--name", NAME]).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("has to approve this host first"));
    let waits = || {
        let hubs = uplinks(&agent).ok()?;
        hubs[0]["reason"].as_str()?.contains("has to approve").then_some(())
    };
    wait_for("the refusal", waits).unwrap();
    hub.client(&["agents", "approve", NAME]).unwrap();
    wait_until_up(&hub, &agent, NAME);

    let bare = hub.command(&["agents", "set-status", NAME, "offline"]).output().unwrap();
    assert!(refused(&bare).contains("offline needs a comment"));
    hub.client(&["agents", "set-status", NAME, "offline", "--comment", "sold"]).unwrap();
    let view = hub.agent(NAME).unwrap();
    assert_eq!((view["status"].as_str(), view["comment"].as_str()), (Some("offline"), Some("sold")));
    assert_eq!(hub.link_of(NAME).unwrap(), "up", "what people say changes no link");
    hub.client(&["agents", "set-status", NAME, "maintenance"]).unwrap();
    assert_eq!(hub.agent(NAME).unwrap()["comment"], "maintenance");
    hub.client(&["agents", "set-status", NAME, "online"]).unwrap();

    hub.client(&["agents", "forget", NAME]).unwrap();
    assert_eq!(hub.agents().unwrap().len(), 0);
    let forgotten = || {
        let hubs = uplinks(&agent).ok()?;
        hubs[0]["reason"].as_str()?.contains("does not know this host").then_some(())
    };
    wait_for("the end of the link", forgotten).unwrap();
}

/// A program that runs on a host with another boot id, as after a copy of its disk.
pub fn on_another_host(scratch: &Scratch) -> anyhow::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let boot_id = scratch.write("boot_id", "00000000-0000-4000-8000-000000000001\n")?;
    let text = format!(
        "#!/bin/sh\nexec unshare -m sh -c \
         'mount --bind {} /proc/sys/kernel/random/boot_id && exec {} \"$@\"' sh \"$@\"\n",
        boot_id.display(),
        program().display()
    );
    let script = scratch.write("elsewhere", &text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .context("cannot make it run")?;
    Ok(script)
}
