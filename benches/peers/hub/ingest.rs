//! Samples that come in: over links and by remote write at the hub, by remote write at Prometheus and
//! VictoriaMetrics. The very same samples, one program after the other, the senders in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use fieldpost_bed::{Connection, Fleet, Hub};
use fieldpost_store::hub::{HubStore, HubStoreOptions};

use super::senders::{self, Receiver, Requests};
use super::{Station, aligned_ms};
use crate::cpu::{Meter, memory_mib};
use crate::disk::bytes_of;
use crate::rivals::{self, Rival};
use crate::table::Row;
use crate::victoria::Victoria;

const N_AGENTS: usize = 200;
const N_SERIES: usize = 500;
/// What is done with samples after they were answered counts as well, this long.
const AFTER: Duration = Duration::from_secs(5);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(900);
/// The hour of the samples has ended for longer than a merge waits.
const LATER_MS: i64 = 2 * 3_600_000;
/// Where the hub takes remote write, and VictoriaMetrics and Prometheus do.
const WRITE: &str = "/api/v1/write";

/// All series come under one token, which may have 50 000 unless it is set.
const ONE_TOKEN: &str = "limits:\n  series_per_agent: 1000000\n";

/// What taking in the samples came to.
struct Taken {
    /// Samples a second.
    rate: f64,
    /// Nanoseconds of a core for each.
    cpu_ns: f64,
    rss_mib: f64,
    /// Bytes at rest, each; of a hub before it has merged them.
    rest: f64,
}

impl Taken {
    fn told(&self) -> String {
        format!("{:.2} M/s, {:.0} ns, {:.0} MiB", self.rate / 1e6, self.cpu_ns, self.rss_mib)
    }

    /// Says at once what was found: the whole takes minutes.
    fn tell(&self, who: &str) {
        eprintln!("hub-ingest: {who}: {}, {:.3} B each at rest", self.told(), self.rest);
    }
}

/// Meters a program while it takes samples in.
struct Metering {
    pid: u32,
    meter: Meter,
    before: Duration,
}

impl Metering {
    fn begin(pid: u32) -> Self {
        let meter = Meter::new(pid);
        Self { before: meter.coarse(), meter, pid }
    }

    /// The samples were all answered within `took`.
    fn end(self, n_samples: f64, took: Duration) -> Taken {
        std::thread::sleep(AFTER);
        let spent = self.meter.coarse() - self.before;
        Taken {
            rate: n_samples / took.as_secs_f64(),
            cpu_ns: spent.as_secs_f64() * 1e9 / n_samples,
            rss_mib: memory_mib(self.pid).0,
            rest: 0.0,
        }
    }
}

/// Five samples of each series for each second of the span, after a first window that describes them.
pub fn rows(span: Duration) -> anyhow::Result<Vec<Row>> {
    let n_windows = (span.as_secs() as usize / 2).max(1);
    let (tick_ms, span_ms) = (1_000, 1_000 * Fleet::TICKS);
    let start_ms = aligned_ms((1 + n_windows as i64) * span_ms, span_ms);
    let fleet = Fleet { n_agents: N_AGENTS, n_series: N_SERIES, tick_ms, start_ms };
    let n_samples = fleet.n_samples(n_windows);
    let (one_by_one, link, _) = by_link(fleet, n_windows, true)?;
    let (at_once, backlog, linked_hub) = by_link(fleet, n_windows, false)?;
    let pushes = Pushes { requests: senders::requests(&fleet, 1 + n_windows)?, fleet, n_windows };
    let sent: usize = pushes.requests.iter().flatten().map(Vec::len).sum();
    let sent = sent as f64 / fleet.n_samples(1 + n_windows);
    let (pushed, pushed_hub) = pushes.to_hub()?;
    let (prometheus, victoria) = (pushes.to_prometheus()?, pushes.to_victoria()?);
    // Last, for merges have the lowest priority: a busy machine draws them out.
    let merged = [merged_bytes(&linked_hub)?, merged_bytes(&pushed_hub)?].map(|bytes| pushes.each(bytes));
    let peers = format!("VictoriaMetrics {}; Prometheus {}", victoria.told(), prometheus.told());
    let what = |how: &str| {
        format!(
            "taking in {:.0} M samples of {N_AGENTS} agents, {how}: rate, CPU each, resident memory",
            n_samples / 1e6
        )
    };
    let linked = |how: &str, taken: &Taken| {
        Row::at_least(&what(how), (taken.rate / 1e6, taken.told()), &peers, 4.0, 10.0, "M/s")
    };
    let best = (victoria.rate / 1e4).round() / 1e2;
    let remote = (pushed.rate / 1e6, pushed.told());
    Ok(vec![
        linked("over links, each window acknowledged before the next", &one_by_one),
        linked("over links, all at once as after an outage", &at_once),
        Row::at_least(&what("by remote write 1.0"), remote, &peers, best, best, "M/s"),
        Row::against(
            "bytes per sample on the link, inside of TLS, a window at a time (all at once)",
            (link, format!("{link:.2} B ({backlog:.2})")),
            &format!("remote write 1.0: {sent:.2} B"),
            3.0,
            1.5,
            "B",
        ),
        Row::plain(
            "bytes per sample at rest: these samples merged, rollups to minutes included (before it)",
            format!(
                "over links {:.3} B ({:.3}), pushed {:.3} B ({:.3})",
                merged[0], at_once.rest, merged[1], pushed.rest
            ),
            &format!("VictoriaMetrics {:.3} B, Prometheus {:.3} B", victoria.rest, prometheus.rest),
        ),
    ])
}

/// Over links; and bytes a sample on them.
fn by_link(fleet: Fleet, n_windows: usize, one_by_one: bool) -> anyhow::Result<(Taken, f64, Hub)> {
    let mut station = Station::start(fleet)?;
    station.link(fleet.n_agents, PATIENCE)?;
    station.swarm.seal(1, true)?;
    station.drain(PATIENCE)?;
    std::thread::sleep(AFTER);
    let n_samples = fleet.n_samples(n_windows);
    let metering = Metering::begin(station.hub.process().pid());
    let bytes = station.swarm.link_bytes();
    station.swarm.seal(n_windows, one_by_one)?;
    let took = station.drain(PATIENCE)?;
    let bytes = station.swarm.link_bytes() - bytes;
    let mut taken = metering.end(n_samples, took);
    let Station { mut hub, swarm, runtime: _runtime } = station;
    drop(swarm);
    taken.rest = stopped_bytes(&mut hub)? as f64 / fleet.n_samples(1 + n_windows);
    taken.tell("hub over links");
    Ok((taken, bytes as f64 / n_samples, hub))
}

/// Ends a hub; bytes of its record.
fn stopped_bytes(hub: &mut Hub) -> anyhow::Result<u64> {
    hub.stop()?;
    Ok(record_bytes(&hub.data().join("record")))
}

/// Bytes of the record of a hub that has ended, once all is merged.
fn merged_bytes(hub: &Hub) -> anyhow::Result<u64> {
    let record = hub.data().join("record");
    let options = HubStoreOptions {
        clock: Arc::new(|| fieldpost_bed::now_ms() + LATER_MS),
        ..HubStoreOptions::new(record.clone())
    };
    let (store, _) = HubStore::open(options)?;
    ensure!(store.tend(PATIENCE), "the store does not end its merges");
    store.close()?;
    Ok(record_bytes(&record))
}

/// Without the ballast, which is let go when the disk is full: it is the same however much there is.
fn record_bytes(record: &Path) -> u64 {
    bytes_of(record, &|name| name != "ballast")
}

fn all_bytes(folder: &Path) -> u64 {
    bytes_of(folder, &|_| true)
}

/// The windows as requests; the first of each agent goes before the clock runs.
struct Pushes {
    fleet: Fleet,
    n_windows: usize,
    requests: Requests,
}

impl Pushes {
    fn to(&self, pid: u32, receiver: Receiver<'_>) -> anyhow::Result<Taken> {
        senders::send(receiver, 0..1, &self.requests)?;
        std::thread::sleep(AFTER);
        let metering = Metering::begin(pid);
        let took = senders::send(receiver, 1..1 + self.n_windows, &self.requests)?;
        Ok(metering.end(self.fleet.n_samples(self.n_windows), took))
    }

    /// Bytes a sample, where these are all.
    fn each(&self, bytes: u64) -> f64 {
        bytes as f64 / self.fleet.n_samples(1 + self.n_windows)
    }

    fn to_hub(&self) -> anyhow::Result<(Taken, Hub)> {
        let mut hub = Hub::start(crate::program(), ONE_TOKEN)?;
        let token = hub.client(&["api-token", "create", "bench", "--scope", "ingest"])?;
        let (pid, address) = (hub.process().pid(), hub.address());
        let mut taken = self.to(pid, Receiver { address, path: WRITE, token: Some(token.trim()) })?;
        taken.rest = self.each(stopped_bytes(&mut hub)?);
        taken.tell("hub by remote write");
        Ok((taken, hub))
    }

    fn to_peer(&self, rival: &Rival) -> anyhow::Result<Taken> {
        self.to(rival.process.pid(), Receiver { address: rival.address, path: WRITE, token: None })
    }

    fn to_prometheus(&self) -> anyhow::Result<Taken> {
        let rival = rivals::prometheus_receiver()?;
        let mut taken = self.to_peer(&rival)?;
        // A block of all that is in memory.
        let made = Connection::open(rival.address)?.post("/api/v1/admin/tsdb/snapshot", b" ")?;
        made.ok()?;
        taken.rest = self.each(all_bytes(&rival.scratch.path().join("blocks/snapshots")));
        taken.tell("Prometheus");
        Ok(taken)
    }

    fn to_victoria(&self) -> anyhow::Result<Taken> {
        let mut victoria = Victoria::start()?;
        let mut taken = self.to_peer(victoria.rival())?;
        taken.rest = self.each(victoria.settled_bytes()?);
        taken.tell("VictoriaMetrics");
        Ok(taken)
    }
}
