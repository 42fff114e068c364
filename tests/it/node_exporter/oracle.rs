//! The real node_exporter as a child process.

use std::ffi::OsStr;
use std::net::SocketAddr;

use fieldpost_bed::{Page, Process, Scratch, free_port, get, peer};

/// Collectors that node_exporter 1.5 has off by default and that we have.
pub const MORE: &[&str] = &[
    "buddyinfo",
    "cgroups",
    "interrupts",
    "ksmd",
    "lnstat",
    "meminfo_numa",
    "mountstats",
    "network_route",
    "processes",
    "qdisc",
    "slabinfo",
    "tcpstat",
    "zoneinfo",
];

/// Debian's package has filters of its own; these are node_exporter 1.12's, and ours.
const FILTERS: &[&str] = &[
    r"--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
    "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|\
     var/lib/containers/storage/.+)($|/)",
    "--collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|\
     fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|\
     erofs|sysfs|tracefs)$",
    "--collector.netdev.device-exclude=",
    "--collector.netstat.fields=^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|\
     Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
     Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
     Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$",
];

/// A running node_exporter.
pub struct Oracle {
    address: SocketAddr,
    _process: Process,
    _scratch: Scratch,
}

impl Oracle {
    /// Starts it with more collectors than its default ones, and more flags, and waits until it answers.
    pub fn start(collectors: &[&str], flags: &[String]) -> anyhow::Result<Self> {
        let program = peer("prometheus-node-exporter", "usr/bin/prometheus-node-exporter")?;
        let scratch = Scratch::new()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut arguments =
            vec![format!("--web.listen-address={address}"), "--collector.cpu.info".to_owned()];
        arguments.extend(FILTERS.iter().map(|flag| (*flag).to_owned()));
        arguments.extend(collectors.iter().map(|name| format!("--collector.{name}")));
        arguments.extend_from_slice(flags);
        let no_environment: [(&str, &OsStr); 0] = [];
        let mut process =
            Process::start("node_exporter", &program, &arguments, &no_environment, scratch.path())?;
        process.until("its landing page", || get(address, "/").ok().filter(|answer| answer.status == 200))?;
        Ok(Self { address, _process: process, _scratch: scratch })
    }

    /// Its metrics page, read strictly.
    pub fn page(&self) -> anyhow::Result<Page> {
        Ok(Page::parse(&self.text()?)?)
    }

    /// Its metrics page as it came.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(get(self.address, "/metrics")?.ok()?.to_owned())
    }
}
