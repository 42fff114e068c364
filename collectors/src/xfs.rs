//! XFS operations by file system, from /sys/fs/xfs/*/stats/stats.

use std::path::PathBuf;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::{KeptFile, list};
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, lines, number};

/// Numbers of a stats file: line, position on it, family, help. In the order of the lines, whose
/// meaning is in the kernel's `fs/xfs/xfs_stats.h`.
const COUNTERS: [(&str, usize, &str, &str); 39] = [
    (
        "extent_alloc",
        0,
        "node_xfs_extent_allocation_extents_allocated_total",
        "Number of extents allocated for a filesystem.",
    ),
    (
        "extent_alloc",
        1,
        "node_xfs_extent_allocation_blocks_allocated_total",
        "Number of blocks allocated for a filesystem.",
    ),
    (
        "extent_alloc",
        2,
        "node_xfs_extent_allocation_extents_freed_total",
        "Number of extents freed for a filesystem.",
    ),
    (
        "extent_alloc",
        3,
        "node_xfs_extent_allocation_blocks_freed_total",
        "Number of blocks freed for a filesystem.",
    ),
    (
        "abt",
        0,
        "node_xfs_allocation_btree_lookups_total",
        "Number of allocation B-tree lookups for a filesystem.",
    ),
    (
        "abt",
        1,
        "node_xfs_allocation_btree_compares_total",
        "Number of allocation B-tree compares for a filesystem.",
    ),
    (
        "abt",
        2,
        "node_xfs_allocation_btree_records_inserted_total",
        "Number of allocation B-tree records inserted for a filesystem.",
    ),
    (
        "abt",
        3,
        "node_xfs_allocation_btree_records_deleted_total",
        "Number of allocation B-tree records deleted for a filesystem.",
    ),
    (
        "blk_map",
        0,
        "node_xfs_block_mapping_reads_total",
        "Number of block map for read operations for a filesystem.",
    ),
    (
        "blk_map",
        1,
        "node_xfs_block_mapping_writes_total",
        "Number of block map for write operations for a filesystem.",
    ),
    (
        "blk_map",
        2,
        "node_xfs_block_mapping_unmaps_total",
        "Number of block unmaps (deletes) for a filesystem.",
    ),
    (
        "blk_map",
        3,
        "node_xfs_block_mapping_extent_list_insertions_total",
        "Number of extent list insertions for a filesystem.",
    ),
    (
        "blk_map",
        4,
        "node_xfs_block_mapping_extent_list_deletions_total",
        "Number of extent list deletions for a filesystem.",
    ),
    (
        "blk_map",
        5,
        "node_xfs_block_mapping_extent_list_lookups_total",
        "Number of extent list lookups for a filesystem.",
    ),
    (
        "blk_map",
        6,
        "node_xfs_block_mapping_extent_list_compares_total",
        "Number of extent list compares for a filesystem.",
    ),
    (
        "bmbt",
        0,
        "node_xfs_block_map_btree_lookups_total",
        "Number of block map B-tree lookups for a filesystem.",
    ),
    (
        "bmbt",
        1,
        "node_xfs_block_map_btree_compares_total",
        "Number of block map B-tree compares for a filesystem.",
    ),
    (
        "bmbt",
        2,
        "node_xfs_block_map_btree_records_inserted_total",
        "Number of block map B-tree records inserted for a filesystem.",
    ),
    (
        "bmbt",
        3,
        "node_xfs_block_map_btree_records_deleted_total",
        "Number of block map B-tree records deleted for a filesystem.",
    ),
    (
        "dir",
        0,
        "node_xfs_directory_operation_lookup_total",
        "Number of file name directory lookups which miss the operating systems directory name lookup cache.",
    ),
    (
        "dir",
        1,
        "node_xfs_directory_operation_create_total",
        "Number of times a new directory entry was created for a filesystem.",
    ),
    (
        "dir",
        2,
        "node_xfs_directory_operation_remove_total",
        "Number of times an existing directory entry was created for a filesystem.",
    ),
    (
        "dir",
        3,
        "node_xfs_directory_operation_getdents_total",
        "Number of times the directory getdents operation was performed for a filesystem.",
    ),
    (
        "ig",
        0,
        "node_xfs_inode_operation_attempts_total",
        "Number of times the OS looked for an XFS inode in the inode cache.",
    ),
    (
        "ig",
        1,
        "node_xfs_inode_operation_found_total",
        "Number of times the OS looked for and found an XFS inode in the inode cache.",
    ),
    (
        "ig",
        2,
        "node_xfs_inode_operation_recycled_total",
        "Number of times the OS found an XFS inode in the cache, but could not use it as it was being recycled.",
    ),
    (
        "ig",
        3,
        "node_xfs_inode_operation_missed_total",
        "Number of times the OS looked for an XFS inode in the cache, but did not find it.",
    ),
    (
        "ig",
        4,
        "node_xfs_inode_operation_duplicates_total",
        "Number of times the OS tried to add a missing XFS inode to the inode cache, but found it had already been added by another process.",
    ),
    (
        "ig",
        5,
        "node_xfs_inode_operation_reclaims_total",
        "Number of times the OS reclaimed an XFS inode from the inode cache to free memory for another purpose.",
    ),
    (
        "ig",
        6,
        "node_xfs_inode_operation_attribute_changes_total",
        "Number of times the OS explicitly changed the attributes of an XFS inode.",
    ),
    ("rw", 0, "node_xfs_write_calls_total", "Number of write(2) system calls made to files in a filesystem."),
    ("rw", 1, "node_xfs_read_calls_total", "Number of read(2) system calls made to files in a filesystem."),
    ("vnodes", 0, "node_xfs_vnode_active_total", "Number of vnodes not on free lists for a filesystem."),
    ("vnodes", 1, "node_xfs_vnode_allocate_total", "Number of times vn_alloc called for a filesystem."),
    ("vnodes", 2, "node_xfs_vnode_get_total", "Number of times vn_get called for a filesystem."),
    ("vnodes", 3, "node_xfs_vnode_hold_total", "Number of times vn_hold called for a filesystem."),
    ("vnodes", 4, "node_xfs_vnode_release_total", "Number of times vn_rele called for a filesystem."),
    ("vnodes", 5, "node_xfs_vnode_reclaim_total", "Number of times vn_reclaim called for a filesystem."),
    ("vnodes", 6, "node_xfs_vnode_remove_total", "Number of times vn_remove called for a filesystem."),
];

/// Settings.
pub type Config = Common;

struct Xfs {
    folder: PathBuf,
    buffer: Vec<u8>,
    systems: Seen<System>,
}

/// A file system: its stats file and its series.
struct System {
    file: KeptFile,
    ids: Vec<SeriesId>,
}

impl HoldsSeries for System {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.ids.each(f);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.sysfs.join("fs/xfs");
    Ok(Box::new(Xfs { folder, buffer: Vec::new(), systems: Seen::default() }))
}

impl Collector for Xfs {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let names = match list(&self.folder) {
            // No XFS here, which node_exporter counts as a success without samples.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| CollectError::read(&self.folder, error))?,
        };
        self.systems.begin();
        for name in names {
            let path = self.folder.join(&name).join("stats/stats");
            let device = name.to_string_lossy();
            // The folder also has `stats`, the sum of all, which has no folder of that name below
            // it, and `debug`.
            if !self.systems.contains(name.as_encoded_bytes()) && !path.is_file() {
                continue;
            }
            let system = self.systems.get(name.as_encoded_bytes(), || System::new(path, &device, tick));
            match system.file.read(&mut self.buffer) {
                Ok(()) => record(&self.buffer, &system.ids, tick),
                // Unmounted between listing and reading.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(CollectError::read(system.file.path(), error)),
            }
        }
        self.systems.end(tick);
        Ok(())
    }
}

impl System {
    fn new(path: PathBuf, device: &str, tick: &Tick) -> Self {
        let labels = [("device", device)];
        let ids = COUNTERS.iter().map(|(.., name, help)| tick.counter(name, help, &labels));
        Self { file: KeptFile::new(path), ids: ids.collect() }
    }
}

/// Sets what the lines (`extent_alloc 1 2 3 4`) have; a number that an old kernel lacks is left
/// out, for zero would be a measurement.
fn record(text: &[u8], ids: &[SeriesId], tick: &mut Tick) {
    for line in lines(text) {
        let mut words = fields(line);
        let Some(name) = words.next() else { continue };
        let of_line = COUNTERS.iter().zip(ids).filter(|((line, ..), _)| line.as_bytes() == name);
        for ((_, position, ..), id) in of_line {
            if let Some(value) = words.clone().nth(*position).and_then(number) {
                tick.set(*id, value as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fieldpost_model::{Catalog, Owner};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const STATS: &str = "\
extent_alloc 1 97799 0 0
abt 0 0 0 0
blk_map 1767055 188820 184891 92447 92448 2140766 0
bmbt 0 0 0 0
dir 185039 92447 92444 136422
trans 706 944304 0
ig 185045 58807 0 126238 0 33637 22
log 2883 113448 9 17360 739
rw 107739 94045
vnodes 92601 0 0 0 92444 92444 92444 0
xpc 399724544 92823103 86219234
debug 0
";

    #[test]
    fn numbers_are_taken_by_line_and_position() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "sys/fs/xfs/sda1/stats/stats", STATS);
        write(tree.path(), "sys/fs/xfs/stats/stats", STATS);
        let page = page(tree.path(), build).unwrap();
        assert_eq!(page.len(), COUNTERS.len());
        for line in [
            "node_xfs_read_calls_total{device=\"sda1\"} 94045",
            "node_xfs_write_calls_total{device=\"sda1\"} 107739",
            "node_xfs_inode_operation_attribute_changes_total{device=\"sda1\"} 22",
            "node_xfs_vnode_release_total{device=\"sda1\"} 92444",
        ] {
            assert!(page.iter().any(|other| other == line), "{line}");
        }
    }

    #[test]
    fn file_system_comes_and_goes() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "sys/fs/xfs/sda1/stats/stats", STATS);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(bench.pass(1).unwrap().len(), COUNTERS.len());
        std::fs::remove_dir_all(tree.path().join("sys/fs/xfs/sda1")).unwrap();
        write(tree.path(), "sys/fs/xfs/sdb1/stats/stats", "rw 1\nrw\nig x\n");
        assert_eq!(bench.pass(2).unwrap(), ["node_xfs_write_calls_total{device=\"sdb1\"} 1"]);
    }

    #[test]
    fn machine_without_xfs_is_a_success_without_samples() {
        assert!(page(tempfile::tempdir().unwrap().path(), build).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut tick = Tick::new(Arc::clone(&Catalog::new()), Owner(0));
            let system = System::new("x".into(), "x", &tick);
            record(&text, &system.ids, &mut tick);
        }
    }
}
