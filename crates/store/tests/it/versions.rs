//! Stores that earlier versions wrote, kept as files: each opens for ever after, with all that is in
//! it, and goes on.

use std::path::{Path, PathBuf};

use fieldpost_model::hub_record::RecordWriter;
use fieldpost_model::{
    Entity, EntityRow, Event, EventKind, Intervals, Period, Seq, Stream, TableKind, TableTick, TimeMs,
};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use fieldpost_store::{Config, Retention, Store};

use crate::data::{Bench, START_MS, expected, samples, select};
use crate::hub_data::{HubBench, agent_id, append, batch, item, sample};
use crate::spool::{HOUR_MS, PATIENCE, read};

/// The hours of which there is a minute, from the first of November 21st on: they are minutes, a
/// merged day, merged hours, and one that is still hot.
const HOURS: [i64; 5] = [-74, -26, -25, 0, 1];
/// Windows in each.
const N_WINDOWS: i64 = 6;
const N_SERIES: usize = 4;
/// The number of the last window that the agent's hub has.
const ACKNOWLEDGED: Seq = 26;
/// When it was closed.
const CLOSED_MS: TimeMs = START_MS + 4 * HOUR_MS;

/// Where the stores of a version are kept.
fn kept(version: u32, face: &str) -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.join(format!("tests/it/versions/{version}/{face}"))
}

fn unpack(version: u32, face: &str, folder: &Path) {
    let entries = std::fs::read_dir(kept(version, face)).unwrap();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let bytes = zstd::decode_all(&*std::fs::read(&path).unwrap()).unwrap();
        std::fs::write(folder.join(path.file_stem().unwrap()), bytes).unwrap();
    }
}

fn pack(version: u32, face: &str, folder: &Path) {
    let target = kept(version, face);
    std::fs::create_dir_all(&target).unwrap();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".db") {
            let bytes = zstd::encode_all(&*std::fs::read(&path).unwrap(), 19).unwrap();
            std::fs::write(target.join(format!("{name}.zst")), bytes).unwrap();
        }
    }
}

/// First instants of all windows, in the order of their numbers.
fn instants() -> impl Iterator<Item = TimeMs> {
    HOURS.into_iter().flat_map(|hour| (0..N_WINDOWS).map(move |n| START_MS + hour * HOUR_MS + n * 10_000))
}

/// Samples as they were taken are kept for two days.
fn retention() -> Retention {
    Retention { raw: Period::from_secs(2 * 86_400), ..Retention::default() }
}

fn config(bench: &Bench) -> Config {
    Config { retention: retention(), ..bench.config() }
}

fn hub_options(bench: &HubBench) -> HubStoreOptions {
    HubStoreOptions { retention: retention(), ..bench.options() }
}

fn processes() -> TableTick {
    let entity = Entity {
        pid: 7,
        start_ms: START_MS - 1_000,
        name: "seven".into(),
        command: "/bin/seven --flag".into(),
        unit: "seven.service".into(),
        group: "seven".into(),
        uid: 1,
        parent: 1,
    };
    let rows = vec![EntityRow { key: 7, values: [1, 2, 3, 4, 5, 6, 7, 83] }];
    TableTick { kind: TableKind::Processes, time_ms: START_MS, entities: vec![(7, entity)], rows }
}

fn write_agent(bench: &Bench) {
    bench.set_clock(START_MS + HOURS[0] * HOUR_MS);
    let (store, _) = bench.open_with(config(bench));
    store.add_cursor("hub").unwrap();
    for from_ms in instants() {
        bench.set_clock(from_ms + 10_000);
        let series = bench.series("x", N_SERIES);
        store.append(bench.window(from_ms, &series));
        assert!(store.flush(PATIENCE));
    }
    store.append_tables(vec![processes()]);
    let (kind, subject, text) = (EventKind::Start, "s".to_owned(), "started".to_owned());
    store.append_event(Event { time_ms: START_MS, kind, subject, text });
    assert!(store.flush(PATIENCE));
    let spool = store.record().spool_id;
    store.acknowledge("hub", &spool, Stream::Metrics, &Intervals::of(1, ACKNOWLEDGED)).unwrap();
    for hour in 2..=4 {
        bench.set_clock(START_MS + hour * HOUR_MS);
        assert!(store.tend(PATIENCE));
    }
    store.close().unwrap();
}

fn write_hub(bench: &HubBench) {
    bench.set_clock(START_MS + HOURS[0] * HOUR_MS);
    let (store, _) = HubStore::open(hub_options(bench)).unwrap();
    for (from_ms, seq) in instants().zip(1..) {
        bench.set_clock(from_ms + 10_000);
        (0..2).for_each(|agent| drop(append(&store, batch(agent, [item(agent, seq, from_ms)]))));
    }
    // Files that are still being written are not merged.
    store.close().unwrap();
    bench.set_clock(START_MS + 2 * HOUR_MS);
    let (store, _) = HubStore::open(hub_options(bench)).unwrap();
    for hour in 2..=4 {
        bench.set_clock(START_MS + hour * HOUR_MS);
        assert!(store.tend(PATIENCE));
    }
    append(&store, batch(0, [item(0, 31, START_MS + 3 * HOUR_MS)]));
    store.close().unwrap();
}

/// Writes the files that are kept of this version, once and never again.
#[test]
#[ignore = "writes the files that are kept"]
fn stores_of_this_version_are_written() {
    let (agent, hub) = (Bench::new(), HubBench::new());
    write_agent(&agent);
    write_hub(&hub);
    pack(1, "agent", agent.path());
    pack(1, "hub", hub.path());
}

fn assert_agents(store: &Store, bench: &Bench) {
    let reader = bench.reader();
    for hour in &HOURS[1..] {
        let from_ms = START_MS + hour * HOUR_MS;
        let to_ms = from_ms + N_WINDOWS * 10_000;
        let found = samples(&reader, "x{n=\"3\"}", from_ms, from_ms + HOUR_MS);
        assert_eq!(found, expected(3, from_ms, to_ms), "hour {hour}");
    }
    let first_ms = START_MS + HOURS[0] * HOUR_MS;
    let minutes = reader.rollup(&select("x{n=\"1\"}"), first_ms, first_ms + HOUR_MS, 60_000).unwrap();
    let counts: Vec<_> = minutes.iter().flat_map(|(_, all)| all).map(|one| (one.count, one.sum)).collect();
    assert_eq!(counts, [(60, 60.0)], "a minute of ones");
    let tick = reader.table_at(TableKind::Processes, START_MS).unwrap().unwrap();
    let wanted = processes();
    assert_eq!(tick.entities.iter().map(|(_, entity)| entity).collect::<Vec<_>>(), [&wanted.entities[0].1]);
    assert_eq!(tick.rows.iter().map(|row| row.values).collect::<Vec<_>>(), [wanted.rows[0].values]);
    let events = reader.events(START_MS, START_MS + 1, 10).unwrap();
    assert_eq!(events.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["started"]);
    let heard = read(store, Stream::Metrics, (1, Seq::MAX), fieldpost_store::record::Order::Oldest, 1 << 20);
    assert!(heard.item_seqs().ends_with(&[27, 28, 29, 30]), "{:?}", heard.item_seqs());
    let cursors = store.cursors();
    let owed = cursors[0].streams[&Stream::Metrics];
    assert_eq!((cursors[0].hub.as_str(), owed.whole_up_to), ("hub", ACKNOWLEDGED));
}

#[test]
fn agents_store_of_version_1_opens_and_goes_on() {
    let bench = Bench::new();
    unpack(1, "agent", bench.path());
    bench.set_clock(CLOSED_MS);
    let (store, opened) = bench.open_with(config(&bench));
    assert!(opened.quarantined.is_empty() && opened.last_stop_clean && !opened.new && !opened.new_spool);
    assert_agents(&store, &bench);
    let series = bench.series("x", N_SERIES);
    store.append(bench.window(CLOSED_MS, &series));
    assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    assert_agents_go_on(&store);
    store.close().unwrap();
    assert_eq!(
        samples(&bench.reader(), "x{n=\"2\"}", CLOSED_MS, CLOSED_MS + HOUR_MS),
        expected(2, CLOSED_MS, CLOSED_MS + 10_000)
    );
}

/// The next number is the one after the last of the files.
fn assert_agents_go_on(store: &Store) {
    let last = store.record().streams.into_iter().find(|(stream, _)| *stream == Stream::Metrics);
    assert_eq!(last.map(|(_, span)| span.last), Some(31));
}

#[test]
fn hubs_store_of_version_1_opens_and_goes_on() {
    let bench = HubBench::new();
    unpack(1, "hub", bench.path());
    bench.set_clock(CLOSED_MS);
    let (store, opened) = HubStore::open(hub_options(&bench)).unwrap();
    assert_eq!(opened.quarantined.len(), 0);
    assert_eq!(store.progress(&agent_id(0), "spool", Stream::Metrics), Intervals::of(1, 31));
    assert_eq!(store.progress(&agent_id(1), "spool", Stream::Metrics), Intervals::of(1, 30));
    append(&store, batch(1, [item(1, 31, CLOSED_MS)]));
    assert!(store.tend(PATIENCE));
    store.close().unwrap();
    let reader = bench.reader();
    for (agent, last_ms) in [(0, START_MS + 3 * HOUR_MS), (1, CLOSED_MS)] {
        let found = reader.samples(&select("x{n=\"3\"}"), START_MS - 40 * HOUR_MS, i64::MAX).unwrap();
        let (_, found) = found.iter().find(|(series, _)| series.agent_id == agent_id(agent)).unwrap();
        let late = instants().skip(N_WINDOWS as usize).chain([last_ms]);
        let wanted: Vec<_> = late
            .flat_map(|from_ms| (0..10).map(move |n| from_ms + n * 1_000))
            .map(|time_ms| (time_ms, sample(agent, 3, time_ms)))
            .collect();
        assert_eq!(*found, wanted, "agent {agent}");
    }
    let first_ms = START_MS + HOURS[0] * HOUR_MS;
    let minutes = reader.rollup(&select("x{n=\"1\"}"), first_ms, first_ms + HOUR_MS, 60_000).unwrap();
    assert_eq!(minutes.iter().map(|(_, all)| all[0].count).collect::<Vec<_>>(), [60, 60]);
}
