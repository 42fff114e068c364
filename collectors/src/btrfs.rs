//! Btrfs allocation, commits and devices, from /sys/fs/btrfs. The unused bytes and the error
//! counters that node_exporter has by ioctl and device uuid are left out, for ioctls need unsafe
//! code; the errors are shown by device number, which sysfs has.

use std::path::{Path, PathBuf};

use fieldpost_model::Tick;

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::{list, read_number, read_once, read_text};
use crate::seen::SeriesSet;
use crate::text::{fields, label, lines, number};

/// Sizes in sysfs are counted in sectors of this many bytes.
const SECTOR_SIZE_BYTES: f64 = 512.0;

/// Numbers of the file `commit_stats` are in milliseconds.
const MILLIS: f64 = 1_000.0;

/// Settings.
pub type Config = Common;

struct Btrfs {
    folder: PathBuf,
    series: SeriesSet,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Btrfs { folder: env.roots.sysfs.join("fs/btrfs"), series: SeriesSet::default() }))
}

impl Collector for Btrfs {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.series.begin();
        // No Btrfs here is a success without samples, as with node_exporter. A file system may go
        // while it is read: what cannot be read is left out.
        for name in list(&self.folder).unwrap_or_default() {
            let name = label(name.as_encoded_bytes()).into_owned();
            // Beside the folders named by uuid there is `features`.
            if name.contains('-') {
                let folder = self.folder.join(&name);
                let uuid = read_text(&folder.join("metadata_uuid")).unwrap_or_default();
                let uuid = if uuid.is_empty() { &name } else { &uuid };
                System { folder: &folder, uuid, series: &mut self.series, tick }.record();
            }
        }
        self.series.end(tick);
        Ok(())
    }
}

/// A file system while it is read.
struct System<'a> {
    folder: &'a Path,
    uuid: &'a str,
    series: &'a mut SeriesSet,
    tick: &'a mut Tick,
}

impl System<'_> {
    fn record(&mut self) {
        let name = read_text(&self.folder.join("label")).unwrap_or_default();
        let labels = [("label", name.as_str()), ("uuid", self.uuid)];
        self.series.gauge(self.tick, "node_btrfs_info", "Filesystem information", &labels, 1.0);
        let reserve = self.number("allocation/global_rsv_size");
        self.gauge("node_btrfs_global_rsv_size_bytes", "Size of global reserve.", &[], reserve);
        let commits = CommitStats::parse(&read_once(&self.folder.join("commit_stats")).unwrap_or_default());
        self.record_commits(&commits);
        let n_devices = self.record_devices();
        for kind in ["data", "metadata", "system"] {
            self.record_allocation(kind, n_devices);
        }
        self.record_errors();
    }

    fn record_commits(&mut self, commits: &CommitStats) {
        let labels = [("uuid", self.uuid)];
        let help = "The total number of commits that have occurred.";
        self.series.counter(self.tick, "node_btrfs_commits_total", help, &labels, commits.commits as f64);
        let help = "Duration of the most recent commit, in seconds.";
        self.gauge("node_btrfs_last_commit_seconds", help, &[], commits.last_ms as f64 / MILLIS);
        let help = "Duration of the slowest commit, in seconds.";
        self.gauge("node_btrfs_max_commit_seconds", help, &[], commits.max_ms as f64 / MILLIS);
        let help = "Sum of the duration of all commits, in seconds.";
        let seconds = commits.total_ms as f64 / MILLIS;
        self.series.counter(self.tick, "node_btrfs_commit_seconds_total", help, &labels, seconds);
    }

    /// Answers how many devices there are.
    fn record_devices(&mut self) -> usize {
        let devices = list(&self.folder.join("devices")).unwrap_or_default();
        for device in &devices {
            let device = label(device.as_encoded_bytes());
            let size = self.number(&format!("devices/{device}/size")) * SECTOR_SIZE_BYTES;
            let help = "Size of a device that is part of the filesystem.";
            self.gauge("node_btrfs_device_size_bytes", help, &[("device", &device)], size);
        }
        devices.len()
    }

    /// Space for one kind of block groups, and its parts by RAID profile, which are folders.
    fn record_allocation(&mut self, kind: &str, n_devices: usize) {
        let folder = format!("allocation/{kind}");
        let Ok(files) = list(&self.folder.join(&folder)) else { return };
        let kind = ("block_group_type", kind);
        let reserved = self.number(&format!("{folder}/bytes_reserved"));
        let help = "Amount of space reserved for a data type";
        self.gauge("node_btrfs_reserved_bytes", help, &[kind], reserved);
        for profile in files {
            let profile = label(profile.as_encoded_bytes());
            let below = format!("{folder}/{profile}");
            if !self.folder.join(&below).is_dir() {
                continue;
            }
            let labels = [kind, ("mode", &*profile)];
            let used = self.number(&format!("{below}/used_bytes"));
            self.gauge("node_btrfs_used_bytes", "Amount of used space by a layout/data type", &labels, used);
            let help = "Amount of space allocated for a layout/data type";
            let size = self.number(&format!("{below}/total_bytes"));
            self.gauge("node_btrfs_size_bytes", help, &labels, size);
            let help = "Data allocation ratio for a layout/data type";
            self.gauge("node_btrfs_allocation_ratio", help, &labels, ratio(&profile, n_devices));
        }
    }

    /// Errors by device number (`devinfo/1/error_stats`, since Linux 5.14): `write_errs 0`.
    fn record_errors(&mut self) {
        for id in list(&self.folder.join("devinfo")).unwrap_or_default() {
            let text = read_once(&self.folder.join("devinfo").join(&id).join("error_stats"));
            let (text, id) = (text.unwrap_or_default(), label(id.as_encoded_bytes()));
            for (name, value) in pairs(&text) {
                let name = label(name);
                let Some(kind) = name.strip_suffix("_errs") else { continue };
                let labels = [("devid", &*id), ("type", kind), ("uuid", self.uuid)];
                let help = "Errors of a device of a Btrfs file system, by its number in there.";
                let name = "fieldpost_btrfs_device_errors_total";
                self.series.counter(self.tick, name, help, &labels, value as f64);
            }
        }
    }

    /// A file that is missing counts as zero, as with node_exporter.
    fn number(&self, file: &str) -> f64 {
        read_number(&self.folder.join(file)).unwrap_or(0) as f64
    }

    /// Labels but `uuid`, which is the last one of all by the alphabet.
    fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let labels = [labels, &[("uuid", self.uuid)]].concat();
        self.series.gauge(self.tick, name, help, &labels, value);
    }
}

/// How many bytes of disk a byte of data takes. Profiles of future kernels have 0, as with
/// node_exporter.
fn ratio(profile: &str, n_devices: usize) -> f64 {
    let n_devices = n_devices as f64;
    match profile {
        "single" | "raid0" => 1.0,
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => n_devices / (n_devices - 1.0),
        "raid6" => n_devices / (n_devices - 2.0),
        _ => 0.0,
    }
}

/// The file `commit_stats`, since Linux 6.0; before, everything is zero.
#[derive(Debug, Default, PartialEq)]
struct CommitStats {
    commits: u64,
    last_ms: u64,
    max_ms: u64,
    total_ms: u64,
}

impl CommitStats {
    fn parse(text: &[u8]) -> Self {
        let mut stats = Self::default();
        for (name, value) in pairs(text) {
            match name {
                b"commits" => stats.commits = value,
                b"last_commit_ms" => stats.last_ms = value,
                b"max_commit_ms" => stats.max_ms = value,
                b"total_commit_ms" => stats.total_ms = value,
                _ => {}
            }
        }
        stats
    }
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(text).filter_map(|line| {
        let mut words = fields(line);
        Some((words.next()?, number(words.next()?)?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const FOLDER: &str = "sys/fs/btrfs/0abb23a9-579b-43e6-ad30-227ef47fcb9d";

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| write(tree.path(), &format!("{FOLDER}/{name}"), text);
        write(tree.path(), "sys/fs/btrfs/features/raid1c34", "1\n");
        file("label", "data\n");
        file(
            "commit_stats",
            "commits 258051\nlast_commit_ms 1000\nmax_commit_ms 51462\ntotal_commit_ms 47836090\n",
        );
        file("allocation/global_rsv_size", "16777216\n");
        file("allocation/data/bytes_reserved", "0\n");
        file("allocation/data/raid5/used_bytes", "808189952\n");
        file("allocation/data/raid5/total_bytes", "2147483648\n");
        for device in ["sda", "sdb", "sdc"] {
            file(&format!("devices/{device}/size"), "20971520\n");
        }
        file("devinfo/1/error_stats", "write_errs 3\nread_errs 0\n");
        tree
    }

    #[test]
    fn file_system_is_shown_by_uuid() {
        let lines: Vec<String> = page(tree().path(), build)
            .unwrap()
            .into_iter()
            .map(|line| line.replace("0abb23a9-579b-43e6-ad30-227ef47fcb9d", "U"))
            .collect();
        assert_eq!(
            lines,
            [
                "fieldpost_btrfs_device_errors_total{devid=\"1\",type=\"read\",uuid=\"U\"} 0",
                "fieldpost_btrfs_device_errors_total{devid=\"1\",type=\"write\",uuid=\"U\"} 3",
                "node_btrfs_allocation_ratio{block_group_type=\"data\",mode=\"raid5\",uuid=\"U\"} 1.5",
                "node_btrfs_commit_seconds_total{uuid=\"U\"} 47836.09",
                "node_btrfs_commits_total{uuid=\"U\"} 258051",
                "node_btrfs_device_size_bytes{device=\"sda\",uuid=\"U\"} 10737418240",
                "node_btrfs_device_size_bytes{device=\"sdb\",uuid=\"U\"} 10737418240",
                "node_btrfs_device_size_bytes{device=\"sdc\",uuid=\"U\"} 10737418240",
                "node_btrfs_global_rsv_size_bytes{uuid=\"U\"} 16777216",
                "node_btrfs_info{label=\"data\",uuid=\"U\"} 1",
                "node_btrfs_last_commit_seconds{uuid=\"U\"} 1",
                "node_btrfs_max_commit_seconds{uuid=\"U\"} 51.462",
                "node_btrfs_reserved_bytes{block_group_type=\"data\",uuid=\"U\"} 0",
                "node_btrfs_size_bytes{block_group_type=\"data\",mode=\"raid5\",uuid=\"U\"} 2147483648",
                "node_btrfs_used_bytes{block_group_type=\"data\",mode=\"raid5\",uuid=\"U\"} 808189952",
            ]
        );
    }

    #[test]
    fn device_that_is_removed_ends() {
        let tree = tree();
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let before = bench.pass(1).unwrap().len();
        std::fs::remove_dir_all(tree.path().join(FOLDER).join("devices/sdb")).unwrap();
        assert_eq!(bench.pass(2).unwrap().len(), before - 1);
        bench.catalog.sweep();
        bench.catalog.sweep();
        assert_eq!(bench.catalog.read().iter().count(), before - 1);
    }

    #[test]
    fn machine_without_btrfs_is_a_success_without_samples() {
        assert!(page(tempfile::tempdir().unwrap().path(), build).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            CommitStats::parse(&text);
        }
    }
}
