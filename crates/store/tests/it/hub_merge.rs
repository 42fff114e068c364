//! Hours and days are merged at the hub while others read, and let go by age: no answer changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::hub_record::{Batch, RecordWriter};
use fieldpost_model::{
    ABSENT, ENDED, Event, EventKind, Frame, Intervals, Item, LogEntry, Period, Stream, TimeMs,
};
use fieldpost_store::codec::encode_window;
use fieldpost_store::hub::{HubReader, HubSeries, HubStore, LogAsk};
use fieldpost_store::record::{Note, encode_logs, encode_note};
use fieldpost_store::{Rollup, Samples};

use crate::data::{START_MS, select};
use crate::hub_data::{HubBench, N_SERIES, agent_id, append, batch, lost_batch, sample, sealed, window};

const PATIENCE: Duration = Duration::from_secs(120);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn all_samples(bench: &HubBench) -> Vec<(HubSeries, Samples)> {
    bench.reader().samples(&select("x"), 0, i64::MAX).unwrap()
}

fn event_batch(agent: usize, seq: u64, time_ms: TimeMs) -> Batch {
    let (kind, subject, text) = (EventKind::Stuck, "nfs".to_owned(), format!("event {seq}"));
    let blob = encode_note(&Note::Event(Event { time_ms, kind, subject, text }));
    let item = Item { to_ms: time_ms + 1, ..sealed(seq, time_ms, 1, blob) };
    let frames = vec![Frame::Scope("s".into()), Frame::Item(item)];
    Batch { stream: Stream::Events, frames, ..batch(agent, []) }
}

/// Windows of three agents in the first two hours, with a hole of agent 1 and events of agent 2.
fn filled(bench: &HubBench) -> HubStore {
    bench.set_clock(START_MS + 2 * HOUR_MS);
    let (store, _) = bench.open();
    for agent in 0..3 {
        let all = (1..=720).filter(|seq| agent != 1 || !(100..200).contains(seq));
        append(&store, batch(agent, all.map(|seq| window(agent, seq))));
    }
    append(&store, lost_batch(1, 100, 149));
    append(&store, event_batch(2, 1, START_MS + 5));
    store
}

fn progress(store: &HubStore) -> Vec<Intervals> {
    (0..3).map(|agent| store.progress(&agent_id(agent), "spool", Stream::Metrics)).collect()
}

/// Closes the intake files, which the writer would do a minute later.
fn reopen(bench: &HubBench, store: &HubStore, now_ms: TimeMs) -> HubStore {
    store.close().unwrap();
    bench.set_clock(now_ms);
    bench.open().0
}

#[test]
fn merged_hours_and_days_answer_as_before() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let (before, numbers) = (all_samples(&bench), progress(&store));
    assert_eq!((before.len(), bench.files("hot-").len()), (3 * N_SERIES, 2));
    let store = reopen(&bench, &store, START_MS + 2 * HOUR_MS + 599_000);
    assert!(store.tend(PATIENCE));
    // The second hour ended less than ten minutes ago.
    assert_eq!(bench.files("hour-"), ["hour-20261121T00.db"]);
    assert!(all_samples(&bench) == before);
    let store = reopen(&bench, &store, START_MS + DAY_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!((bench.files("hour-").len(), bench.files("hot-").len()), (2, 0));
    assert!(all_samples(&bench) == before && progress(&store) == numbers);
    // What comes late is merged into the hour, and later into the day.
    append(&store, batch(1, (150..200).map(|seq| window(1, seq))));
    let late = all_samples(&bench);
    assert_eq!(late[N_SERIES].1.len(), before[N_SERIES].1.len() + 500);
    let store = reopen(&bench, &store, START_MS + 25 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!((bench.files("day-"), bench.files("ho").len()), (vec!["day-20261121.db".to_owned()], 0));
    assert!(all_samples(&bench) == late);
    assert_eq!(progress(&store)[1], Intervals::of(1, 720));
    let store = reopen(&bench, &store, START_MS + 26 * HOUR_MS);
    assert_eq!(progress(&store), [Intervals::of(1, 720), Intervals::of(1, 720), Intervals::of(1, 720)]);
    assert_eq!(store.newest_ms()[&agent_id(1)], START_MS + 2 * HOUR_MS);
    append(&store, batch(1, [window(1, 3)]));
    assert_eq!(store.stats().n_duplicates, 1);
}

#[test]
fn items_that_are_no_windows_go_with_the_rows() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let store = reopen(&bench, &store, START_MS + 25 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    let mut seqs = Vec::new();
    let read =
        bench.reader().items(&agent_id(2), Stream::Events, 0..=u64::MAX, |_, item| seqs.push(item.seq));
    read.unwrap();
    assert_eq!(seqs, [1]);
    append(&store, event_batch(2, 1, START_MS + 5));
    assert_eq!(store.stats().n_duplicates, 1);
}

#[test]
fn logs_stay_readable_a_page_at_a_time_and_go_with_the_samples() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let entry = |time_ms: TimeMs, body: String| LogEntry {
        time_ms,
        severity: 9,
        severity_text: String::new(),
        body,
        attributes: Vec::new(),
        resource: vec![("service.name".to_owned(), "shop".to_owned())],
    };
    let logs = |seq: u64| {
        let from_ms = START_MS + seq as i64 * HOUR_MS / 10;
        let entries: Vec<_> = (0..5).map(|n| entry(from_ms + n / 2, format!("{seq} {n}"))).collect();
        Item { to_ms: from_ms + 3, ..sealed(seq, from_ms, 5, encode_logs(&entries)) }
    };
    let frames = (1..=15).rev().map(|seq| Frame::Item(logs(seq))).collect();
    append(&store, Batch { stream: Stream::Logs, frames, ..batch(2, []) });
    let usual = LogAsk { from_ms: START_MS, to_ms: i64::MAX, limit: 7, ..LogAsk::default() };
    let read_all = |ask: &LogAsk| {
        let (mut all, mut ask) = (Vec::new(), ask.clone());
        loop {
            let page = bench.reader().logs(&ask).unwrap();
            let Some((place, _)) = page.last() else { return all };
            ask.after = Some(place.clone());
            all.extend(page.into_iter().map(|(_, entry)| entry.body));
        }
    };
    let expected: Vec<String> = (1..=15).flat_map(|seq| (0..5).map(move |n| format!("{seq} {n}"))).collect();
    // Of one and of all, either way, and only what says something.
    let read = || {
        let back = read_all(&LogAsk { is_newest_first: true, ..usual.clone() });
        assert!(back.iter().rev().eq(&expected), "{back:?}");
        let said = read_all(&LogAsk { text: "4 3".to_owned(), ..usual.clone() });
        assert_eq!(said, ["4 3", "14 3"]);
        assert!(read_all(&LogAsk { text: "SHOP".to_owned(), severity: 10, ..usual.clone() }).is_empty());
        read_all(&LogAsk {
            agent_id: Some(agent_id(2)),
            severity: 9,
            text: "SHOP".to_owned(),
            ..usual.clone()
        })
    };
    assert_eq!(read(), expected);
    let store = reopen(&bench, &store, START_MS + 25 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!((bench.files("day-").len(), bench.files("ho").len()), (1, 0));
    assert_eq!(read(), expected);
    assert_eq!(store.progress(&agent_id(2), "spool", Stream::Logs), Intervals::of(1, 15));
}

#[test]
fn agents_are_renamed_without_touching_a_file() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let store = reopen(&bench, &store, START_MS + DAY_MS);
    assert!(store.tend(PATIENCE));
    let labels = |new: &'static str| {
        let labels = move |agent_id: &str| match agent_id {
            "agent-0002" => vec![("instance".into(), new.into()), ("site".into(), "x".into())],
            other => vec![("instance".into(), other.into())],
        };
        HubReader::open(bench.path(), Arc::new(labels)).unwrap()
    };
    let asked = |new, selector: &str| labels(new).series(&select(selector), 0, i64::MAX).unwrap().len();
    assert_eq!(asked("old", "x{instance=\"old\",n=\"1\"}"), 1);
    assert_eq!(asked("new", "x{instance=\"old\",n=\"1\"}"), 0);
    assert_eq!(asked("new", "x{instance=\"new\"}"), N_SERIES);
    assert_eq!(asked("new", "x{site=\"x\"}"), N_SERIES);
    assert_eq!(asked("new", "x{site=\"\"}"), 2 * N_SERIES);
}

/// Rollups of one series of agent 0.
fn rollups(bench: &HubBench, span_ms: i64) -> Vec<Rollup> {
    let selector = select("x{n=\"1\",instance=\"name of agent-0000\"}");
    let mut found = bench.reader().rollup(&selector, START_MS, START_MS + DAY_MS, span_ms).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0).1
}

#[test]
fn what_is_let_go_lives_on_as_rollups_and_is_not_asked_for_again() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let fresh = (rollups(&bench, 60_000), rollups(&bench, HOUR_MS));
    assert_eq!((fresh.0.len(), fresh.1.len(), fresh.1[1].count), (120, 2, 3_600));
    assert_eq!(fresh.1[0].max, sample(0, 1, START_MS));
    let store = reopen(&bench, &store, START_MS + DAY_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!((rollups(&bench, 60_000), rollups(&bench, HOUR_MS)), fresh);
    let before = progress(&store);
    // The newest that is stored says what time it is, and the clock has to go on for an hour.
    let mut store = reopen(&bench, &store, START_MS + 16 * DAY_MS);
    let at = |hour: i64| START_MS + 16 * DAY_MS + hour * HOUR_MS;
    for hour in 0..3 {
        bench.set_clock(at(hour));
        append(
            &store,
            batch(0, [Item { seq: 1_000 + hour as u64, ..crate::hub_data::item(0, 1, at(hour)) }]),
        );
        assert!(store.tend(PATIENCE));
    }
    assert_eq!(bench.files("day-"), Vec::<String>::new());
    assert_eq!(bench.files("minutes-"), ["minutes-20261121.db"]);
    assert_eq!((rollups(&bench, 60_000), rollups(&bench, HOUR_MS)), fresh);
    assert_eq!(progress(&store)[1..], before[1..]);
    let mut options = bench.options();
    options.retention.rollup_1m = Period::from_secs(3_600);
    store.close().unwrap();
    store = HubStore::open(options).unwrap().0;
    assert_eq!(progress(&store)[1..], before[1..]);
    bench.set_clock(at(4));
    append(&store, batch(0, [crate::hub_data::item(0, 2_000, at(4))]));
    assert!(store.tend(PATIENCE));
    assert_eq!((bench.files("minutes-").len(), bench.files("hours-").len()), (0, 1));
    assert_eq!(rollups(&bench, HOUR_MS), fresh.1);
}

#[test]
fn over_the_quota_the_oldest_goes_first() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let store = reopen(&bench, &store, START_MS + DAY_MS);
    assert!(store.tend(PATIENCE));
    store.close().unwrap();
    let mut options = bench.options();
    options.quota = fieldpost_model::ByteSize(store.stats().bytes - 1);
    let store = HubStore::open(options).unwrap().0;
    assert!(store.tend(PATIENCE));
    assert_eq!(bench.files("hour-"), ["hour-20261121T01.db"]);
    assert_eq!(progress(&store)[0], Intervals::of(1, 720));
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[..100].fill(0x5a);
    bytes[middle..middle + 2_048].fill(0);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_file_is_put_aside_and_its_numbers_are_asked_for_again() {
    let bench = HubBench::new();
    let store = filled(&bench);
    let whole = all_samples(&bench);
    let store = reopen(&bench, &store, START_MS + 2 * HOUR_MS + 599_000);
    assert!(store.tend(PATIENCE));
    store.close().unwrap();
    for name in ["hour-20261121T00.db", "hot-20261121T01-1.db"] {
        let bench_copy = HubBench::new();
        bench_copy.set_clock(START_MS + 2 * HOUR_MS);
        for entry in std::fs::read_dir(bench.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "db") {
                std::fs::copy(&path, bench_copy.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        damage(&bench_copy.path().join(name));
        let (store, opened) = bench_copy.open();
        assert_eq!(opened.quarantined.len(), 1, "{name}");
        let (first, last) = if name.starts_with("hour") { (361, 720) } else { (1, 360) };
        assert_eq!(progress(&store)[0], Intervals::of(first, last), "{name}");
        let missing = store.missing(&agent_id(0), "spool", Stream::Metrics, 1, 720);
        assert_eq!(missing.len(), 360);
        for agent in 0..3 {
            let all = (1..=720).filter(|seq| agent != 1 || !(100..200).contains(seq));
            append(&store, batch(agent, all.map(|seq| window(agent, seq))));
        }
        assert!(all_samples(&bench_copy) == whole, "{name}");
        assert_eq!(store.stats().n_quarantined, 1);
    }
}

#[test]
fn ends_and_labels_of_pushed_series_outlive_the_merge() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 2 * HOUR_MS);
    let (store, _) = bench.open();
    let times_ms: Vec<TimeMs> = (0..3).map(|n| START_MS + n * 1_000).collect();
    let blob = encode_window([(&times_ms[..], &[0][..], &[1.0, 2.0, ENDED][..])].into_iter());
    append(&store, batch(0, [sealed(1, START_MS, 3, blob)]));
    let reader = HubReader::open(bench.path(), Arc::new(|_| Vec::new())).unwrap();
    let answer = || {
        let found = reader.samples(&select("x"), 0, i64::MAX).unwrap();
        let bits = found.iter().flat_map(|(_, samples)| samples).map(|(at, value)| (*at, value.to_bits()));
        let labels = found.iter().flat_map(|(series, _)| series.series.labels.clone()).collect::<Vec<_>>();
        let rollups = reader.rollup(&select("x"), 0, i64::MAX, 60_000).unwrap();
        (bits.collect::<Vec<_>>(), labels, rollups.into_iter().flat_map(|(_, all)| all).collect::<Vec<_>>())
    };
    let before = answer();
    let wanted = [1.0, 2.0, ABSENT].map(f64::to_bits);
    assert_eq!(before.0, times_ms.iter().copied().zip(wanted).collect::<Vec<_>>());
    assert_eq!(before.1, [("n".to_owned(), "0".to_owned())], "as they were given");
    assert_eq!(
        before.2.iter().map(|span| (span.sum, span.count, span.last)).collect::<Vec<_>>(),
        [(3.0, 2, 2.0)]
    );
    let store = reopen(&bench, &store, START_MS + 2 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!((bench.files("hot-").len(), bench.files("hour-").len()), (0, 1));
    assert_eq!(answer(), before);
}
