//! UDP queue lengths, from /proc/net/udp and /proc/net/udp6.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::socket_table::SocketTable;

/// Settings.
pub type Config = Common;

struct UdpQueues {
    /// By version of IP: the table, and the series of what waits to be sent and to be read.
    versions: [(SocketTable, [SeriesId; 2]); 2],
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let version = |(file, ip)| {
        let gauge = |queue| {
            let help = "Number of allocated memory in the kernel for UDP datagrams in bytes.";
            env.tick.gauge("node_udp_queues", help, &[("ip", ip), ("queue", queue)])
        };
        (SocketTable::new(env.roots.procfs.join("net").join(file)), ["tx", "rx"].map(gauge))
    };
    Ok(Box::new(UdpQueues { versions: [("udp", "v4"), ("udp6", "v6")].map(version) }))
}

impl Collector for UdpQueues {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let mut missing = Vec::new();
        for (table, [tx, rx]) in &mut self.versions {
            let mut sums = (0_u64, 0_u64);
            let result = table.each(|row| {
                sums.0 = sums.0.wrapping_add(row.tx_queue_bytes);
                sums.1 = sums.1.wrapping_add(row.rx_queue_bytes);
            });
            match result {
                Err(error) if error.is_no_data() => missing.push(error),
                Err(error) => return Err(error),
                Ok(()) => {
                    tick.set(*tx, sums.0 as f64);
                    tick.set(*rx, sums.1 as f64);
                }
            }
        }
        match missing.len() {
            2 => Err(missing.remove(0)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    const UDP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    0: 00000000:0016 00000000:0000 07 00000015:00000000 00:00000000 00000000     0        0 2740 2 0000 0
    1: 00000000:0017 00000000:0000 07 00000001:000000ff 00:00000000 00000000     0        0 2741 2 0000 0
";

    #[test]
    fn queues_are_summed_by_version() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(tree.path(), "proc/net/udp", UDP);
        let v4 =
            ["node_udp_queues{ip=\"v4\",queue=\"rx\"} 255", "node_udp_queues{ip=\"v4\",queue=\"tx\"} 22"];
        assert_eq!(page(tree.path(), build).unwrap(), v4);
        write(tree.path(), "proc/net/udp6", "");
        assert_eq!(page(tree.path(), build).unwrap().len(), 4);
    }
}
