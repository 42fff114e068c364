//! Tables of processes and units come back as they went in.

use std::time::Duration;

use fieldpost_model::{Entity, EntityRow, TableKind, TableTick, TimeMs};

use crate::data::{Bench, START_MS};

fn process(pid: u32) -> Entity {
    Entity {
        pid,
        start_ms: START_MS - 1000,
        name: format!("p{pid}"),
        command: format!("/bin/p{pid} --flag"),
        unit: "x.service".into(),
        group: "p".into(),
        uid: 0,
        parent: 1,
    }
}

/// Processes 1 to 9 live all along; process 1 000 + n lives only at tick n.
fn tick(n: i64, first: bool) -> TableTick {
    let passing = (1_000 + n) as u64;
    let mut entities = vec![(passing, process(passing as u32))];
    if first {
        entities.extend((1..10).map(|key| (key, process(key as u32))));
    }
    let keys = (1..10).chain([passing]);
    let rows = keys.map(|key| EntityRow { key, values: [n * key as i64, 5, -1, 1, n, 0, 0, 83] }).collect();
    TableTick { kind: TableKind::Processes, time_ms: time_of(n), entities, rows }
}

fn time_of(n: i64) -> TimeMs {
    START_MS + n * 5_000
}

/// Pids and processor ticks of a tick.
fn shown(tick: &TableTick, known: &[(u64, Entity)]) -> Vec<(u32, i64)> {
    let pid = |key| known.iter().find(|(known, _)| *known == key).unwrap().1.pid;
    let mut shown: Vec<_> = tick.rows.iter().map(|row| (pid(row.key), row.values[0])).collect();
    shown.sort();
    shown
}

fn expected(n: i64) -> Vec<(u32, i64)> {
    (1..10).chain([1_000 + n]).map(|key| (key as u32, n * key)).collect()
}

#[test]
fn every_moment_is_found_again_over_chains_days_and_restarts() {
    let bench = Bench::new();
    let first = -200;
    let (mut store, _) = bench.open();
    for n in first..200 {
        if n == 100 {
            store.close().unwrap();
            store = bench.open().0;
        }
        store.append_tables(vec![tick(n, n == first || n == 100)]);
        if n % 20 == 0 {
            assert!(store.flush(Duration::from_secs(60)));
        }
    }
    assert!(store.flush(Duration::from_secs(60)));
    let reader = bench.reader();
    for n in [first, -1, 0, 1, 99, 100, 199] {
        let tick = reader.table_at(TableKind::Processes, time_of(n) + 4_999).unwrap().unwrap();
        assert_eq!((tick.time_ms, shown(&tick, &tick.entities)), (time_of(n), expected(n)), "{n}");
    }
    assert!(reader.table_at(TableKind::Units, time_of(0)).unwrap().is_none());
    assert!(reader.table_at(TableKind::Processes, time_of(first) - 1).unwrap().is_none());
    let mut known = Vec::new();
    let mut n = first;
    reader
        .scan_tables(TableKind::Processes, 0, i64::MAX, |tick| {
            known.extend(tick.entities.clone());
            assert_eq!((tick.time_ms, shown(&tick, &known)), (time_of(n), expected(n)));
            n += 1;
        })
        .unwrap();
    assert_eq!((n, known.len()), (200, 9 + 400));
    store.close().unwrap();
}

#[test]
fn clock_that_goes_back_begins_a_new_chain() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for n in [0, 1, 2, -30, -29, 3] {
        store.append_tables(vec![tick(n, n == 0)]);
        assert!(store.flush(Duration::from_secs(60)));
    }
    store.close().unwrap();
    let times: Vec<_> = bench.reader().tables(TableKind::Processes, 0, i64::MAX).unwrap();
    let times: Vec<_> = times.iter().map(|tick| (tick.time_ms - START_MS) / 5_000).collect();
    assert_eq!(times, [-30, -29, 0, 1, 2, 3]);
}
