//! Whole programs at work side by side for a while: CPU, CPU per sample, memory, disk writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fieldpost_bed::{Agent, Connection, Process, Scratch, get, wait_for};

use crate::cpu::{Meter, memory_mib};
use crate::crowd::Crowd;
use crate::disk::written_bytes;
use crate::machine::n_processes;
use crate::recording::Recording;
use crate::rivals::{self, NETDATA_PAGE, Rival};
use crate::table::Row;

/// Before the meters start: every program has had its first passes by then.
const SETTLE: Duration = Duration::from_secs(12);

/// All of them with few and with many processes, and what the agent recorded meanwhile.
pub fn rows(span: Duration) -> anyhow::Result<(Vec<Row>, Recording)> {
    let (mut rows, recording) = side_by_side(span, true)?;
    let _crowd = Crowd::until(1_000)?;
    rows.extend(side_by_side(span, false)?.0);
    Ok((rows, recording))
}

/// What a program came to in the span.
struct Cost {
    cpu: Duration,
    span: Duration,
    rss_mib: f64,
    anonymous_mib: f64,
}

impl Cost {
    fn percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.span.as_secs_f64()
    }

    fn us_a_sample(&self, samples_a_second: f64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (samples_a_second * self.span.as_secs_f64()).max(1.0)
    }

    fn told(&self, samples_a_second: f64) -> String {
        let each = self.us_a_sample(samples_a_second);
        format!("{:.2} % ({each:.2} µs, {samples_a_second:.0}/s)", self.percent())
    }
}

/// The four programs, all at one second. node_exporter is scraped by this process.
struct Four {
    agent: Agent,
    node: Rival,
    connection: Connection,
    netdata: Rival,
    collectd: (Process, Scratch),
}

impl Four {
    fn start() -> anyhow::Result<Self> {
        let node = rivals::node_exporter()?;
        Ok(Self {
            agent: Agent::start(crate::program(), "interval: 1s\n")?,
            connection: node.connect()?,
            node,
            netdata: rivals::netdata()?,
            collectd: rivals::collectd()?,
        })
    }

    fn scrape_for(&mut self, span: Duration, mut each: impl FnMut()) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut next = Duration::ZERO;
        while start.elapsed() < span {
            self.connection.get("/metrics", &[])?;
            each();
            next += Duration::from_secs(1);
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
        Ok(())
    }

    fn pids(&mut self) -> [u32; 4] {
        let agent = self.agent.process().pid();
        [agent, self.node.process.pid(), self.netdata.process.pid(), self.collectd.0.pid()]
    }

    /// Runs them for a while and meters each.
    fn measure(&mut self, span: Duration) -> anyhow::Result<[Cost; 4]> {
        self.scrape_for(SETTLE, || {})?;
        let pids = self.pids();
        let mut meters = pids.map(Meter::new);
        let before = meters.each_mut().map(Meter::look);
        let coarse = meters[0].coarse();
        let start = Instant::now();
        self.scrape_for(span, || {
            meters.iter_mut().for_each(|meter| {
                meter.look();
            });
        })?;
        let after = meters.each_mut().map(Meter::look);
        let span = start.elapsed();
        eprintln!(
            "running: agent {:?} by the scheduler's count, {:?} by the coarse one",
            after[0] - before[0],
            meters[0].coarse() - coarse
        );
        Ok([0, 1, 2, 3].map(|n| {
            let (rss_mib, anonymous_mib) = memory_mib(pids[n]);
            Cost { cpu: after[n] - before[n], span, rss_mib, anonymous_mib }
        }))
    }
}

fn side_by_side(span: Duration, targets: bool) -> anyhow::Result<(Vec<Row>, Recording)> {
    let mut four = Four::start()?;
    let written = written_bytes(four.agent.process().pid());
    let costs = four.measure(span)?;
    let written = written_bytes(four.agent.process().pid()) - written;
    let n = n_processes();
    let theirs = [
        samples_of_page(&four.node, "/metrics")?,
        samples_of_page(&four.netdata, NETDATA_PAGE)?,
        samples_of_collectd(four.collectd.1.path())?,
    ];
    four.agent.stop()?;
    let recording = Recording::load(&four.agent.store())?;
    let rate = recording.samples_a_second();
    let [agent, node, netdata, collectd] = &costs;
    let peers = format!(
        "node_exporter scraped {}, netdata {}, collectd {}",
        node.told(theirs[0]),
        netdata.told(theirs[1]),
        collectd.told(theirs[2])
    );
    let what = format!("sampling and storing at 1 s, % of a core, {n} processes, {} s", span.as_secs());
    let mut rows = vec![match targets {
        true => Row::against(&what, (agent.percent(), agent.told(rate)), &peers, 0.4, 0.2, "%"),
        false => Row::plain(&what, agent.told(rate), &peers),
    }];
    if targets {
        let each = agent.us_a_sample(rate);
        rows.push(Row::against(
            "CPU per sample stored, all in",
            (each, format!("{each:.2} µs")),
            "as above",
            3.0,
            1.0,
            "µs",
        ));
    }
    rows.extend(memory_rows(&costs, n, span));
    let each = written as f64 / (rate * costs[0].span.as_secs_f64());
    let what =
        format!("bytes written to disk per sample by the running agent, tables included, {n} processes");
    rows.push(Row::plain(&what, format!("{each:.1} B"), "–"));
    Ok((rows, recording))
}

fn memory_rows(costs: &[Cost; 4], n: usize, span: Duration) -> Vec<Row> {
    let [agent, node, netdata, collectd] = costs;
    let peers = |of: fn(&Cost) -> f64| {
        format!("node_exporter {:.1}, netdata {:.1}, collectd {:.1}", of(node), of(netdata), of(collectd))
    };
    let line = |what: &str, of: fn(&Cost) -> f64, target: f64, goal: f64| {
        let what = format!("{what} after {} s, {n} processes", span.as_secs());
        Row::against(&what, (of(agent), format!("{:.1} MiB", of(agent))), &peers(of), target, goal, "MiB")
    };
    vec![
        line("resident memory", |cost| cost.rss_mib, 15.2, 9.5),
        line("anonymous memory", |cost| cost.anonymous_mib, 5.7, 5.7),
    ]
}

/// How many samples a page has: one a second of each when it is scraped so.
fn samples_of_page(rival: &Rival, path: &str) -> anyhow::Result<f64> {
    let page = get(rival.address, path)?;
    Ok(page.text()?.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count() as f64)
}

/// How many lists of values collectd keeps at this moment.
fn samples_of_collectd(folder: &Path) -> anyhow::Result<f64> {
    let mut socket = wait_for("socket of collectd", || UnixStream::connect(folder.join("sock")).ok())?;
    socket.write_all(b"LISTVAL\n")?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    Ok(line.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0))
}
