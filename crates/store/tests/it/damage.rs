//! Damaged files: put aside or read around, and a store that opens all the same.

use std::path::PathBuf;
use std::time::Duration;

use fieldpost_model::EventKind;
use fieldpost_store::GapReason;

use crate::data::{Bench, START_MS, select, value_of};

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR_MS: i64 = 3_600_000;

/// A store with a merged hour, a hot one, and events, closed cleanly.
fn filled() -> Bench {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let series = bench.series("x", 40);
    for n in 0..20 {
        store.append(bench.window(START_MS + n * 10_000, &series));
        store.append(bench.window(START_MS + HOUR_MS + n * 10_000, &series));
    }
    assert!(store.flush(PATIENCE));
    store.append(bench.window(START_MS + 2 * HOUR_MS, &series));
    assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    store.close().unwrap();
    bench
}

fn databases(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.path()).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    paths.sort();
    paths
}

fn damage(bytes: &mut Vec<u8>, kind: u64, random: u64) {
    let at = (random as usize) % bytes.len().max(1);
    match kind {
        0 => bytes[at] ^= 1 << (random % 8),
        1 => bytes.truncate(at),
        2 => {
            let page = at / 2048 * 2048;
            let end = (page + 2048).min(bytes.len());
            bytes[page..end].fill(0);
        }
        3 => bytes[..16.min(at + 1)].fill(b'?'),
        _ => bytes.clear(),
    }
}

/// Whatever is damaged, the store opens, takes windows, and answers no wrong sample.
#[test]
fn damaged_files_never_stop_the_store_nor_change_a_sample() {
    let n_mutations: u64 = 100 * crate::data::soak();
    let pristine = filled();
    let paths = databases(&pristine);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for turn in 0..n_mutations {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bench = Bench::new();
        for path in &paths {
            std::fs::copy(path, bench.path().join(path.file_name().unwrap())).unwrap();
        }
        let victim = bench.path().join(paths[turn as usize % paths.len()].file_name().unwrap());
        let mut bytes = std::fs::read(&victim).unwrap();
        damage(&mut bytes, random >> 40 & 7, random >> 20);
        std::fs::write(&victim, bytes).unwrap();
        bench.set_clock(START_MS + 3 * HOUR_MS);
        let (store, _) = bench.open();
        let series = bench.series("x", 40);
        store.append(bench.window(START_MS + 3 * HOUR_MS, &series));
        assert!(store.flush(PATIENCE), "turn {turn}, {}: {:?}", victim.display(), store.stats());
        store.tend(PATIENCE);
        let mut n_new = 0;
        let read = bench.reader().scan(&select("x"), 0, i64::MAX, |series, samples| {
            // A damaged name is a name, too: samples are checked where the number can be read.
            let n = series.labels.first().and_then(|(_, n)| n.parse::<usize>().ok());
            for (time_ms, value) in samples {
                n_new += u64::from(*time_ms >= START_MS + 3 * HOUR_MS);
                if let Some(n) = n.filter(|n| *n < 40) {
                    assert_eq!(*value, value_of(n, *time_ms), "turn {turn}, {}", victim.display());
                }
            }
        });
        read.unwrap();
        assert_eq!(n_new, 400, "turn {turn}, {}", victim.display());
        store.close().unwrap();
    }
}

#[test]
fn damaged_hot_file_is_put_aside_after_an_unclean_stop() {
    let bench = filled();
    let hot = databases(&bench).into_iter().find(|path| path.to_string_lossy().contains("/hot-")).unwrap();
    std::fs::write(&hot, b"this is no database at all").unwrap();
    let (store, opened) = bench.open();
    assert_eq!(opened.quarantined.len(), 1);
    assert_eq!(std::fs::read(&opened.quarantined[0]).unwrap(), b"this is no database at all");
    assert!(store.flush(PATIENCE));
    let events = bench.reader().events(0, i64::MAX, 10).unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Quarantine));
    let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
    assert!(gaps.iter().any(|gap| gap.reason == GapReason::Damage && gap.from_ms == START_MS + 2 * HOUR_MS));
    assert_eq!(store.stats().n_quarantined, 1);
}

/// A page that is damaged costs what is on it: the other windows are there, unchanged, and what
/// is missing is said.
#[test]
fn bad_page_of_the_hot_file_costs_the_windows_on_it() {
    let n_mutations: u64 = 24 * crate::data::soak();
    let (pristine, hot) = hot_of_an_hour();
    let bytes = std::fs::read(&hot).unwrap();
    let n_pages = bytes.len() as u64 / 2048;
    // Windows that are on one page, at most: rows of a page, and one that goes on from another.
    let n_lost_max = 2 * 360_u64.div_ceil(n_pages) as usize + 2;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for turn in 0..n_mutations {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The first pages are the roots of the tables: each of them is damaged once.
        let page = if turn < 12 { turn } else { (random >> 33) % n_pages } as usize * 2048;
        let mut damaged = bytes.clone();
        match turn % 2 {
            0 => damaged[page..page + 2048].fill(0),
            _ => damaged[page..page + 2048].iter_mut().for_each(|byte| *byte ^= 0x5a),
        }
        let bench = Bench::new();
        for path in databases(&pristine) {
            std::fs::copy(&path, bench.path().join(path.file_name().unwrap())).unwrap();
        }
        std::fs::write(bench.path().join(hot.file_name().unwrap()), damaged).unwrap();
        bench.set_clock(START_MS + 2 * HOUR_MS);
        let (store, opened) = bench.open();
        assert!(store.flush(PATIENCE));
        let found = whole_windows(&bench, turn);
        let (n_lost, page) = (360 - found.len(), page / 2048);
        assert!(n_lost <= n_lost_max, "turn {turn}, page {page} of {n_pages}: {n_lost} windows are lost");
        let gaps = bench.reader().gaps(i64::MIN, i64::MAX).unwrap();
        let missing = (0..360).map(|n| START_MS + HOUR_MS + n * 10_000).filter(|from| !found.contains(from));
        for from_ms in missing.filter(|_| !opened.quarantined.is_empty()) {
            let told = gaps.iter().any(|gap| gap.from_ms <= from_ms && gap.to_ms >= from_ms + 10_000);
            assert!(told, "turn {turn}, page {page}: {from_ms} is missing, {gaps:?}");
        }
        if turn % 6 == 0 {
            store.append(bench.window(START_MS + 2 * HOUR_MS, &bench.series("x", 40)));
            assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
            assert_eq!(whole_windows(&bench, turn), found, "turn {turn}: merged it reads the same");
        }
    }
}

/// A merged hour, and a hot file with all windows of the next one.
fn hot_of_an_hour() -> (Bench, PathBuf) {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let series = bench.series("x", 40);
    for n in 350..720 {
        store.append(bench.window(START_MS + n * 10_000, &series));
        assert!(n % 25 != 0 || store.flush(PATIENCE));
    }
    assert!(store.flush(PATIENCE) && store.tend(PATIENCE));
    store.close().unwrap();
    let hot = databases(&bench).into_iter().find(|path| path.to_string_lossy().contains("/hot-")).unwrap();
    (bench, hot)
}

/// The windows of the hour that have all samples of all series; none may have only some.
fn whole_windows(bench: &Bench, turn: u64) -> std::collections::BTreeSet<i64> {
    let mut counts = std::collections::BTreeMap::<i64, usize>::new();
    let span = (START_MS + HOUR_MS, START_MS + 2 * HOUR_MS);
    let read = bench.reader().scan(&select("x"), span.0, span.1, |series, samples| {
        let n = series.labels[0].1.parse().unwrap();
        for (time_ms, value) in samples {
            assert_eq!(*value, value_of(n, *time_ms), "turn {turn}");
            *counts.entry(time_ms / 10_000 * 10_000).or_default() += 1;
        }
    });
    read.unwrap();
    assert!(counts.values().all(|count| *count == 400), "turn {turn}: a torn window");
    counts.into_keys().collect()
}
