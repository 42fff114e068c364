//! Items of many agents come in, once each, and are read back as they were sealed.

use std::collections::BTreeMap;

use fieldpost_model::hub_record::{Batch, KnownItem, RecordWriter};
use fieldpost_model::{Event, EventKind, Frame, Intervals, Item, Seq, Stream, TableKind};
use fieldpost_store::codec::{Rows, encode_table, encode_window};
use fieldpost_store::hub::HubStore;
use fieldpost_store::record::{Note, TableBlob, encode_note, encode_table_blob};
use proptest::prelude::*;

use crate::data::{START_MS, select};
use crate::hub_data::{
    HubBench, N_SERIES, agent_id, append, batch, item, lost_batch, sample, sealed, window,
};

/// All items of an agent's metrics that are in the store.
fn items(bench: &HubBench, agent: usize) -> Vec<Item> {
    let mut all = Vec::new();
    let read =
        bench.reader().items(&agent_id(agent), Stream::Metrics, 0..=u64::MAX, |_, item| all.push(item));
    read.unwrap();
    all.sort_by_key(|item| item.seq);
    all
}

fn progress(store: &HubStore, agent: usize) -> Intervals {
    store.progress(&agent_id(agent), "spool", Stream::Metrics)
}

#[test]
fn what_agents_send_comes_back_byte_for_byte_and_sample_for_sample() {
    let bench = HubBench::new();
    let (store, opened) = bench.open();
    assert!(opened.new);
    bench.set_clock(START_MS + 7_300_000);
    for agent in 0..3 {
        let accepted = append(&store, batch(agent, (1..=730).map(|seq| window(agent, seq))));
        assert_eq!(accepted.numbers, Intervals::of(1, 730));
    }
    assert_eq!(items(&bench, 1), (1..=730).map(|seq| window(1, seq)).collect::<Vec<_>>());
    let found = bench.reader().samples(&select("x{n=\"3\",instance=~\".*0001\"}"), 0, i64::MAX).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.series.text, "x{instance=\"name of agent-0001\",n=\"3\"}");
    let expected: Vec<_> = (0..7_300).map(|n| START_MS + n * 1000).map(|t| (t, sample(1, 3, t))).collect();
    assert!(found[0].1 == expected);
    let part = bench.reader().samples(&select("x{n=\"3\"}"), START_MS + 5_500, START_MS + 9_000).unwrap();
    assert_eq!(part.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [3, 3, 3]);
    assert_eq!(bench.reader().series(&select("x"), 0, i64::MAX).unwrap().len(), 3 * N_SERIES);
    assert_eq!(store.newest_ms()[&agent_id(2)], START_MS + 7_300_000);
}

#[test]
fn numbers_survive_a_restart_and_duplicates_are_dropped() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let (store, _) = bench.open();
    append(&store, batch(0, (1..=5).chain(11..=20).map(|seq| window(0, seq))));
    append(&store, lost_batch(0, 4, 8));
    let expected: Intervals = (1..=8).chain(11..=20).collect();
    assert_eq!(progress(&store, 0), expected);
    store.close().unwrap();
    let (store, opened) = bench.open();
    assert!(!opened.new && opened.quarantined.is_empty());
    assert_eq!(progress(&store, 0), expected);
    assert_eq!(store.newest_ms()[&agent_id(0)], START_MS + 200_000);
    let accepted = append(&store, batch(0, (3..=12).map(|seq| window(0, seq))));
    assert_eq!(accepted.numbers, Intervals::of(3, 12));
    assert_eq!((store.stats().n_duplicates, store.stats().n_items_stored), (8, 2));
    // What was said to be lost stays so: the agent has nothing there any more.
    let seqs: Vec<Seq> = items(&bench, 0).iter().map(|item| item.seq).collect();
    assert_eq!(seqs, (1..=5).chain(9..=20).collect::<Vec<_>>());
    assert_eq!(store.missing(&agent_id(0), "spool", Stream::Metrics, 1, 30), Intervals::of(21, 30));
}

#[test]
fn newest_item_is_known_by_its_content_over_a_restart() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 3_600_000);
    let newest = |store: &HubStore| store.newest_item(&agent_id(0), "spool", Stream::Metrics);
    let (store, _) = bench.open();
    assert_eq!(newest(&store), None);
    append(&store, batch(0, (1..=7).map(|seq| window(0, seq))));
    append(&store, lost_batch(0, 8, 9));
    append(&store, batch(0, [window(0, 5)]));
    let Item { seq, to_ms, checksum, .. } = window(0, 7);
    let expected = Some(KnownItem { seq, to_ms, checksum: Some(checksum) });
    assert_eq!(newest(&store), expected);
    store.close().unwrap();
    let (store, _) = bench.open();
    assert_eq!(newest(&store), expected);
}

/// Everything that an item can be wrong in, and what is said about it.
#[test]
fn what_is_wrong_is_refused_with_its_reason_and_the_rest_is_taken() {
    let bench = HubBench::new();
    bench.set_clock(START_MS + 30 * 86_400_000);
    let (store, _) = bench.open();
    let now_ms = START_MS + 30 * 86_400_000;
    let good = |seq| item(0, seq, now_ms - 60_000);
    let mut flipped = good(2);
    flipped.blob[9] ^= 1;
    let window_of =
        |ids: &[u32]| encode_window([(&[now_ms - 60_000][..], ids, &vec![1.0; ids.len()][..])].into_iter());
    let wrong = vec![
        (flipped, "its checksum is wrong"),
        (sealed(3, now_ms, 200, b"no window".to_vec()), "no zstd frame"),
        (sealed(4, now_ms - 60_000, 7, window_of(&[1])), "1 samples where it claims 7"),
        (sealed(5, now_ms - 60_000, 1, window_of(&[99])), "series 99 of day is not described"),
        (item(0, 6, now_ms + 700_000), "ahead of the hub's clock"),
        (item(0, 7, now_ms - 15 * 86_400_000), "nothing that old is kept"),
        (Item { to_ms: now_ms + 86_400_000, ..good(8) }, "a span from"),
        (Item { to_ms: now_ms - 80_000, ..good(9) }, "a span from"),
        (Item { from_ms: now_ms - 55_000, ..good(10) }, "outside of the span"),
        (Item { n_samples: u64::MAX, ..good(11) }, "samples; at most"),
        (Item { seq: 0, ..good(1) }, "no number"),
        (Item { seq: 1 << 40, ..good(1) }, "no number"),
        (sealed(12, now_ms, 1, vec![7; 5 << 20]), "bytes; at most"),
        (Item { from_ms: i64::MIN, ..good(13) }, "a span from"),
        (Item { from_ms: i64::MIN, to_ms: i64::MIN, ..good(14) }, "nothing that old"),
    ];
    let n_wrong = wrong.len();
    let texts: Vec<&str> = wrong.iter().map(|(_, text)| *text).collect();
    let all = [good(1)].into_iter().chain(wrong.into_iter().map(|(item, _)| item)).chain([good(20)]);
    let accepted = store.append_and_wait(batch(0, all)).unwrap().unwrap();
    assert_eq!(accepted.numbers, [1, 20].into_iter().collect());
    assert_eq!(accepted.n_refused, n_wrong as u64);
    for (refusal, text) in accepted.refused.iter().zip(texts) {
        assert!(refusal.reason.contains(text), "{refusal:?} does not say {text}");
        assert_eq!(refusal.undefined, text.contains("not described"));
    }
    assert_eq!(progress(&store, 0), [1, 20].into_iter().collect());
}

#[test]
fn items_before_any_scope_and_definitions_beyond_the_limits_are_refused() {
    let bench = HubBench::new();
    let (store, _) = bench.open();
    let mut bare = batch(0, [window(0, 1)]);
    bare.frames.drain(..2);
    let accepted = store.append_and_wait(bare).unwrap().unwrap();
    assert!(accepted.numbers.is_empty() && accepted.refused[0].undefined);
    let mut options = bench.options();
    drop(store);
    options.limits.labels = 0;
    let store = HubStore::open(options).unwrap().0;
    let accepted = store.append_and_wait(batch(0, [window(0, 1)])).unwrap().unwrap();
    let reasons: Vec<_> = accepted.refused.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!(reasons, ["x has 1 labels; at most 0 are taken", "series 0 of day is not described"]);
}

#[test]
fn other_streams_are_kept_as_they_are() {
    let bench = HubBench::new();
    let (store, _) = bench.open();
    let of = |stream: Stream, items: &[Item]| Batch {
        stream,
        frames: [Frame::Scope("s".into())]
            .into_iter()
            .chain(items.iter().cloned().map(Frame::Item))
            .collect(),
        ..batch(0, [])
    };
    let event = |seq: Seq, time_ms| {
        let (kind, subject, text) = (EventKind::Stuck, "nfs".to_owned(), format!("event {seq}"));
        let blob = encode_note(&Note::Event(Event { time_ms, kind, subject, text }));
        Item { from_ms: time_ms, to_ms: time_ms + 1, ..sealed(seq, time_ms, 1, blob) }
    };
    // An event may be older than anything else that is kept.
    let events = [event(1, -5), event(2, START_MS), event(3, START_MS)];
    append(&store, of(Stream::Events, &events));
    let packed = encode_table(&mut Rows::new(), vec![(START_MS, Rows::from([(7, [1; 8])]))]);
    let (key, chain) = (START_MS << 1, START_MS << 1);
    let blob = encode_table_blob(&TableBlob { kind: TableKind::Processes, key, chain, blob: &packed });
    append(&store, of(Stream::Processes, &[sealed(1, START_MS, 1, blob)]));
    let mut found = Vec::new();
    let read = bench.reader().items(&agent_id(0), Stream::Events, 1..=2, |of, item| {
        assert_eq!((of.spool_id, of.scope), ("spool", "s"));
        found.push(item);
    });
    read.unwrap();
    found.sort_by_key(|item| item.seq);
    assert_eq!(found, events[..2]);
    assert_eq!(store.progress(&agent_id(0), "spool", Stream::Processes), Intervals::of(1, 1));
    let wrong =
        [Stream::Events, Stream::Processes].map(|stream| of(stream, &[sealed(9, START_MS, 1, vec![9])]));
    for batch in wrong {
        let accepted = store.append_and_wait(batch).unwrap().unwrap();
        assert_eq!((accepted.n_refused, accepted.numbers), (1, Intervals::default()));
    }
}

/// What an agent, or a faulty link, does with numbers.
#[derive(Debug, Clone)]
enum Act {
    Send { agent: usize, seqs: Vec<Seq> },
    Lose { agent: usize, from: Seq, to: Seq },
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    let seqs = proptest::collection::vec(1_u64..400, 1..20);
    let run = (1_u64..380, 1_u64..20).prop_map(|(from, n)| (from..from + n).rev().collect());
    prop_oneof![
        4 => (0_usize..3, seqs).prop_map(|(agent, seqs)| Act::Send { agent, seqs }),
        4 => (0_usize..3, run).prop_map(|(agent, seqs)| Act::Send { agent, seqs }),
        1 => (0_usize..3, 1_u64..390, 0_u64..10).prop_map(|(agent, from, n)| Act::Lose { agent, from, to: from + n }),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Duplicated, reordered, overlapping batches, restarts between: each item is there once.
    #[test]
    fn every_item_is_there_exactly_once(acts in proptest::collection::vec(any_act(), 1..25)) {
        let bench = HubBench::new();
        bench.set_clock(START_MS + 4_000_000);
        let mut store = bench.open().0;
        let mut model: BTreeMap<usize, (Intervals, Intervals)> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Send { agent, seqs } => {
                    let accepted = append(&store, batch(agent, seqs.iter().map(|seq| window(agent, *seq))));
                    prop_assert_eq!(accepted.numbers, seqs.iter().copied().collect());
                    let (stored, all) = model.entry(agent).or_default();
                    for seq in seqs.into_iter().filter(|seq| !all.contains(*seq)) {
                        stored.insert(seq, seq);
                    }
                    all.union(stored);
                }
                Act::Lose { agent, from, to } => {
                    let accepted = append(&store, lost_batch(agent, from, to));
                    prop_assert_eq!(accepted.numbers, Intervals::of(from, to));
                    model.entry(agent).or_default().1.insert(from, to);
                }
                Act::Restart => {
                    store.close().unwrap();
                    store = bench.open().0;
                }
            }
        }
        for (agent, (stored, all)) in model {
            prop_assert_eq!(progress(&store, agent), all);
            let seqs = stored.ranges().iter().flat_map(|(from, to)| *from..=*to);
            let expected: Vec<Item> = seqs.map(|seq| window(agent, seq)).collect();
            prop_assert!(items(&bench, agent) == expected);
        }
    }
}
