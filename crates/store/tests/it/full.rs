//! A full disk: nothing ends, the newest are kept in memory, and it recovers by itself.

use std::process::Command;
use std::time::Duration;

use fieldpost_store::Config;

use crate::data::{Bench, START_MS, expected, samples};

/// A file system of eight MiB in memory, unmounted at the end.
pub struct SmallDisk {
    pub folder: tempfile::TempDir,
}

impl SmallDisk {
    /// None where this user may not mount.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self { folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn full_disk_is_survived_and_everything_in_memory_is_written_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(!rustix::process::geteuid().is_root(), "root could not mount a tmpfs");
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    let bench = Bench::new();
    let (store, _) = bench.open_with(Config { path: disk.folder.path().join("data"), ..bench.config() });
    let series = bench.series("x", 40);
    let reader = || fieldpost_store::Reader::open(store.folder()).unwrap();
    store.append(bench.window(START_MS, &series));
    assert!(store.flush(Duration::from_secs(60)));
    let filler = disk.folder.path().join("filler");
    let full = std::fs::write(&filler, vec![1_u8; 16 << 20]);
    assert!(full.is_err(), "the disk takes more than it has");
    for n in 1..20 {
        store.append(bench.window(START_MS + n * 10_000, &series));
        store.flush(Duration::from_millis(10));
    }
    store.flush(Duration::from_millis(500));
    let stats = store.stats();
    assert!(stats.n_write_errors > 0 && stats.queue_windows > 0, "{stats:?}");
    assert_eq!(stats.n_samples_lost, 0);
    std::fs::remove_file(&filler).unwrap();
    assert!(store.flush(Duration::from_secs(60)), "{:?}", store.stats());
    let end = START_MS + 200_000;
    for n in [0, 3, 39] {
        let found = samples(&reader(), &format!("x{{n=\"{n}\"}}"), 0, i64::MAX);
        assert!(found == expected(n, START_MS, end), "{} samples, {:?}", found.len(), store.stats());
    }
    let closed = store.close().unwrap();
    assert_eq!((closed.n_samples_stored, closed.n_samples_lost), (40 * 200, 0));
}
