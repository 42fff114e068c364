//! kill -9 of the writer at random instants: what was acknowledged is there, once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldpost_model::{Seq, Stream};
use fieldpost_store::record::Order;
use fieldpost_store::{GapReason, Samples};

use crate::data::{Bench, START_MS, select};
use crate::spool::read as read_record;

const N_SERIES: usize = 50;
/// Seconds from one window to the next: six windows are an hour, 144 a day, so that the writer
/// merges hours all the time and a day now and then.
const STEP_S: i64 = 600;
const DAY_WINDOWS: i64 = 86_400 / STEP_S;

/// The example program beside this test's own binary.
fn writer() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples/writer"))
}

fn from_ms(n: i64) -> i64 {
    START_MS + n * STEP_S * 1000
}

fn read(bench: &Bench, from_ms: i64, to_ms: i64) -> BTreeMap<usize, Samples> {
    let mut all = BTreeMap::<usize, Samples>::new();
    let read = bench.reader().scan(&select("x"), from_ms, to_ms, |series, samples| {
        let n: usize = series.labels[0].1.parse().unwrap();
        all.entry(n).or_default().extend_from_slice(samples);
    });
    read.unwrap();
    all
}

/// Every sample of these windows, exactly once, with its own value; the window after them was
/// not acknowledged: it is there as a whole, or not at all.
fn assert_whole(bench: &Bench, windows: std::ops::Range<i64>, seed: u64) {
    let all = read(bench, from_ms(windows.start), from_ms(windows.end));
    assert_eq!(all.len(), if windows.is_empty() { 0 } else { N_SERIES }, "series, seed {seed}");
    for (n, samples) in all {
        let ticks = windows.clone().flat_map(|n| (0..10).map(move |tick| from_ms(n) + tick * 1000));
        let expected = ticks.map(|time_ms| (time_ms, ((time_ms / 1000) * (n as i64 + 1)) as f64));
        let wrong = samples.iter().copied().zip(expected).find(|(found, wanted)| found != wanted);
        assert_eq!(wrong, None, "series {n}, seed {seed}");
        assert_eq!(samples.len() as i64, (windows.end - windows.start) * 10, "series {n}, seed {seed}");
    }
    let next = read(bench, from_ms(windows.end), i64::MAX);
    let n_samples = next.values().map(Vec::len).sum::<usize>();
    assert!([0, N_SERIES * 10].contains(&n_samples), "a torn window of {n_samples} samples, seed {seed}");
}

/// Runs the writer from this window on and kills it after a while; answers the first window that
/// it did not acknowledge.
fn run_and_kill(bench: &Bench, first: i64, pause: Duration, seed: u64) -> i64 {
    run_with(bench, first, pause, seed, None).0
}

/// With a hub, answers the last number that it had acknowledged, too.
fn run_with(bench: &Bench, first: i64, pause: Duration, seed: u64, hub: Option<&str>) -> (i64, u64) {
    let arguments = [first.to_string(), "100000".into(), N_SERIES.to_string(), "full".into()];
    let mut command = writer();
    command.arg(bench.path()).args(arguments).arg(STEP_S.to_string()).args(hub);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = spawned.expect("the example `writer` is built with the tests");
    let output = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let (mut next, mut acked) = (first, 0);
    for line in output.lines() {
        let line = line.unwrap();
        match line.strip_prefix("open ") {
            Some(quarantined) => assert_eq!(quarantined, "0", "seed {seed}"),
            None => {
                let mut words = line.split(' ');
                next = words.next().unwrap().parse::<i64>().unwrap() + 1;
                acked = words.next().map_or(0, |seq| seq.parse().unwrap());
            }
        }
    }
    killer.join().unwrap();
    (next, acked)
}

/// Has the kill hit a merge? It left the file that it was writing then.
fn merge_was_cut_off(bench: &Bench) -> bool {
    let mut entries = std::fs::read_dir(bench.path()).unwrap();
    entries.any(|entry| entry.unwrap().path().extension().is_some_and(|extension| extension == "tmp"))
}

#[test]
fn killed_at_any_instant_it_loses_nothing_that_was_acknowledged() {
    let n_kills: u64 = 30 * crate::data::soak();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed | 1;
    let bench = Bench::new();
    let (mut next, mut checked, mut n_cut_off) = (0, 0, 0);
    for turn in 0..n_kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Begins with what was not acknowledged: what the samples say does not move the goal.
        next = run_and_kill(&bench, next, Duration::from_millis(random % 150), seed);
        n_cut_off += u64::from(merge_was_cut_off(&bench));
        if turn % 10 == 9 && next > 0 {
            // A merge may touch the day that came before.
            let day_before = checked / DAY_WINDOWS * DAY_WINDOWS - DAY_WINDOWS;
            assert_whole(&bench, day_before.max(0)..next, seed);
            checked = next;
        }
    }
    eprintln!("{n_kills} kills, {next} windows acknowledged, {n_cut_off} merges cut off, seed {seed}");
    assert!(next > 0, "nothing was written before any kill");
    assert!(n_kills < 200 || n_cut_off > 0, "no kill hit a merge");
    let (store, opened) = bench.open();
    assert!(!opened.last_stop_clean && opened.quarantined.is_empty());
    assert!(store.flush(Duration::from_secs(60)) && store.tend(Duration::from_secs(60)));
    assert_whole(&bench, 0..next, seed);
    let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Unclean));
}

/// What a hub was told is noted stays noted, and every number is accounted for.
#[test]
fn killed_at_any_instant_it_forgets_no_acknowledgement_and_no_number() {
    let n_kills: u64 = 15 * crate::data::soak();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (bench, mut random, mut next, mut acked) = (Bench::new(), seed | 1, 0, 0);
    for _ in 0..n_kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pause = Duration::from_millis(60 + random % 150);
        let (reached, seq) = run_with(&bench, next, pause, seed, Some("hub"));
        (next, acked) = (reached, acked.max(seq));
        bench.set_clock(from_ms(next));
        let (store, opened) = bench.open();
        assert!(opened.quarantined.is_empty() && !opened.new_spool, "seed {seed}");
        assert!(store.cursors().iter().all(|cursor| cursor.streams[&Stream::Metrics].whole_up_to >= acked));
        assert!(next == 0 || store.cursors().len() == 1, "seed {seed}");
        let last = store.record().streams[&Stream::Metrics].last;
        let heard = read_record(&store, Stream::Metrics, (1, Seq::MAX), Order::Newest, 1 << 16);
        assert_eq!(heard.seqs(), (1..=last).collect::<Vec<_>>(), "seed {seed}");
        assert!(heard.lost.iter().all(|lost| lost.reason == "merged" && lost.to <= acked), "seed {seed}");
        store.close().unwrap();
    }
    assert!(acked > 0, "nothing was acknowledged before any kill");
}
