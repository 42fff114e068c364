//! A real agent at a real hub: how long after it was taken a sample can be seen there, watched and
//! stored, and how many bytes it costs on the way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use fieldpost_bed::{Agent, FaultProxy, Hub, Random, now_ms, unix_get, wait_for};
use fieldpost_model::{SEQ_MAX, Stream, TimeMs};
use fieldpost_store::hub::HubReader;
use serde_json::Value;

use crate::table::Row;

const NAME: &str = "web1";
/// From one sample to the next.
const TICK_MS: i64 = 1_000;
/// Before anything is metered: everything was described by then.
const SETTLE: Duration = Duration::from_secs(15);
/// How often the hub is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The longest that the live lane may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// An agent, its hub, and between them a proxy that counts.
struct Pair {
    hub: Hub,
    _agent: Agent,
    agent_id: String,
}

impl Pair {
    fn start(config: &str) -> anyhow::Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let front = FaultProxy::to(nowhere, Random::seeded())?;
        let hub = Hub::start_behind(front, crate::program(), "")?;
        let agent = Agent::start(crate::program(), &format!("interval: 1s\n{config}"))?;
        agent.join_hub(&hub, NAME)?;
        wait_for("the first window", || newest_ms(&hub).ok().flatten())?;
        let agent_id = hub.agent(NAME)?["id"].as_str().unwrap_or_default().to_owned();
        Ok(Self { hub, _agent: agent, agent_id })
    }

    /// Samples that are stored so far, and bytes that were carried.
    fn so_far(&self) -> anyhow::Result<(u64, u64)> {
        let reader = HubReader::open(&self.hub.data().join("record"), Arc::new(|_| Vec::new()))?;
        let mut n_samples = 0;
        reader.items(&self.agent_id, Stream::Metrics, 1..=SEQ_MAX, |_, item| n_samples += item.n_samples)?;
        Ok((n_samples, self.hub.front().n_bytes()))
    }
}

/// All of it.
pub fn rows(span: Duration) -> anyhow::Result<Vec<Row>> {
    let metrics = Pair::start("history: {interval: 0s}\n")?;
    let all = Pair::start("")?;
    std::thread::sleep(SETTLE);
    let before = [metrics.so_far()?, all.so_far()?];
    let stored = stored(&all.hub, span)?;
    let after = [metrics.so_far()?, all.so_far()?];
    let each = |n: usize| (after[n].1 - before[n].1) as f64 / (after[n].0 - before[n].0).max(1) as f64;
    drop(metrics);
    let watched = watched(&all.hub, span)?;
    let late = |what: &str, delays: Vec<f64>, target: f64, goal: f64| {
        let (n, half, most) = (delays.len(), percentile(&delays, 0.5), percentile(&delays, 0.99));
        let what = format!("a sample taken every second, {what}, p50 and p99 of {n} instants");
        let peers = "Prometheus: its scrape interval, 15 s unless set";
        Row::against(&what, (most, format!("{half:.2} s, {most:.2} s")), peers, target, goal, "s")
    };
    Ok(vec![
        late("until a watcher at the hub sees it", watched, 2.0, 1.2),
        late("until it is stored at the hub and its API says so", stored, 15.0, 11.0),
        Row::against(
            "bytes per sample on the wire, all of TCP's content both ways, metrics only (with tables and events)",
            (each(0), format!("{:.2} B ({:.2})", each(0), each(1))),
            "remote write 1.0 about 50, 2.0 about 20 (measured elsewhere)",
            3.0,
            1.5,
            "B",
        ),
    ])
}

fn percentile(delays: &[f64], share: f64) -> f64 {
    let mut sorted = delays.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// First instant after the newest sample that is stored, as the hub's API has it.
fn newest_ms(hub: &Hub) -> anyhow::Result<Option<TimeMs>> {
    let answer = unix_get(&hub.socket(), &format!("/api/v1/agents/{NAME}"))?;
    Ok(serde_json::from_str::<Value>(answer.ok()?)?["newest_ms"].as_i64())
}

/// Ages of instants, in seconds, when the hub first says that it has stored them.
fn stored(hub: &Hub, span: Duration) -> anyhow::Result<Vec<f64>> {
    let (start, mut delays) = (Instant::now(), Vec::new());
    let mut known = newest_ms(hub)?.unwrap_or_default();
    while start.elapsed() < span {
        let newest = newest_ms(hub)?.unwrap_or_default();
        let seen_ms = now_ms();
        // The instants lie on the grid of seconds.
        let first = known + (-known).rem_euclid(TICK_MS);
        let instants = (first..newest).step_by(TICK_MS as usize);
        delays.extend(instants.map(|time_ms| (seen_ms - time_ms) as f64 / 1e3));
        known = known.max(newest);
        std::thread::sleep(ASK_EVERY);
    }
    Ok(delays)
}

/// Ages of ticks, in seconds, when they come to who watches.
fn watched(hub: &Hub, span: Duration) -> anyhow::Result<Vec<f64>> {
    let mut stream = UnixStream::connect(hub.socket())?;
    stream.set_read_timeout(Some(SILENCE))?;
    write!(stream, "GET /api/v1/live?agent={NAME} HTTP/1.0\r\nHost: hub\r\n\r\n")?;
    let (start, began_ms, mut delays) = (Instant::now(), now_ms(), Vec::new());
    let (mut lines, mut line) = (BufReader::new(stream), String::new());
    while start.elapsed() < span {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "the live lane ended");
        let seen_ms = now_ms();
        let Some(data) = line.strip_prefix("data:") else { continue };
        let told: Value = serde_json::from_str(data.trim())?;
        // What is said in the beginning of the time before is no news.
        let told = told["time_ms"].as_i64().filter(|time_ms| *time_ms >= began_ms);
        delays.extend(told.map(|time_ms| (seen_ms - time_ms) as f64 / 1e3));
    }
    Ok(delays)
}
