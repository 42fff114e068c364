//! ARP entries by device, from /proc/net/arp.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::filter::{DeviceConfig, Filter};
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, hex, label, lines};

/// Settings.
pub type Config = DeviceConfig;

/// `ATF_PUBL`: an address that this machine answers for, and no neighbour.
const FLAG_PUBLISHED: u64 = 0x08;

struct Arp {
    file: KeptFile,
    buffer: Vec<u8>,
    filter: Filter,
    devices: Seen<Device>,
}

/// A device and the number of its entries in this pass; `NONE` where it is not shown.
struct Device {
    id: SeriesId,
    n_entries: u32,
}

impl HoldsSeries for Device {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.id);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.arp;
    Ok(Box::new(Arp {
        file: KeptFile::new(env.roots.procfs.join("net/arp")),
        buffer: Vec::new(),
        filter: config.filter("collectors.arp.device")?,
        devices: Seen::default(),
    }))
}

impl Collector for Arp {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { file, buffer, filter, devices } = self;
        devices.begin();
        devices.iter_mut().for_each(|(_, device)| device.n_entries = 0);
        for name in lines(file.collect(buffer)?).filter_map(parse_line) {
            devices.get(name, || Device::new(name, filter, tick)).n_entries += 1;
        }
        devices.end(tick);
        for (_, device) in devices.iter_mut() {
            tick.set(device.id, f64::from(device.n_entries));
        }
        Ok(())
    }
}

impl Device {
    fn new(name: &[u8], filter: &Filter, tick: &Tick) -> Self {
        let id = match filter.allows(&label(name)) {
            true => tick.gauge("node_arp_entries", "ARP entries by device", &[("device", &label(name))]),
            false => SeriesId::NONE,
        };
        Self { id, n_entries: 0 }
    }
}

/// The device of an entry: the last of six columns (address, hardware type, flags, hardware
/// address, mask, device). Nothing for the head, whose names make nine columns.
fn parse_line(line: &[u8]) -> Option<&[u8]> {
    let mut columns = fields(line);
    let flags = hex(columns.nth(2)?)?;
    let device = columns.nth(2)?;
    (columns.next().is_none() && flags & FLAG_PUBLISHED == 0).then_some(device)
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Pattern;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0
192.168.1.2      0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.3      0x1         0xc         00:00:00:00:00:00     *        eth0
192.168.1.4      0x1         0x2         cc:aa:dd:ee:aa:bc     *        docker\"0
";

    #[test]
    fn entries_are_counted_by_device_and_published_ones_left_out() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/arp", ARP);
        let mut config = crate::Config::default();
        let mut bench = Bench::new(tree.path(), build, &config).unwrap();
        let both = ["node_arp_entries{device=\"docker\\\"0\"} 1", "node_arp_entries{device=\"eth0\"} 2"];
        assert_eq!(bench.pass(1000).unwrap(), both);
        assert_eq!(bench.pass(2000).unwrap(), both);
        config.arp.device_exclude = Some(Pattern::unanchored("^docker").unwrap());
        assert_eq!(Bench::new(tree.path(), build, &config).unwrap().pass(1000).unwrap(), both[1..]);
        write(tree.path(), "proc/net/arp", "");
        assert!(bench.pass(3000).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line: Vec<u8>) {
            parse_line(&line);
        }
    }
}
