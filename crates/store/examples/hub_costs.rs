//! How fast a hub's store takes in, merges and answers: `hub_costs FOLDER N_AGENTS N_SERIES
//! N_WINDOWS TICK_SECONDS`. Windows of ten ticks of agents that have the same series but for one,
//! encoded before the clock runs. Prints wall and processor time, bytes a sample as received and
//! merged, and how long some questions take.

// A program for people at a terminal.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fieldpost_model::{Family, Frame, Item, Kind, Selector, Stream};
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::{Batch, HubReader, HubStore, HubStoreOptions, NotTaken};
use fieldpost_store::record::{Definition, encode_definitions};

const START_MS: i64 = 1_795_219_200_000;
const TICKS: i64 = 10;
/// How long the writer may take to get through what waits.
const PATIENCE: Duration = Duration::from_secs(3_600);

type Failure = Box<dyn std::error::Error>;

/// What agents there are.
struct Fleet {
    n_agents: usize,
    n_series: usize,
    n_windows: i64,
    tick_ms: i64,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, n_agents, n_series, n_windows, tick_s] = &arguments[..] else {
        return Err("usage: hub_costs FOLDER N_AGENTS N_SERIES N_WINDOWS TICK_SECONDS".into());
    };
    let (n_agents, n_series) = (n_agents.parse()?, n_series.parse()?);
    let (n_windows, tick_ms) = (n_windows.parse()?, tick_s.parse::<i64>()? * 1000);
    let fleet = Fleet { n_agents, n_series, n_windows, tick_ms };
    let now_ms = Arc::new(AtomicI64::new(START_MS + n_windows * TICKS * tick_ms));
    let clock = Arc::clone(&now_ms);
    let options = HubStoreOptions {
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..HubStoreOptions::new(folder.into())
    };
    let (store, _) = HubStore::open(options.clone())?;
    let total = (n_agents * n_series) as f64 * (n_windows * TICKS) as f64;
    // A few different windows stand for all: agents differ, but not in what they cost.
    let windows: Vec<Vec<Item>> =
        (0..8).map(|kind| (0..n_windows).map(|n| window(kind, &fleet, n)).collect()).collect();
    measure("taken in", total, || ingest(&store, &fleet, &windows))?;
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

#[allow(clippy::needless_range_loop)] // Window n of every agent, not of one.
fn ingest(store: &HubStore, fleet: &Fleet, windows: &[Vec<Item>]) -> Result<(), Failure> {
    let n_waiting = Arc::new(AtomicUsize::new(0));
    for n in 0..fleet.n_windows as usize {
        for agent in 0..fleet.n_agents {
            let mut frames = vec![Frame::Scope("day".into())];
            if n == 0 {
                frames.extend(definitions(agent, fleet.n_series).into_iter().map(Frame::Definitions));
            }
            frames.push(Frame::Item(windows[agent % windows.len()][n].clone()));
            let agent_id = format!("agent-{agent:05}");
            let batch = Batch { agent_id, spool_id: "spool".into(), stream: Stream::Metrics, frames };
            append(store, batch, &n_waiting)?;
        }
    }
    while n_waiting.load(Ordering::Relaxed) > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Brings a batch again and again until there is room for it.
fn append(store: &HubStore, mut batch: Batch, n_waiting: &Arc<AtomicUsize>) -> Result<(), Failure> {
    n_waiting.fetch_add(1, Ordering::Relaxed);
    loop {
        let n_waiting = Arc::clone(n_waiting);
        let done = move |answer: fieldpost_store::hub::Answer| {
            assert!(answer.is_ok_and(|accepted| accepted.n_refused == 0), "something was refused");
            n_waiting.fetch_sub(1, Ordering::Relaxed);
        };
        match store.append(batch, done) {
            Ok(()) => return Ok(()),
            Err(NotTaken::Full(back)) => batch = back,
            Err(other) => return Err(format!("{other:?}").into()),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Series of an agent: the same for all, but for the last.
fn definitions(agent: usize, n_series: usize) -> Vec<Vec<u8>> {
    let one = |n: usize| {
        let name = format!("node_family_{}_total", n / 20);
        let help = "A number of the host, as its kernel counts it.".into();
        let family = Family { name: name.into(), help, kind: Kind::Counter };
        let device = if n + 1 == n_series { format!("veth{agent}") } else { format!("device{}", n % 20) };
        let labels = vec![("device".into(), device), ("mode".into(), "read".into())];
        Definition { id: n as u32, family, suffix: String::new(), labels }
    };
    let all: Vec<Definition> = (0..n_series).map(one).collect();
    let (mut blobs, mut n_done) = (Vec::new(), 0);
    while n_done < all.len() {
        let (blob, n) = encode_definitions(&all[n_done..]);
        blobs.push(blob);
        n_done += n;
    }
    blobs
}

/// A third of the series stands still, a third counts steadily, a third wobbles.
fn window(kind: i64, fleet: &Fleet, n: i64) -> Item {
    let span_ms = TICKS * fleet.tick_ms;
    let from_ms = START_MS + n * span_ms;
    let times_ms: Vec<i64> = (0..TICKS).map(|tick| from_ms + tick * fleet.tick_ms).collect();
    let ids: Vec<u32> = (0..fleet.n_series as u32).collect();
    let value = |series: usize, time_ms: i64| match series % 3 {
        0 => series as f64 * 100.0,
        1 => ((time_ms / 1000) * (series as i64 + kind)) as f64,
        _ => ((time_ms / 1000 * 7_919 + series as i64 * 31 + kind) % 10_007) as f64 * 4096.0,
    };
    let values: Vec<f64> =
        (0..fleet.n_series).flat_map(|series| times_ms.iter().map(move |t| value(series, *t))).collect();
    let blob = encode_window([(&times_ms[..], &ids[..], &values[..])].into_iter());
    let n_samples = values.len() as u64;
    Item { seq: n as u64 + 1, from_ms, to_ms: from_ms + span_ms, n_samples, checksum: checksum(&blob), blob }
}

fn ask(folder: &str, wherefrom: &str) -> Result<(), Failure> {
    let labels = Arc::new(|agent_id: &str| vec![("instance".to_owned(), agent_id.to_owned())]);
    let reader = HubReader::open(folder.as_ref(), labels)?;
    for selector in [
        "node_family_3_total{instance=\"agent-00007\",device=\"device7\"}",
        "node_family_3_total{device=\"device7\"}",
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
