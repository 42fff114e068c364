//! Collectors at work on a small tree of files, one of which holds the input: the whole way from the kernel's text
//! to a page, over several passes.

use std::path::{Path, PathBuf};

use fieldpost_collectors::{COLLECTORS, Config, Entry, Env};
use fieldpost_model::{Catalog, Owner, Tick};

use super::Ready;
use super::page;

/// Stands between the contents of a file at one pass and at the next.
const PASS_ENDS: u8 = 0x1e;
/// Passes over one input.
const PASSES_MAX: usize = 3;
/// The first pass is at this instant, and each a second after the other.
const START_MS: i64 = 1_700_000_000_000;

/// Collectors, each with the files or folders it is given nonsense in.
pub type Group = &'static [(&'static str, &'static [&'static str])];

/// Text of /proc about the machine itself.
pub const PROC: Group = &[
    ("buddyinfo", &["proc/buddyinfo"]),
    ("cgroups", &["proc/cgroups"]),
    (
        "cpu",
        &[
            "proc/stat",
            "proc/cpuinfo",
            "sys/devices/system/cpu/cpu0/topology",
            "sys/devices/system/cpu/online",
        ],
    ),
    ("entropy", &["proc/sys/kernel/random"]),
    ("filefd", &["proc/sys/fs/file-nr"]),
    ("interrupts", &["proc/interrupts"]),
    ("kernel_hung", &["proc/sys/kernel/hung_task_detect_count"]),
    ("loadavg", &["proc/loadavg"]),
    ("meminfo", &["proc/meminfo"]),
    ("os", &["etc/os-release"]),
    ("pressure", &["proc/pressure"]),
    ("schedstat", &["proc/schedstat"]),
    ("slabinfo", &["proc/slabinfo"]),
    ("softirqs", &["proc/softirqs"]),
    ("stat", &["proc/stat"]),
    ("swap", &["proc/swaps"]),
    ("vmstat", &["proc/vmstat"]),
    ("zoneinfo", &["proc/zoneinfo"]),
];

/// Text about the network.
pub const NET: Group = &[
    ("arp", &["proc/net/arp"]),
    ("conntrack", &["proc/net/stat/nf_conntrack", "proc/sys/net/netfilter"]),
    ("lnstat", &["proc/net/stat"]),
    ("netclass", &["sys/class/net/eth0"]),
    ("netdev", &["proc/net/dev"]),
    ("netstat", &["proc/net/netstat", "proc/net/snmp", "proc/net/snmp6"]),
    ("nfs", &["proc/net/rpc/nfs"]),
    ("nfsd", &["proc/net/rpc/nfsd"]),
    ("sockstat", &["proc/net/sockstat", "proc/net/sockstat6"]),
    ("softnet", &["proc/net/softnet_stat"]),
    ("tcpstat", &["proc/net/tcp", "proc/net/tcp6"]),
    ("udp_queues", &["proc/net/udp", "proc/net/udp6"]),
    ("xfrm", &["proc/net/xfrm_stat"]),
];

/// Text about disks and file systems.
pub const STORAGE: Group = &[
    ("bcache", &["sys/fs/bcache"]),
    ("btrfs", &["sys/fs/btrfs"]),
    ("diskstats", &["proc/diskstats", "udev/data"]),
    ("filesystem", &["proc/1/mountinfo"]),
    ("mdadm", &["proc/mdstat", "sys/block/md0/md"]),
    ("mountstats", &["proc/1/mountstats", "proc/1/mountinfo"]),
    ("nvme", &["sys/class/nvme"]),
    ("xfs", &["sys/fs/xfs"]),
    ("zfs", &["proc/spl"]),
];

/// Attributes in /sys.
pub const SYS: Group = &[
    ("bonding", &["sys/class/net/bond0", "sys/class/net/bonding_masters"]),
    ("cpu_vulnerabilities", &["sys/devices/system/cpu/vulnerabilities"]),
    ("cpufreq", &["sys/devices/system/cpu/cpu0/cpufreq"]),
    ("dmi", &["sys/class/dmi"]),
    ("edac", &["sys/devices/system/edac"]),
    ("hwmon", &["sys/class/hwmon"]),
    ("ksmd", &["sys/kernel/mm/ksm"]),
    ("meminfo_numa", &["sys/devices/system/node"]),
    ("powersupplyclass", &["sys/class/power_supply"]),
    ("rapl", &["sys/class/powercap"]),
    ("thermal_zone", &["sys/class/thermal"]),
    ("time", &["sys/devices/system/clocksource"]),
    ("watchdog", &["sys/class/watchdog"]),
];

/// Everything about single processes and control groups.
pub const PROCESSES: Group = &[
    ("processes", &["proc/210", "proc/loadavg"]),
    ("process_table", &["proc/210", "proc/stat", "etc/passwd"]),
    ("unit_table", &["sys/fs/cgroup"]),
];

/// A collector and the file that holds the input.
struct Case {
    entry: &'static Entry,
    file: PathBuf,
    sound: Vec<u8>,
}

struct Machine {
    config: Config,
    cases: Vec<Case>,
}

/// The collectors of a group over a copy of the tests' own tree. An input is two bytes that choose the case, then
/// the file's contents pass by pass.
pub fn kernel(folder: &Path, group: Group) -> Ready {
    for tree in ["tests/it/fixtures/host", "fuzz/tree"] {
        copy(&repository().join(tree), folder);
    }
    let mut machine = Machine { config: config(folder), cases: Vec::new() };
    for (name, places) in group {
        let entry = COLLECTORS.iter().find(|entry| entry.name == *name).expect("the group names collectors");
        for place in *places {
            machine.add(entry, &folder.join(place));
        }
    }
    let seed = |(position, case): (usize, &Case)| {
        let choice = u16::try_from(position).expect("a group has few cases").to_le_bytes();
        [&choice[..], &case.sound, &[PASS_ENDS], &case.sound].concat()
    };
    let seeds = machine.cases.iter().enumerate().map(seed).collect();
    Ready { seeds, run: Box::new(move |data| machine.run(data)) }
}

/// The textfile collector over a folder of two files, one of which stays sound.
pub fn textfile(folder: &Path) -> Ready {
    let mut config = config(folder);
    config.textfile.directory = vec![folder.display().to_string()];
    let sound = b"# HELP a_total Help.\n# TYPE a_total counter\na_total{b=\"c\"} 1\nd 2\n".to_vec();
    std::fs::write(folder.join("sound.prom"), &sound).expect("the tree can be written");
    std::fs::write(folder.join("input.prom"), &sound).expect("the tree can be written");
    let entry = COLLECTORS.iter().find(|entry| entry.name == "textfile").expect("it is in the list");
    let case = Case { entry, file: folder.join("input.prom"), sound };
    let mut machine = Machine { config, cases: vec![case] };
    let mut seeds = super::text::metrics_text().seeds;
    seeds.iter_mut().for_each(|seed| drop(seed.splice(0..0, [0, 0])));
    Ready { seeds, run: Box::new(move |data| machine.run(data)) }
}

impl Machine {
    /// Adds the file, or every file below the folder.
    fn add(&mut self, entry: &'static Entry, place: &Path) {
        if place.is_dir() && !place.is_symlink() {
            for child in children(place) {
                self.add(entry, &child);
            }
        } else if place.is_file() {
            let sound = std::fs::read(place).expect("a file of the tree can be read");
            self.cases.push(Case { entry, file: place.to_owned(), sound });
        }
    }

    fn run(&mut self, data: &[u8]) {
        let [low, high, contents @ ..] = data else { return };
        let choice = usize::from(u16::from_le_bytes([*low, *high])) % self.cases.len();
        let case = &self.cases[choice];
        let mut tick = Tick::new(Catalog::new(), Owner(0));
        let roots = self.config.roots();
        let mut collector = None;
        for (pass, content) in contents.split(|byte| *byte == PASS_ENDS).take(PASSES_MAX).enumerate() {
            std::fs::write(&case.file, content).expect("a file of the tree can be written");
            if collector.is_none() {
                let env = Env { roots: &roots, config: &self.config, tick: &tick };
                collector = (case.entry.build)(&env).ok();
            }
            let Some(collector) = &mut collector else { continue };
            tick.begin(START_MS + 1_000 * pass as i64);
            if collector.collect(&mut tick).is_ok() {
                page::check(&tick);
            }
            if let Some(table) = collector.table() {
                assert!(table.rows.is_sorted_by_key(|row| row.key), "rows are by rising key");
            }
        }
        // The other cases find a sound tree.
        std::fs::write(&case.file, &case.sound).expect("a file of the tree can be written");
    }
}

fn config(folder: &Path) -> Config {
    Config {
        procfs: folder.join("proc"),
        sysfs: folder.join("sys"),
        rootfs: folder.to_owned(),
        udev: folder.join("udev/data"),
        ..Config::default()
    }
}

/// This file is compiled in two packages, one of which is a folder deeper.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parent = package.parent().filter(|_| package.ends_with("fuzz"));
    parent.unwrap_or(package).to_owned()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the tree can be listed");
    let mut children: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    children.sort();
    children
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder of the tree can be made");
    for child in children(from) {
        let target = to.join(child.file_name().expect("a child has a name"));
        if let Ok(link) = child.read_link() {
            std::os::unix::fs::symlink(link, target).ok();
        } else if child.is_dir() {
            copy(&child, &target);
        } else {
            std::fs::copy(&child, target).expect("a file of the tree can be copied");
        }
    }
}
