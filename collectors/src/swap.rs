//! Swap devices and files, from /proc/swaps.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, label, lines, parse as parse_number};

/// Settings.
pub type Config = Common;

const KIB: f64 = 1024.0;

struct Swap {
    file: KeptFile,
    buffer: Vec<u8>,
    key: Vec<u8>,
    seen: Seen<[SeriesId; 3]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Swap {
        file: KeptFile::new(env.roots.procfs.join("swaps")),
        buffer: Vec::new(),
        key: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Swap {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for line in lines(text).skip(1) {
            let (device, kind, [size, used, priority]) = parse(line)
                .ok_or_else(|| CollectError::parse(self.file.path(), "a line has fewer than five fields"))?;
            self.key.clear();
            self.key.extend_from_slice(device);
            self.key.push(0);
            self.key.extend_from_slice(kind);
            let ids = *self.seen.get(&self.key, || series(tick, device, kind));
            tick.set(ids[0], size as f64 * KIB);
            tick.set(ids[1], used as f64 * KIB);
            tick.set(ids[2], priority as f64);
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, device: &[u8], kind: &[u8]) -> [SeriesId; 3] {
    let (device, kind) = (label(device), label(kind));
    let gauge = |name, help| tick.gauge(name, help, &[("device", &device), ("swap_type", &kind)]);
    [
        gauge("node_swap_size_bytes", "Swap device size in bytes."),
        gauge("node_swap_used_bytes", "Swap device used in bytes."),
        gauge("node_swap_priority", "Swap device priority."),
    ]
}

/// A line of /proc/swaps: name, kind, size and use in KiB, priority.
fn parse(line: &[u8]) -> Option<(&[u8], &[u8], [i64; 3])> {
    let mut fields = fields(line);
    let (device, kind) = (fields.next()?, fields.next()?);
    let mut numbers = fields.map(parse_number);
    Some((device, kind, [numbers.next()??, numbers.next()??, numbers.next()??]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn devices_come_and_go() {
        let tree = tempfile::tempdir().unwrap();
        let line = "/dev/zram0                              partition\t8388604\t76\t-2\n";
        write(tree.path(), "proc/swaps", format!("{HEADER}{line}"));
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(
            bench.pass(0).unwrap(),
            [
                r#"node_swap_priority{device="/dev/zram0",swap_type="partition"} -2"#,
                r#"node_swap_size_bytes{device="/dev/zram0",swap_type="partition"} 8589930496"#,
                r#"node_swap_used_bytes{device="/dev/zram0",swap_type="partition"} 77824"#,
            ]
        );
        write(tree.path(), "proc/swaps", HEADER);
        assert!(bench.pass(1).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
