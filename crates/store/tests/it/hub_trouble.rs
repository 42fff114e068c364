//! Trouble at the hub: a full disk, a file that is damaged while it is written, agents that send
//! more than anybody should.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use fieldpost_model::hub_record::{Batch, NotTaken, RecordWriter};
use fieldpost_model::{ByteSize, Family, Frame, Intervals, Item, Kind, Seq, Stream};
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use fieldpost_store::record::{Definition, encode_definitions};

use crate::data::{START_MS, select};
use crate::full::small_disk;
use crate::hub_data::{HubBench, N_SERIES, agent_id, append, batch, lost_batch, window};

fn progress(store: &HubStore, agent: usize) -> Intervals {
    store.progress(&agent_id(agent), "spool", Stream::Metrics)
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_and_it_recovers_by_itself() {
    let Some((folder, disk)) = small_disk() else {
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let path = folder.path().join("data");
    let (store, _) = HubStore::open(HubStoreOptions { path: path.clone(), ..bench.options() }).unwrap();
    append(&store, batch(0, [window(0, 1)]));
    disk.fill().unwrap();
    let mut n_failed = 0;
    for seq in 2..40 {
        match store.append_and_wait(batch(0, [window(0, seq)])).unwrap() {
            Ok(accepted) => assert!(accepted.numbers.contains(seq)),
            Err(_) => {
                n_failed += 1;
                assert!(!progress(&store, 0).contains(seq));
            }
        }
    }
    assert!(n_failed > 0, "{:?}", store.stats());
    disk.empty().unwrap();
    append(&store, batch(0, (1..=60).map(|seq| window(0, seq))));
    assert_eq!(progress(&store, 0), Intervals::of(1, 60));
    store.close().unwrap();
    let (store, opened) = HubStore::open(HubStoreOptions { path, ..bench.options() }).unwrap();
    assert_eq!((opened.quarantined.len(), progress(&store, 0)), (0, Intervals::of(1, 60)));
}

/// The file is damaged under the writer's hands: sooner or later SQLite notices, and from then on
/// a new file takes what comes, and what was in the old one is asked for again.
#[test]
fn file_that_is_damaged_while_it_is_written_makes_way_for_a_new_one() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let (store, _) = bench.open();
    append(&store, batch(0, (1..=200).map(|seq| window(0, seq))));
    store.close().unwrap();
    let (store, _) = bench.open();
    append(&store, batch(1, (1..=10).map(|seq| window(1, seq))));
    let path = bench.path().join("hot-20261121T00-1.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let n_bytes = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xee; n_bytes as usize - 2_048], 2_048).unwrap();
    let mut n_failed = 0;
    for seq in 201..=300 {
        let answer = store.append_and_wait(batch(0, [window(0, seq)])).unwrap();
        n_failed += u64::from(answer.is_err());
    }
    assert!(n_failed > 0 && store.stats().n_quarantined == 1, "{:?}", store.stats());
    for agent in 0..2 {
        let missing = store.missing(&agent_id(agent), "spool", Stream::Metrics, 1, 300);
        let wanted = missing.ranges().iter().flat_map(|(from, to)| *from..=*to);
        append(&store, batch(agent, wanted.map(|seq| window(agent, seq))));
        assert_eq!(progress(&store, agent), Intervals::of(1, 300));
    }
    let found = bench.reader().samples(&select("x"), 0, i64::MAX).unwrap();
    assert!(found.len() == 2 * N_SERIES && found.iter().all(|(_, samples)| samples.len() == 3_000));
}

/// A blob that rots in the intake file is found at the merge: its number is asked for again.
#[test]
fn rotten_item_is_asked_for_again_after_the_merge() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let (store, _) = bench.open();
    append(&store, batch(0, (1..=50).map(|seq| window(0, seq))));
    store.close().unwrap();
    let path = bench.path().join("hot-20261121T00-1.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let blob = window(0, 17).blob;
    let at = bytes.windows(32).position(|bytes| *bytes == blob[..32]).unwrap();
    bytes[at + 20] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    bench.set_clock(START_MS + 2 * 3_600_000);
    let (store, _) = bench.open();
    assert!(store.tend(Duration::from_secs(60)));
    assert_eq!(store.stats().n_bad_blobs, 1);
    let whole_but_one: Intervals = (1..=50).filter(|seq| *seq != 17).collect();
    assert_eq!(progress(&store, 0), whole_but_one);
    append(&store, batch(0, [window(0, 17)]));
    let found = bench.reader().samples(&select("x{n=\"1\"}"), 0, i64::MAX).unwrap();
    assert_eq!(found[0].1.len(), 500);
}

#[test]
fn closed_store_takes_nothing() {
    let bench = HubBench::new();
    let (store, _) = bench.open();
    store.close().unwrap();
    assert!(matches!(store.append(lost_batch(0, 1, 2), Box::new(|_| {})), Err(NotTaken::Closed)));
}

/// Bytes that this process holds, by the kernel's count.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

fn metrics(agent: usize, frames: Vec<Frame>) -> Batch {
    Batch { agent_id: agent_id(agent), spool_id: "spool".into(), stream: Stream::Metrics, frames }
}

fn described(ids: std::ops::Range<u32>, text: &str) -> Vec<u8> {
    let family = Family { name: "x".into(), help: "".into(), kind: Kind::Gauge };
    let one = |id| Definition {
        id,
        family: family.clone(),
        suffix: String::new(),
        labels: vec![("n".into(), format!("{id}{text}"))],
    };
    encode_definitions(&ids.map(one).collect::<Vec<_>>()).0
}

#[test]
fn ever_more_series_of_one_agent_are_refused_in_little_memory_and_others_go_on() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let mut options = bench.options();
    (options.limits.series, options.limits.described_bytes) = (10_000, ByteSize(4 << 20));
    let store = HubStore::open(options).unwrap().0;
    let before = resident_bytes();
    let mut n_refused = 0;
    for begin in (0..100_000).step_by(1_000) {
        // New scopes all the time help as little as new ids do.
        let scope = Frame::Scope(format!("scope {}", begin / 5_000));
        let frames = vec![scope, Frame::Definitions(described(begin..begin + 1_000, ""))];
        n_refused += store.append_and_wait(metrics(0, frames)).unwrap().unwrap().n_refused;
    }
    assert_eq!(n_refused, 90, "of 100 batches ten are 10 000 series");
    let long = "v".repeat(4_000);
    for begin in (0..5_000).step_by(200) {
        let frames = vec![Frame::Scope("s".into()), Frame::Definitions(described(begin..begin + 200, &long))];
        n_refused += store.append_and_wait(metrics(1, frames)).unwrap().unwrap().n_refused;
    }
    assert_eq!(n_refused, 90 + 20, "five times 200 long labels are 4 MiB");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    append(&store, batch(2, [window(2, 1)]));
}

#[test]
fn ever_new_holes_and_spools_are_refused() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let mut options = bench.options();
    (options.limits.holes, options.limits.spools) = (20, 3);
    options.limits.item_bytes = ByteSize(1 << 20);
    let store = HubStore::open(options).unwrap().0;
    let mut n_refused = 0;
    for seq in (1..=200).step_by(2) {
        n_refused += store.append_and_wait(batch(0, [window(0, seq)])).unwrap().unwrap().n_refused;
        n_refused += store.append_and_wait(lost_batch(1, seq, seq)).unwrap().unwrap().n_refused;
    }
    assert!(n_refused > 150 && progress(&store, 0).ranges().len() <= 22, "{n_refused}");
    assert!(progress(&store, 1).ranges().len() <= 22);
    // Filling a hole is always welcome.
    append(&store, batch(0, (2..=20).step_by(2).map(|seq| window(0, seq))));
    let of_spool = |n: usize| Batch { spool_id: format!("spool {n}"), ..batch(2, [window(2, 1)]) };
    for n in 0..3 {
        append(&store, of_spool(n));
    }
    assert!(matches!(store.append_and_wait(of_spool(3)), Err(NotTaken::Refused(_))));
}

/// Random bytes in every place where an agent can put some.
#[test]
fn garbage_is_refused_whatever_it_is() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let (store, _) = bench.open();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 16
    };
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..next() % 200).map(|_| next() as u8).collect();
        let mut good = window(0, 1 + next() % 1_000).blob;
        let at = next() as usize % good.len();
        good[at] ^= 1 << (next() % 8);
        let items = [bytes.clone(), good, zstd_of(&bytes)].map(|blob| {
            let (seq, checksum) = (next() as Seq % 2_000, checksum(&blob));
            Item { seq, from_ms: START_MS, to_ms: START_MS + 10_000, n_samples: next() % 300, checksum, blob }
        });
        let stream = Stream::ALL[next() as usize % 3];
        let mut frames = vec![Frame::Scope("day".into()), Frame::Definitions(bytes)];
        frames.extend(items.into_iter().map(Frame::Item));
        let batch = Batch { stream, ..metrics(0, frames) };
        let accepted = store.append_and_wait(batch).unwrap().unwrap();
        assert!(accepted.n_refused > 0);
    }
    let mut good = window(0, 1);
    good.seq = 5_000;
    append(&store, batch(0, [good]));
}

/// Bytes that at least unpack: a window without groups, with these at its end.
fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    let mut blob = encode_window([].into_iter());
    blob.extend_from_slice(bytes);
    blob
}
