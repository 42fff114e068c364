//! kill -9 of a hub at random instants: what was acknowledged is there, once, and the hub knows.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldpost_model::hub_record::RecordWriter;
use fieldpost_model::{Intervals, Selector, Stream};

use crate::data::START_MS;
use crate::hub_data::HubBench;

const N_AGENTS: i64 = 5;
/// Seconds from one window to the next: six are an hour, so that hours are merged all the time.
const STEP_S: i64 = 600;

/// The example program beside this test's own binary.
fn writer() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples/hub_writer"))
}

/// Runs the writer from this round on and kills it after a while; answers the first round that
/// was not acknowledged.
fn run_and_kill(bench: &HubBench, first: i64, pause: Duration, seed: u64) -> i64 {
    let arguments = [first.to_string(), N_AGENTS.to_string(), STEP_S.to_string()];
    let mut command = writer();
    let spawned = command.arg(bench.path()).args(arguments).stdout(Stdio::piped()).spawn();
    let mut child = spawned.expect("the example `hub_writer` is built with the tests");
    let output = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut next = first;
    for line in output.lines() {
        let line = line.unwrap();
        match line.strip_prefix("open ") {
            Some(quarantined) => assert_eq!(quarantined, "0", "seed {seed}"),
            None => next = line.parse::<i64>().unwrap() + 1,
        }
    }
    killer.join().unwrap();
    next
}

/// Has the kill hit a merge? It left the file that it was writing then.
fn merge_was_cut_off(bench: &HubBench) -> bool {
    let mut entries = std::fs::read_dir(bench.path()).unwrap();
    entries.any(|entry| entry.unwrap().path().extension().is_some_and(|extension| extension == "tmp"))
}

/// Every sample of the rounds, exactly once, with its own value; what was not acknowledged is
/// there as whole windows, or not at all.
fn assert_whole(bench: &HubBench, n_rounds: i64, seed: u64) {
    let selector = Selector::parse("x").unwrap();
    let found = bench.reader().samples(&selector, 0, i64::MAX).unwrap();
    assert_eq!(found.len(), if n_rounds == 0 { 0 } else { N_AGENTS as usize * 20 }, "seed {seed}");
    for (series, samples) in found {
        let agent: i64 = series.agent_id.strip_prefix("agent-").unwrap().parse().unwrap();
        let n = series.series.labels.iter().find(|(name, _)| name == "n").unwrap().1.parse::<i64>().unwrap();
        let ticks = (0..=n_rounds).flat_map(|round| (0..10).map(move |tick| (round * STEP_S + tick) * 1000));
        let value = |time_ms: i64| ((time_ms / 1000) * (n + 1) + agent) as f64;
        let expected = ticks.map(|at| START_MS + at).map(|time_ms| (time_ms, value(time_ms)));
        let wrong = samples.iter().copied().zip(expected).find(|(found, wanted)| found != wanted);
        assert_eq!(wrong, None, "{}, seed {seed}", series.series.text);
        let surplus = samples.len() as i64 - n_rounds * 10;
        assert!([0, 10].contains(&surplus), "{} samples, seed {seed}", samples.len());
    }
}

#[test]
fn hub_that_is_killed_has_all_that_it_acknowledged_and_knows_it() {
    let n_kills: u64 = 25 * crate::data::soak();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed | 1;
    let bench = HubBench::new();
    let (mut next, mut n_cut_off) = (0, 0);
    for turn in 0..n_kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        next = run_and_kill(&bench, next, Duration::from_millis(random % 150), seed);
        n_cut_off += u64::from(merge_was_cut_off(&bench));
        if turn % 8 == 7 && next > 0 {
            assert_whole(&bench, next, seed);
        }
    }
    eprintln!("{n_kills} kills, {next} rounds acknowledged, {n_cut_off} merges cut off, seed {seed}");
    assert!(next > 0, "nothing was written before any kill");
    assert!(n_kills < 200 || n_cut_off > 0, "no kill hit a merge");
    bench.set_clock(START_MS + next * STEP_S * 1000);
    let mut options = bench.options();
    options.retention.raw = fieldpost_model::Period::from_secs(1 << 31);
    let (store, opened) = fieldpost_store::hub::HubStore::open(options).unwrap();
    assert_eq!(opened.quarantined, Vec::<std::path::PathBuf>::new());
    for agent in 0..N_AGENTS {
        let progress = store.progress(&format!("agent-{agent}"), "spool", Stream::Metrics);
        let (acknowledged, one_more) = (Intervals::of(1, next as u64), Intervals::of(1, next as u64 + 1));
        assert!(progress == acknowledged || progress == one_more, "{progress:?}, {next} rounds, seed {seed}");
    }
    assert!(store.tend(Duration::from_secs(60)));
    assert_whole(&bench, next, seed);
}
