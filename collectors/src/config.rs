//! The `collectors` section of the config: where the trees are, which collectors are on, and what
//! each may be told.

use std::path::PathBuf;
use std::time::Duration;

use fieldpost_model::Period;
use serde::{Deserialize, Serialize};

use crate::collector::Entry;
use crate::{
    arp, bcache, bonding, btrfs, buddyinfo, cgroups, conntrack, cpu, cpu_vulnerabilities, cpufreq, diskstats,
    dmi, edac, entropy, filefd, filesystem, hwmon, interrupts, kernel_hung, ksmd, lnstat, loadavg, mdadm,
    meminfo, meminfo_numa, mountstats, netclass, netdev, netstat, network_route, nfs, nfsd, nvme, os,
    powersupplyclass, pressure, process_table, processes, qdisc, rapl, schedstat, selinux, slabinfo,
    sockstat, softirqs, softnet, stat, swap, systemd, tcpstat, textfile, thermal_zone, time, timex,
    udp_queues, uname, unit_table, vmstat, watchdog, xfrm, xfs, zfs, zoneinfo,
};

/// Where the kernel's trees are. Other trees are read in tests and from within containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Mostly /proc.
    pub procfs: PathBuf,
    /// Mostly /sys.
    pub sysfs: PathBuf,
    /// Put before mount points and files such as etc/os-release; mostly /.
    pub rootfs: PathBuf,
    /// udev's database, mostly /run/udev/data.
    pub udev: PathBuf,
}

/// How this machine is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The kernel's own files. Linux only.
    #[default]
    Native,
    /// The sysinfo library: fewer series, any platform.
    Portable,
}

/// What every collector may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Common {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval; never shorter than the base interval.
    pub interval: Option<Period>,
}

impl Common {
    /// Itself: collectors with settings of their own have a method of the same name.
    pub fn common(&self) -> Common {
        *self
    }
}

/// The `collectors` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Mostly /proc.
    pub procfs: PathBuf,
    /// Mostly /sys.
    pub sysfs: PathBuf,
    /// Put before mount points and files such as etc/os-release; mostly /.
    pub rootfs: PathBuf,
    /// udev's database, mostly /run/udev/data.
    pub udev: PathBuf,
    /// How this machine is read.
    pub backend: Backend,
    /// Every collector on, also those that are off by default (but those set off by name).
    pub all: bool,
    /// ARP entries by device.
    pub arp: arp::Config,
    /// Bcache sets, devices and caches.
    pub bcache: bcache::Config,
    /// Slaves of bonding interfaces.
    pub bonding: bonding::Config,
    /// Btrfs allocation and device errors.
    pub btrfs: btrfs::Config,
    /// Free memory fragments by order.
    pub buddyinfo: buddyinfo::Config,
    /// Number of cgroups by controller.
    pub cgroups: cgroups::Config,
    /// Connection tracking entries and limits.
    pub conntrack: conntrack::Config,
    /// CPU seconds by core and mode, CPU facts.
    pub cpu: cpu::Config,
    /// CPU vulnerabilities and mitigations.
    pub cpu_vulnerabilities: cpu_vulnerabilities::Config,
    /// Core frequencies and governors.
    pub cpufreq: cpufreq::Config,
    /// Disk operations, bytes, times; disk facts.
    pub diskstats: diskstats::Config,
    /// BIOS, board and chassis facts.
    pub dmi: dmi::Config,
    /// Memory errors found by EDAC.
    pub edac: edac::Config,
    /// Entropy of the kernel's pool.
    pub entropy: entropy::Config,
    /// Open file descriptors of the machine.
    pub filefd: filefd::Config,
    /// Size, free space and inodes by mount.
    pub filesystem: filesystem::Config,
    /// Temperatures, fans, voltages, power.
    pub hwmon: hwmon::Config,
    /// Interrupts by line and core.
    pub interrupts: interrupts::Config,
    /// Tasks found hung by the kernel.
    pub kernel_hung: kernel_hung::Config,
    /// Memory deduplication.
    pub ksmd: ksmd::Config,
    /// Neighbour and routing cache counters.
    pub lnstat: lnstat::Config,
    /// Load averages.
    pub loadavg: loadavg::Config,
    /// Software RAID arrays.
    pub mdadm: mdadm::Config,
    /// Memory of the machine.
    pub meminfo: meminfo::Config,
    /// Memory by NUMA node.
    pub meminfo_numa: meminfo_numa::Config,
    /// NFS mounts in detail.
    pub mountstats: mountstats::Config,
    /// Interface facts: speed, mtu, state.
    pub netclass: netclass::Config,
    /// Interface traffic, errors, drops.
    pub netdev: netdev::Config,
    /// Protocol counters of IP, TCP, UDP, ICMP.
    pub netstat: netstat::Config,
    /// Routes by device.
    pub network_route: network_route::Config,
    /// NFS client calls.
    pub nfs: nfs::Config,
    /// NFS server calls.
    pub nfsd: nfsd::Config,
    /// NVMe device facts.
    pub nvme: nvme::Config,
    /// The distribution's os-release.
    pub os: os::Config,
    /// Batteries and mains.
    pub powersupplyclass: powersupplyclass::Config,
    /// Pressure stall information.
    pub pressure: pressure::Config,
    /// Every process, by group and in the history.
    pub process_table: process_table::Config,
    /// Threads and processes by state, limits.
    pub processes: processes::Config,
    /// Queueing disciplines.
    pub qdisc: qdisc::Config,
    /// Energy used by package and memory.
    pub rapl: rapl::Config,
    /// Scheduler run and wait times by core.
    pub schedstat: schedstat::Config,
    /// SELinux mode.
    pub selinux: selinux::Config,
    /// Kernel slab caches.
    pub slabinfo: slabinfo::Config,
    /// Sockets in use and their memory.
    pub sockstat: sockstat::Config,
    /// Soft interrupts by core.
    pub softirqs: softirqs::Config,
    /// Packet processing backlog by core.
    pub softnet: softnet::Config,
    /// Interrupts, forks, context switches, boot time.
    pub stat: stat::Config,
    /// Swap devices.
    pub swap: swap::Config,
    /// Units by state, from systemctl.
    pub systemd: systemd::Config,
    /// TCP connections by state.
    pub tcpstat: tcpstat::Config,
    /// Metrics from *.prom files.
    pub textfile: textfile::Config,
    /// Thermal zones and cooling devices.
    pub thermal_zone: thermal_zone::Config,
    /// The clock and its source.
    pub time: time::Config,
    /// Clock discipline (NTP) state.
    pub timex: timex::Config,
    /// UDP queue lengths.
    pub udp_queues: udp_queues::Config,
    /// Kernel name and version.
    pub uname: uname::Config,
    /// Every cgroup and systemd unit, in the history.
    pub unit_table: unit_table::Config,
    /// Paging, swapping, OOM kills.
    pub vmstat: vmstat::Config,
    /// Hardware watchdogs.
    pub watchdog: watchdog::Config,
    /// IPsec transform errors.
    pub xfrm: xfrm::Config,
    /// XFS operations.
    pub xfs: xfs::Config,
    /// ZFS ARC and pools.
    pub zfs: zfs::Config,
    /// Memory zones.
    pub zoneinfo: zoneinfo::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev: "/run/udev/data".into(),
            backend: Backend::Native,
            all: false,
            arp: arp::Config::default(),
            bcache: bcache::Config::default(),
            bonding: bonding::Config::default(),
            btrfs: btrfs::Config::default(),
            buddyinfo: buddyinfo::Config::default(),
            cgroups: cgroups::Config::default(),
            conntrack: conntrack::Config::default(),
            cpu: cpu::Config::default(),
            cpu_vulnerabilities: cpu_vulnerabilities::Config::default(),
            cpufreq: cpufreq::Config::default(),
            diskstats: diskstats::Config::default(),
            dmi: dmi::Config::default(),
            edac: edac::Config::default(),
            entropy: entropy::Config::default(),
            filefd: filefd::Config::default(),
            filesystem: filesystem::Config::default(),
            hwmon: hwmon::Config::default(),
            interrupts: interrupts::Config::default(),
            kernel_hung: kernel_hung::Config::default(),
            ksmd: ksmd::Config::default(),
            lnstat: lnstat::Config::default(),
            loadavg: loadavg::Config::default(),
            mdadm: mdadm::Config::default(),
            meminfo: meminfo::Config::default(),
            meminfo_numa: meminfo_numa::Config::default(),
            mountstats: mountstats::Config::default(),
            netclass: netclass::Config::default(),
            netdev: netdev::Config::default(),
            netstat: netstat::Config::default(),
            network_route: network_route::Config::default(),
            nfs: nfs::Config::default(),
            nfsd: nfsd::Config::default(),
            nvme: nvme::Config::default(),
            os: os::Config::default(),
            powersupplyclass: powersupplyclass::Config::default(),
            pressure: pressure::Config::default(),
            process_table: process_table::Config::default(),
            processes: processes::Config::default(),
            qdisc: qdisc::Config::default(),
            rapl: rapl::Config::default(),
            schedstat: schedstat::Config::default(),
            selinux: selinux::Config::default(),
            slabinfo: slabinfo::Config::default(),
            sockstat: sockstat::Config::default(),
            softirqs: softirqs::Config::default(),
            softnet: softnet::Config::default(),
            stat: stat::Config::default(),
            swap: swap::Config::default(),
            systemd: systemd::Config::default(),
            tcpstat: tcpstat::Config::default(),
            textfile: textfile::Config::default(),
            thermal_zone: thermal_zone::Config::default(),
            time: time::Config::default(),
            timex: timex::Config::default(),
            udp_queues: udp_queues::Config::default(),
            uname: uname::Config::default(),
            unit_table: unit_table::Config::default(),
            vmstat: vmstat::Config::default(),
            watchdog: watchdog::Config::default(),
            xfrm: xfrm::Config::default(),
            xfs: xfs::Config::default(),
            zfs: zfs::Config::default(),
            zoneinfo: zoneinfo::Config::default(),
        }
    }
}

impl Config {
    /// Where the trees are.
    pub fn roots(&self) -> Roots {
        Roots {
            procfs: self.procfs.clone(),
            sysfs: self.sysfs.clone(),
            rootfs: self.rootfs.clone(),
            udev: self.udev.clone(),
        }
    }

    /// Would a collector that was built with the other config work just the same with this one?
    pub fn is_same_for(&self, entry: &Entry, other: &Config) -> bool {
        let same_place = self.backend == other.backend && self.roots() == other.roots();
        same_place && (entry.same)(self, other) && self.is_on(entry) == other.is_on(entry)
    }

    /// How often this collector is due; `base` is the interval of those that have none of their own.
    pub fn interval_of(&self, entry: &Entry, base: Duration) -> Duration {
        let own = (entry.common)(self).interval.map(|period| period.0);
        own.or(entry.slow).unwrap_or(base).max(base)
    }

    /// Is this collector on?
    pub fn is_on(&self, entry: &Entry) -> bool {
        (entry.common)(self).enabled.unwrap_or(self.all || entry.on)
    }
}
