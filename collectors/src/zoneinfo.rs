//! Memory zones of each NUMA node, from /proc/zoneinfo.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, label, lines, parse as parse_number, split_once};

/// Settings.
pub type Config = Common;

/// Fields of the file, what follows `node_zoneinfo_` in their series, and the help text.
const GAUGES: &[(&str, &str, &str)] = &[
    ("nr_free_pages", "nr_free_pages", "Total number of free pages in the zone"),
    ("min", "min_pages", "Zone watermark pages_min"),
    ("low", "low_pages", "Zone watermark pages_low"),
    ("high", "high_pages", "Zone watermark pages_high"),
    ("scanned", "scanned_pages", "Pages scanned since last reclaim"),
    ("spanned", "spanned_pages", "Total pages spanned by the zone, including holes"),
    ("present", "present_pages", "Physical pages existing within the zone"),
    ("managed", "managed_pages", "Present pages managed by the buddy system"),
    ("nr_active_anon", "nr_active_anon_pages", "Number of anonymous pages recently more used"),
    ("nr_inactive_anon", "nr_inactive_anon_pages", "Number of anonymous pages recently less used"),
    ("nr_isolated_anon", "nr_isolated_anon_pages", "Temporary isolated pages from anon lru"),
    ("nr_anon_pages", "nr_anon_pages", "Number of anonymous pages currently used by the system"),
    (
        "nr_anon_transparent_hugepages",
        "nr_anon_transparent_hugepages",
        "Number of anonymous transparent huge pages currently used by the system",
    ),
    ("nr_active_file", "nr_active_file_pages", "Number of active pages with file-backing"),
    ("nr_inactive_file", "nr_inactive_file_pages", "Number of inactive pages with file-backing"),
    ("nr_isolated_file", "nr_isolated_file_pages", "Temporary isolated pages from file lru"),
    ("nr_file_pages", "nr_file_pages", "Number of file pages"),
    ("nr_slab_reclaimable", "nr_slab_reclaimable_pages", "Number of reclaimable slab pages"),
    ("nr_slab_unreclaimable", "nr_slab_unreclaimable_pages", "Number of unreclaimable slab pages"),
    ("nr_mlock_stack", "nr_mlock_stack_pages", "mlock()ed pages found and moved off LRU"),
    ("nr_kernel_stack", "nr_kernel_stacks", "Number of kernel stacks"),
    ("nr_mapped", "nr_mapped_pages", "Number of mapped pages"),
    ("nr_dirty", "nr_dirty_pages", "Number of dirty pages"),
    ("nr_writeback", "nr_writeback_pages", "Number of writeback pages"),
    ("nr_unevictable", "nr_unevictable_pages", "Number of unevictable pages"),
    ("nr_shmem", "nr_shmem_pages", "Number of shmem pages (included tmpfs/GEM pages)"),
];

/// As `GAUGES`.
const COUNTERS: &[(&str, &str, &str)] = &[
    ("nr_dirtied", "nr_dirtied_total", "Page dirtyings since bootup"),
    ("nr_written", "nr_written_total", "Page writings since bootup"),
    ("numa_hit", "numa_hit_total", "Allocated in intended node"),
    ("numa_miss", "numa_miss_total", "Allocated in non intended node"),
    ("numa_foreign", "numa_foreign_total", "Was intended here, hit elsewhere"),
    ("numa_interleave", "numa_interleave_total", "Interleaver preferred this zone"),
    ("numa_local", "numa_local_total", "Allocation from local node"),
    ("numa_other", "numa_other_total", "Allocation from other node"),
];

struct Zoneinfo {
    file: KeptFile,
    buffer: Vec<u8>,
    key: Vec<u8>,
    seen: Seen<Vec<SeriesId>>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Zoneinfo {
        file: KeptFile::new(env.roots.procfs.join("zoneinfo")),
        buffer: Vec::new(),
        key: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Zoneinfo {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        let mut zone = None;
        self.seen.begin();
        for line in lines(text) {
            if let Some(head) = parse_head(line) {
                zone = Some(head);
                continue;
            }
            let Some(((node, name), (field, values))) = zone.zip(parse_field(line)) else { continue };
            self.key.clear();
            for part in [node, b"/", name, b"/", field] {
                self.key.extend_from_slice(part);
            }
            let ids = self.seen.get(&self.key, || series(tick, node, name, field, values));
            for (id, value) in ids.iter().zip(numbers(values)) {
                tick.set(*id, value as f64);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

/// The series of a field: one, none if node_exporter does not know it, or one for each number
/// of `protection`.
fn series(tick: &Tick, node: &[u8], zone: &[u8], field: &[u8], values: &[u8]) -> Vec<SeriesId> {
    let (node, zone) = (label(node), label(zone));
    let labels = [("node", &*node), ("zone", &*zone)];
    if field == b"protection:" {
        let of_zone = |(position, _)| {
            let name = format!("node_zoneinfo_protection_{position}");
            tick.gauge(&name, &format!("Protection array {position}. field"), &labels)
        };
        return numbers(values).enumerate().map(of_zone).collect();
    }
    let find = |table: &'static [(&str, &str, &str)]| table.iter().find(|row| row.0.as_bytes() == field);
    if let Some((_, name, help)) = find(GAUGES) {
        return vec![tick.gauge(&format!("node_zoneinfo_{name}"), help, &labels)];
    }
    let counter =
        |(_, name, help): &(&str, &str, &str)| tick.counter(&format!("node_zoneinfo_{name}"), help, &labels);
    find(COUNTERS).map(counter).into_iter().collect()
}

/// The numbers of a field: of `protection` several, `(0, 2039, 31932)`.
fn numbers(values: &[u8]) -> impl Iterator<Item = i64> {
    let words = values.split(|byte| matches!(byte, b' ' | b',' | b'(' | b')'));
    words.filter(|word| !word.is_empty()).map_while(parse_number)
}

/// A line `Node 0, zone   Normal` of /proc/zoneinfo.
fn parse_head(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (node, zone) = split_once(line.strip_prefix(b"Node ")?, b',')?;
    let zone = fields(zone).nth(1)?;
    Some((node, zone))
}

/// A line with a name and at least one value.
fn parse_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii();
    let (name, values) = split_once(line, b' ')?;
    Some((name, values.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    const ZONEINFO: &str = "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 95612\n\
        \x20 pages free     2949\n        min      8\n        protection: (0, 2039)\n      nr_free_pages 2949\n\
        \x20 pagesets\n    cpu: 0\n              count: 0\n              high:  0\n      numa_hit     3\n\
        Node 0, zone   Normal\n        min      9\n      nr_new_thing 5\n";

    #[test]
    fn known_fields_are_given_by_zone() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/zoneinfo", ZONEINFO);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                r#"node_zoneinfo_min_pages{node="0",zone="DMA"} 8"#,
                r#"node_zoneinfo_min_pages{node="0",zone="Normal"} 9"#,
                r#"node_zoneinfo_nr_free_pages{node="0",zone="DMA"} 2949"#,
                r#"node_zoneinfo_nr_inactive_anon_pages{node="0",zone="DMA"} 95612"#,
                r#"node_zoneinfo_numa_hit_total{node="0",zone="DMA"} 3"#,
                r#"node_zoneinfo_protection_0{node="0",zone="DMA"} 0"#,
                r#"node_zoneinfo_protection_1{node="0",zone="DMA"} 2039"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_head(&line);
            if let Some((_, values)) = parse_field(&line) {
                let _ = numbers(values).count();
            }
        }
    }
}
