//! Memory deduplication (KSM), from /sys/kernel/mm/ksm.

use std::path::Path;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::{NumberFile, is_absent};

/// Settings.
pub type Config = Common;

struct Ksmd {
    files: [(NumberFile, f64); 10],
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let files = files(&env.roots.sysfs.join("kernel/mm/ksm"), env.tick);
    Ok(Box::new(Ksmd { files, buffer: Vec::new() }))
}

/// The files, each with what its number is divided by.
fn files(folder: &Path, tick: &Tick) -> [(NumberFile, f64); 10] {
    let file = |name: &str, id: SeriesId| (NumberFile::new(folder.join(name), id), 1.0);
    let gauge = |name: &str, help: &str| file(name, tick.gauge(&format!("node_ksmd_{name}"), help, &[]));
    [
        file(
            "full_scans",
            tick.counter(
                "node_ksmd_full_scans_total",
                "How many times all mergeable areas have been scanned.",
                &[],
            ),
        ),
        file(
            "general_profit",
            tick.gauge(
                "node_ksmd_general_profit_bytes",
                "How effective is KSM. ksm_saved_pages * sizeof(page) - (all_rmap_items) * sizeof(rmap_item)",
                &[],
            ),
        ),
        gauge("merge_across_nodes", "Specifies if pages from different NUMA nodes can be merged."),
        gauge("pages_shared", "How many shared pages are being used."),
        gauge("pages_sharing", "How many more sites are sharing them i.e. how much saved."),
        gauge("pages_to_scan", "How many pages to scan before ksmd goes to sleep."),
        gauge("pages_unshared", "How many pages unique but repeatedly checked for merging."),
        gauge("pages_volatile", "How many pages changing too fast to be placed in a tree."),
        gauge("run", "The status of ksmd. stopped = 0, running = 1"),
        (
            file(
                "sleep_millisecs",
                tick.gauge(
                    "node_ksmd_sleep_seconds",
                    "How many seconds ksmd should sleep before next scan.",
                    &[],
                ),
            )
            .0,
            1000.0,
        ),
    ]
}

impl Collector for Ksmd {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for (file, divisor) in &mut self.files {
            match file.read(&mut self.buffer) {
                Ok(value) => tick.set(file.id, value / *divisor),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn files_that_are_there_are_given() {
        let tree = tempfile::tempdir().unwrap();
        for (name, value) in [("full_scans", "323"), ("general_profit", "-64"), ("sleep_millisecs", "20")] {
            write(tree.path(), &format!("sys/kernel/mm/ksm/{name}"), value);
        }
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_ksmd_full_scans_total 323",
                "node_ksmd_general_profit_bytes -64",
                "node_ksmd_sleep_seconds 0.02"
            ]
        );
    }
}
