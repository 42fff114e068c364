//! Energy that the processor and memory used, from /sys/class/powercap, which mostly only root
//! may read.

use std::collections::HashMap;
use std::path::Path;

use fieldpost_model::{Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::{NumberFile, is_absent};
use crate::read::{list, read_text};

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// One family `node_rapl_joules_total` with the zone as a label, instead of a family for each zone.
    pub enable_zone_label: bool,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

const MICROJOULES_PER_JOULE: f64 = 1e6;

struct Rapl {
    zones: Vec<NumberFile>,
    buffer: Vec<u8>,
}

/// Makes the collector. Zones are those of the processor and do not change while it runs.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.sysfs.join("class/powercap");
    let zones = zones(&folder, env.tick, env.config.rapl.enable_zone_label);
    let zones = zones.map_err(|error| CollectError::read(&folder, error))?;
    Ok(Box::new(Rapl { zones, buffer: Vec::new() }))
}

fn zones(folder: &Path, tick: &Tick, zone_label: bool) -> std::io::Result<Vec<NumberFile>> {
    let (mut zones, mut used) = (Vec::new(), HashMap::<String, u32>::new());
    for name in list(folder)? {
        let path = folder.join(name);
        let Ok(zone) = read_text(&path.join("name")) else { continue };
        // Some zones have a number at the end of their name, others just appear more than once.
        let (zone, index) = match zone.split_once('-').and_then(|(zone, n)| Some((zone, n.parse().ok()?))) {
            Some((zone, index)) => (zone.to_owned(), index),
            None => {
                let index = used.get(&zone).copied().unwrap_or(0);
                (zone, index)
            }
        };
        used.insert(zone.clone(), index + 1);
        let id = series(tick, &zone, index, &path.to_string_lossy(), zone_label);
        zones.push(NumberFile::new(path.join("energy_uj"), id));
    }
    Ok(zones)
}

fn series(tick: &Tick, zone: &str, index: u32, path: &str, zone_label: bool) -> SeriesId {
    let index = index.to_string();
    let labels = [("index", index.as_str()), ("path", path), ("rapl_zone", zone)];
    if zone_label {
        return tick.counter("node_rapl_joules_total", "Current RAPL value in joules", &labels);
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == ':' || c == '_' { c } else { '_' };
    let name = format!("node_rapl_{}_joules_total", zone.chars().map(plain).collect::<String>());
    tick.counter(&name, &format!("Current RAPL {zone} value in joules"), &labels[..2])
}

impl Collector for Rapl {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for zone in &mut self.zones {
            match zone.read(&mut self.buffer) {
                Ok(microjoules) => tick.set(zone.id, microjoules / MICROJOULES_PER_JOULE),
                Err(error) if is_absent(&error) => {
                    return Err(CollectError::NoData("energy_uj may only be read by root".into()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, page, write};

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (folder, name, energy) in [
            ("intel-rapl:0", "package-0", "240422366267"),
            ("intel-rapl:0:0", "core", "118821284256"),
            ("intel-rapl:1:0", "core", "1000000"),
        ] {
            write(tree.path(), &format!("sys/class/powercap/{folder}/name"), name);
            write(tree.path(), &format!("sys/class/powercap/{folder}/energy_uj"), energy);
        }
        write(tree.path(), "sys/class/powercap/intel-rapl/enabled", "1\n");
        tree
    }

    #[test]
    fn joules_are_given_by_zone() {
        let tree = tree();
        let folder = tree.path().join("sys/class/powercap").display().to_string();
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                format!(
                    r#"node_rapl_core_joules_total{{index="0",path="{folder}/intel-rapl:0:0"}} 118821.284256"#
                ),
                format!(r#"node_rapl_core_joules_total{{index="1",path="{folder}/intel-rapl:1:0"}} 1"#),
                format!(
                    r#"node_rapl_package_joules_total{{index="0",path="{folder}/intel-rapl:0"}} 240422.366267"#
                ),
            ]
        );
        let mut config = crate::Config::default();
        config.rapl.enable_zone_label = true;
        let page = Bench::new(tree.path(), build, &config).unwrap().pass(0).unwrap();
        assert!(page.iter().all(|line| line.starts_with("node_rapl_joules_total{index=")));
        assert_eq!(page.len(), 3);
    }

    #[test]
    fn machine_without_it_has_no_data() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
    }
}
