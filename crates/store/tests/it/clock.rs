//! The wall clock is set far ahead, and back: what is stored stays.

use std::time::Duration;

use fieldpost_model::{Event, EventKind};

use crate::data::{Bench, START_MS, expected, samples};

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Windows of ten minutes at the beginning of each of five hours, and an event.
fn filled(bench: &Bench) -> fieldpost_store::Store {
    let (store, _) = bench.open();
    let series = bench.series("x", 4);
    for n in (0..5).flat_map(|hour| (0..60).map(move |n| hour * 360 + n)) {
        store.append(bench.window(START_MS + n * 10_000, &series));
        assert!(n % 20 != 19 || store.flush(PATIENCE));
    }
    let (kind, subject, text) = (EventKind::Start, String::new(), "started".to_owned());
    store.append_event(Event { time_ms: START_MS, kind, subject, text });
    assert!(store.flush(PATIENCE));
    bench.set_clock(START_MS + 5 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    store
}

fn assert_all_there(bench: &Bench, turn: &str) {
    let all = (0..5).flat_map(|hour| {
        let from_ms = START_MS + hour * HOUR_MS;
        expected(3, from_ms, from_ms + 600_000)
    });
    let found = samples(&bench.reader(), "x{n=\"3\"}", START_MS, START_MS + 5 * HOUR_MS);
    assert!(found == all.collect::<Vec<_>>(), "{turn}: {} samples", found.len());
    let events = bench.reader().events(START_MS, START_MS + 1, 10).unwrap();
    assert_eq!(events.len(), 1, "{turn}");
    assert_eq!(bench.reader().gaps(0, i64::MAX).unwrap(), [], "{turn}");
}

#[test]
fn clock_that_leaps_ahead_and_back_costs_nothing() {
    let bench = Bench::new();
    let store = filled(&bench);
    bench.jump(400 * DAY_MS);
    assert!(store.tend(PATIENCE));
    assert_all_there(&bench, "ahead");
    let series = bench.series("x", 4);
    for minute in (0..59).step_by(7) {
        let now_ms = START_MS + 5 * HOUR_MS + minute * 60_000;
        bench.set_clock(now_ms);
        store.append(bench.window(now_ms + 400 * DAY_MS, &series));
        assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    }
    assert_all_there(&bench, "an hour ahead");
    bench.jump(0);
    store.append(bench.window(START_MS + 6 * HOUR_MS, &series));
    bench.set_clock(START_MS + 9 * HOUR_MS);
    assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    assert_all_there(&bench, "back");
    let ahead = START_MS + 5 * HOUR_MS + 400 * DAY_MS;
    let found = samples(&bench.reader(), "x{n=\"3\"}", ahead, ahead + HOUR_MS);
    assert_eq!(found.len(), 90, "what was taken while the clock was wrong");
}

#[test]
fn store_that_is_opened_under_a_wrong_clock_keeps_everything() {
    let bench = Bench::new();
    filled(&bench).close().unwrap();
    bench.jump(400 * DAY_MS);
    let (store, _) = bench.open();
    store.append(bench.window(START_MS + 400 * DAY_MS, &bench.series("x", 4)));
    assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    store.close().unwrap();
    bench.jump(0);
    let (store, _) = bench.open();
    assert!(store.tend(PATIENCE));
    assert_all_there(&bench, "opened again");
}

#[test]
fn span_of_what_is_not_merged_is_exact() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for n in 200..210 {
        store.append(bench.window(START_MS + n * 10_000, &bench.series("x", 2)));
    }
    assert!(store.flush(PATIENCE));
    let span = Some((START_MS + 2_000_000, START_MS + 2_100_000));
    assert_eq!(bench.reader().data_span().unwrap(), span);
    store.close().unwrap();
    assert_eq!(bench.open().1.data_span, span);
}
