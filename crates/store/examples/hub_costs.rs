//! How fast a hub's store takes in, merges and answers: `hub_costs FOLDER N_AGENTS N_SERIES
//! N_WINDOWS TICK_SECONDS`. Windows of ten ticks of agents that have the same series but for one,
//! encoded before the clock runs. Prints wall and processor time, bytes a sample as received and
//! merged, and how long some questions take.

// A program for people at a terminal.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use fieldpost_bed::Fleet;
use fieldpost_model::Selector;
use fieldpost_store::hub::{HubReader, HubStore, HubStoreOptions};

const START_MS: i64 = 1_795_219_200_000;
/// How long the writer may take to get through what waits.
const PATIENCE: Duration = Duration::from_secs(3_600);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, n_agents, n_series, n_windows, tick_s] = &arguments[..] else {
        return Err("usage: hub_costs FOLDER N_AGENTS N_SERIES N_WINDOWS TICK_SECONDS".into());
    };
    let n_windows: usize = n_windows.parse()?;
    let fleet = Fleet {
        n_agents: n_agents.parse()?,
        n_series: n_series.parse()?,
        tick_ms: tick_s.parse::<i64>()? * 1000,
        start_ms: START_MS,
    };
    let now_ms = Arc::new(AtomicI64::new(START_MS + n_windows as i64 * fleet.span_ms()));
    let clock = Arc::clone(&now_ms);
    let options = HubStoreOptions {
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..HubStoreOptions::new(folder.into())
    };
    let (store, _) = HubStore::open(options.clone())?;
    let total = fleet.n_samples(n_windows);
    let windows = fleet.windows(n_windows);
    measure("taken in", total, || Ok(fleet.fill(&store, &windows)?))?;
    let taken = store.stats();
    println!("{:.2} bytes a sample received, {} commits", taken.bytes as f64 / total, taken.n_commits);
    store.close()?;
    ask(folder, "in the intake")?;
    now_ms.fetch_add(3_600_000 + 600_000, Ordering::Relaxed);
    let (store, _) = HubStore::open(options)?;
    measure("merged", total, || Ok(store.tend(PATIENCE)))?;
    println!("{:.2} bytes a sample merged", store.stats().bytes as f64 / total);
    store.close()?;
    ask(folder, "merged")
}

/// Says what some work costs a sample.
fn measure<T>(what: &str, total: f64, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let done = work()?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let (rate, cost) = (total / wall / 1e6, cpu / total * 1e9);
    println!("{what}: {total:.0} samples in {wall:.2} s, {rate:.2} M/s, {cost:.1} ns of a core each");
    Ok(done)
}

/// Processor time of this process: user and system, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no /proc/self/stat")?.1.split_ascii_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn ask(folder: &str, wherefrom: &str) -> Result<(), Failure> {
    let labels = Arc::new(|agent_id: &str| vec![("instance".to_owned(), agent_id.to_owned())]);
    let reader = HubReader::open(folder.as_ref(), labels)?;
    for selector in [
        &*format!("node_family_3_total{{instance=\"{}\",device=\"device7\"}}", Fleet::agent_id(7)),
        "node_family_3_total{device=\"device7\"}",
        "{__name__=~\"node_family_[37]_total\",device=~\"device1?7\"}",
        "{device=\"veth3\"}",
    ] {
        let asked = Selector::parse(selector)?;
        for turn in ["first", "again"] {
            let began = Instant::now();
            let found = reader.samples(&asked, START_MS, i64::MAX)?;
            let n_samples: usize = found.iter().map(|(_, samples)| samples.len()).sum();
            let ms = began.elapsed().as_secs_f64() * 1e3;
            println!(
                "{wherefrom}, {turn}: {selector}: {} series, {n_samples} samples, {ms:.1} ms",
                found.len()
            );
        }
    }
    Ok(())
}
