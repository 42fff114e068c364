//! The closed list of collectors: read it to know what is measured, where it runs and how often.

use crate::collector::{Entry, entry};

/// Every collector there is, by name: on or off by default, where it runs, every how many seconds
/// if that is not the base interval (0), and what it gives.
#[rustfmt::skip]
pub const COLLECTORS: &[Entry] = &[
    entry!(arp, on, Sampler, 0, "ARP entries by device"),
    entry!(bcache, on, Apart, 10, "bcache sets, devices and caches"),
    entry!(bonding, on, Sampler, 0, "slaves of bonding interfaces"),
    entry!(btrfs, on, Apart, 10, "btrfs allocation and device errors"),
    entry!(buddyinfo, off, Sampler, 0, "free memory fragments by order"),
    entry!(cgroups, off, Apart, 0, "number of cgroups by controller"),
    entry!(conntrack, on, Sampler, 0, "connection tracking entries and limits"),
    entry!(cpu, on, Sampler, 0, "CPU seconds by core and mode, CPU facts"),
    entry!(cpu_vulnerabilities, off, Sampler, 60, "CPU vulnerabilities and mitigations"),
    entry!(cpufreq, on, Apart, 5, "core frequencies and governors"),
    entry!(diskstats, on, Sampler, 0, "disk operations, bytes, times; disk facts"),
    entry!(dmi, on, Apart, 60, "BIOS, board and chassis facts"),
    entry!(edac, on, Apart, 60, "memory errors found by EDAC"),
    entry!(entropy, on, Sampler, 0, "entropy of the kernel's pool"),
    entry!(filefd, on, Sampler, 0, "open file descriptors of the machine"),
    entry!(filesystem, on, Apart, 0, "size, free space and inodes by mount"),
    entry!(hwmon, on, Apart, 10, "temperatures, fans, voltages, power"),
    entry!(interrupts, off, Sampler, 0, "interrupts by line and core"),
    entry!(kernel_hung, on, Sampler, 0, "tasks found hung by the kernel"),
    entry!(ksmd, off, Sampler, 0, "memory deduplication"),
    entry!(lnstat, off, Sampler, 0, "neighbour and routing cache counters"),
    entry!(loadavg, on, Sampler, 0, "load averages"),
    entry!(mdadm, on, Apart, 10, "software RAID arrays"),
    entry!(meminfo, on, Sampler, 0, "memory of the machine"),
    entry!(meminfo_numa, off, Sampler, 0, "memory by NUMA node"),
    entry!(mountstats, off, Apart, 0, "NFS mounts in detail"),
    entry!(netclass, on, Apart, 5, "interface facts: speed, mtu, state"),
    entry!(netdev, on, Sampler, 0, "interface traffic, errors, drops"),
    entry!(netstat, on, Sampler, 0, "protocol counters of IP, TCP, UDP, ICMP"),
    entry!(network_route, off, Apart, 0, "routes by device"),
    entry!(nfs, on, Sampler, 0, "NFS client calls"),
    entry!(nfsd, on, Sampler, 0, "NFS server calls"),
    entry!(nvme, on, Apart, 60, "NVMe device facts"),
    entry!(os, on, Sampler, 60, "the distribution's os-release"),
    entry!(powersupplyclass, on, Apart, 10, "batteries and mains"),
    entry!(pressure, on, Sampler, 0, "pressure stall information"),
    entry!(process_table, on, Apart, 0, "every process, by group and in the history"),
    entry!(processes, off, Apart, 0, "threads and processes by state, limits"),
    entry!(qdisc, off, Apart, 0, "queueing disciplines"),
    entry!(rapl, on, Apart, 5, "energy used by package and memory"),
    entry!(schedstat, on, Sampler, 0, "scheduler run and wait times by core"),
    entry!(selinux, on, Sampler, 60, "SELinux mode"),
    entry!(slabinfo, off, Apart, 10, "kernel slab caches"),
    entry!(sockstat, on, Sampler, 0, "sockets in use and their memory"),
    entry!(softirqs, off, Sampler, 0, "soft interrupts by core"),
    entry!(softnet, on, Sampler, 0, "packet processing backlog by core"),
    entry!(stat, on, Sampler, 0, "interrupts, forks, context switches, boot time"),
    entry!(swap, off, Sampler, 0, "swap devices"),
    entry!(systemd, off, Apart, 15, "units by state, from systemctl"),
    entry!(tcpstat, off, Apart, 5, "TCP connections by state"),
    entry!(textfile, on, Apart, 5, "metrics from *.prom files"),
    entry!(thermal_zone, on, Apart, 10, "thermal zones and cooling devices"),
    entry!(time, on, Sampler, 0, "the clock and its source"),
    entry!(timex, on, Sampler, 0, "clock discipline (NTP) state"),
    entry!(udp_queues, on, Sampler, 5, "UDP queue lengths"),
    entry!(uname, on, Sampler, 0, "kernel name and version"),
    entry!(unit_table, on, Apart, 5, "every cgroup and systemd unit, in the history"),
    entry!(vmstat, on, Sampler, 0, "paging, swapping, OOM kills"),
    entry!(watchdog, on, Apart, 60, "hardware watchdogs"),
    entry!(xfrm, off, Sampler, 0, "IPsec transform errors"),
    entry!(xfs, on, Apart, 0, "XFS operations"),
    entry!(zfs, on, Apart, 0, "ZFS ARC and pools"),
    entry!(zoneinfo, off, Sampler, 10, "memory zones"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(COLLECTORS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
