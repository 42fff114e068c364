//! A full disk: nothing ends, the newest are kept in memory, and it recovers by itself.

use std::time::Duration;

use fieldpost_bed::SmallDisk;
use fieldpost_store::Config;

use crate::data::{Bench, START_MS, expected, samples};

/// A folder and the file system of eight MiB in memory on it; none where this user may not mount.
pub fn small_disk() -> Option<(tempfile::TempDir, SmallDisk)> {
    let folder = tempfile::tempdir().unwrap();
    match SmallDisk::under(folder.path(), 8 << 20) {
        Ok(disk) => Some((folder, disk)),
        Err(error) => {
            assert!(!rustix::process::geteuid().is_root(), "root could not mount a tmpfs: {error:#}");
            None
        }
    }
}

#[test]
fn full_disk_is_survived_and_everything_in_memory_is_written_when_there_is_room() {
    let Some((folder, disk)) = small_disk() else {
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    let bench = Bench::new();
    let (store, _) = bench.open_with(Config { path: folder.path().join("data"), ..bench.config() });
    let series = bench.series("x", 40);
    let reader = || fieldpost_store::Reader::open(store.folder()).unwrap();
    store.append(bench.window(START_MS, &series));
    assert!(store.flush(Duration::from_secs(60)));
    disk.fill().unwrap();
    for n in 1..20 {
        store.append(bench.window(START_MS + n * 10_000, &series));
        store.flush(Duration::from_millis(10));
    }
    store.flush(Duration::from_millis(500));
    let stats = store.stats();
    assert!(stats.n_write_errors > 0 && stats.queue_windows > 0, "{stats:?}");
    assert_eq!(stats.n_samples_lost, 0);
    disk.empty().unwrap();
    assert!(store.flush(Duration::from_secs(60)), "{:?}", store.stats());
    let end = START_MS + 200_000;
    for n in [0, 3, 39] {
        let found = samples(&reader(), &format!("x{{n=\"{n}\"}}"), 0, i64::MAX);
        assert!(found == expected(n, START_MS, end), "{} samples, {:?}", found.len(), store.stats());
    }
    let closed = store.close().unwrap();
    assert_eq!((closed.n_samples_stored, closed.n_samples_lost), (40 * 200, 0));
}
