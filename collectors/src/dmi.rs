//! Facts about BIOS, board and chassis, from /sys/class/dmi/id.

use std::io::ErrorKind;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::read_text;

/// Settings.
pub type Config = Common;

/// Files and their labels, in the order of labels.
const FILES: [(&str, &str); 20] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_sku", "product_sku"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("sys_vendor", "system_vendor"),
];

struct Dmi {
    info: SeriesId,
}

/// Makes the collector. The facts are read once: they change only while the machine is off.
/// Serial numbers are only for root; others do without.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.sysfs.join("class/dmi/id");
    let none = || CollectError::NoData(format!("no {}", folder.display()));
    if !folder.is_dir() {
        return Err(none());
    }
    let mut labels = Vec::new();
    for (file, label) in FILES {
        let path = folder.join(file);
        match read_text(&path) {
            Ok(value) => labels.push((label, value)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {}
            Err(error) => return Err(CollectError::read(&path, error)),
        }
    }
    if labels.is_empty() {
        return Err(none());
    }
    let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let help = "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, bios_version, \
                board_asset_tag, board_name, board_serial, board_vendor, board_version, chassis_asset_tag, \
                chassis_serial, chassis_vendor, chassis_version, product_family, product_name, product_serial, \
                product_sku, product_uuid, product_version, system_vendor if provided by DMI.";
    Ok(Box::new(Dmi { info: env.tick.gauge("node_dmi_info", help, &labels) }))
}

impl Collector for Dmi {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        tick.set(self.info, 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn facts_that_are_there_are_labels() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(tree.path(), "sys/class/dmi/id/sys_vendor", b"Dell\xff Inc.\n");
        write(tree.path(), "sys/class/dmi/id/bios_date", "04/12/2021\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            ["node_dmi_info{bios_date=\"04/12/2021\",system_vendor=\"Dell\u{fffd} Inc.\"} 1"]
        );
    }
}
