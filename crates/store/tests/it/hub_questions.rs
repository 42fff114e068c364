//! What is asked of the hub besides samples: what it knows of a span, what agents noted, and a
//! copy of everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fieldpost_model::hub_record::{Batch, RecordWriter};
use fieldpost_model::{Event, EventKind, Frame, Intervals, Item, Stream, TimeMs};
use fieldpost_store::hub::{Coverage, HubBackup, HubReader, HubStore, HubStoreOptions, Stretch};
use fieldpost_store::record::{Note, encode_note};
use fieldpost_store::{Gap, GapReason};

use crate::data::{START_MS, select};
use crate::hub_data::{HubBench, agent_id, append, batch, item, lost_batch, names, sealed, window};

const PATIENCE: Duration = Duration::from_secs(120);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn at(seq: i64) -> TimeMs {
    START_MS + (seq - 1) * 10_000
}

fn coverage(bench: &HubBench, from_ms: TimeMs, to_ms: TimeMs) -> Vec<Stretch> {
    bench.reader().coverage(&agent_id(0), from_ms, to_ms).unwrap()
}

#[test]
fn hub_tells_what_is_whole_missing_and_unknown_before_and_after_merging() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 2 * HOUR_MS);
    let (store, _) = bench.open();
    append(&store, batch(0, (1..=100).chain(111..=120).chain(131..=140).map(|seq| window(0, seq))));
    append(&store, lost_batch(0, 101, 110));
    // The agent was off for a quarter of an hour.
    append(&store, batch(0, [item(0, 141, at(231)), item(0, 142, at(401))]));
    let stretch = |from, to, coverage| Stretch { from_ms: at(from), to_ms: at(to), coverage };
    use Coverage::{Missing, Unknown, Whole};
    let expected = [
        stretch(-10, 1, Missing),
        stretch(1, 101, Whole),
        stretch(101, 111, Missing),
        stretch(111, 121, Whole),
        stretch(121, 131, Unknown),
        stretch(131, 141, Whole),
        stretch(141, 231, Missing),
        stretch(231, 232, Whole),
        stretch(232, 401, Missing),
        stretch(401, 402, Whole),
        stretch(402, 500, Unknown),
    ];
    assert_eq!(coverage(&bench, at(-10), at(500)), expected);
    store.close().unwrap();
    bench.set_clock(START_MS + 25 * HOUR_MS);
    let (store, _) = bench.open();
    assert!(store.tend(PATIENCE));
    assert_eq!(bench.files("day-").len(), 1);
    assert_eq!(coverage(&bench, at(-10), at(500)), expected);
    append(&store, batch(0, (121..=130).map(|seq| window(0, seq))));
    assert_eq!(coverage(&bench, at(115), at(135)), [stretch(115, 135, Whole)]);
    let nobody = bench.reader().coverage("nobody", at(1), at(2)).unwrap();
    assert_eq!(nobody, [stretch(1, 2, Unknown)]);
}

fn note_batch(seq: u64, note: &Note, from_ms: TimeMs, to_ms: TimeMs) -> Batch {
    let item = Item { to_ms, ..sealed(seq, from_ms, 1, encode_note(note)) };
    let frames = vec![Frame::Scope("notes".into()), Frame::Item(item)];
    Batch { stream: Stream::Events, frames, ..batch(0, []) }
}

#[test]
fn notes_are_read_from_intake_and_from_merged_files_and_outlive_the_samples() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + HOUR_MS);
    let (store, _) = bench.open();
    let event = |time_ms: TimeMs| {
        let (kind, subject, text) = (EventKind::Stuck, "nfs".to_owned(), "it hangs".to_owned());
        Note::Event(Event { time_ms, kind, subject, text })
    };
    let gap = Note::Gap(Gap {
        from_ms: START_MS - 30 * DAY_MS,
        to_ms: START_MS,
        n_samples: 7,
        reason: GapReason::Quota,
    });
    append(&store, note_batch(1, &event(START_MS + 7), START_MS + 7, START_MS + 8));
    append(&store, note_batch(2, &gap, START_MS - 30 * DAY_MS, START_MS));
    append(&store, note_batch(3, &event(START_MS + 9), START_MS + 9, START_MS + 10));
    append(&store, batch(0, [window(0, 1)]));
    let all = vec![gap, event(START_MS + 7), event(START_MS + 9)];
    let asked = |from_ms, limit| bench.reader().notes(&agent_id(0), from_ms, i64::MAX, limit).unwrap();
    assert_eq!(asked(0, 10), all);
    assert_eq!((asked(0, 1), asked(START_MS, 10)), (all[2..].to_vec(), all[1..].to_vec()));
    store.close().unwrap();
    bench.set_clock(START_MS + 20 * DAY_MS);
    let (store, _) = bench.open();
    for hour in 0..3 {
        let now_ms = START_MS + 20 * DAY_MS + hour * HOUR_MS;
        bench.set_clock(now_ms);
        append(&store, batch(0, [item(0, 10 + hour as u64, now_ms)]));
        assert!(store.tend(PATIENCE));
    }
    assert_eq!((bench.files("day-").len(), bench.files("minutes-").len()), (0, 1));
    assert_eq!(asked(0, 10), all);
}

/// Opens a copy and compares it with what the original has.
fn assert_same(bench: &HubBench, copy: &std::path::Path, n_agents: usize) {
    let read = |reader: HubReader| reader.samples(&select("x"), 0, i64::MAX).unwrap();
    assert!(read(HubReader::open(copy, names()).unwrap()) == read(bench.reader()));
    let options = HubStoreOptions { path: copy.to_owned(), ..bench.options() };
    let (store, opened) = HubStore::open(options).unwrap();
    assert!(!opened.new && opened.quarantined.is_empty());
    for agent in 0..n_agents {
        let progress = store.progress(&agent_id(agent), "spool", Stream::Metrics);
        assert_eq!(progress, Intervals::of(1, 400));
    }
}

#[test]
fn backup_is_a_store_with_all_that_was_acknowledged() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + HOUR_MS + 600_000);
    let (store, _) = bench.open();
    append(&store, batch(0, (1..=360).map(|seq| window(0, seq))));
    store.close().unwrap();
    let (store, _) = bench.open();
    assert!(store.tend(PATIENCE));
    append(&store, batch(0, (361..=400).map(|seq| window(0, seq))));
    let outer = tempfile::tempdir().unwrap();
    let copy = outer.path().join("copy");
    let backup = store.backup(&copy).unwrap();
    assert!(matches!(backup, HubBackup { n_files: 3, .. }) && backup.bytes > 0, "{backup:?}");
    assert_same(&bench, &copy, 1);
    assert!(store.backup(&copy).is_err(), "a backup is never overwritten");
}

#[test]
fn backup_is_made_while_agents_send() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 2 * HOUR_MS);
    let (store, _) = bench.open();
    append(&store, batch(0, (1..=400).map(|seq| window(0, seq))));
    let outer = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1.. {
                append(&store, batch(1, [window(1, seq)]));
                if done.load(Ordering::Relaxed) || seq == 700 {
                    break;
                }
            }
        });
        for turn in 0..3 {
            let copy = outer.path().join(format!("copy-{turn}"));
            store.backup(&copy).unwrap();
            let options = HubStoreOptions { path: copy, ..bench.options() };
            let (copied, opened) = HubStore::open(options).unwrap();
            assert!(opened.quarantined.is_empty());
            assert_eq!(copied.progress(&agent_id(0), "spool", Stream::Metrics), Intervals::of(1, 400));
        }
        done.store(true, Ordering::Relaxed);
    });
}
