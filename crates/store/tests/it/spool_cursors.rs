//! Cursors of hubs: nothing is merged that a hub still wants, no longer than quota and age allow,
//! and a spool that is not the one that a hub knows is another one.

use fieldpost_model::{ByteSize, Event, EventKind, Frame, Intervals, Period, Seq, Stream, TimeMs};
use fieldpost_store::record::{Ask, Known, Order};
use fieldpost_store::{Config, Retention, StoreError};

use crate::data::{Bench, START_MS};
use crate::spool::{HOUR_MS, PATIENCE, acknowledge, all, append, copy_files, n_files};

#[test]
fn hour_is_merged_when_both_hubs_have_it_and_an_hour_has_passed() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("near").unwrap();
    store.add_cursor("far").unwrap();
    let series = bench.series("x", 4);
    for hour in 0..5 {
        for n in 0..3 {
            append(&bench, &store, START_MS + hour * HOUR_MS + n * 10_000, &series);
        }
    }
    bench.set_clock(START_MS + 4 * HOUR_MS + 60_000);
    acknowledge(&store, "near", 1, 15);
    acknowledge(&store, "far", 4, 5);
    assert!(store.tend(PATIENCE));
    assert_eq!((n_files(&bench, "hour-"), all(&store).lost.len()), (0, 0));
    // The second hour is whole before the first one is.
    acknowledge(&store, "far", 6, 6);
    assert!(store.tend(PATIENCE));
    assert_eq!(all(&store).reasons(), [(4, 6, "merged")]);
    acknowledge(&store, "far", 1, 12);
    assert!(store.tend(PATIENCE));
    // The fourth hour is over since a minute only: a hub that lost it may still ask.
    assert_eq!((n_files(&bench, "hour-"), n_files(&bench, "hot-")), (3, 2));
    assert_eq!(all(&store).reasons(), [(1, 9, "merged")]);
    bench.set_clock(START_MS + 5 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    assert_eq!(all(&store).reasons(), [(1, 12, "merged")]);
    let [far, near] = &store.cursors()[..] else { panic!("two hubs") };
    let (far, near) = (far.streams[&Stream::Metrics], near.streams[&Stream::Metrics]);
    assert_eq!((far.whole_up_to, far.lag_items), (12, 3));
    assert_eq!(far.oldest_unacked_ms, Some(START_MS + 4 * HOUR_MS));
    assert_eq!((near.whole_up_to, near.lag_items, near.oldest_unacked_ms), (15, 0, None));
    store.remove_cursor("far").unwrap();
    store.remove_cursor("near").unwrap();
    append(&bench, &store, START_MS + 5 * HOUR_MS, &series);
    assert!(store.tend(PATIENCE));
    assert_eq!((n_files(&bench, "hour-"), n_files(&bench, "hot-")), (5, 1));
}

#[test]
fn days_of_outage_pile_up_read_the_same_and_are_merged_hour_by_hour() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let series = bench.series("x", 3);
    for hour in 0..50 {
        append(&bench, &store, START_MS + hour * HOUR_MS, &series);
    }
    bench.set_clock(START_MS + 50 * HOUR_MS - 60_000);
    assert!(store.tend(PATIENCE));
    assert_eq!((n_files(&bench, "hot-"), n_files(&bench, "day-")), (50, 0));
    let mut n_samples = 0;
    let count = |_: &fieldpost_store::StoredSeries, samples: &[(TimeMs, f64)]| n_samples += samples.len();
    bench.reader().scan(&crate::data::select("x"), 0, i64::MAX, count).unwrap();
    assert_eq!(n_samples, 50 * 10 * 3);
    acknowledge(&store, "hub", 11, 50);
    assert!(store.tend(PATIENCE));
    assert_eq!((n_files(&bench, "hot-"), n_files(&bench, "hour-"), n_files(&bench, "day-")), (12, 14, 1));
    acknowledge(&store, "hub", 1, 10);
    assert!(store.tend(PATIENCE));
    assert_eq!((n_files(&bench, "hot-"), n_files(&bench, "day-")), (2, 2));
    assert_eq!(all(&store).reasons(), [(1, 48, "merged")]);
}

#[test]
fn quota_wins_over_hubs_and_every_number_is_accounted_for() {
    let bench = Bench::new();
    let config = Config { quota: ByteSize(300_000), ..bench.config() };
    let (store, _) = bench.open_with(config);
    store.add_cursor("hub").unwrap();
    let series = bench.series("x", 60);
    for hour in 0..14 {
        for n in 0..20 {
            append(&bench, &store, START_MS + hour * HOUR_MS + n * 10_000, &series);
        }
        bench.set_clock(START_MS + hour * HOUR_MS + 200_000);
        assert!(store.tend(PATIENCE));
    }
    assert!(store.stats().bytes < 450_000, "{}", store.stats().bytes);
    let heard = all(&store);
    assert_eq!(heard.seqs(), (1..=280).collect::<Vec<_>>());
    let reasons: std::collections::BTreeSet<&str> =
        heard.lost.iter().map(|lost| lost.reason.as_str()).collect();
    assert!(
        reasons.contains("quota") && reasons.iter().all(|word| ["quota", "merged"].contains(word)),
        "{reasons:?}"
    );
    let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
    let told: u64 = gaps.iter().map(|gap| gap.n_samples).sum();
    assert_eq!(heard.lost.iter().map(|lost| lost.n_samples).sum::<u64>(), told);
}

#[test]
fn what_reached_its_age_goes_whatever_a_hub_wants() {
    let bench = Bench::new();
    let retention = Retention { raw: Period::from_secs(86_400), ..Retention::default() };
    let (store, _) = bench.open_with(Config { retention, ..bench.config() });
    store.add_cursor("hub").unwrap();
    let series = bench.series("x", 3);
    for hour in [0, 1, 60] {
        append(&bench, &store, START_MS + hour * HOUR_MS, &series);
    }
    bench.set_clock(START_MS + 61 * HOUR_MS);
    assert!(store.tend(PATIENCE));
    let heard = all(&store);
    assert_eq!((heard.item_seqs(), heard.reasons()), (vec![3], vec![(1, 2, "age")]));
    assert_eq!((heard.lost[0].n_samples, heard.lost[0].from_ms), (60, START_MS));
}

#[test]
fn acknowledgements_of_another_spool_of_strangers_and_of_the_future_are_refused() {
    let bench = Bench::new();
    let (store, opened) = bench.open();
    append(&bench, &store, START_MS, &bench.series("x", 1));
    store.add_cursor("hub").unwrap();
    let spool = store.record().spool_id;
    assert_eq!((spool.len(), &store.record().agent_id), (16, &opened.agent_id));
    let one = Intervals::of(1, 1);
    let other = store.acknowledge("hub", "feedfeedfeedfeed", Stream::Metrics, &one);
    assert!(matches!(other, Err(StoreError::OtherSpool { present, .. }) if present == spool));
    let stranger = store.acknowledge("nobody", &spool, Stream::Metrics, &one);
    assert!(matches!(stranger, Err(StoreError::UnknownHub(hub)) if hub == "nobody"));
    let ahead = store.acknowledge("hub", &spool, Stream::Metrics, &Intervals::of(1, 2));
    assert!(matches!(ahead, Err(StoreError::Ahead { asked: 2, last: 1, .. })));
    assert_eq!(store.cursors()[0].streams[&Stream::Metrics].lag_items, 1);
    store.acknowledge("hub", &spool, Stream::Metrics, &one).unwrap();
    assert_eq!(store.cursors()[0].streams[&Stream::Metrics].lag_items, 0);
    store.close().unwrap();
    assert!(matches!(store.add_cursor("late"), Err(StoreError::Closed)));
}

#[test]
fn new_spool_owes_everything_anew_and_says_so() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    append(&bench, &store, START_MS, &bench.series("x", 1));
    acknowledge(&store, "hub", 1, 1);
    let (before, scopes) = (store.record(), all(&store).definitions);
    let spool = store.new_spool("a hub is ahead").unwrap();
    append(&bench, &store, START_MS + 10_000, &bench.series("x", 1));
    let after = store.record();
    assert_eq!((&after.spool_id, &after.agent_id), (&spool, &before.agent_id));
    assert_ne!(before.spool_id, spool);
    assert_eq!(store.cursors()[0].streams[&Stream::Metrics].lag_items, 2);
    // What a number means is not carried over: the hub may know another store's future.
    assert!(all(&store).definitions.keys().all(|scope| !scopes.contains_key(scope)));
    let events = bench.reader().events(0, i64::MAX, 9).unwrap();
    assert!(
        events.iter().any(|event| event.kind == EventKind::Store && event.text.contains("a hub is ahead"))
    );
    store.close().unwrap();
    let (store, opened) = bench.open();
    assert_eq!((store.record().spool_id, opened.new_spool), (spool, false));
}

#[test]
fn store_that_is_older_than_what_a_hub_has_of_it_begins_a_new_spool() {
    let (bench, copy) = (Bench::new(), Bench::new());
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    append(&bench, &store, START_MS, &bench.series("x", 1));
    copy_files(&bench, &copy, "hot-");
    append(&bench, &store, START_MS + 10_000, &bench.series("x", 1));
    acknowledge(&store, "hub", 1, 2);
    copy_files(&bench, &copy, "state.db");
    let (copied, opened) = copy.open();
    assert!(opened.new_spool && copied.record().spool_id != store.record().spool_id);
    let status = copied.cursors()[0].streams[&Stream::Metrics];
    assert_eq!((status.whole_up_to, status.lag_items), (0, 1));
    append(&copy, &copied, START_MS + 20_000, &copy.series("x", 1));
    assert_eq!(all(&copied).item_seqs(), [1, 2]);
}

#[test]
fn damaged_state_keeps_the_agent_and_its_hubs_and_no_number_is_given_twice() {
    let bench = Bench::new();
    let agent_id = "00112233445566778899aabbccddeeff".to_owned();
    let open = || {
        let (agent_id, hubs) = (Some(agent_id.clone()), vec!["hub".to_owned()]);
        bench.open_as(fieldpost_store::StoreOptions { agent_id, hubs, ..bench.options() })
    };
    let (store, opened) = open();
    assert_eq!(opened.agent_id, agent_id);
    for hour in 0..3 {
        append(&bench, &store, START_MS + hour * HOUR_MS, &bench.series("x", 1));
    }
    acknowledge(&store, "hub", 1, 3);
    let spool = store.record().spool_id;
    store.close().unwrap();
    std::fs::write(bench.path().join("state.db"), b"this is no database at all").unwrap();
    let (store, opened) = open();
    assert_eq!((&opened.agent_id, opened.new_spool), (&agent_id, true));
    assert_ne!(store.record().spool_id, spool);
    assert_eq!(store.cursors()[0].streams[&Stream::Metrics].lag_items, 3);
    append(&bench, &store, START_MS + 3 * HOUR_MS, &bench.series("x", 1));
    let heard = all(&store);
    let last = store.record().streams[&Stream::Metrics].last;
    assert_eq!((heard.item_seqs(), heard.seqs()), (vec![1, 2, 3, last], (1..=last).collect::<Vec<_>>()));
    assert_eq!(heard.reasons(), [(4, last - 1, "damage")]);
}

#[test]
fn relaxed_store_that_was_cut_off_gives_no_number_that_it_may_have_given() {
    let bench = Bench::new();
    let relaxed = || Config { durability: fieldpost_store::Durability::Relaxed, ..bench.config() };
    let (store, _) = bench.open_with(relaxed());
    append(&bench, &store, START_MS, &bench.series("x", 1));
    let copy = Bench::new();
    let scopes = all(&store).definitions;
    copy_files(&bench, &copy, "");
    let (store, opened) = copy.open_with(Config { path: copy.path().to_owned(), ..relaxed() });
    assert!(!opened.last_stop_clean && opened.quarantined.is_empty());
    append(&copy, &store, START_MS + 10_000, &copy.series("x", 1));
    let heard = all(&store);
    assert_eq!((heard.item_seqs(), heard.reasons()), (vec![1, 100_002], vec![(2, 100_001, "unclean")]));
    assert!(
        heard.definitions.keys().all(|scope| !scopes.contains_key(scope)),
        "a number may mean another thing"
    );
}

/// A hub that follows the tail while hours are merged behind it: every item comes once, none is
/// lost, and the log of the cursors stays short.
#[test]
fn hub_that_follows_and_acknowledges_gets_every_item_once_while_hours_are_merged() {
    const N_WINDOWS: Seq = 600;
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let (told, stored) = std::sync::mpsc::channel();
    let subscription = store.on_stored(std::sync::Arc::new(move |stream, seq| _ = told.send((stream, seq))));
    let store = &store;
    let items = std::thread::scope(|scope| {
        let hub = scope.spawn(move || {
            let (mut known, mut items) = (Known::default(), Vec::new());
            while (items.len() as Seq) < N_WINDOWS {
                let (stream, _) = stored.recv_timeout(PATIENCE).expect("the writer went on without a word");
                let from = items.len() as Seq + 1;
                let (order, max_bytes) = (Order::Oldest, 1 << 20);
                let ask =
                    Ask { stream: Stream::Metrics, from, to: Seq::MAX, order, max_bytes, max_items: 30 };
                for frame in store.read_record(&ask, &mut known).unwrap().frames {
                    match frame {
                        Frame::Item(item) => items.push(item.seq),
                        Frame::Lost(lost) => panic!("{lost:?} after {} items, {stream:?}", items.len()),
                        _ => {}
                    }
                }
                if from <= items.len() as Seq {
                    acknowledge(store, "hub", from, items.len() as Seq);
                }
            }
            items
        });
        for n in 0..N_WINDOWS as i64 {
            let from_ms = START_MS + n * 600_000;
            bench.set_clock(from_ms);
            append(&bench, store, from_ms, &bench.series("x", 2 + n as usize % 9));
        }
        // The last word may have come before the last read.
        store.append_event(Event {
            time_ms: START_MS,
            kind: EventKind::Reload,
            subject: String::new(),
            text: String::new(),
        });
        hub.join().unwrap()
    });
    drop(subscription);
    assert_eq!(items, (1..=N_WINDOWS).collect::<Vec<_>>());
    bench.set_clock(START_MS + (N_WINDOWS as i64 + 12) * 600_000);
    assert!(store.tend(PATIENCE));
    assert_eq!((n_files(&bench, "hot-"), n_files(&bench, "day-")), (1, 4));
    let log = std::fs::metadata(bench.path().join("state.db-wal")).unwrap().len();
    assert!(log < 1 << 20, "{log} bytes");
}
