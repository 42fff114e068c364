//! The store as a spool: what a hub reads is what was sealed, and every number is accounted for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::{
    Entity, EntityRow, Event, EventKind, Frame, Intervals, Item, Lost, Seq, Series, Stream, TableKind,
    TableTick, TimeMs, Window,
};
use fieldpost_store::Store;
use fieldpost_store::codec::{Rows, checksum, decode_table, decode_window};
use fieldpost_store::record::{
    Ask, EntityDefinition, Known, Order, decode_definitions, decode_entities, decode_table_blob,
};

use crate::data::{Bench, START_MS};

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const HOUR_MS: i64 = 3_600_000;

/// Everything that was asked for, put together from all parts.
#[derive(Debug, Default)]
pub struct Heard {
    pub items: Vec<(String, Item)>,
    pub lost: Vec<Lost>,
    /// Meanings of numbers, by scope.
    pub definitions: BTreeMap<String, BTreeMap<u32, String>>,
    /// What definitions were, for streams that have others.
    pub raw_definitions: Vec<(String, Vec<u8>)>,
    pub n_parts: usize,
}

impl Heard {
    fn take(&mut self, stream: Stream, scope: &mut String, frame: Frame) {
        match frame {
            Frame::Scope(text) => *scope = text,
            Frame::Definitions(bytes) if stream == Stream::Metrics => {
                let known = self.definitions.entry(scope.clone()).or_default();
                for definition in decode_definitions(&bytes).unwrap() {
                    let text = definition.text();
                    let before = known.insert(definition.id, text.clone());
                    assert!(before.is_none_or(|before| before == text), "a number changed its meaning");
                }
            }
            Frame::Definitions(bytes) => self.raw_definitions.push((scope.clone(), bytes)),
            Frame::Item(item) => {
                assert_eq!(item.checksum, checksum(&item.blob));
                self.items.push((scope.clone(), item));
            }
            Frame::Lost(lost) => self.lost.push(lost),
            Frame::Newest(_) => panic!("nothing is said while there is more to read"),
        }
    }

    /// All numbers that were answered, each exactly once.
    pub fn seqs(&self) -> Vec<Seq> {
        let lost = self.lost.iter().flat_map(|lost| lost.from..=lost.to);
        let mut seqs: Vec<Seq> = self.items.iter().map(|(_, item)| item.seq).chain(lost).collect();
        seqs.sort_unstable();
        seqs
    }

    pub fn item_seqs(&self) -> Vec<Seq> {
        self.items.iter().map(|(_, item)| item.seq).collect()
    }

    pub fn reasons(&self) -> Vec<(Seq, Seq, &str)> {
        self.lost.iter().map(|lost| (lost.from, lost.to, lost.reason.as_str())).collect()
    }
}

/// Reads numbers to their end, in parts of this size.
pub fn read(store: &Store, stream: Stream, (from, to): (Seq, Seq), order: Order, max_bytes: usize) -> Heard {
    let (mut heard, mut known, mut scope) = (Heard::default(), Known::default(), String::new());
    let mut ask = Ask { stream, from, to, order, max_bytes, max_items: 50 };
    loop {
        let part = store.read_record(&ask, &mut known).unwrap();
        heard.n_parts += 1;
        assert!(!part.frames.is_empty() || part.rest.is_none(), "no way forward");
        part.frames.into_iter().for_each(|frame| heard.take(stream, &mut scope, frame));
        match part.rest {
            Some(rest) => (ask.from, ask.to) = rest,
            None => return heard,
        }
    }
}

pub fn all(store: &Store) -> Heard {
    read(store, Stream::Metrics, (1, Seq::MAX), Order::Oldest, 1 << 20)
}

/// Series' texts with their samples as bits, to be compared.
type Content = Vec<(String, Vec<TimeMs>, Vec<u64>)>;

fn content_of(heard: &Heard, (scope, item): &(String, Item)) -> Content {
    let names = &heard.definitions[scope];
    let mut content = Content::new();
    for group in decode_window(&item.blob).unwrap() {
        for (position, id) in group.ids.iter().enumerate() {
            let bits = group.column(position).iter().map(|value| value.to_bits()).collect();
            content.push((names[id].clone(), group.times_ms.clone(), bits));
        }
    }
    content
}

fn content(window: &Window) -> Content {
    let columns = window.groups.iter().flat_map(|group: &fieldpost_model::Group| {
        let column = |n: usize| group.column(n).iter().map(|value| value.to_bits()).collect();
        let one = move |n: usize| (group.series[n].text.to_string(), group.times_ms.clone(), column(n));
        (0..group.series.len()).map(one)
    });
    columns.collect()
}

pub fn append(bench: &Bench, store: &Store, from_ms: TimeMs, series: &[Arc<Series>]) -> Window {
    let window = bench.window(from_ms, series);
    store.append(window.clone());
    assert!(store.flush(PATIENCE));
    window
}

pub fn acknowledge(store: &Store, hub: &str, from: Seq, to: Seq) {
    let spool = store.record().spool_id;
    store.acknowledge(hub, &spool, Stream::Metrics, &Intervals::of(from, to)).unwrap();
}

/// Names of the files with this beginning.
pub fn n_files(bench: &Bench, prefix: &str) -> usize {
    let entries = std::fs::read_dir(bench.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix) && name.ends_with(".db")).count()
}

#[test]
fn frames_decode_to_the_windows_bit_by_bit_whichever_end_comes_first() {
    let bench = Bench::new();
    let (mut store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let mut windows = Vec::new();
    for n in 0..60_i64 {
        // Series come one by one, over hours, midnight and a restart; some windows are late.
        let series = bench.series("x", 5 + n as usize / 3);
        let late = if n % 7 == 6 { 2 * HOUR_MS } else { 0 };
        let from_ms = START_MS + 22 * HOUR_MS + n * 300_000 - late;
        bench.set_clock(from_ms + late + 10_000);
        windows.push(append(&bench, &store, from_ms, &series));
        if n == 30 {
            store.close().unwrap();
            store = bench.open().0;
        }
    }
    assert!(store.tend(PATIENCE));
    assert_eq!(n_files(&bench, "hour-"), 0);
    for (order, max_bytes) in [(Order::Oldest, 1), (Order::Newest, 900), (Order::Newest, 1 << 20)] {
        let heard = read(&store, Stream::Metrics, (1, Seq::MAX), order, max_bytes);
        let mut seqs = heard.item_seqs();
        if order == Order::Newest {
            seqs.reverse();
        }
        assert_eq!((seqs, heard.lost.len()), ((1..=60).collect(), 0));
        for found in &heard.items {
            let window = &windows[found.1.seq as usize - 1];
            assert_eq!(content_of(&heard, found), content(window), "{order:?}, {}", found.1.seq);
            assert_eq!((found.1.from_ms, found.1.to_ms), (window.from_ms, window.to_ms));
            assert_eq!(found.1.n_samples, window.n_samples());
        }
    }
    // A day with a clean restart in it has one scope: definitions are said once.
    let scopes: Vec<_> = all(&store).definitions.into_keys().collect();
    assert!(scopes.len() <= 8, "{scopes:?}");
}

#[test]
fn scope_stays_the_same_over_the_hours_of_a_day_and_a_restart() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    for hour in 0..4 {
        append(&bench, &store, START_MS + hour * HOUR_MS, &bench.series("x", 3 + hour as usize));
    }
    store.close().unwrap();
    let (store, _) = bench.open();
    for hour in 4..6 {
        append(&bench, &store, START_MS + hour * HOUR_MS, &bench.series("x", 3 + hour as usize));
    }
    let heard = all(&store);
    assert_eq!(heard.definitions.len(), 1);
    assert_eq!((heard.items.len(), heard.definitions.values().next().unwrap().len()), (6, 8));
}

#[test]
fn tail_says_what_is_new_and_calls_whoever_listens() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let subscription = store.on_stored(Arc::new(move |stream, seq| listener.lock().push((stream, seq))));
    let mut known = Known::default();
    let ask = |from| Ask {
        stream: Stream::Metrics,
        from,
        to: Seq::MAX,
        order: Order::Oldest,
        max_bytes: 1 << 20,
        max_items: 9,
    };
    let kinds = |frames: &[Frame]| {
        let kind = |frame: &Frame| match frame {
            Frame::Scope(_) => 's',
            Frame::Definitions(bytes) => (b'0' + decode_definitions(bytes).unwrap().len() as u8) as char,
            Frame::Item(_) => 'i',
            _ => '?',
        };
        frames.iter().map(kind).collect::<String>()
    };
    for (n, series, expected) in [(0, 2, "s2i"), (1, 2, "i"), (2, 5, "3i"), (3, 1, "i")] {
        append(&bench, &store, START_MS + n * 10_000, &bench.series("x", series));
        let part = store.read_record(&ask(n as Seq + 1), &mut known).unwrap();
        assert_eq!((kinds(&part.frames).as_str(), part.rest), (expected, None));
    }
    assert_eq!(store.read_record(&ask(5), &mut known).unwrap().frames, []);
    drop(subscription);
    append(&bench, &store, START_MS + 50_000, &bench.series("x", 1));
    let metrics: Vec<_> =
        told.lock().iter().filter(|(stream, _)| *stream == Stream::Metrics).cloned().collect();
    assert_eq!(metrics, [1, 2, 3, 4].map(|seq| (Stream::Metrics, seq)));
}

#[test]
fn one_item_is_the_same_as_in_the_record() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    append(&bench, &store, START_MS, &bench.series("x", 2));
    append(&bench, &store, START_MS + 10_000, &bench.series("x", 2));
    for (_, item) in read(&store, Stream::Metrics, (1, 2), Order::Oldest, 1 << 20).items {
        assert_eq!(store.item(Stream::Metrics, item.seq).unwrap(), Some(item));
    }
    assert_eq!(store.item(Stream::Metrics, 3).unwrap(), None);
    assert_eq!(store.item(Stream::Processes, 1).unwrap(), None);
    let (subject, text) = (String::new(), "started".to_owned());
    store.append_event(Event { time_ms: START_MS, kind: EventKind::Start, subject, text });
    assert!(store.flush(PATIENCE));
    let event = store.item(Stream::Events, 1).unwrap().unwrap();
    assert_eq!((event.seq, event.from_ms), (1, START_MS));
}

/// The file with the first windows.
fn first_hot(bench: &Bench) -> std::path::PathBuf {
    let mut paths = std::fs::read_dir(bench.path()).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_string_lossy().ends_with("-1.db")).unwrap()
}

/// Copies files with this beginning, logs and all, as they stood at one moment: the store's threads
/// may write meanwhile, and a file with the log of another moment is none that a crash leaves.
pub fn copy_files(from: &Bench, to: &Bench, prefix: &str) {
    let all = || -> BTreeMap<OsString, Vec<u8>> {
        let paths = std::fs::read_dir(from.path()).unwrap().map(|entry| entry.unwrap().path());
        let wanted = paths.filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(prefix) && !name.ends_with("-shm")
        });
        // A file that goes meanwhile is missing in the next look as well.
        wanted.filter_map(|path| Some((path.file_name()?.to_owned(), std::fs::read(&path).ok()?))).collect()
    };
    let mut files = all();
    // Nothing changed between two equal looks, so that both are of one moment.
    let same = (0..1000).any(|_| {
        let before = std::mem::replace(&mut files, all());
        before == files
    });
    assert!(same, "{} never stands still", from.path().display());
    for (name, bytes) in files {
        std::fs::write(to.path().join(name), bytes).unwrap();
    }
}

#[test]
fn number_that_is_in_no_file_is_lost_for_an_unknown_reason() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    // Without a hub the first hour would be merged.
    store.add_cursor("hub").unwrap();
    append(&bench, &store, START_MS, &bench.series("x", 1));
    append(&bench, &store, START_MS + HOUR_MS, &bench.series("x", 1));
    store.close().unwrap();
    std::fs::remove_file(first_hot(&bench)).unwrap();
    let (store, _) = bench.open();
    append(&bench, &store, START_MS + HOUR_MS + 10_000, &bench.series("x", 1));
    let heard = all(&store);
    assert_eq!((heard.item_seqs(), heard.reasons()), (vec![2, 3], vec![(1, 1, "unknown")]));
}

#[test]
fn damaged_blob_is_lost_and_never_sent() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let series = bench.series("x", 40);
    for hour in 0..2 {
        for n in 0..4 {
            append(&bench, &store, START_MS + hour * HOUR_MS + n * 10_000, &series);
        }
    }
    let victim = all(&store).items[2].1.blob.clone();
    store.close().unwrap();
    let hot = first_hot(&bench);
    let mut bytes = std::fs::read(&hot).unwrap();
    let at = bytes.windows(40).position(|part| part == &victim[victim.len() - 40..]).unwrap();
    bytes[at + 7] ^= 1;
    std::fs::write(&hot, bytes).unwrap();
    let (store, _) = bench.open();
    for order in [Order::Oldest, Order::Newest] {
        let heard = read(&store, Stream::Metrics, (1, 8), order, 1 << 20);
        assert_eq!((heard.item_seqs().len(), heard.reasons()), (7, vec![(3, 3, "damage")]));
        assert_eq!((heard.lost[0].from_ms, heard.lost[0].n_samples), (START_MS + 20_000, 400));
    }
}

#[test]
fn damaged_file_is_put_aside_when_a_hub_stumbles_over_it_and_what_is_whole_is_sent() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let series = bench.series("x", 40);
    for hour in 0..2 {
        for n in 0..60 {
            append(&bench, &store, START_MS + hour * HOUR_MS + n * 10_000, &series);
        }
    }
    let hot = first_hot(&bench);
    let mut bytes = std::fs::read(&hot).unwrap();
    let n_pages = bytes.len() / 2048;
    bytes[n_pages / 2 * 2048..(n_pages / 2 + 1) * 2048].fill(0);
    std::fs::write(&hot, bytes).unwrap();
    let ask = Ask {
        stream: Stream::Metrics,
        from: 1,
        to: 60,
        order: Order::Oldest,
        max_bytes: 1 << 24,
        max_items: 100,
    };
    let _ = store.read_record(&ask, &mut Known::default());
    assert!(store.tend(PATIENCE) && store.flush(PATIENCE));
    let heard = all(&store);
    assert_eq!(heard.seqs(), (1..=120).collect::<Vec<_>>());
    assert!(heard.items.len() > 100 && heard.items.len() < 120, "{:?}", heard.reasons());
    assert!(heard.lost.iter().all(|lost| lost.reason == "damage"), "{:?}", heard.reasons());
}

#[test]
fn events_and_gaps_are_items_with_one_run_of_numbers() {
    use fieldpost_store::record::{Note, decode_note};
    let bench = Bench::new();
    let (store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    for n in 0..3 {
        let subject = "nfs".to_owned();
        let event =
            Event { time_ms: START_MS + n, kind: EventKind::Stuck, subject, text: format!("event {n}") };
        store.append_event(event);
        store.append(bench.window(-20_000, &bench.series("x", 3)));
        assert!(store.flush(PATIENCE));
    }
    let read = |store: &Store| {
        let heard = read(store, Stream::Events, (1, Seq::MAX), Order::Oldest, 100);
        assert_eq!((heard.item_seqs(), heard.lost.len()), ((1..=6).collect(), 0));
        heard.items.iter().map(|(_, item)| decode_note(&item.blob).unwrap().unwrap()).collect::<Vec<_>>()
    };
    let notes = read(&store);
    let texts: Vec<_> =
        notes.iter().filter_map(|note| matches!(note, Note::Event(_)).then_some(())).collect();
    assert_eq!(texts.len(), 3);
    let gap = notes.iter().find_map(|note| if let Note::Gap(gap) = note { Some(gap) } else { None }).unwrap();
    assert_eq!((gap.from_ms, gap.n_samples, gap.reason.as_str()), (-20_000, 30, "clock"));
    let spool = store.record().spool_id;
    store.acknowledge("hub", &spool, Stream::Events, &Intervals::of(2, 4)).unwrap();
    let status = store.cursors()[0].streams[&Stream::Events];
    assert_eq!((status.whole_up_to, status.lag_items), (0, 3));
    store.close().unwrap();
    let (store, _) = bench.open();
    assert_eq!(read(&store), notes);
    assert_eq!(store.cursors()[0].streams[&Stream::Events], status);
}

/// A tick of processes; one of them lives only now.
fn tick(time_ms: TimeMs, n: u64) -> TableTick {
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
    let keys = [1, 2, 1_000 + n];
    let rows = keys.map(|key| EntityRow { key, values: [(n * key) as i64, 5, -1, 1, n as i64, 0, 0, 83] });
    let entities = keys.map(|key| (key, process(key))).to_vec();
    TableTick { kind: TableKind::Processes, time_ms, entities, rows: rows.to_vec() }
}

/// What a hub makes of table items: pids with their first numbers, by instant.
fn decode_ticks(heard: &Heard) -> BTreeMap<TimeMs, Vec<(u32, i64)>> {
    let mut names: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    for (scope, bytes) in &heard.raw_definitions {
        for EntityDefinition { id, kind, entity } in decode_entities(bytes).unwrap() {
            assert_eq!((kind, entity.unit.as_str()), (TableKind::Processes, "x.service"));
            assert_eq!(names.insert((scope, id), entity.pid), None, "told twice");
        }
    }
    let (mut ticks, mut chains) = (BTreeMap::new(), BTreeMap::<(&str, i64), Rows>::new());
    for (scope, item) in &heard.items {
        let table = decode_table_blob(&item.blob).unwrap();
        assert!((table.key == table.chain) || chains.contains_key(&(scope.as_str(), table.chain)));
        let rows = chains.entry((scope, table.chain)).or_default();
        let (mut n_rows, mut times) = (0, Vec::new());
        let decoded = decode_table(rows, table.blob, |time_ms, rows| {
            let shown = rows.iter().map(|(id, values)| (names[&(scope.as_str(), *id)], values[0]));
            let mut shown: Vec<_> = shown.collect();
            shown.sort_unstable();
            n_rows += shown.len() as u64;
            times.push(time_ms);
            ticks.insert(time_ms, shown);
        });
        decoded.unwrap();
        assert_eq!(
            (item.n_samples, item.from_ms, item.to_ms),
            (n_rows, times[0], times[times.len() - 1] + 1)
        );
    }
    ticks
}

#[test]
fn tables_are_items_whose_numbers_go_on_over_days_and_restarts() {
    let bench = Bench::new();
    let (mut store, _) = bench.open();
    store.add_cursor("hub").unwrap();
    let mut expected = BTreeMap::new();
    for n in 0..90_u64 {
        let time_ms = START_MS + 23 * HOUR_MS + n as i64 * 60_000;
        store.append_tables(vec![tick(time_ms, n)]);
        expected.insert(time_ms, [1, 2, 1_000 + n].map(|pid| (pid as u32, (n * pid) as i64)).to_vec());
        if n % 3 == 0 {
            assert!(store.flush(PATIENCE));
        }
        if n == 40 || n == 70 {
            store.close().unwrap();
            store = bench.open().0;
        }
    }
    assert!(store.flush(PATIENCE));
    for max_bytes in [1, 1 << 20] {
        let heard = read(&store, Stream::Processes, (1, Seq::MAX), Order::Oldest, max_bytes);
        let last = store.record().streams[&Stream::Processes].last;
        assert!(last > 30 && heard.lost.is_empty());
        assert_eq!((heard.item_seqs(), decode_ticks(&heard)), ((1..=last).collect(), expected.clone()));
    }
    let status = store.cursors()[0].streams[&Stream::Processes];
    assert_eq!(status.oldest_unacked_ms, Some(START_MS + 23 * HOUR_MS));
    // Retention takes the first day: its numbers are said to be gone, and the others come whole.
    store.append(bench.window(START_MS + 10 * 24 * HOUR_MS, &bench.series("x", 1)));
    bench.set_clock(START_MS + 10 * 24 * HOUR_MS);
    store.append_tables(vec![tick(START_MS + 10 * 24 * HOUR_MS, 0)]);
    assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    let heard = read(&store, Stream::Processes, (1, Seq::MAX), Order::Newest, 1 << 20);
    assert_eq!(heard.seqs(), (1..=store.record().streams[&Stream::Processes].last).collect::<Vec<_>>());
    assert_eq!(heard.items.len(), 1);
    assert!(heard.lost.iter().all(|lost| lost.reason == "age"), "{:?}", heard.reasons());
}
