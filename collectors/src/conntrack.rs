//! Connection tracking entries and limits, from /proc/sys/net/netfilter and
//! /proc/net/stat/nf_conntrack, which has a line of hexadecimal counters for each CPU.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::text::{fields, hex, lines, number};

/// Settings.
pub type Config = Common;

/// Columns of nf_conntrack that are shown: position, name and help.
const COLUMNS: [(usize, &str, &str); 8] = [
    (2, "found", "Number of searched entries which were successful."),
    (4, "invalid", "Number of packets seen which can not be tracked."),
    (5, "ignore", "Number of packets seen which are already connected to a conntrack entry."),
    (8, "insert", "Number of entries inserted into the list."),
    (9, "insert_failed", "Number of entries for which list insertion was attempted but failed."),
    (10, "drop", "Number of packets dropped due to conntrack failure."),
    (
        11,
        "early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
    ),
    (
        16,
        "search_restart",
        "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    ),
];

/// Columns of a whole line.
const N_COLUMNS: usize = 17;

struct Conntrack {
    count: (KeptFile, SeriesId),
    limit: (KeptFile, SeriesId),
    statistics: KeptFile,
    ids: [SeriesId; COLUMNS.len()],
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let (procfs, tick) = (&env.roots.procfs, env.tick);
    let setting = |name, series, help| {
        (KeptFile::new(procfs.join("sys/net/netfilter").join(name)), tick.gauge(series, help, &[]))
    };
    Ok(Box::new(Conntrack {
        count: setting(
            "nf_conntrack_count",
            "node_nf_conntrack_entries",
            "Number of currently allocated flow entries for connection tracking.",
        ),
        limit: setting(
            "nf_conntrack_max",
            "node_nf_conntrack_entries_limit",
            "Maximum size of connection tracking table.",
        ),
        statistics: KeptFile::new(procfs.join("net/stat/nf_conntrack")),
        ids: COLUMNS.map(|(_, name, help)| tick.gauge(&format!("node_nf_conntrack_stat_{name}"), help, &[])),
        buffer: Vec::new(),
    }))
}

impl Collector for Conntrack {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for (file, id) in [&mut self.count, &mut self.limit] {
            let text = file.collect(&mut self.buffer)?;
            let value = number(text.trim_ascii());
            let value = value.ok_or_else(|| CollectError::parse(file.path(), "expected a number"))?;
            tick.set(*id, value as f64);
        }
        // Kernels may be built without this file (CONFIG_NF_CONNTRACK_PROCFS).
        let text = match self.statistics.collect(&mut self.buffer) {
            Err(error) if error.is_no_data() => return Ok(()),
            result => result?,
        };
        let sums = parse(text).ok_or_else(|| {
            CollectError::parse(self.statistics.path(), "expected lines of 17 hexadecimal numbers")
        })?;
        for (id, sum) in self.ids.iter().zip(sums) {
            tick.set(*id, sum as f64);
        }
        Ok(())
    }
}

/// The sums over all CPUs of the columns that are shown. The first line names the columns;
/// kernels renamed some but moved none.
fn parse(text: &[u8]) -> Option<[u64; COLUMNS.len()]> {
    let mut sums = [0_u64; COLUMNS.len()];
    for line in lines(text).skip(1) {
        let mut columns = [0_u64; N_COLUMNS];
        let mut rest = fields(line);
        for column in &mut columns {
            *column = hex(rest.next()?)?;
        }
        for (sum, (position, ..)) in sums.iter_mut().zip(COLUMNS) {
            *sum = sum.wrapping_add(columns[position]);
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    const STATISTICS: &str = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00000021  00000000 00000001 00000000 00000003 0000588a 00000000 00000000 00000000 00000002 00000003 00000004 00000000  00000000 00000000 00000000 00000005
00000021  00000000 00000001 00000000 00000002 000056a4 00000000 00000000 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000002
";

    #[test]
    fn columns_are_summed_over_all_cpus() {
        assert_eq!(parse(STATISTICS.as_bytes()), Some([2, 5, 44_846, 0, 2, 3, 4, 7]));
        assert_eq!(parse(&STATISTICS.as_bytes()[..STATISTICS.len() - 12]), None);
        assert_eq!(parse(b""), Some([0; 8]));
    }

    #[test]
    fn entries_and_limit_are_shown_without_statistics() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(tree.path(), "proc/sys/net/netfilter/nf_conntrack_count", "123\n");
        write(tree.path(), "proc/sys/net/netfilter/nf_conntrack_max", "65536\n");
        let expected = ["node_nf_conntrack_entries 123", "node_nf_conntrack_entries_limit 65536"];
        assert_eq!(page(tree.path(), build).unwrap(), expected);
        write(tree.path(), "proc/net/stat/nf_conntrack", STATISTICS);
        assert_eq!(page(tree.path(), build).unwrap().len(), 10);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: Vec<u8>) {
            parse(&text);
        }
    }
}
