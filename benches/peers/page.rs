//! CPU of a request for the page: written anew, repeated, compressed; beside the peers' pages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fieldpost::agent::{Board, CollectorState};
use fieldpost::api::Page;
use fieldpost::telemetry::OwnMetrics;
use fieldpost_bed::{Agent, Connection};
use fieldpost_collectors::{Config, Unit, build_all};
use fieldpost_formats::{Dialect, write};
use fieldpost_model::{Catalog, TimeMs};

use crate::cpu::{self, Meter, median};
use crate::rivals;
use crate::table::Row;

/// Requests in a round from outside.
const N_REQUESTS: u32 = 400;
/// How far they are apart.
const PAUSE: Duration = Duration::from_millis(5);
const N_ROUNDS: usize = 7;
/// netdata hangs up after each answer unless it is asked not to.
const KEEP: &[(&str, &str)] = &[("Connection", "keep-alive")];

/// The page from within, then from outside.
pub fn rows() -> anyhow::Result<Vec<Row>> {
    let agent = Agent::start(crate::program(), "")?;
    let node = rivals::node_exporter()?;
    let netdata = rivals::netdata()?;
    let mut ours = Outside::new(agent.metrics_address(), agent_pid(agent)?, "/metrics");
    let mut node = Outside::new(node.address, (node.process.pid(), Box::new(node)), "/metrics");
    let mut netdata =
        Outside::new(netdata.address, (netdata.process.pid(), Box::new(netdata)), rivals::NETDATA_PAGE);
    let mut found: [Vec<f64>; 3] = Default::default();
    for _ in 0..N_ROUNDS {
        found[0].push(ours.cost_us(N_REQUESTS)?);
        found[1].push(node.cost_us(N_REQUESTS / 8)?);
        found[2].push(netdata.cost_us(N_REQUESTS / 8)?);
    }
    let [repeated_us, node_us, netdata_us] = found.map(median);
    let inside = Inside::measure()?;
    let peers = format!("node_exporter {:.2} ms, netdata {:.2} ms", node_us / 1e3, netdata_us / 1e3);
    let told = |us: f64| (us / 1e3, format!("{:.3} ms", us / 1e3));
    let size = inside.n_bytes / 1_000;
    Ok(vec![
        Row::against(
            &format!("CPU of `/metrics`, first request of a tick, plain ({size} kB)"),
            told(repeated_us + inside.write_us - inside.again_us),
            &peers,
            0.2,
            0.05,
            "ms",
        ),
        Row::against("the same, repeated within the tick", told(repeated_us), &peers, 0.2, 0.05, "ms"),
        Row::against(
            &format!("the same, first of a tick with gzip ({} kB)", inside.n_gzip_bytes / 1_000),
            told(repeated_us + inside.write_us + inside.gzip_us),
            "node_exporter 1.22 × its plain page",
            0.7,
            0.05,
            "ms",
        ),
    ])
}

type Held = Box<dyn std::any::Any>;

fn agent_pid(mut agent: Agent) -> anyhow::Result<(u32, Held)> {
    Ok((agent.process().pid(), Box::new(agent)))
}

/// A server that is asked from outside. It ends with this value.
struct Outside {
    address: SocketAddr,
    meter: Meter,
    path: &'static str,
    _server: Held,
}

impl Outside {
    fn new(address: SocketAddr, (pid, server): (u32, Held), path: &'static str) -> Self {
        Self { address, meter: Meter::new(pid), path, _server: server }
    }

    /// Microseconds of CPU a request, what the server does anyway in the same span taken off.
    fn cost_us(&mut self, n: u32) -> anyhow::Result<f64> {
        // A new connection for each round: servers hang up on those that are idle meanwhile.
        let mut connection = Connection::open(self.address)?;
        connection.get(self.path, KEEP).with_context(|| format!("{} does not answer", self.path))?;
        let start = Instant::now();
        let before = self.meter.look();
        for _ in 0..n {
            connection.get(self.path, KEEP).with_context(|| format!("{} hangs up", self.path))?;
            std::thread::sleep(PAUSE);
        }
        let busy = self.meter.look() - before;
        let span = start.elapsed();
        let before = self.meter.look();
        std::thread::sleep(span);
        let idle = self.meter.look() - before;
        Ok((busy.as_secs_f64() - idle.as_secs_f64()) * 1e6 / f64::from(n))
    }
}

/// Writing and compressing the page, without HTTP, microseconds.
struct Inside {
    write_us: f64,
    again_us: f64,
    gzip_us: f64,
    n_bytes: usize,
    n_gzip_bytes: usize,
}

impl Inside {
    fn measure() -> anyhow::Result<Self> {
        let (catalog, board) = (Catalog::new(), Arc::new(Board::default()));
        let mut units = build_all(&Arc::new(Config::default()), &catalog, Duration::from_secs(1));
        let state =
            |unit: &Unit| CollectorState::new(unit.entry.name, unit.tick().owner(), unit.interval, false);
        board.set_collectors(units.iter().map(state).collect());
        let page = Page::new(catalog, Arc::clone(&board), own_metrics()?);
        let mut found: [Vec<f64>; 3] = Default::default();
        let (mut plain, mut gzip) = (bytes::Bytes::new(), bytes::Bytes::new());
        for time_ms in (0..120).map(|n: TimeMs| n * 1_000) {
            for unit in &mut units {
                drop(unit.run(time_ms));
                board.publish(unit.tick(), |_| {});
            }
            let mut timed = |slot: usize, with_gzip: bool| {
                let before = cpu::own();
                let body = page.whole(Dialect::Text, with_gzip, time_ms);
                found[slot].push((cpu::own() - before).as_secs_f64() * 1e6);
                body
            };
            plain = timed(0, false);
            timed(1, false);
            gzip = timed(2, true);
        }
        let [write_us, again_us, gzip_us] = found.map(median);
        Ok(Self { write_us, again_us, gzip_us, n_bytes: plain.len(), n_gzip_bytes: gzip.len() })
    }
}

/// The process' own metrics as the agent writes them.
fn own_metrics() -> anyhow::Result<fieldpost::api::OwnMetrics> {
    let own = OwnMetrics::new()?;
    Ok(Box::new(move |dialect, out| {
        for (family, samples) in own.families() {
            write::header(out, dialect, &family, |_| false);
            samples.iter().for_each(|(series, value)| write::sample(out, series, *value));
        }
    }))
}
