//! NVMe device facts, from /sys/class/nvme.

use fieldpost_model::{SeriesId, Tick};

use crate::attributes::{AttributeBuffer, Attributes, DeviceFolder, Fact, KeptFolder, texts};
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// Settings.
pub type Config = Common;

/// Files that become labels of `node_nvme_info`.
const TEXTS: [&str; 5] = ["cntlid", "firmware_rev", "model", "serial", "state"];

/// The state of a path to a namespace where the kernel tells none.
const ANA_STATE_UNKNOWN: &str = "unknown";

struct Nvme {
    folder: KeptFolder,
    buffer: AttributeBuffer,
    scratch: Vec<u8>,
    devices: Seen<Device>,
}

#[derive(Default)]
struct Device {
    folder: DeviceFolder,
    info: Fact,
    namespaces: Seen<Namespace>,
}

struct Namespace {
    info: Fact,
    capacity: SeriesId,
    size: SeriesId,
    used: SeriesId,
    block_size: SeriesId,
}

impl HoldsSeries for Device {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.info.each(f);
        self.namespaces.iter().for_each(|(_, namespace)| namespace.each(f));
    }
}

impl HoldsSeries for Namespace {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.info.each(f);
        [self.capacity, self.size, self.used, self.block_size].each(f);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Nvme {
        folder: KeptFolder::new(env.roots.sysfs.join("class/nvme")),
        buffer: AttributeBuffer::default(),
        scratch: Vec::new(),
        devices: Seen::default(),
    }))
}

impl Collector for Nvme {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { folder, buffer, scratch, devices } = self;
        devices.begin();
        folder.each(|entry| devices.get(entry.name, Device::default).folder.meet(entry.inode))?;
        devices.end(tick);
        for (name, device) in devices.iter_mut() {
            let Device { folder: own, info, namespaces } = device;
            let Some(attributes) = own.open(folder.path(), name) else { continue };
            scratch.clear();
            TEXTS.iter().for_each(|file| attributes.append(*file, buffer, scratch));
            info.record(scratch, tick, |tick| info_series(scratch, name, tick));
            record_namespaces(attributes, name, namespaces, (buffer, scratch), tick)
                .map_err(|error| CollectError::read(folder.path(), error))?;
        }
        Ok(())
    }
}

/// `joined` are the files of `TEXTS`.
fn info_series(joined: &[u8], device: &[u8], tick: &Tick) -> SeriesId {
    let [cntlid, firmware, model, serial, state] = texts(joined);
    let labels = [
        ("cntlid", &*cntlid),
        ("device", &*label(device)),
        ("firmware_revision", &*firmware),
        ("model", &*model),
        ("serial", &*serial),
        ("state", &*state),
    ];
    let help = "Non-numeric data from /sys/class/nvme/<device>, value is always 1.";
    tick.gauge("node_nvme_info", help, &labels)
}

/// Namespaces are folders below the device's.
fn record_namespaces(
    attributes: &Attributes,
    device: &[u8],
    namespaces: &mut Seen<Namespace>,
    (buffer, scratch): (&mut AttributeBuffer, &mut Vec<u8>),
    tick: &mut Tick,
) -> std::io::Result<()> {
    namespaces.begin();
    attributes.each(|entry| {
        if let Some(id) = namespace_id(entry.name) {
            let namespace = namespaces.get(id, || Namespace::new(device, id, tick));
            namespace.record(attributes, (device, entry.name, id), (buffer, scratch), tick);
        }
    })?;
    namespaces.end(tick);
    Ok(())
}

impl Namespace {
    fn new(device: &[u8], id: &[u8], tick: &Tick) -> Self {
        let (device, id) = (label(device), label(id));
        let gauge = |name, help| tick.gauge(name, help, &[("device", &device), ("nsid", &id)]);
        Self {
            info: Fact::default(),
            capacity: gauge(
                "node_nvme_namespace_capacity_bytes",
                "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
            ),
            size: gauge(
                "node_nvme_namespace_size_bytes",
                "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
            ),
            used: gauge(
                "node_nvme_namespace_used_bytes",
                "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
            ),
            block_size: gauge(
                "node_nvme_namespace_logical_block_size_bytes",
                "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
            ),
        }
    }

    /// A file that cannot be read counts as zero. Sizes are in blocks, as node_exporter has them.
    fn record(
        &mut self,
        attributes: &Attributes,
        (device, folder, id): (&[u8], &[u8], &[u8]),
        (buffer, scratch): (&mut AttributeBuffer, &mut Vec<u8>),
        tick: &mut Tick,
    ) {
        let mut number = |file: &str| {
            scratch.clear();
            scratch.extend_from_slice(folder);
            scratch.extend_from_slice(file.as_bytes());
            attributes.number(&scratch[..], buffer).unwrap_or_default() as f64
        };
        let (used, size) = (number("/nuse"), number("/size"));
        let block_size = number("/queue/logical_block_size");
        tick.set(self.capacity, size * block_size);
        tick.set(self.size, size * block_size);
        tick.set(self.used, used * block_size);
        tick.set(self.block_size, block_size);
        scratch.clear();
        scratch.extend_from_slice(folder);
        scratch.extend_from_slice(b"/ana_state");
        let state = attributes.read(&scratch[..], buffer).unwrap_or(ANA_STATE_UNKNOWN.as_bytes());
        self.info.record(state, tick, |tick| {
            let labels = [("ana_state", &*label(state)), ("device", &*label(device)), ("nsid", &*label(id))];
            let help = "Information about NVMe namespaces. Value is always 1";
            tick.gauge("node_nvme_namespace_info", help, &labels)
        });
    }
}

/// The digits after the last `n` of a name such as `nvme0n1`. Paths of a namespace that has
/// several (`nvme0c0n1`) belong to the namespace and are no other one.
fn namespace_id(name: &[u8]) -> Option<&[u8]> {
    let rest = name.strip_prefix(b"nvme")?;
    let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let id = rest[n_digits..].strip_prefix(b"n")?;
    let is_id = n_digits > 0 && !id.is_empty() && id.iter().all(u8::is_ascii_digit);
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    #[test]
    fn device_and_its_namespaces() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        for (file, content) in [
            ("model", "Samsung SSD 970 PRO\n"),
            ("serial", "S680HF8\n"),
            ("state", "live\n"),
            ("firmware_rev", "1B2QEXP7\n"),
            ("cntlid", "1997\n"),
            ("nvme0n1/nuse", "488281250\n"),
            ("nvme0n1/size", "3907029168\n"),
            ("nvme0n1/queue/logical_block_size", "512\n"),
        ] {
            write(tree.path(), &format!("sys/class/nvme/nvme0/{file}"), content);
        }
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let expected = [
            "node_nvme_info{cntlid=\"1997\",device=\"nvme0\",firmware_revision=\"1B2QEXP7\",\
             model=\"Samsung SSD 970 PRO\",serial=\"S680HF8\",state=\"live\"} 1",
            "node_nvme_namespace_capacity_bytes{device=\"nvme0\",nsid=\"1\"} 2000398934016",
            "node_nvme_namespace_info{ana_state=\"unknown\",device=\"nvme0\",nsid=\"1\"} 1",
            "node_nvme_namespace_logical_block_size_bytes{device=\"nvme0\",nsid=\"1\"} 512",
            "node_nvme_namespace_size_bytes{device=\"nvme0\",nsid=\"1\"} 2000398934016",
            "node_nvme_namespace_used_bytes{device=\"nvme0\",nsid=\"1\"} 250000000000",
        ];
        assert_eq!(bench.pass(1000).unwrap(), expected);
        std::fs::remove_dir_all(tree.path().join("sys/class/nvme/nvme0/nvme0n1")).unwrap();
        assert_eq!(bench.pass(2000).unwrap(), expected[..1]);
        std::fs::remove_dir_all(tree.path().join("sys/class/nvme/nvme0")).unwrap();
        assert!(bench.pass(3000).unwrap().is_empty());
    }

    #[test]
    fn only_namespaces_are_namespaces() {
        assert_eq!(namespace_id(b"nvme10n12"), Some(&b"12"[..]));
        for name in ["nvme0", "nvme0c0n1", "nvmen1", "nvme0n", "nvme0n1p1", "queue"] {
            assert_eq!(namespace_id(name.as_bytes()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_survived(name: Vec<u8>) {
            namespace_id(&name);
        }
    }
}
