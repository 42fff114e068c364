//! Nothing lost, nothing twice: real agents and a real hub, killed, cut off, stalled, put back to
//! earlier states; then the oracle compares what was sealed with what is stored.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use fieldpost_bed::{
    Agent, FaultProxy, Faults, Hub, PATIENCE, Random, Scratch, Sealed, Stored, Verdict, copy_folder, soak,
    wait_for,
};
use fieldpost_model::Stream;

/// The shortest windows there are, and tables as often.
pub const FAST: &str = "interval: 150ms\nhistory: {interval: 1s}\nstore: {window: 1s}\n";
/// Less of it, where many agents run beside each other.
const LIGHT: &str = "interval: 300ms\nhistory: {interval: 5s}\nstore: {window: 2s}\n";
/// The name of the agent where there is one.
pub const NAME: &str = "web1";
/// The longest that a process lives before it is killed, ms: most live for a moment, some long
/// enough to seal and to send.
const LIFE_MS_MAX: [u64; 4] = [50, 200, 600, 1_500];
/// Times that the last items are given another chance to arrive.
const N_CHANCES: usize = 5;
/// Where nobody listens.
const NOWHERE: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A hub behind a proxy that does no harm yet.
fn hub_behind_proxy(random: &mut Random) -> Hub {
    let front = FaultProxy::to(NOWHERE, random.branch()).unwrap();
    Hub::start_behind(front, program(), "").unwrap()
}

pub fn program() -> &'static Path {
    Path::new(crate::fieldpost())
}

/// An agent that has joined.
pub fn joined(hub: &Hub, config: &str, name: &str) -> Agent {
    let agent = Agent::start(program(), config).unwrap();
    agent.join_hub(hub, name).unwrap();
    agent
}

/// Waits until agent and hub both say that the link is up.
pub fn wait_until_up(hub: &Hub, agent: &Agent, name: &str) {
    let up = || (agent.link_state().ok()? == "up" && hub.link_of(name).ok()? == "up").then_some(());
    wait_for(&format!("the link of {name}"), up).unwrap();
}

/// Lives on for a while.
fn live(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Waits for the link, stops the agent, and compares. What is only missing may still come: the
/// agent owes it, and gives it when it is started again. In the end it must know that it owes nothing,
/// or it would keep everything for ever.
pub fn settled(hub: &Hub, agent: &mut Agent, name: &str, former_spools: &[String]) -> Verdict {
    let (mut verdict, mut n_owed) = (Verdict::default(), 0);
    for _ in 0..N_CHANCES {
        wait_until_up(hub, agent, name);
        assert!(agent.stop().unwrap().success(), "the agent did not stop cleanly");
        let sealed = Sealed::read(&agent.store()).unwrap();
        let stored = Stored::read(&hub.data(), &sealed.agent_id).unwrap();
        verdict = Verdict::of(&sealed, &stored, former_spools);
        n_owed = sealed.n_owed;
        if verdict.missing.is_empty() && n_owed == 0 {
            break;
        }
        println!("{} items have not arrived yet, {n_owed} are owed", verdict.missing.len());
        agent.start_again().unwrap();
        live(2_000);
    }
    verdict.check().context("the oracle").unwrap();
    assert_eq!(n_owed, 0, "the hub has everything, and the agent does not know it");
    println!(
        "{name}: {} items, {} samples, each at the hub once and equal; {} numbers accounted for as lost",
        verdict.n_items, verdict.n_samples, verdict.n_lost
    );
    verdict
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Hub,
    Both,
}

/// Kills at random instants, again and again.
fn kills_lose_and_double_nothing(victim: Victim, n_kills: u64) {
    let mut random = Random::seeded();
    let mut hub = hub_behind_proxy(&mut random);
    let mut agent = joined(&hub, FAST, NAME);
    for number in 0..n_kills * soak() {
        live(random.below(LIFE_MS_MAX[number as usize % LIFE_MS_MAX.len()]));
        if victim != Victim::Agent {
            hub.kill().unwrap();
        }
        if victim != Victim::Hub {
            agent.kill().unwrap();
            agent.start_again().with_context(|| format!("agent after kill {number}")).unwrap();
        }
        if victim != Victim::Agent {
            hub.start_again().with_context(|| format!("hub after kill {number}")).unwrap();
        }
    }
    settled(&hub, &mut agent, NAME, &[]);
}

#[test]
fn kills_of_the_agent_lose_and_double_nothing() {
    kills_lose_and_double_nothing(Victim::Agent, 100);
}

#[test]
fn kills_of_the_hub_lose_and_double_nothing() {
    kills_lose_and_double_nothing(Victim::Hub, 100);
}

#[test]
fn kills_of_both_lose_and_double_nothing() {
    kills_lose_and_double_nothing(Victim::Both, 50);
}

#[test]
fn cuts_at_any_byte_lose_and_double_nothing() {
    const N_AGENTS: usize = 5;
    let n_cuts = 500 * soak();
    let mut random = Random::seeded();
    let hub = hub_behind_proxy(&mut random);
    let names: Vec<String> = (1..=N_AGENTS).map(|number| format!("web{number}")).collect();
    let mut agents: Vec<Agent> = names.iter().map(|name| joined(&hub, LIGHT, name)).collect();
    hub.front().set(Faults { cuts: true, stall_ms_max: 300, bytes_per_second: 0 });
    hub.front().cut_all();
    // Pauses grow with each link that breaks; who starts anew dials at once.
    for one in (0..N_AGENTS).cycle().take_while(|_| hub.front().n_cuts() < n_cuts) {
        live(random.below(1_000));
        agents[one].kill().unwrap();
        agents[one].start_again().unwrap();
    }
    println!("{} cuts of {} connections", hub.front().n_cuts(), hub.front().n_connections());
    hub.front().set(Faults::default());
    hub.front().cut_all();
    for (agent, name) in agents.iter_mut().zip(&names) {
        settled(&hub, agent, name, &[]);
    }
}

#[test]
fn dead_link_is_noticed_on_both_sides() {
    let mut random = Random::seeded();
    let hub = hub_behind_proxy(&mut random);
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    hub.front().swallow();
    hub.front().lead_to(NOWHERE);
    let down = || (agent.link_state().ok()? == "down" && hub.link_of(NAME).ok()? == "down").then_some(());
    wait_for("both to notice that nothing comes over the link", down).unwrap();
    hub.front().lead_to(hub.address());
    settled(&hub, &mut agent, NAME, &[]);
}

#[test]
fn backlog_of_an_outage_arrives_newest_first_beside_what_is_fresh() {
    const SLOW: u64 = 8_000;
    let mut random = Random::seeded();
    let mut hub = hub_behind_proxy(&mut random);
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    let agent_id = hub.agent(NAME).unwrap()["id"].as_str().unwrap().to_owned();
    live(1_500);
    assert!(hub.stop().unwrap().success());
    live(5_000);
    agent.kill().unwrap();
    agent.start_again().unwrap();
    live(5_000);
    agent.stop().unwrap();
    let known = numbers(&hub, &agent_id);
    let last = Sealed::read(&agent.store()).unwrap().last(Stream::Metrics);
    let first = known.last().map_or(1, |known| known + 1);
    hub.front().set(Faults { bytes_per_second: SLOW, ..Faults::default() });
    agent.start_again().unwrap();
    hub.start_again().unwrap();
    let mut was_fresh_beside_backlog = false;
    wait_for("the backlog", || {
        let there = numbers(&hub, &agent_id);
        let missing: Vec<u64> = (first..=last).filter(|seq| !there.contains(seq)).collect();
        let oldest_there = there.iter().copied().find(|seq| (first..=last).contains(seq));
        let newest_missing = missing.last().copied();
        if let (Some(there), Some(missing)) = (oldest_there, newest_missing) {
            assert!(missing < there, "{there} came before the newer {missing}");
        }
        was_fresh_beside_backlog |= !missing.is_empty() && there.iter().any(|seq| *seq > last);
        missing.is_empty().then_some(())
    })
    .unwrap();
    assert!(was_fresh_beside_backlog, "what was fresh waited for {} old windows", last - first + 1);
    hub.front().set(Faults::default());
    settled(&hub, &mut agent, NAME, &[]);
}

/// The numbers of windows that are at the hub.
fn numbers(hub: &Hub, agent_id: &str) -> Vec<u64> {
    let numbers = Stored::numbers(&hub.data(), agent_id, Stream::Metrics).unwrap();
    numbers.into_iter().map(|(_, seq)| seq).collect()
}

#[test]
fn hub_that_was_put_back_asks_again() {
    let mut random = Random::seeded();
    let mut hub = hub_behind_proxy(&mut random);
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    live(2_000);
    assert!(hub.stop().unwrap().success());
    let backup = Scratch::new().unwrap();
    let copy = backup.path().join("hub");
    copy_folder(&hub.data(), &copy).unwrap();
    hub.start_again().unwrap();
    wait_until_up(&hub, &agent, NAME);
    live(3_000);
    hub.kill().unwrap();
    copy_folder(&copy, &hub.data()).unwrap();
    hub.start_again().unwrap();
    settled(&hub, &mut agent, NAME, &[]);
}

/// Puts the agent back to the state of a while ago. What it does between then and the next link is
/// up to the caller. Answers the spool that it had.
fn put_back(hub: &Hub, agent: &mut Agent) -> String {
    wait_until_up(hub, agent, NAME);
    live(2_000);
    assert!(agent.stop().unwrap().success());
    let backup = Scratch::new().unwrap();
    let copy = backup.path().join("agent");
    copy_folder(&agent.store(), &copy).unwrap();
    let spool = Sealed::read(&agent.store()).unwrap().spool_id;
    agent.start_again().unwrap();
    wait_until_up(hub, agent, NAME);
    live(2_500);
    assert!(agent.stop().unwrap().success());
    copy_folder(&copy, &agent.store()).unwrap();
    spool
}

#[test]
fn agent_that_was_put_back_begins_a_new_spool() {
    let mut random = Random::seeded();
    let hub = hub_behind_proxy(&mut random);
    let mut agent = joined(&hub, FAST, NAME);
    let former = put_back(&hub, &mut agent);
    agent.start_again().unwrap();
    settled(&hub, &mut agent, NAME, std::slice::from_ref(&former));
    assert_ne!(Sealed::read(&agent.store()).unwrap().spool_id, former);
}

/// It numbers on beyond what the hub knows before the two meet again: the same numbers stand for
/// other items then.
#[test]
fn agent_that_was_put_back_and_went_on_alone_begins_a_new_spool() {
    let mut random = Random::seeded();
    let mut hub = hub_behind_proxy(&mut random);
    let mut agent = joined(&hub, FAST, NAME);
    let former = put_back(&hub, &mut agent);
    assert!(hub.stop().unwrap().success());
    // Twice: the events of one more life would still be fewer than the hub knows.
    for _ in 0..2 {
        agent.start_again().unwrap();
        live(4_000);
        assert!(agent.stop().unwrap().success());
    }
    agent.start_again().unwrap();
    hub.start_again().unwrap();
    settled(&hub, &mut agent, NAME, std::slice::from_ref(&former));
    assert_ne!(Sealed::read(&agent.store()).unwrap().spool_id, former);
}

/// The bound on how long anything here waits must leave room for the longest pause of a dialler.
const _: () = assert!(PATIENCE.as_secs() >= 60);
