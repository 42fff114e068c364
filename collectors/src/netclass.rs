//! Interface facts: speed, mtu, state, from /sys/class/net. Some of these files ask the driver, so
//! that they may keep a reader waiting, and `speed` cannot be read at all while a link is down.

use fieldpost_model::{Kind, Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::attributes::{AttributeBuffer, Attributes, DeviceFolder, Fact, KeptFolder, texts};
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// No interface whose name matches.
    pub ignored_devices: Option<Pattern>,
    /// Leave `node_network_speed_bytes` out where the driver says -1.
    pub ignore_invalid_speed: bool,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

/// Files that hold a number, the rest of the series' name, and its kind.
const NUMBERS: [(&str, &str, Kind); 17] = [
    ("addr_assign_type", "address_assign_type", Kind::Gauge),
    ("carrier", "carrier", Kind::Gauge),
    ("carrier_changes", "carrier_changes_total", Kind::Counter),
    ("carrier_up_count", "carrier_up_changes_total", Kind::Counter),
    ("carrier_down_count", "carrier_down_changes_total", Kind::Counter),
    ("dev_id", "device_id", Kind::Gauge),
    ("dormant", "dormant", Kind::Gauge),
    (FLAGS, "flags", Kind::Gauge),
    ("ifindex", "iface_id", Kind::Gauge),
    ("iflink", "iface_link", Kind::Gauge),
    ("link_mode", "iface_link_mode", Kind::Gauge),
    ("mtu", "mtu_bytes", Kind::Gauge),
    ("name_assign_type", "name_assign_type", Kind::Gauge),
    ("netdev_group", "net_dev_group", Kind::Gauge),
    (SPEED, "speed_bytes", Kind::Gauge),
    ("tx_queue_len", "transmit_queue_length", Kind::Gauge),
    ("type", "protocol_type", Kind::Gauge),
];

const FLAGS: &str = "flags";
const SPEED: &str = "speed";

/// `IFF_UP` of the flags.
const FLAG_UP: i64 = 1;

/// Bytes per second of one unit of `speed`, which are Mbit/s.
const SPEED_UNIT_BYTES: i64 = 125_000;

/// Files that become labels of `node_network_info`.
const TEXTS: [&str; 5] = ["address", "broadcast", "duplex", "ifalias", "operstate"];

struct Netclass {
    folder: KeptFolder,
    ignored: Option<Pattern>,
    ignore_invalid_speed: bool,
    buffer: AttributeBuffer,
    scratch: Vec<u8>,
    devices: Seen<Device>,
}

struct Device {
    ignored: bool,
    folder: DeviceFolder,
    series: DeviceSeries,
}

/// Series begin when the file first gives a number.
struct DeviceSeries {
    up: SeriesId,
    numbers: [SeriesId; NUMBERS.len()],
    info: Fact,
}

impl HoldsSeries for Device {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.series.up);
        self.series.info.each(f);
        self.series.numbers.each(f);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.netclass;
    Ok(Box::new(Netclass {
        folder: KeptFolder::new(env.roots.sysfs.join("class/net")),
        ignored: config.ignored_devices.clone().filter(|pattern| !pattern.as_str().is_empty()),
        ignore_invalid_speed: config.ignore_invalid_speed,
        buffer: AttributeBuffer::default(),
        scratch: Vec::new(),
        devices: Seen::default(),
    }))
}

impl Collector for Netclass {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { folder, ignored, ignore_invalid_speed, buffer, scratch, devices } = self;
        devices.begin();
        folder.each(|entry| {
            if !entry.is_file {
                devices
                    .get(entry.name, || Device::new(entry.name, ignored.as_ref()))
                    .folder
                    .meet(entry.inode);
            }
        })?;
        devices.end(tick);
        for (name, device) in devices.iter_mut().filter(|(_, device)| !device.ignored) {
            if let Some(attributes) = device.folder.open(folder.path(), name) {
                device.series.record_numbers(attributes, *ignore_invalid_speed, buffer, name, tick);
                device.series.record_info(attributes, buffer, scratch, name, tick);
            }
        }
        Ok(())
    }
}

impl Device {
    fn new(name: &[u8], ignored: Option<&Pattern>) -> Self {
        Self {
            ignored: ignored.is_some_and(|pattern| pattern.is_match(&label(name))),
            folder: DeviceFolder::default(),
            series: DeviceSeries {
                up: SeriesId::NONE,
                numbers: [SeriesId::NONE; NUMBERS.len()],
                info: Fact::default(),
            },
        }
    }
}

impl DeviceSeries {
    fn record_numbers(
        &mut self,
        attributes: &Attributes,
        ignore_invalid_speed: bool,
        buffer: &mut AttributeBuffer,
        name: &[u8],
        tick: &mut Tick,
    ) {
        for ((file, key, kind), id) in NUMBERS.iter().zip(&mut self.numbers) {
            let Some(mut value) = attributes.number(*file, buffer) else { continue };
            if *file == SPEED {
                if value < 0 && ignore_invalid_speed {
                    continue;
                }
                value = value.saturating_mul(SPEED_UNIT_BYTES);
            }
            if *id == SeriesId::NONE {
                *id = number_series(key, *kind, name, tick);
            }
            tick.set(*id, value as f64);
        }
    }

    fn record_info(
        &mut self,
        attributes: &Attributes,
        buffer: &mut AttributeBuffer,
        scratch: &mut Vec<u8>,
        name: &[u8],
        tick: &mut Tick,
    ) {
        scratch.clear();
        TEXTS.iter().for_each(|file| attributes.append(*file, buffer, scratch));
        let is_up = scratch.ends_with(b"\0up\0");
        scratch.extend_from_slice(admin_state(attributes.number(FLAGS, buffer)).as_bytes());
        if self.up == SeriesId::NONE {
            let help = "Value is 1 if operstate is 'up', 0 otherwise.";
            self.up = tick.gauge("node_network_up", help, &[("device", &label(name))]);
        }
        tick.set(self.up, f64::from(u8::from(is_up)));
        self.info.record(scratch, tick, |tick| info_series(scratch, name, tick));
    }
}

fn number_series(key: &str, kind: Kind, device: &[u8], tick: &Tick) -> SeriesId {
    let (name, help) = (format!("node_network_{key}"), format!("Network device property: {key}"));
    let device = label(device);
    match kind {
        Kind::Counter => tick.counter(&name, &help, &[("device", &device)]),
        _ => tick.gauge(&name, &help, &[("device", &device)]),
    }
}

/// `joined` are the files of `TEXTS` and the administrative state.
fn info_series(joined: &[u8], device: &[u8], tick: &Tick) -> SeriesId {
    let [address, broadcast, duplex, ifalias, operstate, admin] = texts(joined);
    let labels = [
        ("address", &*address),
        ("adminstate", &*admin),
        ("broadcast", &*broadcast),
        ("device", &*label(device)),
        ("duplex", &*duplex),
        ("ifalias", &*ifalias),
        ("operstate", &*operstate),
    ];
    let help = "Non-numeric data from /sys/class/net/<iface>, value is always 1.";
    tick.gauge("node_network_info", help, &labels)
}

fn admin_state(flags: Option<i64>) -> &'static str {
    match flags {
        None => "unknown",
        Some(flags) if flags & FLAG_UP != 0 => "up",
        Some(_) => "down",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::{Bench, page, write};

    fn interface(tree: &Path, name: &str, files: &[(&str, &str)]) {
        for (file, content) in files {
            write(tree, &format!("sys/class/net/{name}/{file}"), content);
        }
    }

    const ETH0: [(&str, &str); 5] = [
        ("address", "01:01\n"),
        ("flags", "0x1303\n"),
        ("operstate", "up\n"),
        ("speed", "1000\n"),
        ("mtu", "1500\n"),
    ];

    #[test]
    fn facts_of_an_interface() {
        let tree = tempfile::tempdir().unwrap();
        interface(tree.path(), "eth0", &ETH0);
        write(tree.path(), "sys/class/net/bonding_masters", "bond0\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_network_flags{device=\"eth0\"} 4867",
                "node_network_info{address=\"01:01\",adminstate=\"up\",broadcast=\"\",device=\"eth0\",\
                 duplex=\"\",ifalias=\"\",operstate=\"up\"} 1",
                "node_network_mtu_bytes{device=\"eth0\"} 1500",
                "node_network_speed_bytes{device=\"eth0\"} 125000000",
                "node_network_up{device=\"eth0\"} 1",
            ]
        );
    }

    #[test]
    fn state_that_changes_ends_the_old_info() {
        let tree = tempfile::tempdir().unwrap();
        interface(tree.path(), "eth0", &ETH0);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        bench.pass(1000).unwrap();
        interface(tree.path(), "eth0", &[("operstate", "down"), ("speed", ""), ("flags", "0x1002")]);
        let lines = bench.pass(2000).unwrap();
        assert!(lines.contains(&"node_network_up{device=\"eth0\"} 0".to_owned()));
        assert!(lines.iter().any(|line| line.contains("adminstate=\"down\"")));
        assert!(!lines.iter().any(|line| line.contains("speed")));
        bench.catalog.sweep();
        bench.catalog.sweep();
        let infos = bench.catalog.read().iter().filter(|(_, s)| s.text.contains("_info")).count();
        assert_eq!(infos, 1);
    }

    #[test]
    fn unknown_speed_is_negative_unless_it_is_to_be_ignored() {
        let tree = tempfile::tempdir().unwrap();
        interface(tree.path(), "veth", &[("speed", "-1")]);
        let lines = page(tree.path(), build).unwrap();
        assert!(lines.contains(&"node_network_speed_bytes{device=\"veth\"} -125000".to_owned()));
        let mut config = crate::Config::default();
        config.netclass.ignore_invalid_speed = true;
        let lines = Bench::new(tree.path(), build, &config).unwrap().pass(1000).unwrap();
        assert!(!lines.iter().any(|line| line.contains("speed")));
    }

    #[test]
    fn interfaces_come_go_and_are_ignored() {
        let tree = tempfile::tempdir().unwrap();
        interface(tree.path(), "eth0", &ETH0);
        interface(tree.path(), "q\"\n", &[("operstate", "up")]);
        let mut config = crate::Config::default();
        config.netclass.ignored_devices = Some(Pattern::unanchored("^eth0$").unwrap());
        let mut bench = Bench::new(tree.path(), build, &config).unwrap();
        let lines = bench.pass(1000).unwrap();
        assert!(lines.iter().all(|line| line.contains("device=\"q\\\"\\n\"")), "{lines:?}");
        std::fs::remove_dir_all(tree.path().join("sys/class/net/q\"\n")).unwrap();
        assert!(bench.pass(2000).unwrap().is_empty());
    }
}
