//! Trouble that lasts: an hour of outage, disks that are full, clocks that are turned. What was
//! sealed arrives once it is over, and the oracle finds nothing missing, doubled or changed.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_bed::{
    Agent, Hub, PATIENCE, Scratch, Sealed, SmallDisk, Stored, TurnedClock, now_ms, wait_for,
};
use fieldpost_model::{Catalog, Family, Group, Kind, Owner, Series, Stream, TimeMs, Window};
use fieldpost_store::{Config, Store, StoreOptions};

use crate::hub_faults::{FAST, NAME, joined, program, settled, wait_until_up};

/// The length of the agents' windows.
const WINDOW_MS: TimeMs = 10_000;
/// Windows of an hour, and how often the agent was started meanwhile.
const N_WINDOWS: i64 = 360;
const N_STARTS: i64 = 4;
/// Enough for both stores as these tests fill them, and soon full.
const DISK_BYTES: u64 = 48 << 20;
/// Stores that do not leave a part of the disk to others.
const TO_THE_LAST: &str = "store: {min_free: 0B}\n";

fn live(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A window of a hundred series, a sample each second.
fn window(from_ms: TimeMs, series: &[Arc<Series>]) -> Window {
    let times_ms: Vec<TimeMs> = (0..10).map(|n| from_ms + n * 1_000).collect();
    let one = |n: usize| times_ms.iter().map(move |t| (t / 1_000 * (n as i64 + 1)) as f64);
    let values = (0..series.len()).flat_map(one).collect();
    let groups = vec![Group { times_ms: times_ms.clone(), series: series.to_vec(), values }];
    Window { from_ms, to_ms: from_ms + WINDOW_MS, groups }
}

/// Seals what an agent would have sealed in an hour without its hub, in which it was started four times.
fn seal_an_hour(agent: &Agent) {
    let end_ms = now_ms() / WINDOW_MS * WINDOW_MS;
    let family = Family { name: "outage".into(), help: "".into(), kind: Kind::Gauge };
    for start in 0..N_STARTS {
        let config = Config { path: agent.store(), ..Config::default() };
        let (store, _) = Store::open(StoreOptions::new(config)).unwrap();
        let catalog = Catalog::new();
        let one = |n: usize| {
            let id = catalog.resolve(Owner(1), &family, "", &[("n", &n.to_string())]);
            Arc::clone(catalog.read().get(id).unwrap())
        };
        let series: Vec<_> = (0..100).map(one).collect();
        for number in start * N_WINDOWS / N_STARTS..(start + 1) * N_WINDOWS / N_STARTS {
            store.append(window(end_ms - (N_WINDOWS - number) * WINDOW_MS, &series));
            assert!(number % 20 != 19 || store.flush(PATIENCE));
        }
        assert!(store.flush(PATIENCE));
        store.close().unwrap();
    }
}

#[test]
fn outage_of_an_hour_with_restarts_inside_is_made_up_for() {
    let mut hub = Hub::start(program(), "").unwrap();
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    assert!(hub.stop().unwrap().success());
    live(1_500);
    assert!(agent.stop().unwrap().success());
    seal_an_hour(&agent);
    agent.start_again().unwrap();
    hub.start_again().unwrap();
    let verdict = settled(&hub, &mut agent, NAME, &[]);
    assert!(verdict.n_items as i64 > N_WINDOWS, "{} items", verdict.n_items);
    assert_eq!(verdict.n_lost, 0);
}

#[test]
fn full_disk_of_the_hub_holds_agents_up_and_loses_nothing() {
    let mut hub = Hub::start(program(), TO_THE_LAST).unwrap();
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    assert!(hub.stop().unwrap().success());
    let disk = SmallDisk::under(&hub.data(), DISK_BYTES).unwrap();
    hub.start_again().unwrap();
    wait_until_up(&hub, &agent, NAME);
    let agent_id = hub.agent(NAME).unwrap()["id"].as_str().unwrap().to_owned();
    let data = hub.data();
    let there = || Stored::numbers(&data, &agent_id, Stream::Metrics).unwrap().len();
    // Some room is its own, for such days, and is given up first.
    let stands = || {
        disk.fill().unwrap();
        let before = there();
        live(3_000);
        (there() == before).then_some(())
    };
    wait_for("the hub to take nothing more", stands).unwrap();
    assert!(hub.process().said().contains("disk is full"), "{}", hub.process().said());
    assert_eq!(hub.link_of(NAME).unwrap(), "up");
    assert_eq!(agent.link_state().unwrap(), "up");
    disk.empty().unwrap();
    settled(&hub, &mut agent, NAME, &[]);
}

#[test]
fn full_disk_of_the_agent_ends_neither_it_nor_its_link() {
    let hub = Hub::start(program(), "").unwrap();
    let config = FAST.replace("store: {", "store: {min_free: 0B, ");
    let mut agent = joined(&hub, &config, NAME);
    wait_until_up(&hub, &agent, NAME);
    assert!(agent.stop().unwrap().success());
    let disk = SmallDisk::under(&agent.store(), DISK_BYTES).unwrap();
    agent.start_again().unwrap();
    wait_until_up(&hub, &agent, NAME);
    // What its store gives back meanwhile is taken again.
    let full = || {
        disk.fill().unwrap();
        agent.process().said().contains("full").then_some(())
    };
    wait_for("the agent to say that its disk is full", full).unwrap();
    live(3_000);
    wait_until_up(&hub, &agent, NAME);
    disk.empty().unwrap();
    let last = Sealed::read(&agent.store()).unwrap().last(Stream::Metrics);
    let agent_id = hub.agent(NAME).unwrap()["id"].as_str().unwrap().to_owned();
    let later = || {
        let there = Stored::numbers(&hub.data(), &agent_id, Stream::Metrics).ok()?;
        there.iter().any(|(_, seq)| *seq > last + 3).then_some(())
    };
    wait_for("windows from after the trouble", later).unwrap();
    settled(&hub, &mut agent, NAME, &[]);
}

#[test]
fn clock_of_the_agent_may_be_turned_while_it_runs() {
    let clock = TurnedClock::new().unwrap();
    let environment = clock.environment();
    let environment: Vec<(&str, &OsStr)> =
        environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let hub = Hub::start(program(), "").unwrap();
    let mut agent = Agent::start_in(Scratch::new().unwrap(), program(), FAST, &environment).unwrap();
    agent.join_hub(&hub, NAME).unwrap();
    wait_until_up(&hub, &agent, NAME);
    // No further ahead than the hub takes: what is beyond that it refuses, and says so.
    for ahead in [500, -2_400, 0] {
        clock.turn(ahead).unwrap();
        live(3_000);
        wait_until_up(&hub, &agent, NAME);
        let seconds = agent.page().unwrap().value("node_time_seconds", &[]).unwrap();
        let off = seconds - now_ms() as f64 / 1e3 - ahead as f64;
        assert!(off.abs() < 60.0, "turned by {ahead} s, the agent's clock is {off} s beside that");
    }
    settled(&hub, &mut agent, NAME, &[]);
}
