//! CPU of a full pass of the collectors, in this process, beside a scrape of node_exporter.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fieldpost_collectors::{COLLECTORS, Config, Unit, build_all};
use fieldpost_model::{Catalog, TimeMs, format_span};

use crate::cpu::{self, Meter, median};
use crate::crowd::Crowd;
use crate::machine::n_processes;
use crate::rivals;
use crate::table::Row;

/// Rounds of each contestant in turn.
const N_ROUNDS: usize = 9;
/// Passes or scrapes in a round.
const N_PASSES: u32 = 30;
/// The collectors of whole tables, which node_exporter has nothing like.
const TABLES: [&str; 2] = ["process_table", "unit_table"];

/// A set of collectors that is run pass by pass, a second of their own time apart.
struct Passes {
    units: Vec<Unit>,
    time_ms: TimeMs,
}

impl Passes {
    fn new(config: Config, keep: impl Fn(&str) -> bool) -> Self {
        let mut units = build_all(&Arc::new(config), &Catalog::new(), Duration::from_secs(1));
        units.retain(|unit| keep(unit.entry.name));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = TimeMs::try_from(since.as_millis()).unwrap_or_default();
        let mut passes = Self { units, time_ms };
        (0..20).for_each(|_| passes.run());
        passes
    }

    fn run(&mut self) {
        self.time_ms += 1_000;
        self.units.iter_mut().for_each(|unit| drop(unit.run(self.time_ms)));
    }

    /// Microseconds of CPU a pass, of all threads of this process.
    fn round(&mut self) -> f64 {
        let before = cpu::own();
        (0..N_PASSES).for_each(|_| self.run());
        (cpu::own() - before).as_secs_f64() * 1e6 / f64::from(N_PASSES)
    }

    fn n_samples(&self) -> usize {
        self.units.iter().map(|unit| unit.tick().samples().len()).sum()
    }
}

/// A pass with few and with many processes.
pub fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = side_by_side((1.8, 0.8))?;
    let _crowd = Crowd::until(1_000)?;
    // The tables of 1 000 processes may take 1 % of a core, each second.
    rows.extend(side_by_side((11.2, 11.2))?);
    Ok(rows)
}

/// Target and goal of the pass with tables depend on how many processes there are.
fn side_by_side((all, all_goal): (f64, f64)) -> anyhow::Result<Vec<Row>> {
    let mut ours_host = Passes::new(Config::default(), |name| !TABLES.contains(&name));
    let mut ours_all = Passes::new(Config::default(), |_| true);
    let rival = rivals::node_exporter()?;
    let mut connection = rival.connect()?;
    let mut meter = Meter::new(rival.process.pid());
    let mut n_theirs = 0;
    let mut found: [Vec<f64>; 3] = Default::default();
    for _ in 0..N_ROUNDS {
        found[0].push(ours_host.round());
        found[1].push(ours_all.round());
        let before = meter.look();
        for _ in 0..N_PASSES {
            let page = connection.get("/metrics", &[])?;
            n_theirs = page.body.split(|b| *b == b'\n').filter(|line| line.starts_with(b"node_")).count();
        }
        found[2].push((meter.look() - before).as_secs_f64() * 1e6 / f64::from(N_PASSES));
    }
    let [host_us, all_us, theirs_us] = found.map(median);
    let n = n_processes();
    let theirs =
        format!("node_exporter {:.2} ms a scrape ({n_theirs} series, no processes)", theirs_us / 1e3);
    let told =
        |us: f64, passes: &Passes| (us / 1e3, format!("{:.2} ms ({} series)", us / 1e3, passes.n_samples()));
    let line = |what: &str, us: f64, passes: &Passes, target: f64, goal: f64| {
        let what = format!("CPU of a full pass, {what}, {n} processes");
        Row::against(&what, told(us, passes), &theirs, target, goal, "ms")
    };
    Ok(vec![
        line("default collectors without tables", host_us, &ours_host, 1.2, 0.4),
        line("all default collectors, process and unit tables", all_us, &ours_all, all, all_goal),
    ])
}

/// One line for every collector of the closed list, all of them on: what it gives, what it costs.
pub fn collectors() -> anyhow::Result<String> {
    let mut text = format!("Collectors with {} processes:\n\n", n_processes());
    text += "| collector | default | every | what it gives | samples here | CPU µs a pass |\n|---|---|---|---|---|---|\n";
    let config = Config { all: true, ..Config::default() };
    for entry in COLLECTORS {
        let mut passes = Passes::new_of(config.clone(), entry.name);
        let spent = passes.median_us();
        let Some(unit) = passes.units.first() else { continue };
        let on = if entry.on { "on" } else { "off" };
        let interval = format_span(unit.interval);
        // Duration and success of the pass itself are no samples of its subject.
        let n = unit.tick().samples().len().saturating_sub(2);
        writeln!(text, "| {} | {on} | {interval} | {} | {n} | {spent:.0} |", entry.name, entry.gives)?;
    }
    Ok(text)
}

impl Passes {
    fn new_of(config: Config, name: &str) -> Self {
        Self::new(config, |other| other == name)
    }

    /// The median pass, for as many passes as fit into half a second.
    fn median_us(&mut self) -> f64 {
        let start = Instant::now();
        let mut spent = Vec::new();
        while spent.len() < 200 && start.elapsed() < Duration::from_millis(500) {
            let before = cpu::own();
            self.run();
            spent.push((cpu::own() - before).as_secs_f64() * 1e6);
        }
        median(spent)
    }
}
