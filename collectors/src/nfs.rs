//! NFS client calls, from /proc/net/rpc/nfs.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::rpc::{METHODS_2, METHODS_3, Rpc};

/// Settings.
pub type Config = Common;

/// Methods of NFS version 4 in the kernel's order, spelt as node_exporter spells them.
const METHODS_4: [&str; 59] = [
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "GetDeviceInfo",
    "LayoutGet",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let tick = env.tick;
    let counter = |name, help, labels: &[(&str, &str)]| tick.counter(name, help, labels);
    let packets = |protocol| {
        let help = "Total NFSd network packets (sent+received) by protocol type.";
        counter("node_nfs_packets_total", help, &[("protocol", protocol)])
    };
    let net = vec![
        SeriesId::NONE,
        packets("udp"),
        packets("tcp"),
        counter("node_nfs_connections_total", "Total number of NFSd TCP connections.", &[]),
    ];
    let rpc = vec![
        counter("node_nfs_rpcs_total", "Total number of RPCs performed.", &[]),
        counter("node_nfs_rpc_retransmissions_total", "Number of RPC transmissions performed.", &[]),
        counter(
            "node_nfs_rpc_authentication_refreshes_total",
            "Number of RPC authentication refreshes performed.",
            &[],
        ),
    ];
    let lines = vec![
        ("net", net),
        ("rpc", rpc),
        ("proc2", requests("2", &METHODS_2, tick)),
        ("proc3", requests("3", &METHODS_3, tick)),
        ("proc4", requests("4", &METHODS_4, tick)),
    ];
    Ok(Box::new(Rpc::new(KeptFile::new(env.roots.procfs.join("net/rpc/nfs")), lines)))
}

/// The first number of such a line is how many follow.
fn requests(proto: &str, methods: &[&str], tick: &Tick) -> Vec<SeriesId> {
    let request = |method: &&str| {
        let labels = [("method", *method), ("proto", proto)];
        tick.counter("node_nfs_requests_total", "Number of NFS procedures invoked.", &labels)
    };
    std::iter::once(SeriesId::NONE).chain(methods.iter().map(request)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn every_method_is_shown_and_old_kernels_have_zeros() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(
            tree.path(),
            "proc/net/rpc/nfs",
            "net 70 71 69 45\nrpc 1218785755 374636 1218815394\nproc3 22 0 1061909262 48906\nproc4 3 98 51 54\n",
        );
        let lines = page(tree.path(), build).unwrap();
        assert_eq!(lines.len(), 6 + METHODS_2.len() + METHODS_3.len() + METHODS_4.len());
        for line in [
            "node_nfs_packets_total{protocol=\"udp\"} 71",
            "node_nfs_connections_total 45",
            "node_nfs_requests_total{method=\"GetAttr\",proto=\"3\"} 1061909262",
            "node_nfs_requests_total{method=\"Write\",proto=\"4\"} 54",
            "node_nfs_requests_total{method=\"Clone\",proto=\"4\"} 0",
            "node_nfs_requests_total{method=\"Null\",proto=\"2\"} 0",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line}");
        }
    }
}
