//! Slaves of bonding interfaces, from /sys/class/net/bonding_masters and the folders of the masters.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::attributes::{AttributeBuffer, Attributes};
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// Settings.
pub type Config = Common;

struct Bonding {
    masters: KeptFile,
    interfaces: PathBuf,
    buffer: Vec<u8>,
    attribute: AttributeBuffer,
    scratch: Scratch,
    seen: Seen<Master>,
}

/// Buffers that are used again for every master.
#[derive(Default)]
struct Scratch {
    slaves: Vec<u8>,
    file: Vec<u8>,
}

struct Master {
    attributes: Option<Attributes>,
    slaves: SeriesId,
    active: SeriesId,
}

impl HoldsSeries for Master {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        [self.slaves, self.active].each(f);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let interfaces = env.roots.sysfs.join("class/net");
    Ok(Box::new(Bonding {
        masters: KeptFile::new(interfaces.join("bonding_masters")),
        interfaces,
        buffer: Vec::new(),
        attribute: AttributeBuffer::default(),
        scratch: Scratch::default(),
        seen: Seen::default(),
    }))
}

impl Collector for Bonding {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { masters, interfaces, buffer, attribute, scratch, seen } = self;
        seen.begin();
        for name in words(masters.collect(buffer)?) {
            let master = seen.get(name, || Master::new(name, tick));
            if let Some((n_slaves, n_active)) = master.count(name, interfaces, attribute, scratch) {
                tick.set(master.slaves, f64::from(n_slaves));
                tick.set(master.active, f64::from(n_active));
            }
        }
        seen.end(tick);
        Ok(())
    }
}

impl Master {
    fn new(name: &[u8], tick: &Tick) -> Self {
        let name = label(name);
        let gauge = |series, help| tick.gauge(series, help, &[("master", &name)]);
        Self {
            attributes: None,
            slaves: gauge("node_bonding_slaves", "Number of configured slaves per bonding interface."),
            active: gauge("node_bonding_active", "Number of active slaves per bonding interface."),
        }
    }

    /// Configured and active slaves; nothing where the master has just gone.
    fn count(
        &mut self,
        name: &[u8],
        interfaces: &Path,
        attribute: &mut AttributeBuffer,
        scratch: &mut Scratch,
    ) -> Option<(u32, u32)> {
        self.read_slaves(name, interfaces, attribute, &mut scratch.slaves)?;
        let attributes = self.attributes.as_ref()?;
        let mut counts = (0, 0);
        for slave in words(&scratch.slaves) {
            counts.0 += 1;
            counts.1 += u32::from(is_up(attributes, slave, attribute, &mut scratch.file));
        }
        Some(counts)
    }

    /// A folder that no longer answers is opened again once: the master went and came back.
    fn read_slaves(
        &mut self,
        name: &[u8],
        interfaces: &Path,
        attribute: &mut AttributeBuffer,
        slaves: &mut Vec<u8>,
    ) -> Option<()> {
        for _ in 0..2 {
            if self.attributes.is_none() {
                self.attributes = Some(Attributes::open(&interfaces.join(OsStr::from_bytes(name))).ok()?);
            }
            if let Ok(text) = self.attributes.as_ref()?.read("bonding/slaves", attribute) {
                text.clone_into(slaves);
                return Some(());
            }
            self.attributes = None;
        }
        None
    }
}

/// Old kernels call the link to the slave `slave_eth0` where newer ones say `lower_eth0`.
fn is_up(attributes: &Attributes, slave: &[u8], attribute: &mut AttributeBuffer, file: &mut Vec<u8>) -> bool {
    [&b"lower_"[..], b"slave_"].iter().any(|prefix| {
        file.clear();
        for part in [prefix, slave, b"/bonding_slave/mii_status"] {
            file.extend_from_slice(part);
        }
        attributes.read(&file[..], attribute).is_ok_and(|state| state == b"up")
    })
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, page, write};

    fn master(tree: &Path, name: &str, slaves: &[(&str, &str)]) {
        let names: Vec<&str> = slaves.iter().map(|(slave, _)| &slave[6..]).collect();
        write(tree, &format!("sys/class/net/{name}/bonding/slaves"), names.join(" ") + "\n");
        for (slave, state) in slaves {
            write(tree, &format!("sys/class/net/{name}/{slave}/bonding_slave/mii_status"), state);
        }
    }

    #[test]
    fn slaves_are_counted_under_old_and_new_names() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(tree.path(), "sys/class/net/bonding_masters", "bond0 dmz gone\n");
        master(tree.path(), "bond0", &[]);
        master(
            tree.path(),
            "dmz",
            &[("lower_eth0", "up\n"), ("slave_eth4", "up\n"), ("lower_eth5", "down\n")],
        );
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        for time in [1000, 2000] {
            assert_eq!(
                bench.pass(time).unwrap(),
                [
                    "node_bonding_active{master=\"bond0\"} 0",
                    "node_bonding_active{master=\"dmz\"} 2",
                    "node_bonding_slaves{master=\"bond0\"} 0",
                    "node_bonding_slaves{master=\"dmz\"} 3",
                ]
            );
        }
    }

    #[test]
    fn master_that_goes_and_comes_back_is_read_again() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "sys/class/net/bonding_masters", "bond0\n");
        master(tree.path(), "bond0", &[("lower_eth0", "up")]);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let first = bench.pass(1000).unwrap();
        std::fs::remove_dir_all(tree.path().join("sys/class/net/bond0")).unwrap();
        assert!(bench.pass(2000).unwrap().is_empty());
        master(tree.path(), "bond0", &[("lower_eth0", "up")]);
        assert_eq!(bench.pass(3000).unwrap(), first);
    }
}
