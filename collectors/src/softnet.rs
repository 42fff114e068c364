//! Packets that cores took from network cards, from /proc/net/softnet_stat.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, hex, lines};

/// Settings.
pub type Config = Common;

/// Columns of the oldest kernels (2.6.23).
const COLUMNS_MIN: usize = 9;

struct Softnet {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<[SeriesId; 7]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Softnet {
        file: KeptFile::new(env.roots.procfs.join("net/softnet_stat")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Softnet {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for (position, line) in lines(text).enumerate() {
            let columns = parse(line).ok_or_else(|| {
                CollectError::parse(self.file.path(), "expected lines of at least nine hexadecimal numbers")
            })?;
            let cpu = columns.cpu.unwrap_or(position as u32);
            let ids = *self.seen.get(&cpu.to_le_bytes(), || series(tick, cpu));
            for (id, value) in ids.iter().zip(columns.values) {
                tick.set(*id, f64::from(value));
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, cpu: u32) -> [SeriesId; 7] {
    let cpu = cpu.to_string();
    let counter = |name, help| tick.counter(name, help, &[("cpu", &cpu)]);
    [
        counter("node_softnet_processed_total", "Number of processed packets"),
        counter("node_softnet_dropped_total", "Number of dropped packets"),
        counter("node_softnet_times_squeezed_total", "Number of times processing packets ran out of quota"),
        counter(
            "node_softnet_cpu_collision_total",
            "Number of collision occur while obtaining device lock while transmitting",
        ),
        counter("node_softnet_received_rps_total", "Number of times cpu woken up received_rps"),
        counter("node_softnet_flow_limit_count_total", "Number of times flow limit has been reached"),
        tick.gauge("node_softnet_backlog_len", "Softnet backlog status", &[("cpu", &cpu)]),
    ]
}

#[derive(Debug, PartialEq)]
struct Columns {
    /// Newer kernels (5.14) tell the core; older ones have one line for each core in their order.
    cpu: Option<u32>,
    /// In the order of the series; zero where the kernel is too old for a column.
    values: [u32; 7],
}

/// A line of /proc/net/softnet_stat.
fn parse(line: &[u8]) -> Option<Columns> {
    let (mut columns, mut width) = ([0_u32; 13], 0);
    for (column, field) in columns.iter_mut().zip(fields(line)) {
        *column = u32::try_from(hex(field)?).ok()?;
        width += 1;
    }
    if width < COLUMNS_MIN {
        return None;
    }
    let whole = width == columns.len();
    let backlog = if whole { columns[11] } else { 0 };
    Some(Columns {
        cpu: whole.then_some(columns[12]),
        values: [columns[0], columns[1], columns[2], columns[8], columns[9], columns[10], backlog],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn new_and_old_lines_are_read() {
        let new = "00049279 00000001 00000002 00000000 00000000 00000000 00000000 00000000 00000003 00000004 00000005 00000006 00000007 00000000 00000000";
        assert_eq!(
            parse(new.as_bytes()),
            Some(Columns { cpu: Some(7), values: [299_641, 1, 2, 3, 4, 5, 6] })
        );
        assert_eq!(parse(b"1 2 3 0 0 0 0 0 9"), Some(Columns { cpu: None, values: [1, 2, 3, 9, 0, 0, 0] }));
        assert_eq!(parse(b"1 2 3 0 0 0 0 0"), None);
        assert_eq!(parse(b"1 2 3 0 0 0 0 0 g"), None);
    }

    #[test]
    fn old_kernel_counts_lines_as_cores() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/softnet_stat", "1 0 0 0 0 0 0 0 0\n2 0 0 0 0 0 0 0 0\n");
        let page = page(tree.path(), build).unwrap();
        assert_eq!(page.len(), 14);
        assert!(page.contains(&r#"node_softnet_processed_total{cpu="1"} 2"#.to_owned()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&line);
        }
    }
}
