//! Thousands of agents at one hub: what a link weighs, what all cost at rest, and how soon all are
//! back after the hub was killed.

use std::time::{Duration, Instant};

use fieldpost_bed::Fleet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Station, aligned_ms};
use crate::cpu::{Meter, memory_mib};
use crate::table::Row;

const N_SERIES: usize = 500;
/// From one sample to the next, milliseconds: ten of them are a window.
const TICK_MS: i64 = 10_000;
/// After the last link is up, before anything is metered.
const SETTLE: Duration = Duration::from_secs(15);
/// What rest is watched for.
const REST: Duration = Duration::from_secs(30);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Descriptors that each side needs for other things than links.
const N_OTHER_FILES: usize = 500;

/// One try after the other.
pub fn rows(n_links: &[usize]) -> anyhow::Result<Vec<Row>> {
    let n_files = raised_limit()?;
    let tried = n_links.iter().map(|n| match *n + N_OTHER_FILES > n_files {
        true => Ok(vec![Row::plain(
            &format!("{n} agents"),
            format!("not tried: a process may open {n_files} files here"),
            "–",
        )]),
        false => crowd(*n),
    });
    Ok(tried.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// How many files this process may open from now on: all that it may allow itself. The hub does so
/// by itself.
fn raised_limit() -> anyhow::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX))
}

/// What so many agents came to.
struct Crowd {
    joined: Duration,
    linked: Duration,
    /// Share of a core.
    rest: f64,
    kib_each: f64,
    /// CPU of a window of every agent, and the time until all were acknowledged.
    window: (Duration, Duration),
    /// From the kill until all links were up again, and until a window of each was acknowledged.
    storm: (Duration, Duration),
    storm_cpu: Duration,
    rss_mib: f64,
}

fn crowd(n_agents: usize) -> anyhow::Result<Vec<Row>> {
    let start_ms = aligned_ms(0, TICK_MS * Fleet::TICKS);
    let fleet = Fleet { n_agents, n_series: N_SERIES, tick_ms: TICK_MS, start_ms };
    let begun = Instant::now();
    let mut station = Station::start(fleet)?;
    let joined = begun.elapsed();
    let pid = station.hub.process().pid();
    let before_mib = memory_mib(pid).0;
    let linked = station.link(n_agents, PATIENCE)?;
    eprintln!("hub-links: {n_agents} joined in {joined:.1?}, linked in {linked:.1?}");
    std::thread::sleep(SETTLE);
    let kib_each = (memory_mib(pid).0 - before_mib) * 1024.0 / n_agents as f64;
    let meter = Meter::new(pid);
    let idle = meter.coarse();
    std::thread::sleep(REST);
    let rest = (meter.coarse() - idle).as_secs_f64() / REST.as_secs_f64();
    let (spent, start) = (meter.coarse(), Instant::now());
    station.swarm.seal(1, true)?;
    station.drain(PATIENCE)?;
    let took = start.elapsed();
    let window = (meter.coarse() - spent, took);
    let rss_mib = memory_mib(pid).0;
    let (storm, storm_cpu) = storm(&mut station, n_agents)?;
    Ok(Crowd { joined, linked, rest, kib_each, window, storm, storm_cpu, rss_mib }.rows(n_agents))
}

/// kill -9, and a new start at once.
fn storm(station: &mut Station, n_agents: usize) -> anyhow::Result<((Duration, Duration), Duration)> {
    let start = Instant::now();
    station.hub.kill()?;
    // Links whose end was not seen yet would count as up.
    super::until("end of the links", PATIENCE, || station.swarm.n_up() == 0)?;
    station.hub.start_again()?;
    super::until("links", PATIENCE, || station.swarm.n_up() == n_agents)?;
    let up = start.elapsed();
    station.swarm.seal(1, true)?;
    station.drain(PATIENCE)?;
    let spent = Meter::new(station.hub.process().pid()).coarse();
    Ok(((up, start.elapsed()), spent))
}

impl Crowd {
    fn rows(&self, n_agents: usize) -> Vec<Row> {
        let what = |what: &str| format!("{n_agents} agents of {N_SERIES} series: {what}");
        let seconds = |duration: Duration| duration.as_secs_f64();
        let (cpu, took) = self.window;
        // A window of ten ticks of ten seconds comes every hundred seconds.
        let busy = self.rest + seconds(cpu) / 100.0;
        vec![
            Row::plain(
                &what("resident memory of the hub per link, and in all"),
                format!("{:.0} KiB; {:.0} MiB", self.kib_each, self.rss_mib),
                "–",
            ),
            Row::plain(
                &what("CPU of the hub at rest; while windows come that were sampled every 10 s"),
                format!("{:.1} % of a core; {:.1} %", 100.0 * self.rest, 100.0 * busy),
                "–",
            ),
            Row::plain(
                &what("a window of each at the same instant, until all are acknowledged"),
                format!("{:.2} s, {:.2} s of CPU", seconds(took), seconds(cpu)),
                "–",
            ),
            Row::against(
                &what(
                    "hub killed and started again, until all links are up (a new window of each acknowledged)",
                ),
                (
                    seconds(self.storm.0),
                    format!(
                        "{:.1} s ({:.1} s), {:.1} s of CPU",
                        seconds(self.storm.0),
                        seconds(self.storm.1),
                        seconds(self.storm_cpu)
                    ),
                ),
                "–",
                60.0,
                60.0,
                "s",
            ),
            Row::plain(
                &what("all enrolled; all linked for the first time"),
                format!("{:.1} s; {:.1} s", seconds(self.joined), seconds(self.linked)),
                "–",
            ),
        ]
    }
}
