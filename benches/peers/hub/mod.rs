//! The hub: what it takes in beside its peers, how soon it shows it, how many agents it bears, and what
//! questions over all of them cost.

mod freshness;
mod ingest;
mod links;
mod promql;
mod questions;
mod senders;

use std::time::{Duration, Instant};

use anyhow::ensure;
use fieldpost_bed::{Fleet, Hub, Swarm, now_ms};
use fieldpost_model::TimeMs;
use tokio::runtime::Runtime;

use crate::table::Row;

/// How often it is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The parts, by the names under which they can be asked for alone.
pub const PARTS: [&str; 5] = ["hub-ingest", "hub-fresh", "hub-links", "hub-questions", "hub-promql"];

/// What a part finds. `span`: how long what goes on in its own time is watched, and how many seconds
/// of samples are pushed; `n_links`: how many agents are linked, one try after the other.
pub fn rows(part: &str, span: Duration, n_links: &[usize]) -> anyhow::Result<Vec<Row>> {
    match part {
        "hub-ingest" => ingest::rows(span),
        "hub-fresh" => freshness::rows(span),
        "hub-links" => links::rows(n_links),
        "hub-promql" => promql::rows(span),
        _ => questions::rows(span),
    }
}

/// A hub, and agents that are made up and linked to it.
struct Station {
    swarm: Swarm,
    hub: Hub,
    runtime: Runtime,
}

impl Station {
    /// Starts a hub and lets the agents join; they do not dial yet.
    fn start(fleet: Fleet) -> anyhow::Result<Self> {
        let hub = Hub::start(crate::program(), "")?;
        let uses = fleet.n_agents.to_string();
        let word = hub.client(&["token", "create", "--uses", &uses])?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let swarm = runtime.block_on(Swarm::join(&word, fleet))?;
        Ok(Self { swarm, hub, runtime })
    }

    /// Lets all dial, and waits until they are linked; how long it took.
    fn link(&mut self, n_agents: usize, limit: Duration) -> anyhow::Result<Duration> {
        let _inside = self.runtime.enter();
        self.swarm.dial();
        until("links", limit, || self.swarm.n_up() == n_agents)
    }

    /// Waits until the hub has acknowledged everything; how long it took.
    fn drain(&self, limit: Duration) -> anyhow::Result<Duration> {
        until("acknowledgement of everything", limit, || self.swarm.is_drained())
    }
}

/// Waits for something; how long it took.
fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> anyhow::Result<Duration> {
    let start = Instant::now();
    while !done() {
        ensure!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(start.elapsed())
}

/// The last multiple of a span that lies so far back.
fn aligned_ms(back_ms: i64, span_ms: i64) -> TimeMs {
    let at_ms = now_ms() - back_ms;
    at_ms - at_ms.rem_euclid(span_ms)
}
