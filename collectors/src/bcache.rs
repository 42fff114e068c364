//! Bcache sets, devices and caches, from /sys/fs/bcache. The kernel writes most numbers there for
//! people (`1.2G`), which this file turns back.

use fieldpost_model::{Kind, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::attributes::{AttributeBuffer, Attributes, DeviceFolder, FolderEntry, KeptFolder};
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, float, label, lines, number, parse};

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Read how the buckets of a cache are used as well: the kernel walks all of them for that.
    pub priority_stats: bool,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

/// A series: the file, its line (empty where the file holds one value), the rest of the series'
/// name, its kind and help.
type Line = (&'static str, &'static str, &'static str, Kind, &'static str);

const DEBUG: &str = "writeback_rate_debug";
const PRIORITY: &str = "priority_stats";
/// Shown only where it is above zero: newer kernels no longer count it.
const READAHEADS: &str = "stats_total/cache_readaheads";
/// The kernel's file tells nanoseconds, whatever its name says.
const READ_DURATION: &str = "internal/btree_read_average_duration_us";

const SET: [Line; 10] = [
    (
        "average_key_size",
        "",
        "average_key_size_sectors",
        Kind::Gauge,
        "Average data per key in the btree (sectors).",
    ),
    (
        "btree_cache_size",
        "",
        "btree_cache_size_bytes",
        Kind::Gauge,
        "Amount of memory currently used by the btree cache.",
    ),
    (
        "cache_available_percent",
        "",
        "cache_available_percent",
        Kind::Gauge,
        "Percentage of cache device without dirty data, usable for writeback (may contain clean cached data).",
    ),
    ("congested", "", "congested", Kind::Gauge, "Congestion."),
    (
        "root_usage_percent",
        "",
        "root_usage_percent",
        Kind::Gauge,
        "Percentage of the root btree node in use (tree depth increases if too high).",
    ),
    ("tree_depth", "", "tree_depth", Kind::Gauge, "Depth of the btree."),
    (
        "internal/active_journal_entries",
        "",
        "active_journal_entries",
        Kind::Gauge,
        "Number of journal entries that are newer than the index.",
    ),
    ("internal/btree_nodes", "", "btree_nodes", Kind::Gauge, "Total nodes in the btree."),
    (READ_DURATION, "", "btree_read_average_duration_seconds", Kind::Gauge, "Average btree read duration."),
    (
        "internal/cache_read_races",
        "",
        "cache_read_races_total",
        Kind::Counter,
        "Counts instances where while data was being read from the cache, the bucket was reused and invalidated - i.e. where the pointer was stale after the read completed.",
    ),
];

const BACKING: [Line; 13] = [
    (
        "dirty_data",
        "",
        "dirty_data_bytes",
        Kind::Gauge,
        "Amount of dirty data for this backing device in the cache.",
    ),
    (
        DEBUG,
        "target:",
        "dirty_target_bytes",
        Kind::Gauge,
        "Current dirty data target threshold for this backing device in bytes.",
    ),
    (
        DEBUG,
        "rate:",
        "writeback_rate",
        Kind::Gauge,
        "Current writeback rate for this backing device in bytes.",
    ),
    (
        DEBUG,
        "proportional:",
        "writeback_rate_proportional_term",
        Kind::Gauge,
        "Current result of proportional controller, part of writeback rate",
    ),
    (
        DEBUG,
        "integral:",
        "writeback_rate_integral_term",
        Kind::Gauge,
        "Current result of integral controller, part of writeback rate",
    ),
    (
        DEBUG,
        "change:",
        "writeback_change",
        Kind::Gauge,
        "Last writeback rate change step for this backing device.",
    ),
    (
        "stats_total/bypassed",
        "",
        "bypassed_bytes_total",
        Kind::Counter,
        "Amount of IO (both reads and writes) that has bypassed the cache.",
    ),
    (
        "stats_total/cache_hits",
        "",
        "cache_hits_total",
        Kind::Counter,
        "Hits counted per individual IO as bcache sees them.",
    ),
    (
        "stats_total/cache_misses",
        "",
        "cache_misses_total",
        Kind::Counter,
        "Misses counted per individual IO as bcache sees them.",
    ),
    (
        "stats_total/cache_bypass_hits",
        "",
        "cache_bypass_hits_total",
        Kind::Counter,
        "Hits for IO intended to skip the cache.",
    ),
    (
        "stats_total/cache_bypass_misses",
        "",
        "cache_bypass_misses_total",
        Kind::Counter,
        "Misses for IO intended to skip the cache.",
    ),
    (
        "stats_total/cache_miss_collisions",
        "",
        "cache_miss_collisions_total",
        Kind::Counter,
        "Instances where data insertion from cache miss raced with write (data already present).",
    ),
    (READAHEADS, "", "cache_readaheads_total", Kind::Counter, "Count of times readahead occurred."),
];

const CACHE: [Line; 5] = [
    (
        "io_errors",
        "",
        "io_errors",
        Kind::Gauge,
        "Number of errors that have occurred, decayed by io_error_halflife.",
    ),
    (
        "metadata_written",
        "",
        "metadata_written_bytes_total",
        Kind::Counter,
        "Sum of all non data writes (btree writes and all other metadata).",
    ),
    (
        "written",
        "",
        "written_bytes_total",
        Kind::Counter,
        "Sum of all data that has been written to the cache.",
    ),
    (
        PRIORITY,
        "Unused:",
        "priority_stats_unused_percent",
        Kind::Gauge,
        "The percentage of the cache that doesn't contain any data.",
    ),
    (PRIORITY, "Metadata:", "priority_stats_metadata_percent", Kind::Gauge, "Bcache's metadata overhead."),
];

struct Bcache {
    folder: KeptFolder,
    priority_stats: bool,
    buffer: AttributeBuffer,
    path: Vec<u8>,
    sets: Seen<Set>,
}

/// A set and the devices in it; `NONE` until a series first has a value.
struct Set {
    folder: DeviceFolder,
    ids: [SeriesId; SET.len()],
    backing: Seen<[SeriesId; BACKING.len()]>,
    caches: Seen<[SeriesId; CACHE.len()]>,
}

impl HoldsSeries for Set {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.ids.each(f);
        self.backing.iter().for_each(|(_, ids)| ids.each(f));
        self.caches.iter().for_each(|(_, ids)| ids.each(f));
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Bcache {
        folder: KeptFolder::new(env.roots.sysfs.join("fs/bcache")),
        priority_stats: env.config.bcache.priority_stats,
        buffer: AttributeBuffer::default(),
        path: Vec::new(),
        sets: Seen::default(),
    }))
}

impl Collector for Bcache {
    /// A machine without bcache has no sets; node_exporter calls that a success, too.
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { folder, priority_stats, buffer, path, sets } = self;
        sets.begin();
        let listed = folder.each(|entry| {
            // Sets are named after their UUID; the other files of the folder are switches.
            if entry.name.contains(&b'-') {
                sets.get(entry.name, Set::new).folder.meet(entry.inode);
            }
        });
        match listed {
            Err(error) if !error.is_no_data() => return Err(error),
            _ => sets.end(tick),
        }
        for (uuid, set) in sets.iter_mut() {
            let Set { folder: own, ids, backing, caches } = set;
            let Some(attributes) = own.open(folder.path(), uuid) else { continue };
            let mut reader = Reader { attributes, uuid, buffer: &mut *buffer, path: &mut *path };
            reader.record(b"", "", &SET, ids, tick);
            let failed = |error| CollectError::read(folder.path(), error);
            reader.record_devices((b"bdev", "backing_device"), &BACKING, backing, tick).map_err(failed)?;
            let n_lines = if *priority_stats { CACHE.len() } else { CACHE.len() - 2 };
            reader
                .record_devices((b"cache", "cache_device"), &CACHE[..n_lines], caches, tick)
                .map_err(failed)?;
        }
        Ok(())
    }
}

impl Set {
    fn new() -> Self {
        Self {
            folder: DeviceFolder::default(),
            ids: [SeriesId::NONE; SET.len()],
            backing: Seen::default(),
            caches: Seen::default(),
        }
    }
}

/// Reads the files of a set.
struct Reader<'a> {
    attributes: &'a Attributes,
    uuid: &'a [u8],
    buffer: &'a mut AttributeBuffer,
    path: &'a mut Vec<u8>,
}

impl Reader<'_> {
    /// Devices are folders of the set, named `bdev0` or `cache0`.
    fn record_devices<const N: usize>(
        &mut self,
        (prefix, label_name): (&[u8], &str),
        known: &[Line],
        devices: &mut Seen<[SeriesId; N]>,
        tick: &mut Tick,
    ) -> std::io::Result<()> {
        devices.begin();
        let is_device = |entry: &FolderEntry<'_>| {
            entry.name.strip_prefix(prefix).and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
        };
        let attributes = self.attributes;
        attributes.each(|entry| {
            if !entry.is_file && is_device(&entry) {
                let ids = devices.get(entry.name, || [SeriesId::NONE; N]);
                self.record(entry.name, label_name, known, ids, tick);
            }
        })?;
        devices.end(tick);
        Ok(())
    }

    /// A file that is missing counts as zero.
    fn record(
        &mut self,
        device: &[u8],
        label_name: &str,
        known: &[Line],
        ids: &mut [SeriesId],
        tick: &mut Tick,
    ) {
        for ((file, line, name, kind, help), id) in known.iter().zip(ids) {
            self.path.clear();
            self.path.extend_from_slice(device);
            self.path.extend_from_slice(if device.is_empty() { b"" } else { b"/" });
            self.path.extend_from_slice(file.as_bytes());
            let text = self.attributes.read(&self.path[..], self.buffer).unwrap_or(b"0");
            let Some(value) = value(text, file, line) else { continue };
            if *file == READAHEADS && value == 0.0 {
                continue;
            }
            if *id == SeriesId::NONE {
                let (device, uuid) = (label(device), label(self.uuid));
                let labels = [(label_name, &*device), ("uuid", &*uuid)];
                let labels = if device.is_empty() { &labels[1..] } else { &labels[..] };
                let name = format!("node_bcache_{name}");
                *id = match kind {
                    Kind::Counter => tick.counter(&name, help, labels),
                    _ => tick.gauge(&name, help, labels),
                };
            }
            tick.set(*id, value);
        }
    }
}

/// The value of a file, or of one of its lines; 0 where the line is missing.
fn value(text: &[u8], file: &str, line: &str) -> Option<f64> {
    if line.is_empty() {
        let value = dehumanize(text)?;
        return Some(if file == READ_DURATION { value * 1e-9 } else { value });
    }
    let Some(found) = lines(text).find(|found| found.starts_with(line.as_bytes())) else { return Some(0.0) };
    let last = fields(found).last()?;
    match file {
        PRIORITY => Some(number(last.strip_suffix(b"%").unwrap_or(last))? as f64),
        _ => dehumanize(last.strip_suffix(b"/sec").unwrap_or(last)),
    }
}

/// Turns `1.2G` back into bytes. The digits after the point are no decimals: the kernel divides
/// by 1024 and prints the remainder in hundredths of that (`bch_hprint`), so that they go up to 10.23.
fn dehumanize(text: &[u8]) -> Option<f64> {
    let (sign, text) = match text.strip_prefix(b"-") {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let power = match text.last()? {
        b'k' => 1,
        b'M' => 2,
        b'G' => 3,
        b'T' => 4,
        b'P' => 5,
        b'E' => 6,
        b'Z' => 7,
        b'Y' => 8,
        b'0'..=b'9' => return Some(sign * float(text)?.trunc()),
        _ => return None,
    };
    let mut parts = text[..text.len() - 1].split(|byte| *byte == b'.');
    let whole: f64 = parse(parts.next()?)?;
    let fraction: f64 = parts.next().map_or(Some(0.0), parse)?;
    Some(sign * ((whole + fraction / 10.24) * 1024_f64.powi(power)).trunc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const UUID: &str = "sys/fs/bcache/deaddd54-c735-46d5-868e-f331c5fd7c74";

    fn set(tree: &std::path::Path) {
        for (file, content) in [
            ("btree_cache_size", "0\n"),
            ("internal/btree_read_average_duration_us", "1305\n"),
            ("bdev0/dirty_data", "1.5k\n"),
            ("bdev0/stats_total/cache_hits", "546\n"),
            (
                "bdev0/writeback_rate_debug",
                "rate:\t\t1.1M/sec\ndirty:\t\t20.4G\ntarget:\t\t20.4G\nproportional:\t-437.5k\n",
            ),
            ("cache0/written", "0\n"),
            ("cache0/priority_stats", "Unused:\t\t99%\nMetadata:\t0%\n"),
        ] {
            write(tree, &format!("{UUID}/{file}"), content);
        }
        write(tree, "sys/fs/bcache/register", "");
    }

    #[test]
    fn set_with_a_device_and_a_cache() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap().is_empty());
        set(tree.path());
        let mut config = crate::Config::default();
        let mut bench = Bench::new(tree.path(), build, &config).unwrap();
        let lines = bench.pass(1000).unwrap();
        assert_eq!(lines.len(), SET.len() + BACKING.len() - 1 + CACHE.len() - 2);
        let uuid = "uuid=\"deaddd54-c735-46d5-868e-f331c5fd7c74\"";
        for line in [
            format!("node_bcache_btree_read_average_duration_seconds{{{uuid}}} 0.000001305"),
            format!("node_bcache_cache_hits_total{{backing_device=\"bdev0\",{uuid}}} 546"),
            format!("node_bcache_written_bytes_total{{cache_device=\"cache0\",{uuid}}} 0"),
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:?}");
        }
        config.bcache.priority_stats = true;
        let more = Bench::new(tree.path(), build, &config).unwrap().pass(1000).unwrap();
        assert!(
            more.iter().any(|line| line.contains("priority_stats_unused_percent") && line.ends_with(" 99"))
        );
        std::fs::remove_dir_all(tree.path().join(UUID)).unwrap();
        assert!(bench.pass(2000).unwrap().is_empty());
    }

    #[test]
    fn numbers_for_people_become_numbers() {
        for (text, value) in [
            ("0", 0.0),
            ("1305", 1305.0),
            ("1k", 1024.0),
            ("2.10k", 3048.0),
            ("-1M", -1_048_576.0),
            ("3.9", 3.0),
        ] {
            assert_eq!(dehumanize(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "-", "k", "x", "1x", "1.y2k"] {
            assert_eq!(dehumanize(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: Vec<u8>) {
            dehumanize(&text);
            value(&text, DEBUG, "rate:");
            value(&text, PRIORITY, "Unused:");
        }
    }
}
