//! Whatever is appended, acknowledged, merged and reopened in whatever order: a hub can account
//! for every number, and gets as an item what any hub has not acknowledged.

use std::collections::BTreeSet;

use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use fieldpost_store::Store;
use fieldpost_store::record::Order;
use proptest::prelude::*;

use crate::data::{Bench, START_MS};
use crate::spool::{HOUR_MS, PATIENCE, copy_files, read};

const HUBS: [&str; 2] = ["near", "far"];

#[derive(Debug, Clone)]
enum Act {
    /// A window that begins so many hours ago.
    Append {
        hours_ago: i64,
    },
    Advance {
        minutes: i64,
    },
    /// Numbers from so far before the last one on, as many.
    Acknowledge {
        hub: usize,
        back: Seq,
        length: Seq,
    },
    Tend,
    Reopen,
    /// Cut off, and opened again elsewhere.
    Crash,
    NewSpool,
    Read {
        back: Seq,
        length: Seq,
        newest: bool,
        max_bytes: usize,
    },
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop_oneof![6 => Just(0_i64), 1 => 0_i64..3, 1 => 0_i64..30]
            .prop_map(|hours_ago| Act::Append { hours_ago }),
        4 => prop_oneof![1_i64..90, 300_i64..1_500].prop_map(|minutes| Act::Advance { minutes }),
        5 => (0_usize..2, 0_u64..30, 0_u64..20).prop_map(|(hub, back, length)| Act::Acknowledge { hub, back, length }),
        3 => Just(Act::Tend),
        1 => Just(Act::Reopen),
        1 => Just(Act::Crash),
        1 => Just(Act::NewSpool),
        2 => (0_u64..40, 0_u64..40, any::<bool>(), prop_oneof![Just(1_usize), Just(2_000), Just(1 << 20)])
            .prop_map(|(back, length, newest, max_bytes)| Act::Read { back, length, newest, max_bytes }),
    ]
}

struct Model {
    bench: Bench,
    store: Option<Store>,
    now_ms: TimeMs,
    /// The first instant of each window, in the order of their numbers.
    appended: Vec<TimeMs>,
    acked: [BTreeSet<Seq>; 2],
    /// Up to here all may have been merged under an earlier spool.
    merged_before: Seq,
}

impl Model {
    fn new() -> Self {
        let bench = Bench::new();
        let now_ms = START_MS + 40 * HOUR_MS;
        bench.set_clock(now_ms);
        let store = bench.open().0;
        HUBS.iter().for_each(|hub| store.add_cursor(hub).unwrap());
        Self {
            bench,
            store: Some(store),
            now_ms,
            appended: Vec::new(),
            acked: Default::default(),
            merged_before: 0,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn last(&self) -> Seq {
        self.appended.len() as Seq
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Append { hours_ago } => {
                let from_ms = self.now_ms - hours_ago * HOUR_MS;
                let series = self.bench.series("x", 1 + self.appended.len() % 5);
                self.store().append(self.bench.window(from_ms, &series));
                assert!(self.store().flush(PATIENCE));
                self.appended.push(from_ms);
            }
            Act::Advance { minutes } => {
                self.now_ms += minutes * 60_000;
                self.bench.set_clock(self.now_ms);
            }
            Act::Acknowledge { hub, back, length } => {
                let from = self.last().saturating_sub(back).max(1);
                let to = (from + length).min(self.last());
                let spool = self.store().record().spool_id;
                let seqs = Intervals::of(from, to);
                self.store().acknowledge(HUBS[hub], &spool, Stream::Metrics, &seqs).unwrap();
                self.acked[hub].extend(from..=to);
            }
            Act::Tend => assert!(self.store().tend(PATIENCE)),
            Act::Reopen => {
                self.store.take().unwrap().close().unwrap();
                self.store = Some(self.bench.open().0);
            }
            Act::Crash => {
                assert!(self.store().tend(PATIENCE));
                let bench = Bench::new();
                copy_files(&self.bench, &bench, "");
                bench.set_clock(self.now_ms);
                let (store, opened) = bench.open();
                assert!(opened.quarantined.is_empty() && !opened.new_spool && !opened.last_stop_clean);
                self.store = Some(store);
                self.bench = bench;
            }
            Act::NewSpool => {
                self.store().new_spool("a test").unwrap();
                self.merged_before = self.last();
                self.acked = Default::default();
            }
            Act::Read { back, length, newest, max_bytes } => {
                let from = self.last().saturating_sub(back);
                let order = if newest { Order::Newest } else { Order::Oldest };
                self.check((from, from + length), order, max_bytes);
            }
        }
    }

    fn check(&self, (from, to): (Seq, Seq), order: Order, max_bytes: usize) {
        let heard = read(self.store(), Stream::Metrics, (from, to), order, max_bytes);
        let asked: Vec<Seq> = (from.max(1)..=to.min(self.last())).collect();
        assert_eq!(heard.seqs(), asked, "asked is items and lost");
        for (_, item) in &heard.items {
            assert_eq!(item.from_ms, self.appended[item.seq as usize - 1], "{}", item.seq);
        }
        for lost in &heard.lost {
            assert_eq!(lost.reason, "merged");
            let acked =
                |seq: &Seq| *seq <= self.merged_before || self.acked.iter().all(|acked| acked.contains(seq));
            let owed = (lost.from..=lost.to).find(|seq| !acked(seq));
            assert_eq!(owed, None, "merged before every hub had it");
        }
    }

    fn items(&self) -> BTreeSet<Seq> {
        let heard = read(self.store(), Stream::Metrics, (1, Seq::MAX), Order::Oldest, 1 << 20);
        heard.item_seqs().into_iter().collect()
    }

    /// What is owed is what is an item and not acknowledged.
    fn check_cursors(&self) {
        // An hour that is merged just now is an item to one of the two looks only.
        let (items, cursors) = loop {
            let (items, cursors) = (self.items(), self.store().cursors());
            if items == self.items() {
                break (items, cursors);
            }
        };
        for status in cursors {
            let hub = HUBS.iter().position(|hub| *hub == status.hub).unwrap();
            let mut owed = items.difference(&self.acked[hub]);
            let status = status.streams[&Stream::Metrics];
            let first = owed.clone().next().copied();
            assert_eq!(status.lag_items, owed.clone().count() as u64);
            assert_eq!(status.whole_up_to, first.map_or(self.last(), |first| first - 1));
            assert_eq!(status.oldest_unacked_ms, owed.next().map(|seq| self.appended[*seq as usize - 1]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_number_is_an_item_or_accounted_for(acts in proptest::collection::vec(any_act(), 5..40)) {
        let mut model = Model::new();
        for act in &acts {
            model.act(act);
        }
        model.check_cursors();
        model.check((1, Seq::MAX), Order::Newest, 3_000);
        assert!(model.store().tend(PATIENCE));
        model.act(&Act::Reopen);
        model.check((1, Seq::MAX), Order::Oldest, 1 << 20);
        model.check_cursors();
    }
}

/// As many cases as a crash test has kills.
fn cases() -> u32 {
    48 * crate::data::soak() as u32
}
