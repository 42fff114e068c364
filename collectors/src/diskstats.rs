//! Disk operations, bytes and times from /proc/diskstats; facts about disks from /sys/block and
//! from udev's database, which are read when a disk appears and seldom again.

use std::path::{Path, PathBuf};

use fieldpost_model::{Kind, Pattern, Period, SeriesId, Tick, TimeMs};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::filter::{Filter, default_pattern};
use crate::read::{KeptFile, read_number, read_once};
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number, split_once};

/// node_exporter's default: RAM disks, loop devices, floppies and partitions.
const DEVICE_EXCLUDE: &str = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";

/// How often the facts of a disk are read again, milliseconds: udev may learn of a new file
/// system or a changed write cache while the disk stays.
const FACTS_INTERVAL_MS: TimeMs = 60_000;

/// A line of /proc/diskstats needs so many counters to be shown: those of Linux 2.6.
const N_COUNTERS_MIN: usize = 11;

/// Counters of /proc/diskstats after the name, as of Linux 5.5
/// (`Documentation/admin-guide/iostats.rst`): family, kind, factor, help.
const COUNTERS: [(&str, Kind, f64, &str); 17] = [
    (
        "node_disk_reads_completed_total",
        Kind::Counter,
        1.0,
        "The total number of reads completed successfully.",
    ),
    ("node_disk_reads_merged_total", Kind::Counter, 1.0, "The total number of reads merged."),
    ("node_disk_read_bytes_total", Kind::Counter, SECTOR, "The total number of bytes read successfully."),
    (
        "node_disk_read_time_seconds_total",
        Kind::Counter,
        MILLI,
        "The total number of seconds spent by all reads.",
    ),
    (
        "node_disk_writes_completed_total",
        Kind::Counter,
        1.0,
        "The total number of writes completed successfully.",
    ),
    ("node_disk_writes_merged_total", Kind::Counter, 1.0, "The number of writes merged."),
    (
        "node_disk_written_bytes_total",
        Kind::Counter,
        SECTOR,
        "The total number of bytes written successfully.",
    ),
    (
        "node_disk_write_time_seconds_total",
        Kind::Counter,
        MILLI,
        "This is the total number of seconds spent by all writes.",
    ),
    ("node_disk_io_now", Kind::Gauge, 1.0, "The number of I/Os currently in progress."),
    ("node_disk_io_time_seconds_total", Kind::Counter, MILLI, "Total seconds spent doing I/Os."),
    (
        "node_disk_io_time_weighted_seconds_total",
        Kind::Counter,
        MILLI,
        "The weighted # of seconds spent doing I/Os.",
    ),
    (
        "node_disk_discards_completed_total",
        Kind::Counter,
        1.0,
        "The total number of discards completed successfully.",
    ),
    ("node_disk_discards_merged_total", Kind::Counter, 1.0, "The total number of discards merged."),
    (
        "node_disk_discarded_sectors_total",
        Kind::Counter,
        1.0,
        "The total number of sectors discarded successfully.",
    ),
    (
        "node_disk_discard_time_seconds_total",
        Kind::Counter,
        MILLI,
        "This is the total number of seconds spent by all discards.",
    ),
    (
        "node_disk_flush_requests_total",
        Kind::Counter,
        1.0,
        "The total number of flush requests completed successfully",
    ),
    (
        "node_disk_flush_requests_time_seconds_total",
        Kind::Counter,
        MILLI,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

/// The kernel counts in sectors of this many bytes whatever the disk's own sectors are.
const SECTOR: f64 = 512.0;

/// The kernel counts in milliseconds.
const MILLI: f64 = 0.001;

/// Numbers that udev has of ATA disks: property, family, help.
const ATA: [(&str, &str, &str); 3] = [
    ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache", "ATA disk has a write cache."),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "node_disk_ata_write_cache_enabled",
        "ATA disk has its write cache enabled.",
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        "node_disk_ata_rotation_rate_rpm",
        "ATA disk rotation rate in RPMs (0 for SSDs).",
    ),
];

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval; never shorter than the base interval.
    pub interval: Option<Period>,
    /// Devices that are not shown.
    pub device_exclude: Option<Pattern>,
    /// The only devices that are shown.
    pub device_include: Option<Pattern>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: None,
            interval: None,
            device_exclude: default_pattern(DEVICE_EXCLUDE),
            device_include: None,
        }
    }
}

impl Config {
    /// The settings that all have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Diskstats {
    file: KeptFile,
    buffer: Vec<u8>,
    filter: Filter,
    sources: Sources,
    disks: Seen<Device>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.diskstats;
    let (include, exclude) = (config.device_include.as_ref(), config.device_exclude.as_ref());
    Ok(Box::new(Diskstats {
        file: KeptFile::new(env.roots.procfs.join("diskstats")),
        buffer: Vec::new(),
        filter: Filter::new("device", include, exclude, DEVICE_EXCLUDE)?,
        sources: Sources { block: env.roots.sysfs.join("block"), udev: env.roots.udev.clone() },
        disks: Seen::default(),
    }))
}

impl Collector for Diskstats {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.disks.begin();
        for line in lines(text).filter_map(parse) {
            let (filter, sources) = (&self.filter, &self.sources);
            let device = self.disks.get(line.name, || {
                let shown = filter.allows(&label(line.name));
                Device { disk: shown.then(|| Disk::new(&line, sources, tick)) }
            });
            if let Some(disk) = &mut device.disk {
                disk.refresh(&line, sources, tick);
                disk.record(&line, tick);
            }
        }
        self.disks.end(tick);
        Ok(())
    }
}

/// A line of /proc/diskstats.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    major: u64,
    minor: u64,
    name: &'a [u8],
    counters: [u64; COUNTERS.len()],
    n_counters: usize,
}

/// Older kernels have fewer counters, future ones more: what is there is taken, in order.
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut words = fields(line);
    let (major, minor) = (number(words.next()?)?, number(words.next()?)?);
    let name = words.next()?;
    let (mut counters, mut n_counters) = ([0; COUNTERS.len()], 0);
    for (slot, value) in counters.iter_mut().zip(words.map_while(number)) {
        *slot = value;
        n_counters += 1;
    }
    (n_counters >= N_COUNTERS_MIN).then_some(Line { major, minor, name, counters, n_counters })
}

/// A device of /proc/diskstats; without a disk when the filter leaves it out.
struct Device {
    disk: Option<Disk>,
}

impl HoldsSeries for Device {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        if let Some(disk) = &self.disk {
            disk.ids.each(f);
            disk.facts.samples.iter().for_each(|(id, _)| f(*id));
        }
    }
}

struct Disk {
    ids: Vec<SeriesId>,
    facts: Facts,
}

impl Disk {
    fn new(line: &Line<'_>, sources: &Sources, tick: &Tick) -> Self {
        let name = label(line.name);
        let ids = COUNTERS[..line.n_counters].iter().map(|(family, kind, _, help)| match kind {
            Kind::Gauge => tick.gauge(family, help, &[("device", &name)]),
            _ => tick.counter(family, help, &[("device", &name)]),
        });
        Self { ids: ids.collect(), facts: sources.facts(line, tick) }
    }

    /// Reads the facts again when they are old or when another disk took over the name.
    fn refresh(&mut self, line: &Line<'_>, sources: &Sources, tick: &Tick) {
        let same = (self.facts.major, self.facts.minor) == (line.major, line.minor);
        let age_ms = tick.time_ms() - self.facts.read_ms;
        if same && (0..FACTS_INTERVAL_MS).contains(&age_ms) {
            return;
        }
        let before = std::mem::replace(&mut self.facts, sources.facts(line, tick));
        let gone = |id: &SeriesId| self.facts.samples.iter().all(|(other, _)| other != id);
        before.samples.iter().map(|(id, _)| *id).filter(gone).for_each(|id| tick.retire(id));
    }

    fn record(&self, line: &Line<'_>, tick: &mut Tick) {
        for ((id, value), (.., factor, _)) in
            self.ids.iter().zip(&line.counters[..line.n_counters]).zip(COUNTERS)
        {
            tick.set(*id, *value as f64 * factor);
        }
        self.facts.samples.iter().for_each(|(id, value)| tick.set(*id, *value));
    }
}

/// What is known about a disk beside its counters.
struct Facts {
    major: u64,
    minor: u64,
    read_ms: TimeMs,
    samples: Vec<(SeriesId, f64)>,
}

/// Where facts are read.
struct Sources {
    block: PathBuf,
    udev: PathBuf,
}

impl Sources {
    /// Reads what /sys/block and udev have. What cannot be read is left empty: containers have
    /// no udev, and partitions no queue.
    fn facts(&self, line: &Line<'_>, tick: &Tick) -> Facts {
        let file = self.udev.join(format!("b{}:{}", line.major, line.minor));
        let text = read_once(&file).unwrap_or_default();
        let udev = Udev { text: &text };
        let name = label(line.name);
        let mut samples = vec![(info(line, &name, &udev, rotational(&self.block, &name), tick), 1.0)];
        samples.extend(filesystem_info(&name, &udev, tick).map(|id| (id, 1.0)));
        samples.extend(device_mapper_info(&name, &udev, tick).map(|id| (id, 1.0)));
        samples.extend(ata(&name, &udev, tick));
        Facts { major: line.major, minor: line.minor, read_ms: tick.time_ms(), samples }
    }
}

/// The kernel has `!` in sysfs where a device's name has a slash (`cciss/c0d0`).
fn rotational(block: &Path, name: &str) -> &'static str {
    let path = block.join(name.replace('/', "!")).join("queue/rotational");
    if read_number(&path).is_ok_and(|flag| flag == 1) { "1" } else { "0" }
}

fn info(line: &Line<'_>, name: &str, udev: &Udev<'_>, rotational: &str, tick: &Tick) -> SeriesId {
    let serials = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"];
    let serial = serials.iter().map(|key| udev.get(key)).find(|serial| !serial.is_empty());
    let labels = [
        ("device", name),
        ("major", &line.major.to_string()),
        ("minor", &line.minor.to_string()),
        ("model", &udev.get("ID_MODEL")),
        ("path", &udev.get("ID_PATH")),
        ("revision", &udev.get("ID_REVISION")),
        ("rotational", rotational),
        ("serial", &serial.unwrap_or_default()),
        ("wwn", &udev.get("ID_WWN")),
    ];
    tick.gauge("node_disk_info", "Info of /sys/block/<block_device>.", &labels)
}

fn filesystem_info(name: &str, udev: &Udev<'_>, tick: &Tick) -> Option<SeriesId> {
    let kind = udev.get("ID_FS_TYPE");
    let labels = [
        ("device", name),
        ("type", &kind),
        ("usage", &udev.get("ID_FS_USAGE")),
        ("uuid", &udev.get("ID_FS_UUID")),
        ("version", &udev.get("ID_FS_VERSION")),
    ];
    let help = "Info about disk filesystem.";
    (!kind.is_empty()).then(|| tick.gauge("node_disk_filesystem_info", help, &labels))
}

fn device_mapper_info(name: &str, udev: &Udev<'_>, tick: &Tick) -> Option<SeriesId> {
    let mapped = udev.get("DM_NAME");
    let labels = [
        ("device", name),
        ("lv_layer", &udev.get("DM_LV_LAYER")),
        ("lv_name", &udev.get("DM_LV_NAME")),
        ("name", &mapped),
        ("uuid", &udev.get("DM_UUID")),
        ("vg_name", &udev.get("DM_VG_NAME")),
    ];
    let help = "Info about disk device mapper.";
    (!mapped.is_empty()).then(|| tick.gauge("node_disk_device_mapper_info", help, &labels))
}

fn ata(name: &str, udev: &Udev<'_>, tick: &Tick) -> Vec<(SeriesId, f64)> {
    if udev.get("ID_ATA").is_empty() {
        return Vec::new();
    }
    let known =
        ATA.iter().filter_map(|(key, family, help)| Some((udev.get(key).parse().ok()?, family, help)));
    known.map(|(value, family, help)| (tick.gauge(family, help, &[("device", name)]), value)).collect()
}

/// A file of udev's database (`E:KEY=value` lines among others, see `udevadm(8)`).
struct Udev<'a> {
    text: &'a [u8],
}

impl<'a> Udev<'a> {
    /// The value of a property, empty when it has none. Where a key stands twice the last one counts.
    fn get(&self, key: &str) -> std::borrow::Cow<'a, str> {
        let properties = lines(self.text).filter_map(|line| split_once(line.strip_prefix(b"E:")?, b'='));
        let value = properties.filter(|(name, _)| *name == key.as_bytes()).last();
        value.map_or_else(Default::default, |(_, value)| label(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const SDA: &str = "   8       0 sda 25354637 34367663 1003346126 18492372 28444756 11134226 505697032 63877960 0 9653880 82621804 1 2 3 4 1555 1944\n";

    fn only<'a>(page: &'a [String], name: &str) -> Vec<&'a str> {
        page.iter().map(String::as_str).filter(|line| line.starts_with(name)).collect()
    }

    #[test]
    fn counters_are_scaled() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/diskstats", SDA);
        let page = page(tree.path(), build).unwrap();
        assert_eq!(
            only(&page, "node_disk_read_bytes"),
            ["node_disk_read_bytes_total{device=\"sda\"} 513713216512"]
        );
        assert_eq!(
            only(&page, "node_disk_read_time"),
            ["node_disk_read_time_seconds_total{device=\"sda\"} 18492.372"]
        );
        assert_eq!(
            only(&page, "node_disk_flush_requests_time"),
            ["node_disk_flush_requests_time_seconds_total{device=\"sda\"} 1.944"]
        );
        assert_eq!(
            only(&page, "node_disk_info"),
            [
                "node_disk_info{device=\"sda\",major=\"8\",minor=\"0\",model=\"\",path=\"\",revision=\"\",rotational=\"0\",serial=\"\",wwn=\"\"} 1"
            ]
        );
    }

    #[test]
    fn old_kernel_has_no_discards_and_short_lines_are_passed_over() {
        let tree = tempfile::tempdir().unwrap();
        let text =
            "   1 0 hda1 1 2 3 4\n 254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n   8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n";
        write(tree.path(), "proc/diskstats", text);
        let page = page(tree.path(), build).unwrap();
        assert!(only(&page, "node_disk_discard").is_empty());
        assert_eq!(only(&page, "node_disk_io_now"), ["node_disk_io_now{device=\"vda\"} 9"]);
        assert_eq!(page.len(), 12);
    }

    #[test]
    fn udev_facts_are_read_again_after_a_while() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/diskstats", SDA);
        write(tree.path(), "sys/block/sda/queue/rotational", "1\n");
        write(
            tree.path(),
            "udev/b8:0",
            "I:1\nE:ID_ATA=1\nE:ID_ATA_ROTATION_RATE_RPM=7200\nE:ID_SERIAL=long=1\nE:ID_FS_TYPE=ext4\n",
        );
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let first = bench.pass(0).unwrap();
        assert!(only(&first, "node_disk_info")[0].contains("rotational=\"1\",serial=\"long=1\""));
        assert_eq!(only(&first, "node_disk_ata"), ["node_disk_ata_rotation_rate_rpm{device=\"sda\"} 7200"]);
        assert_eq!(only(&first, "node_disk_filesystem_info").len(), 1);
        write(tree.path(), "udev/b8:0", "E:ID_SERIAL=other\n");
        assert_eq!(bench.pass(1_000).unwrap(), first);
        let later = bench.pass(FACTS_INTERVAL_MS).unwrap();
        assert!(only(&later, "node_disk_info")[0].contains("serial=\"other\""));
        assert!(only(&later, "node_disk_ata").is_empty());
    }

    #[test]
    fn another_disk_under_the_same_name_has_its_own_facts() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/diskstats", SDA);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        bench.pass(0).unwrap();
        write(tree.path(), "proc/diskstats", SDA.replace("   8       0", "   8      16"));
        let page = bench.pass(1_000).unwrap();
        assert!(only(&page, "node_disk_info")[0].contains("minor=\"16\""));
    }

    #[test]
    fn exclude_and_include_together_are_refused() {
        let mut config = crate::Config::default();
        config.diskstats.device_include = default_pattern("^sd");
        config.diskstats.device_exclude = default_pattern("^vd");
        let tree = tempfile::tempdir().unwrap();
        let error = Bench::new(tree.path(), build, &config).err().unwrap();
        assert!(error.to_string().contains("device_include and device_exclude"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&line);
            let _ = Udev { text: &line }.get("ID_MODEL");
        }
    }
}
