//! Memory of each NUMA node, from /sys/devices/system/node.

use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::{KeptFile, list};
use crate::seen::Seen;
use crate::text::{fields, float, is_name, lines};

/// Settings.
pub type Config = Common;

struct MeminfoNuma {
    folder: PathBuf,
    online: KeptFile,
    online_known: Vec<u8>,
    nodes: Vec<Node>,
    buffer: Vec<u8>,
}

struct Node {
    number: String,
    meminfo: KeptFile,
    numastat: KeptFile,
    sizes: Seen<SeriesId>,
    counters: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.sysfs.join("devices/system/node");
    Ok(Box::new(MeminfoNuma {
        online: KeptFile::new(folder.join("online")),
        nodes: nodes(&folder),
        folder,
        online_known: Vec::new(),
        buffer: Vec::new(),
    }))
}

impl Collector for MeminfoNuma {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.follow_changes(tick);
        for node in &mut self.nodes {
            node.sizes(tick, &mut self.buffer)?;
            node.counters(tick, &mut self.buffer)?;
        }
        Ok(())
    }
}

impl MeminfoNuma {
    /// Memory comes and goes while a machine runs, but seldom: the kernel's list of nodes tells.
    fn follow_changes(&mut self, tick: &Tick) {
        let known = self.online.read(&mut self.buffer).is_err() || self.buffer == self.online_known;
        if known {
            return;
        }
        self.online_known.clone_from(&self.buffer);
        for node in &mut self.nodes {
            let ids = node.sizes.iter_mut().chain(node.counters.iter_mut());
            ids.for_each(|(_, id)| tick.retire(*id));
        }
        self.nodes = nodes(&self.folder);
    }
}

fn nodes(folder: &Path) -> Vec<Node> {
    let names = list(folder).unwrap_or_default();
    let node = |name: &std::ffi::OsString| {
        let number = name.to_str()?.strip_prefix("node")?;
        let path = folder.join(name);
        number.starts_with(|c: char| c.is_ascii_digit()).then(|| Node {
            number: number.to_owned(),
            meminfo: KeptFile::new(path.join("meminfo")),
            numastat: KeptFile::new(path.join("numastat")),
            sizes: Seen::default(),
            counters: Seen::default(),
        })
    };
    names.iter().filter_map(node).collect()
}

impl Node {
    fn sizes(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>) -> Result<(), CollectError> {
        let text = self.meminfo.collect(buffer)?;
        self.sizes.begin();
        for (name, bytes) in lines(text).filter_map(parse_size) {
            let id = *self.sizes.get(name, || {
                // Active(anon) becomes Active_anon.
                let name: Vec<u8> = name.iter().filter(|byte| **byte != b')').copied().collect();
                series(tick, &self.number, &String::from_utf8_lossy(&name).replace('(', "_"))
            });
            tick.set(id, bytes);
        }
        self.sizes.end(tick);
        Ok(())
    }

    fn counters(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>) -> Result<(), CollectError> {
        let text = self.numastat.collect(buffer)?;
        self.counters.begin();
        for (name, count) in lines(text).filter_map(parse_counter) {
            let id = *self.counters.get(name, || {
                series(tick, &self.number, &format!("{}_total", String::from_utf8_lossy(name)))
            });
            tick.set(id, count);
        }
        self.counters.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, node: &str, field: &str) -> SeriesId {
    if !is_name(field.as_bytes()) {
        return SeriesId::NONE;
    }
    let (name, help) = (format!("node_memory_numa_{field}"), format!("Memory information field {field}."));
    match field.ends_with("_total") {
        true => tick.counter(&name, &help, &[("node", node)]),
        false => tick.gauge(&name, &help, &[("node", node)]),
    }
}

/// A line `Node 0 MemTotal:  134182340 kB` of a node's meminfo; some have no unit.
fn parse_size(line: &[u8]) -> Option<(&[u8], f64)> {
    let mut fields = fields(line);
    let name = fields.nth(2)?.strip_suffix(b":")?;
    let value = float(fields.next()?)?;
    match (fields.next(), fields.next()) {
        (None, _) => Some((name, value)),
        (Some(b"kB"), None) => Some((name, value * 1024.0)),
        _ => None,
    }
}

/// A line `numa_hit 193460335812` of a node's numastat.
fn parse_counter(line: &[u8]) -> Option<(&[u8], f64)> {
    let mut fields = fields(line);
    Some((fields.next()?, float(fields.next()?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    fn add(tree: &Path, node: u32) {
        let folder = format!("sys/devices/system/node/node{node}");
        let meminfo = format!(
            "\nNode {node} MemTotal:       2 kB\nNode {node} Active(anon): 1 kB\nNode {node} HugePages_Free:     3\n"
        );
        write(tree, &format!("{folder}/meminfo"), meminfo);
        write(tree, &format!("{folder}/numastat"), "numa_hit 5\n");
    }

    #[test]
    fn nodes_come_and_go() {
        let tree = tempfile::tempdir().unwrap();
        add(tree.path(), 0);
        write(tree.path(), "sys/devices/system/node/online", "0\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let expected = [
            r#"node_memory_numa_Active_anon{node="0"} 1024"#,
            r#"node_memory_numa_HugePages_Free{node="0"} 3"#,
            r#"node_memory_numa_MemTotal{node="0"} 2048"#,
            r#"node_memory_numa_numa_hit_total{node="0"} 5"#,
        ];
        assert_eq!(bench.pass(0).unwrap(), expected);
        add(tree.path(), 1);
        write(tree.path(), "sys/devices/system/node/online", "0-1\n");
        assert_eq!(bench.pass(1).unwrap().len(), 8);
        std::fs::remove_dir_all(tree.path().join("sys/devices/system/node/node1")).unwrap();
        write(tree.path(), "sys/devices/system/node/online", "0\n");
        assert_eq!(bench.pass(2).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (parse_size(&line), parse_counter(&line));
        }
    }
}
