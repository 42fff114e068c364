//! A real agent's record, read in parts, reordered and doubled on the way, and stored by a hub:
//! the hub answers what the agent answers.

use std::ops::Range;
use std::time::Duration;

use fieldpost_model::hub_record::{Batch, RecordWriter};
use fieldpost_model::{
    Entity, EntityRow, Event, EventKind, Frame, Intervals, Seq, Stream, TableKind, TableTick, TimeMs,
};
use fieldpost_store::hub::HubStore;
use fieldpost_store::record::{Ask, Known, Note, Order};
use fieldpost_store::{Samples, Store};

use crate::data::{Bench, START_MS, select};
use crate::hub_data::HubBench;

const PATIENCE: Duration = Duration::from_secs(120);
const HOUR_MS: i64 = 3_600_000;

fn tick(n: i64) -> TableTick {
    let process = |pid: u64| Entity {
        pid: pid as u32,
        start_ms: START_MS - 1000,
        name: format!("p{pid}"),
        command: format!("/bin/p{pid}"),
        unit: "x.service".into(),
        group: "p".into(),
        uid: 0,
        parent: 1,
    };
    let keys = [1, 2, 1_000 + n as u64];
    let rows = keys.map(|key| EntityRow { key, values: [n * key as i64, 5, -1, 1, n, 0, 0, 83] });
    let entities = keys.map(|key| (key, process(key))).to_vec();
    TableTick { kind: TableKind::Processes, time_ms: START_MS + n * 10_000, entities, rows: rows.to_vec() }
}

/// An agent with an hour and a bit of windows, tables and some events, on the disk after every few
/// ticks. How the ticks of a flush are cut into items is the writer's affair.
fn agent(bench: &Bench, ticks_per_flush: i64) -> Store {
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let few = bench.series("x", 10);
    let more = bench.series("y", 20);
    for n in 0..400 {
        let series = if n < 300 { &few } else { &more };
        store.append(bench.window(START_MS + n * 10_000, series));
        store.append_tables(vec![tick(n)]);
        if n % 100 == 7 {
            let (kind, subject, text) = (EventKind::Stuck, "nfs".to_owned(), format!("event {n}"));
            store.append_event(Event { time_ms: START_MS + n * 10_000, kind, subject, text });
        }
        if (n + 1) % ticks_per_flush == 0 {
            assert!(store.flush(PATIENCE));
        }
    }
    assert!(store.flush(PATIENCE));
    store
}

/// Reads a range of the agent's record into batches that stand alone.
fn batches(store: &Store, stream: Stream, (from, to): (Seq, Seq), order: Order) -> Vec<Batch> {
    let record = store.record();
    let mut known = Known::default();
    let mut scope = None;
    let mut rest = Some((from, to));
    let mut batches = Vec::new();
    while let Some((from, to)) = rest {
        let ask = Ask { stream, from, to, order, max_bytes: 4_000, max_items: 30 };
        let part = store.read_record(&ask, &mut known).unwrap();
        let frames: Vec<Frame> = scope.clone().into_iter().chain(part.frames).collect();
        scope = frames.iter().rfind(|frame| matches!(frame, Frame::Scope(_))).cloned().or(scope);
        let (agent_id, spool_id) = (record.agent_id.clone(), record.spool_id.clone());
        batches.push(Batch { agent_id, spool_id, stream, frames });
        rest = part.rest;
    }
    batches
}

/// Brings everything that the agent has: the newer half first, some of it twice.
fn bring(store: &Store, hub: &HubStore) {
    for stream in Stream::ALL {
        let last = store.record().streams[&stream].last;
        let half = last / 2;
        let newer = batches(store, stream, (half, last), Order::Newest);
        let older = batches(store, stream, (1, half + 5), Order::Oldest);
        for batch in newer.into_iter().chain(older) {
            let accepted = hub.append_and_wait(batch).unwrap().unwrap();
            assert_eq!(accepted.refused, []);
            let ours = store.record();
            store.acknowledge("hub", &ours.spool_id, stream, &accepted.numbers).unwrap();
        }
        let record = store.record();
        let progress = hub.progress(&record.agent_id, &record.spool_id, stream);
        assert_eq!(progress, Intervals::of(1, last), "{stream:?}");
    }
}

/// Pids with their first numbers.
fn shown(tick: &TableTick, known: &mut Vec<(u64, Entity)>) -> (TimeMs, Vec<(u32, i64)>) {
    known.extend(tick.entities.iter().cloned());
    let pid = |key| known.iter().find(|(known, _)| *known == key).unwrap().1.pid;
    let mut shown: Vec<_> = tick.rows.iter().map(|row| (pid(row.key), row.values[0])).collect();
    shown.sort_unstable();
    (tick.time_ms, shown)
}

fn assert_same(agent: &Bench, hub: &HubBench, agent_id: &str) {
    for selector in ["x", "y", "x{n=~\"3|4\"}"] {
        let mut ours: Vec<(String, Samples)> = Vec::new();
        for series in agent.reader().series(&select(selector), 0, i64::MAX).unwrap() {
            let samples = agent.reader().samples(&series, 0, i64::MAX).unwrap();
            ours.push((series.text, samples));
        }
        let whose = format!("instance=\"name of {agent_id}\",");
        let theirs = hub.reader().samples(&select(selector), 0, i64::MAX).unwrap().into_iter();
        let theirs: Vec<_> = theirs.map(|(s, all)| (s.series.text.replace(&whose, ""), all)).collect();
        assert!(!ours.is_empty() && ours == theirs, "{selector}");
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut known, kind) = (Vec::new(), TableKind::Processes);
    agent.reader().scan_tables(kind, 0, i64::MAX, |tick| ours.push(shown(&tick, &mut known))).unwrap();
    let mut known = Vec::new();
    let read =
        hub.reader().scan_tables(agent_id, kind, 0, i64::MAX, |tick| theirs.push(shown(&tick, &mut known)));
    assert_eq!((read.unwrap(), ours.len()), (0, 400));
    assert!(ours == theirs, "{} ticks", theirs.len());
    let part = START_MS + 1_000_000..START_MS + 2_000_000;
    let mut n_ticks = 0;
    hub.reader().scan_tables(agent_id, kind, part.start, part.end, |_| n_ticks += 1).unwrap();
    assert_eq!(n_ticks, 100);
    let ours = agent.reader().events(0, i64::MAX, 1_000).unwrap();
    let notes = hub.reader().notes(agent_id, 0, i64::MAX, 1_000).unwrap().into_iter();
    let theirs = notes.filter_map(|note| match note {
        Note::Event(event) => Some(event),
        Note::Gap(_) => None,
    });
    assert_eq!(theirs.collect::<Vec<_>>(), ours);
}

#[test]
fn hub_answers_what_the_agent_answers() {
    let (ours, theirs) = (Bench::new(), HubBench::new());
    let agent = agent(&ours, 5);
    theirs.set_clock(START_MS + 2 * HOUR_MS);
    let (hub, _) = theirs.open();
    bring(&agent, &hub);
    let agent_id = agent.record().agent_id;
    assert_same(&ours, &theirs, &agent_id);
    hub.close().unwrap();
    for hours in [3, 25] {
        theirs.set_clock(START_MS + hours * HOUR_MS);
        let (hub, _) = theirs.open();
        assert!(hub.tend(PATIENCE));
        assert_same(&ours, &theirs, &agent_id);
        hub.close().unwrap();
    }
    assert_eq!((theirs.files("hot-").len(), theirs.files("day-").len()), (0, 1));
}

/// Brings the processes but for one item; answers the ticks by their numbers, and how many items
/// could not be read.
fn processes_but_for(agent: &Store, hole: Seq) -> (Vec<i64>, u64) {
    let theirs = HubBench::new();
    theirs.set_clock(START_MS + 2 * HOUR_MS);
    let (hub, _) = theirs.open();
    let record = agent.record();
    for range in [(1, hole - 1), (hole + 1, record.streams[&Stream::Processes].last)] {
        for batch in batches(agent, Stream::Processes, range, Order::Oldest) {
            hub.append_and_wait(batch).unwrap().unwrap();
        }
    }
    let (mut known, mut found) = (Vec::new(), Vec::new());
    let kind = TableKind::Processes;
    let read = theirs.reader().scan_tables(&record.agent_id, kind, 0, i64::MAX, |tick| {
        found.push(shown(&tick, &mut known));
    });
    let numbers = found.iter().map(|(time_ms, _)| (time_ms - START_MS) / 10_000).collect::<Vec<_>>();
    for (n, (_, rows)) in numbers.iter().zip(found) {
        assert_eq!(rows, [1, 2, 1_000 + n].map(|key| (key as u32, n * key)));
    }
    (numbers, read.unwrap())
}

#[test]
fn table_is_answered_up_to_a_hole_and_from_the_next_chain_on() {
    let ours = Bench::new();
    // One item a tick, and a chain every five minutes: every thirtieth tick begins one.
    let agent = agent(&ours, 1);
    let all_but = |lost: Range<i64>| (0..400).filter(|n| !lost.contains(n)).collect::<Vec<_>>();
    assert_eq!(processes_but_for(&agent, 200), (all_but(199..210), 10));
    assert_eq!(processes_but_for(&agent, 181), (all_but(180..210), 29), "a chain's first");
    assert_eq!(processes_but_for(&agent, 210), (all_but(209..210), 0), "a chain's last");
}
