//! NFS server calls, from /proc/net/rpc/nfsd.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::rpc::{Line, METHODS_2, METHODS_3, Rpc};

/// Settings.
pub type Config = Common;

/// Stands for a number that is not shown.
const NOT_SHOWN: &str = "";

/// Operations of NFS version 4 by their number; the first three numbers mean nothing.
const OPERATIONS_4: [&str; 40] = [
    NOT_SHOWN,
    NOT_SHOWN,
    NOT_SHOWN,
    "Access",
    "Close",
    "Commit",
    "Create",
    "DelegPurge",
    "DelegReturn",
    "GetAttr",
    "GetFH",
    "Link",
    "Lock",
    "Lockt",
    "Locku",
    "Lookup",
    "LookupRoot",
    "Nverify",
    "Open",
    "OpenAttr",
    "OpenConfirm",
    "OpenDgrd",
    "PutFH",
    NOT_SHOWN,
    NOT_SHOWN,
    "Read",
    "ReadDir",
    "ReadLink",
    "Remove",
    "Rename",
    "Renew",
    "RestoreFH",
    "SaveFH",
    "SecInfo",
    "SetAttr",
    "SetClientID",
    "SetClientIDConfirm",
    "Verify",
    "Write",
    "RelLockOwner",
];

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let mut lines = server_lines(env.tick);
    lines.extend([
        ("proc2", requests("2", &METHODS_2, env.tick)),
        ("proc3", requests("3", &METHODS_3, env.tick)),
        ("proc4ops", requests("4", &OPERATIONS_4, env.tick)),
        ("wdeleg_getattr", vec![request("4", "WdelegGetattr", env.tick)]),
    ]);
    Ok(Box::new(Rpc::new(KeptFile::new(env.roots.procfs.join("net/rpc/nfsd")), lines)))
}

/// The lines that tell of the server as a whole.
fn server_lines(tick: &Tick) -> Vec<Line> {
    let counter = |name, help| tick.counter(name, help, &[]);
    let gauge = |name, help| tick.gauge(name, help, &[]);
    let packets = |proto| {
        let help = "Total NFSd network packets (sent+received) by protocol type.";
        tick.counter("node_nfsd_packets_total", help, &[("proto", proto)])
    };
    let error = |error| {
        let help = "Total number of NFSd RPC errors by error type.";
        tick.counter("node_nfsd_rpc_errors_total", help, &[("error", error)])
    };
    let none = SeriesId::NONE;
    let mut read_ahead = vec![none; 12];
    read_ahead[0] =
        gauge("node_nfsd_read_ahead_cache_size_blocks", "How large the read ahead cache is in blocks.");
    read_ahead[11] = counter(
        "node_nfsd_read_ahead_cache_not_found_total",
        "Total number of NFSd read ahead cache not found.",
    );
    let reply_cache = vec![
        counter(
            "node_nfsd_reply_cache_hits_total",
            "Total number of NFSd Reply Cache hits (client lost server response).",
        ),
        counter(
            "node_nfsd_reply_cache_misses_total",
            "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
        ),
        counter(
            "node_nfsd_reply_cache_nocache_total",
            "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
        ),
    ];
    let disk = vec![
        counter("node_nfsd_disk_bytes_read_total", "Total NFSd bytes read."),
        counter("node_nfsd_disk_bytes_written_total", "Total NFSd bytes written."),
    ];
    let connections = counter("node_nfsd_connections_total", "Total number of NFSd TCP connections.");
    let rpcs = counter("node_nfsd_server_rpcs_total", "Total number of NFSd RPCs.");
    let threads = gauge("node_nfsd_server_threads", "Total number of NFSd kernel threads that are running.");
    vec![
        ("rc", reply_cache),
        (
            "fh",
            vec![counter("node_nfsd_file_handles_stale_total", "Total number of NFSd stale file handles")],
        ),
        ("io", disk),
        ("th", vec![threads]),
        ("ra", read_ahead),
        ("net", vec![none, packets("udp"), packets("tcp"), connections]),
        ("rpc", vec![rpcs, none, error("fmt"), error("auth"), error("cInt")]),
    ]
}

/// The first number of such a line is how many follow.
fn requests(proto: &str, methods: &[&str], tick: &Tick) -> Vec<SeriesId> {
    let ids = methods.iter().map(|method| request(proto, method, tick));
    std::iter::once(SeriesId::NONE).chain(ids).collect()
}

fn request(proto: &str, method: &str, tick: &Tick) -> SeriesId {
    if method == NOT_SHOWN || method == "Null" {
        return SeriesId::NONE;
    }
    let help = "Total number NFSd Requests by method and protocol.";
    tick.counter("node_nfsd_requests_total", help, &[("method", method), ("proto", proto)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn lines_of_a_server() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        let text = "rc 0 6 18622\nfh 1 0 0 0 0\nio 157286400 72864\nth 8 0 0.000 0.000\nra 32 0 0 0 0 0 0 0 0 0 0 9\n\
            net 972 55 917 1\nrpc 18628 3 1 2 0\nproc3 22 2 112 0 2719\nproc4 2 2 10853\n\
            proc4ops 72 0 0 0 1098 2 0 0 0 0 8179\nwdeleg_getattr 15\n";
        write(tree.path(), "proc/net/rpc/nfsd", text);
        let lines = page(tree.path(), build).unwrap();
        for line in [
            "node_nfsd_reply_cache_nocache_total 18622",
            "node_nfsd_server_threads 8",
            "node_nfsd_read_ahead_cache_not_found_total 9",
            "node_nfsd_rpc_errors_total{error=\"auth\"} 2",
            "node_nfsd_requests_total{method=\"Lookup\",proto=\"3\"} 2719",
            "node_nfsd_requests_total{method=\"Access\",proto=\"4\"} 1098",
            "node_nfsd_requests_total{method=\"GetAttr\",proto=\"4\"} 8179",
            "node_nfsd_requests_total{method=\"WdelegGetattr\",proto=\"4\"} 15",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.contains("\"Null\"") || line.contains("\"\"")));
    }
}
