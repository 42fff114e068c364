//! The closed lists of what may differ between us and Debian 12's node_exporter 1.5.0, each with
//! its reason. We follow node_exporter 1.12; most entries are what it has learnt in between.

use super::compare::{Difference, What};

const fn differ(family: &'static str, what: What, why: &'static str) -> Difference {
    Difference { family, what, why }
}

const OWN: &str = "tells of the exporter's own process, not of the machine";
const LABEL: &str = "node_exporter has the label since 1.6";
const LOOKS: &str = "the looks themselves open connections";
const KSMD: &str = "node_exporter has other help texts since 1.10";

/// On any tree.
pub const EVERYWHERE: &[Difference] = &[
    differ("go_*", What::Everything, OWN),
    differ("process_*", What::Everything, OWN),
    differ("promhttp_*", What::Everything, OWN),
    differ("node_exporter_build_info", What::Everything, OWN),
    differ("node_scrape_collector_duration_seconds", What::Value, "each takes its own time"),
    differ(
        "node_scrape_collector_duration_seconds",
        What::Series,
        "the sets of collectors differ by version",
    ),
    differ("node_scrape_collector_success", What::Series, "the sets of collectors differ by version"),
    differ("node_disk_info", What::NewLabel("rotational"), LABEL),
    differ("node_filesystem_*", What::NewLabel("device_error"), LABEL),
    differ("node_network_info", What::NewLabel("adminstate"), LABEL),
    differ("node_nvme_info", What::NewLabel("cntlid"), LABEL),
    differ("node_mountstats_nfs_transport_*", What::NewLabel("transport"), LABEL),
    differ("node_ksmd_*", What::Help, KSMD),
    differ("node_zfs_zpool_state", What::Series, "the state suspended is known since 1.6"),
    differ("node_zfs_zpool_dataset_*", What::Series, "names with spaces were cut at the first before 1.6"),
    differ("node_hwmon_*", What::Series, "chips that share a name are told apart since 1.12"),
    differ("node_cpu_frequency_*", What::Help, "reworded since"),
    differ(
        "node_cpu_frequency_hertz",
        What::Series,
        "with facts about cores it also comes from /proc/cpuinfo, since 1.7",
    ),
    differ("node_cpu_info", What::Value, "the value is the clock rate since 1.7"),
    differ("node_md_*", What::Series, "RAID arrays are read from /sys since 1.10"),
    differ("node_nfs_requests_total", What::Value, "LayoutGet and GetDeviceInfo were exchanged before 1.6"),
    differ("node_disk_info", What::Series, "serial numbers of memory cards are known since 1.6"),
    differ("node_drbd_*", What::Everything, "exotic: not ours"),
    differ("node_fibrechannel_*", What::Everything, "exotic: not ours"),
    differ("node_infiniband_*", What::Everything, "exotic: not ours"),
    differ("node_ipvs_*", What::Everything, "exotic: not ours"),
    differ("node_tape_*", What::Everything, "exotic: not ours"),
];

/// On a fixed tree: what does not come from the tree.
pub const FIXED: &[Difference] = &[
    differ(
        "node_scrape_collector_success",
        What::Value,
        "1.5 fails on nfsd, netdev and fibrechannel of this tree",
    ),
    differ("node_textfile_mtime_seconds", What::Value, "the copies were written at different times"),
];

const MAPPED: &str = "programs that start and end beside the looks map and commit memory";

/// On the live machine: what moves faster than three looks can be taken.
pub const LIVE: &[Difference] = &[
    differ("node_procs_running", What::Value, "how many run at one instant"),
    differ("node_procs_blocked", What::Value, "how many wait at one instant"),
    differ("node_processes_*", What::Value, "how many there are at one instant"),
    differ("node_memory_Mapped_bytes", What::Value, MAPPED),
    differ("node_memory_Committed_AS_bytes", What::Value, MAPPED),
    differ("node_memory_numa_Mapped", What::Value, MAPPED),
    differ("node_zoneinfo_nr_mapped_pages", What::Value, MAPPED),
    differ("node_tcp_connection_states", What::Value, LOOKS),
    differ("node_tcp_connection_states", What::Series, LOOKS),
    differ("node_netstat_Tcp_CurrEstab", What::Value, LOOKS),
    differ("node_sockstat_*", What::Value, LOOKS),
    differ("node_slabinfo_*", What::Value, "the looks themselves make kernel objects"),
    differ("node_cpu_scaling_frequency_hertz", What::Value, "the clock rate at one instant"),
];
