//! The life of a store: opened, written, closed, opened again.

use std::time::Duration;

use fieldpost_model::{Event, EventKind, Group, Window};
use fieldpost_store::{GapReason, Reader, StoreError};

use crate::data::{Bench, START_MS, expected, samples, select};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn windows_come_back_while_the_store_is_open_and_after() {
    let bench = Bench::new();
    let (store, opened) = bench.open();
    assert!(opened.new && opened.last_stop_clean);
    assert_eq!((opened.data_span, opened.agent_id.len()), (None, 32));
    let series = bench.series("cpu_total", 20);
    for n in 0..12 {
        assert!(store.append(bench.window(START_MS + n * 10_000, &series)));
    }
    assert!(store.flush(PATIENCE));
    let end = START_MS + 120_000;
    for n in [0, 1, 2, 3, 19] {
        let selector = format!("cpu_total{{n=\"{n}\"}}");
        assert_eq!(samples(&bench.reader(), &selector, START_MS, end), expected(n, START_MS, end));
    }
    let closed = store.close().unwrap();
    assert_eq!((closed.n_samples_stored, closed.n_samples_lost), (20 * 120, 0));
    let part = samples(&bench.reader(), "cpu_total{n=\"3\"}", START_MS + 5_000, START_MS + 25_000);
    assert_eq!(part, expected(3, START_MS + 5_000, START_MS + 25_000));
}

#[test]
fn clean_stop_is_told_from_an_unclean_one() {
    let bench = Bench::new();
    let (store, first) = bench.open();
    store.append(bench.window(START_MS, &bench.series("x", 1)));
    store.close().unwrap();
    let (store, second) = bench.open();
    assert!(!second.new && second.last_stop_clean);
    assert_eq!(second.agent_id, first.agent_id);
    assert_eq!(second.data_span, Some((START_MS, START_MS + 10_000)));
    assert_eq!(bench.reader().gaps(0, i64::MAX).unwrap(), []);
    store.close().unwrap();
}

#[test]
fn only_one_process_writes() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let options = fieldpost_store::StoreOptions::new(bench.config());
    assert!(matches!(fieldpost_store::Store::open(options), Err(StoreError::Busy(_))));
    drop(store);
}

#[test]
fn series_keep_what_is_said_about_them() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.append(bench.window(START_MS, &bench.series("x", 2)));
    store.close().unwrap();
    let found = bench.reader().series(&select("x"), START_MS, START_MS + 10_000).unwrap();
    let texts: Vec<_> = found.iter().map(|series| series.text.as_str()).collect();
    assert_eq!(texts, ["x{n=\"0\"}", "x{n=\"1\"}"]);
    assert_eq!((found[0].help.as_str(), found[0].kind.as_str()), ("Help of x.", "counter"));
    assert_eq!((found[0].first_ms, found[0].last_ms), (START_MS, START_MS + 9_000));
    assert_eq!(bench.reader().series(&select("x"), START_MS + 10_000, i64::MAX).unwrap(), []);
}

#[test]
fn events_are_kept_and_the_newest_answered() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for n in 0..5 {
        let text = format!("event {n}");
        store.append_event(Event {
            time_ms: START_MS + n,
            kind: EventKind::Stuck,
            subject: "nfs".into(),
            text,
        });
    }
    store.close().unwrap();
    let events = bench.reader().events(START_MS, START_MS + 4, 2).unwrap();
    assert_eq!(events.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["event 2", "event 3"]);
}

#[test]
fn later_window_wins_at_the_same_instant() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let series = bench.series("x", 1);
    let window = |value: f64| {
        let group = Group { times_ms: vec![START_MS], series: series.clone(), values: vec![value] };
        Window { from_ms: START_MS, to_ms: START_MS + 10_000, groups: vec![group] }
    };
    store.append(window(1.0));
    store.append(window(2.0));
    store.close().unwrap();
    assert_eq!(samples(&bench.reader(), "x", 0, i64::MAX), [(START_MS, 2.0)]);
}

#[test]
fn window_without_a_time_is_refused_and_accounted_for() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.append(bench.window(-20_000, &bench.series("x", 3)));
    store.append(bench.window(START_MS, &bench.series("x", 3)));
    let closed = store.close().unwrap();
    assert_eq!((closed.n_samples_stored, closed.n_samples_lost), (30, 30));
    let gaps = bench.reader().gaps(i64::MIN, 0).unwrap();
    assert_eq!((gaps[0].n_samples, gaps[0].reason), (30, GapReason::Clock));
}

#[test]
fn no_store_is_said_to_be_missing() {
    let bench = Bench::new();
    assert!(matches!(Reader::open(bench.path()), Err(StoreError::Missing(_))));
}

#[test]
fn readers_neither_hold_up_the_writer_nor_let_its_log_grow() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let series = bench.series("x", 300);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut ends = Vec::new();
                    let Ok(reader) = Reader::open(bench.path()) else { continue };
                    reader.scan(&select("x"), 0, i64::MAX, |_, samples| ends.push(samples.len())).unwrap();
                    // A window is seen whole or not at all.
                    assert!(ends.iter().all(|n| n % 10 == 0 && *n == ends[0]), "{ends:?}");
                }
            });
        }
        for n in 0..300 {
            store.append(bench.window(START_MS + n * 10_000, &series));
            assert!(store.flush(PATIENCE));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let stats = store.stats();
    assert_eq!((stats.n_windows_stored, stats.n_write_errors), (300, 0));
    assert!(stats.wal_bytes < 4 << 20, "{stats:?}");
}
