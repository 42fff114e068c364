//! Interface traffic, errors, drops, from /proc/net/dev. That file already adds the counters up as
//! node_exporter does with what it gets from netlink, and reading it never waits for the lock that
//! netlink and most drivers share. The one counter that it lacks is read from /sys.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use fieldpost_model::{SeriesId, Tick};

use crate::attributes::{AttributeBuffer, Attributes, whole};
use crate::collector::{CollectError, Collector, Env};
use crate::filter::{DeviceConfig, Filter};
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number};

/// Settings.
pub type Config = DeviceConfig;

/// What the 16 numbers of a line are, in their order.
const STATISTICS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// The counter that /proc/net/dev does not show, and its file below the interface's folder.
const NOHANDLER: (&str, &str) = ("receive_nohandler", "rx_nohandler");

struct Netdev {
    file: KeptFile,
    buffer: Vec<u8>,
    attribute: AttributeBuffer,
    interfaces: PathBuf,
    filter: Filter,
    devices: Seen<Option<Device>>,
}

struct Device {
    ids: [SeriesId; 16],
    nohandler: Option<(SeriesId, Attributes)>,
}

impl HoldsSeries for Option<Device> {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        let Some(device) = self else { return };
        device.ids.each(f);
        if let Some((id, _)) = &device.nohandler {
            f(*id);
        }
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.netdev;
    Ok(Box::new(Netdev {
        file: KeptFile::new(env.roots.procfs.join("net/dev")),
        buffer: Vec::new(),
        attribute: AttributeBuffer::default(),
        interfaces: env.roots.sysfs.join("class/net"),
        filter: config.filter("collectors.netdev.device")?,
        devices: Seen::default(),
    }))
}

impl Collector for Netdev {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { file, buffer, attribute, interfaces, filter, devices } = self;
        devices.begin();
        for (name, numbers) in lines(file.collect(buffer)?).filter_map(parse_line) {
            let device = devices
                .get(name, || filter.allows(&label(name)).then(|| Device::new(tick, name, interfaces)));
            if let Some(device) = device {
                device.record(&numbers, attribute, tick);
            }
        }
        devices.end(tick);
        Ok(())
    }
}

impl Device {
    fn new(tick: &Tick, name: &[u8], interfaces: &std::path::Path) -> Self {
        let text = label(name);
        let folder = interfaces.join(OsStr::from_bytes(name)).join("statistics");
        let nohandler = Attributes::open(&folder).ok().and_then(|attributes| {
            attributes.number(NOHANDLER.1, &mut AttributeBuffer::default())?;
            Some((counter(tick, NOHANDLER.0, &text), attributes))
        });
        Self { ids: STATISTICS.map(|statistic| counter(tick, statistic, &text)), nohandler }
    }

    fn record(&self, numbers: &[u64; 16], attribute: &mut AttributeBuffer, tick: &mut Tick) {
        for (id, value) in self.ids.iter().zip(numbers) {
            tick.set(*id, *value as f64);
        }
        if let Some((id, attributes)) = &self.nohandler
            && let Ok(text) = attributes.read(NOHANDLER.1, attribute)
            && let Some(value) = whole(text)
        {
            tick.set(*id, value as f64);
        }
    }
}

fn counter(tick: &Tick, statistic: &str, device: &str) -> SeriesId {
    let help = format!("Network device statistic {statistic}.");
    tick.counter(&format!("node_network_{statistic}_total"), &help, &[("device", device)])
}

/// Name and numbers of a line of /proc/net/dev; nothing for its two heads and for broken lines.
/// Names may hold colons (`eth0:1`), so the last one ends the name.
fn parse_line(line: &[u8]) -> Option<(&[u8], [u64; 16])> {
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii();
    let mut rest = fields(&line[colon + 1..]).map(number);
    let mut numbers = [0; 16];
    for slot in &mut numbers {
        *slot = rest.next()??;
    }
    (!name.is_empty()).then_some((name, numbers))
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Pattern;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const HEAD: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
    const NUMBERS: &str = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";

    #[test]
    fn every_counter_of_a_line_has_its_series() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/dev", format!("{HEAD}  eth0: {NUMBERS}\n"));
        write(tree.path(), "sys/class/net/eth0/statistics/rx_nohandler", "17\n");
        let lines = page(tree.path(), build).unwrap();
        assert_eq!(lines.len(), 17);
        assert!(lines.contains(&"node_network_receive_nohandler_total{device=\"eth0\"} 17".to_owned()));
        assert!(lines.contains(&"node_network_transmit_colls_total{device=\"eth0\"} 14".to_owned()));
        assert!(lines.contains(&"node_network_receive_drop_total{device=\"eth0\"} 4".to_owned()));
    }

    #[test]
    fn names_may_hold_colons_quotes_bars_and_any_byte() {
        for name in [&b"eth0:1"[..], b"a\"b", b"x|y", b"\xff\xfe", b"a\\b"] {
            let line = [b"  ", name, b":", NUMBERS.as_bytes()].concat();
            assert_eq!(parse_line(&line).unwrap().0, name);
        }
        let tree = tempfile::tempdir().unwrap();
        let text = [HEAD.as_bytes(), b"a\"\xff:", NUMBERS.as_bytes(), b"\n"].concat();
        write(tree.path(), "proc/net/dev", text);
        assert!(page(tree.path(), build).unwrap()[0].contains("{device=\"a\\\"\u{fffd}\"}"));
    }

    #[test]
    fn old_lines_without_a_blank_and_lines_cut_short() {
        assert_eq!(parse_line(format!("eth0:{NUMBERS}").as_bytes()).unwrap().1[0], 1);
        assert_eq!(parse_line(b"eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"), None);
        assert_eq!(parse_line(format!("eth0: {NUMBERS} 17 18").as_bytes()).unwrap().1[15], 16);
        assert_eq!(parse_line(format!(" : {NUMBERS}").as_bytes()), None);
    }

    #[test]
    fn interface_that_goes_ends_and_counters_may_fall() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/dev", format!("{HEAD}a: {NUMBERS}\nb: {NUMBERS}\n"));
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(bench.pass(1000).unwrap().len(), 32);
        write(tree.path(), "proc/net/dev", format!("{HEAD}b: {}\n", NUMBERS.replace('9', "0")));
        let lines = bench.pass(2000).unwrap();
        assert_eq!(lines.len(), 16);
        assert!(lines.contains(&"node_network_transmit_bytes_total{device=\"b\"} 0".to_owned()));
    }

    #[test]
    fn filtered_interfaces_are_not_shown() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/dev", format!("{HEAD}lo: {NUMBERS}\nveth1: {NUMBERS}\n"));
        let mut config = crate::Config::default();
        config.netdev.device_exclude = Some(Pattern::unanchored("^veth").unwrap());
        let lines = Bench::new(tree.path(), build, &config).unwrap().pass(1000).unwrap();
        assert!(lines.iter().all(|line| line.contains("\"lo\"")));
        config.netdev.device_include = Some(Pattern::unanchored("lo").unwrap());
        assert!(Bench::new(tree.path(), build, &config).is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line: Vec<u8>) {
            parse_line(&line);
        }
    }
}
