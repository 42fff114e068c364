//! Free memory by size of its blocks, from /proc/buddyinfo.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, float, label, lines};

/// Settings.
pub type Config = Common;

struct Buddyinfo {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<Vec<SeriesId>>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Buddyinfo {
        file: KeptFile::new(env.roots.procfs.join("buddyinfo")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Buddyinfo {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for line in lines(text) {
            let wrong = || CollectError::parse(self.file.path(), "expected lines `Node 0, zone DMA 1 2 3`");
            let zone = parse(line).ok_or_else(wrong)?;
            let ids = self.seen.get(zone.key, Vec::new);
            for (order, blocks) in fields(zone.blocks).enumerate() {
                if ids.len() == order {
                    ids.push(series(tick, &zone, order));
                }
                tick.set(ids[order], float(blocks).ok_or_else(wrong)?);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, zone: &Zone<'_>, order: usize) -> SeriesId {
    let (node, order, name) = (label(zone.node), order.to_string(), label(zone.name));
    let labels = [("node", &*node), ("size", &order), ("zone", &name)];
    tick.gauge("node_buddyinfo_blocks", "Count of free blocks according to size.", &labels)
}

/// A line `Node 0, zone   Normal   1 2 3` of /proc/buddyinfo.
struct Zone<'a> {
    /// What stands before the numbers.
    key: &'a [u8],
    node: &'a [u8],
    name: &'a [u8],
    blocks: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Zone<'_>> {
    let mut rest = line;
    let mut words = [&line[..0]; 4];
    for word in &mut words {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        (*word, rest) = rest.split_at(end);
    }
    let [_, node, _, name] = words;
    let key = &line[..line.len() - rest.len()];
    let plain = |word: &'_ [u8]| word.strip_suffix(b",").map_or(word.len(), <[u8]>::len);
    let (node, name) = (&node[..plain(node)], &name[..plain(name)]);
    (!name.is_empty()).then_some(Zone { key, node, name, blocks: rest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn blocks_are_given_by_order() {
        let tree = tempfile::tempdir().unwrap();
        write(
            tree.path(),
            "proc/buddyinfo",
            "Node 0, zone      DMA      1      0\nNode 0, zone   Normal   4381 1093\n",
        );
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                r#"node_buddyinfo_blocks{node="0",size="0",zone="DMA"} 1"#,
                r#"node_buddyinfo_blocks{node="0",size="0",zone="Normal"} 4381"#,
                r#"node_buddyinfo_blocks{node="0",size="1",zone="DMA"} 0"#,
                r#"node_buddyinfo_blocks{node="0",size="1",zone="Normal"} 1093"#,
            ]
        );
        write(tree.path(), "proc/buddyinfo", "Node 0, zone\n");
        assert!(page(tree.path(), build).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
