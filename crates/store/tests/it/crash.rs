//! kill -9 of the writer at random instants: what was acknowledged is there, once.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldpost_store::{GapReason, Reader};

use crate::data::{Bench, START_MS, select};

const N_SERIES: usize = 50;

/// The example program beside this test's own binary.
fn writer() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples/writer"))
}

/// Every sample of the windows before `end`, exactly once, with its own value.
fn assert_whole(reader: &Reader, end: i64, seed: u64) {
    let mut n_series = 0;
    let mut first_lengths = Vec::new();
    let mut all = std::collections::BTreeMap::<usize, Vec<(i64, f64)>>::new();
    reader
        .scan(&select("x"), 0, i64::MAX, |series, samples| {
            let n: usize = series.labels[0].1.parse().unwrap();
            all.entry(n).or_default().extend_from_slice(samples);
        })
        .unwrap();
    for (n, samples) in all {
        n_series += 1;
        first_lengths.push(samples.len());
        for (position, (time_ms, value)) in samples.iter().enumerate() {
            assert_eq!(*time_ms, START_MS + position as i64 * 1000, "series {n}, seed {seed}");
            assert_eq!(*value, ((time_ms / 1000) * (n as i64 + 1)) as f64);
        }
        assert!(samples.len() as i64 >= end * 10, "{} samples of {end} windows, seed {seed}", samples.len());
    }
    assert!(end == 0 || n_series == N_SERIES, "{n_series} series, seed {seed}");
    assert!(first_lengths.windows(2).all(|pair| pair[0] == pair[1]), "a torn window, seed {seed}");
}

/// Kills a writer again and again at random instants, merges included: window n is written at
/// the speed of the disk, so that an hour of windows passes in seconds.
#[test]
fn killed_at_any_instant_it_loses_nothing_that_was_acknowledged() {
    let n_kills: u64 = std::env::var("FIELDPOST_SOAK").ok().map_or(30, |n| n.parse().unwrap());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed | 1;
    let bench = Bench::new();
    let mut next = 0;
    for turn in 0..n_kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let arguments = [next.to_string(), "100000".into(), N_SERIES.to_string()];
        let mut child = writer()
            .arg(bench.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example `writer` is built with the tests");
        let output = BufReader::new(child.stdout.take().unwrap());
        let pause = Duration::from_millis(random % 150);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for line in output.lines() {
            let line = line.unwrap();
            match line.strip_prefix("open ") {
                Some(quarantined) => assert_eq!(quarantined, "0", "seed {seed}"),
                None => next = line.parse::<i64>().unwrap() + 1,
            }
        }
        killer.join().unwrap();
        if bench.path().join("state.db").exists() && (turn % 5 == 4 || turn + 1 == n_kills) {
            assert_whole(&bench.reader(), next, seed);
        }
        // A window that was on the disk but not yet told is told by the samples themselves.
        next = next.max(stored_windows(&bench));
    }
    assert!(next > 0, "nothing was written before any kill");
    let (store, opened) = bench.open();
    assert!(!opened.last_stop_clean && opened.quarantined.is_empty());
    assert!(store.flush(Duration::from_secs(60)) && store.tend(Duration::from_secs(60)));
    assert_whole(&bench.reader(), next, seed);
    let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Unclean));
}

fn stored_windows(bench: &Bench) -> i64 {
    let Ok(reader) = Reader::open(bench.path()) else { return 0 };
    let end = reader.data_span().unwrap_or_default().map_or(START_MS, |(_, end)| end);
    (end - START_MS) / 10_000
}
