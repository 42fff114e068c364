//! Windows merged into rows of an hour give the same samples back.

use std::time::Duration;

use fieldpost_model::TimeMs;
use fieldpost_store::Store;

use crate::data::{Bench, START_MS, expected, samples, select};

const PATIENCE: Duration = Duration::from_secs(120);
const HOUR_MS: i64 = 3_600_000;

/// Names of the files with this beginning.
fn files(bench: &Bench, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(bench.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix) && name.ends_with(".db")).collect();
    names.sort();
    names
}

fn fill(bench: &Bench, store: &Store, from_ms: TimeMs, n_windows: i64, n_series: usize) {
    let series = bench.series("x", n_series);
    for n in 0..n_windows {
        store.append(bench.window(from_ms + n * 10_000, &series));
        if n % 25 == 24 {
            assert!(store.flush(PATIENCE));
        }
    }
    assert!(store.flush(PATIENCE));
    bench.set_clock(from_ms + n_windows * 10_000);
}

#[test]
fn hour_is_merged_when_the_next_begins_and_reads_the_same() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    fill(&bench, &store, START_MS, 370, 40);
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "hour-"), ["hour-20261121T00.db"]);
    assert_eq!(files(&bench, "hot-"), ["hot-20261121T01-361.db"]);
    let end = START_MS + 3_700_000;
    for n in [0, 1, 2, 3, 17, 39] {
        let selector = format!("x{{n=\"{n}\"}}");
        assert_eq!(samples(&bench.reader(), &selector, 0, i64::MAX), expected(n, START_MS, end), "{n}");
    }
    let inner = (START_MS + HOUR_MS - 3_000, START_MS + HOUR_MS + 4_000);
    assert_eq!(samples(&bench.reader(), "x{n=\"3\"}", inner.0, inner.1), expected(3, inner.0, inner.1));
    assert_eq!(bench.reader().series(&select("x"), 0, i64::MAX).unwrap().len(), 40);
    assert_eq!(store.stats().n_hours_merged, 1);
    assert_eq!(bench.reader().gaps(i64::MIN, i64::MAX).unwrap(), []);
}

#[test]
fn day_is_put_together_when_it_is_over() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for hour in [3, 4, 9, 24] {
        fill(&bench, &store, START_MS + hour * HOUR_MS, 12, 20);
    }
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "day-"), ["day-20261121.db"]);
    assert_eq!(files(&bench, "hour-"), Vec::<String>::new());
    assert_eq!(files(&bench, "hot-").len(), 1);
    for n in [0, 3, 19] {
        let all = [3, 4, 9, 24].into_iter().flat_map(|hour| {
            let from_ms = START_MS + hour * HOUR_MS;
            expected(n, from_ms, from_ms + 120_000)
        });
        let all: Vec<_> = all.collect();
        assert_eq!(samples(&bench.reader(), &format!("x{{n=\"{n}\"}}"), 0, i64::MAX), all);
    }
}

#[test]
fn windows_that_come_late_join_what_is_merged() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    fill(&bench, &store, START_MS, 6, 20);
    fill(&bench, &store, START_MS + 25 * HOUR_MS, 6, 20);
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "day-"), ["day-20261121.db"]);
    // The clock went back: the same day again, partly the same instants, and one more series.
    fill(&bench, &store, START_MS + 30_000, 6, 21);
    bench.set_clock(START_MS + 26 * HOUR_MS);
    fill(&bench, &store, START_MS + 26 * HOUR_MS, 1, 20);
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "day-"), ["day-20261121.db"]);
    assert_eq!(files(&bench, "hour-"), ["hour-20261122T01.db"]);
    let end = START_MS + 90_000;
    assert_eq!(samples(&bench.reader(), "x{n=\"3\"}", 0, end), expected(3, START_MS, end));
    assert_eq!(samples(&bench.reader(), "x{n=\"20\"}", 0, end), expected(20, START_MS + 30_000, end));
}

#[test]
fn series_that_come_and_go_keep_their_own_span() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for n in 0..30 {
        let name = format!("passing_{n}");
        store.append(bench.window(START_MS + n * 10_000, &bench.series(&name, 2)));
        assert!(store.flush(PATIENCE));
    }
    fill(&bench, &store, START_MS + HOUR_MS, 1, 1);
    assert!(store.tend(PATIENCE));
    for n in [0, 13, 29] {
        let from_ms = START_MS + n * 10_000;
        let found = samples(&bench.reader(), &format!("passing_{n}{{n=\"1\"}}"), 0, i64::MAX);
        assert_eq!(found, expected(1, from_ms, from_ms + 10_000));
    }
}

#[test]
fn old_samples_go_by_age_with_a_gap() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    fill(&bench, &store, START_MS, 6, 20);
    fill(&bench, &store, START_MS + 24 * HOUR_MS, 6, 20);
    bench.set_clock(START_MS + 17 * 24 * HOUR_MS);
    fill(&bench, &store, START_MS + 17 * 24 * HOUR_MS, 6, 20);
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "day-"), Vec::<String>::new());
    let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
    let told: Vec<_> = gaps.iter().map(|gap| (gap.from_ms, gap.n_samples, gap.reason.as_str())).collect();
    assert_eq!(told, [(START_MS, 1200, "age"), (START_MS + 24 * HOUR_MS, 1200, "age")]);
    assert_eq!(files(&bench, "minutes-"), ["minutes-20261121.db", "minutes-20261122.db"]);
    bench.set_clock(START_MS + 120 * 24 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "minutes-").len(), 2, "there is nothing newer");
    fill(&bench, &store, START_MS + 120 * 24 * HOUR_MS, 6, 20);
    assert!(store.tend(PATIENCE));
    assert_eq!(files(&bench, "minutes-"), Vec::<String>::new());
    assert_eq!(files(&bench, "hours-"), ["hours-20261101.db", "hours-20261201.db"]);
}

#[test]
fn quota_makes_the_oldest_go_and_accounts_for_them() {
    let bench = Bench::new();
    let config = fieldpost_store::Config { quota: fieldpost_model::ByteSize(300_000), ..bench.config() };
    let (store, _) = bench.open_with(config);
    let mut appended = 0;
    for hour in 0..12 {
        fill(&bench, &store, START_MS + hour * HOUR_MS, 20, 60);
        appended += 20 * 10 * 60;
        assert!(store.tend(PATIENCE));
    }
    assert!(store.stats().bytes < 450_000, "{}", store.stats().bytes);
    let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
    let lost: u64 = gaps.iter().map(|gap| gap.n_samples).sum();
    assert!(lost > 0 && gaps.iter().all(|gap| gap.reason.as_str() == "quota"));
    let mut kept = 0;
    bench.reader().scan(&select("x"), 0, i64::MAX, |_, samples| kept += samples.len() as u64).unwrap();
    assert_eq!(kept + lost, appended);
}

#[test]
fn rollups_are_the_same_hot_merged_and_when_the_samples_are_gone() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    fill(&bench, &store, START_MS, 24, 20);
    let end = START_MS + 24 * HOUR_MS;
    let ask = |span_ms: i64| {
        let answer = bench.reader().rollup(&select("x{n=\"2\"}"), START_MS, end, span_ms).unwrap();
        assert_eq!(answer.len(), 1);
        answer[0].1.clone()
    };
    let (minutes, hours) = (ask(60_000), ask(HOUR_MS));
    let counts: Vec<_> = minutes.iter().map(|rollup| (rollup.from_ms - START_MS, rollup.count)).collect();
    assert_eq!(counts, [(0, 60), (60_000, 60), (120_000, 60), (180_000, 60)]);
    let values: Vec<f64> =
        expected(2, START_MS, START_MS + 240_000).iter().map(|(_, value)| *value).collect();
    assert_eq!((hours.len(), hours[0].count, hours[0].sum), (1, 240, values.iter().sum::<f64>()));
    assert_eq!((hours[0].max, hours[0].last), (values.iter().copied().fold(0.0, f64::max), values[239]));
    for days in [1, 2, 17] {
        bench.set_clock(START_MS + days * 24 * HOUR_MS);
        fill(&bench, &store, START_MS + days * 24 * HOUR_MS, 1, 1);
        assert!(store.tend(PATIENCE));
        assert_eq!((ask(60_000), ask(HOUR_MS)), (minutes.clone(), hours.clone()), "{days} days");
    }
    bench.set_clock(START_MS + 120 * 24 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!(ask(HOUR_MS), hours);
}
