//! Facts about this machine that seldom change: system, processors, memory, disks, interfaces,
//! users. Read when asked for, from the trees that the caller names. What a machine does not tell
//! is empty or none.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Roots;
use crate::portable;
use crate::process_stat::boot_seconds;
use crate::read::{list, read_number, read_once, read_text};
use crate::text::{fields, label, lines, number, parse, split_once};

/// What /sys/block counts sizes in, whatever the disk's own sectors are, bytes.
const SECTOR_BYTES: u64 = 512;

/// The operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// Name of this host.
    pub hostname: String,
    /// The distribution's name for people, with its version.
    pub name: String,
    /// The distribution's short name: debian, fedora.
    pub id: String,
    /// The distribution's version.
    pub version: String,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Processor architecture that this program was built for.
    pub architecture: String,
    /// When the machine started, milliseconds since 1970.
    pub boot_ms: Option<i64>,
    /// Maker and model of the machine.
    pub machine: String,
}

/// The processors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model of the first.
    pub model: String,
    /// Maker of the first.
    pub vendor: String,
    /// Sockets in use.
    pub sockets: usize,
    /// Physical cores.
    pub cores: usize,
    /// What the scheduler counts as processors.
    pub threads: usize,
    /// The highest frequency, MHz.
    pub mhz_max: Option<f64>,
}

/// The memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the kernel has to give, bytes.
    pub total_bytes: u64,
    /// What new programs could have now, bytes.
    pub available_bytes: u64,
    /// Swap space, bytes.
    pub swap_total_bytes: u64,
    /// Free swap space, bytes.
    pub swap_free_bytes: u64,
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Name of the device.
    pub name: String,
    /// Model.
    pub model: String,
    /// Size, bytes.
    pub size_bytes: u64,
    /// It turns.
    pub rotational: bool,
    /// It can be taken out.
    pub removable: bool,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Name of the device.
    pub name: String,
    /// Hardware address.
    pub address: String,
    /// Addresses with the length of their network's prefix.
    pub networks: Vec<String>,
    /// Largest packet, bytes.
    pub mtu: Option<u64>,
    /// Speed of the link, Mbit/s; none where it has none or is down.
    pub speed_mbit: Option<u64>,
    /// up, down, unknown.
    pub state: String,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Login name.
    pub name: String,
}

/// The operating system, from os-release, /proc/sys/kernel and the firmware's tables.
pub fn os(roots: &Roots) -> Os {
    let kernel = |file| read_text(&roots.procfs.join("sys/kernel").join(file)).unwrap_or_default();
    let places = ["etc/os-release", "usr/lib/os-release"];
    let text = places.iter().find_map(|place| read_once(&roots.rootfs.join(place)).ok()).unwrap_or_default();
    let board = |file| read_text(&roots.sysfs.join("class/dmi/id").join(file)).unwrap_or_default();
    let boot = read_once(&roots.procfs.join("stat")).ok().and_then(|text| boot_seconds(&text));
    Os {
        hostname: kernel("hostname"),
        name: release_value(&text, b"PRETTY_NAME"),
        id: release_value(&text, b"ID"),
        version: release_value(&text, b"VERSION_ID"),
        kernel: format!("{} {}", kernel("ostype"), kernel("osrelease")).trim().to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        boot_ms: boot.map(|seconds| seconds.saturating_mul(1000)),
        machine: format!("{} {}", board("sys_vendor"), board("product_name")).trim().to_owned(),
    }
}

/// A value of os-release, without its quotes.
fn release_value(text: &[u8], name: &[u8]) -> String {
    let values = lines(text).filter_map(|line| split_once(line, b'=').filter(|(key, _)| *key == name));
    let value = values.map(|(_, value)| value.trim_ascii()).last().unwrap_or_default();
    let quoted = |quote: u8| value.strip_prefix(&[quote])?.strip_suffix(&[quote]);
    label(quoted(b'"').or_else(|| quoted(b'\'')).unwrap_or(value)).into_owned()
}

/// The processors, from /proc/cpuinfo and cpufreq.
pub fn cpu(roots: &Roots) -> Cpu {
    let text = read_once(&roots.procfs.join("cpuinfo")).unwrap_or_default();
    let mut cpu = parse_cpuinfo(&text);
    let kilohertz = read_number(&roots.sysfs.join("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"));
    cpu.mhz_max = kilohertz.ok().map(|kilohertz| kilohertz as f64 / 1000.0).or(cpu.mhz_max);
    cpu
}

fn parse_cpuinfo(text: &[u8]) -> Cpu {
    let mut cpu = Cpu::default();
    let (mut sockets, mut cores) = (HashSet::new(), HashSet::new());
    let mut socket = None;
    for line in lines(text) {
        let Some((name, value)) = split_once(line, b':') else { continue };
        let value = value.trim_ascii();
        match name.trim_ascii() {
            b"processor" if number(value).is_some() => cpu.threads += 1,
            b"model name" if cpu.model.is_empty() => cpu.model = label(value).into_owned(),
            b"vendor_id" if cpu.vendor.is_empty() => cpu.vendor = label(value).into_owned(),
            b"cpu MHz" => {
                let now = parse::<f64>(value).unwrap_or(0.0);
                cpu.mhz_max = Some(cpu.mhz_max.unwrap_or(0.0).max(now));
            }
            b"physical id" => {
                socket = number(value);
                sockets.insert(socket);
            }
            b"core id" => {
                cores.insert((socket, number(value)));
            }
            _ => {}
        }
    }
    // Virtual and ARM machines do not tell about sockets and cores: then each thread is a core.
    cpu.sockets = sockets.len().max(usize::from(cpu.threads > 0));
    cpu.cores = if cores.is_empty() { cpu.threads } else { cores.len() };
    cpu
}

/// The memory, from /proc/meminfo.
pub fn memory(roots: &Roots) -> Memory {
    let text = read_once(&roots.procfs.join("meminfo")).unwrap_or_default();
    let bytes = |name: &[u8]| {
        let values = lines(&text).filter_map(|line| split_once(line, b':').filter(|(key, _)| *key == name));
        let kilobytes = values.filter_map(|(_, value)| number(fields(value).next()?)).next();
        kilobytes.unwrap_or(0).saturating_mul(1024)
    };
    Memory {
        total_bytes: bytes(b"MemTotal"),
        available_bytes: bytes(b"MemAvailable"),
        swap_total_bytes: bytes(b"SwapTotal"),
        swap_free_bytes: bytes(b"SwapFree"),
    }
}

/// The disks that have a size and stand for themselves, from /sys/block.
pub fn disks(roots: &Roots) -> Vec<Disk> {
    let folder = roots.sysfs.join("block");
    let names = list(&folder).unwrap_or_default();
    let disks = names.iter().map(|name| disk(&folder.join(name)));
    disks.filter(|disk| disk.size_bytes > 0 && !is_made_of_memory(&disk.name)).collect()
}

fn is_made_of_memory(name: &str) -> bool {
    ["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind))
}

fn disk(path: &Path) -> Disk {
    let number = |file| read_number(&path.join(file)).unwrap_or(0);
    Disk {
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        model: read_text(&path.join("device/model")).unwrap_or_default(),
        size_bytes: number("size").saturating_mul(SECTOR_BYTES),
        rotational: number("queue/rotational") == 1,
        removable: number("removable") == 1,
    }
}

/// The network interfaces, from /sys/class/net. Their networks are known only of this very
/// machine, not of another tree.
pub fn nics(roots: &Roots) -> Vec<Nic> {
    let folder = roots.sysfs.join("class/net");
    let networks = if roots.sysfs == Path::new("/sys") { portable::networks() } else { Vec::new() };
    let names = list(&folder).unwrap_or_default();
    let folders = names.iter().map(|name| (name, folder.join(name)));
    // A file such as bonding_masters is no interface.
    folders
        .filter(|(_, path)| path.is_dir())
        .map(|(name, path)| {
            let mut nic = nic(&path);
            nic.name = name.to_string_lossy().into_owned();
            let own = networks.iter().filter(|(other, _)| other == name);
            nic.networks = own.flat_map(|(_, networks)| networks.clone()).collect();
            nic
        })
        .collect()
}

fn nic(path: &Path) -> Nic {
    let text = |file| read_text(&path.join(file)).unwrap_or_default();
    Nic {
        name: String::new(),
        address: text("address"),
        networks: Vec::new(),
        mtu: read_number(&path.join("mtu")).ok(),
        speed_mbit: read_number(&path.join("speed")).ok(),
        state: text("operstate"),
    }
}

/// The users in etc/passwd, by rising id; of several names for one id the first counts.
/// Users that only a directory service knows are not among them.
pub fn users(roots: &Roots) -> Vec<User> {
    let text = read_once(&roots.rootfs.join("etc/passwd")).unwrap_or_default();
    let mut users: Vec<User> = lines(&text).filter_map(user).collect();
    users.sort_by_key(|user| user.uid);
    users.dedup_by_key(|user| user.uid);
    users
}

fn user(line: &[u8]) -> Option<User> {
    let mut parts = line.split(|byte| *byte == b':');
    let (name, uid) = (parts.next()?, parts.nth(1)?);
    Some(User { uid: parse(uid)?, name: label(name).into_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::write;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let tree = tempfile::tempdir().unwrap();
        files.iter().for_each(|(file, text)| write(tree.path(), file, text));
        let roots = Roots {
            procfs: tree.path().join("proc"),
            sysfs: tree.path().join("sys"),
            rootfs: tree.path().to_owned(),
            udev: tree.path().join("udev"),
        };
        (tree, roots)
    }

    #[test]
    fn system_is_told() {
        let (_tree, roots) = tree(&[
            ("etc/os-release", "PRETTY_NAME=\"Debian 13\"\nID=debian\nVERSION_ID='13'\n"),
            ("proc/sys/kernel/hostname", "web1\n"),
            ("proc/sys/kernel/ostype", "Linux\n"),
            ("proc/sys/kernel/osrelease", "6.12.1\n"),
            ("proc/stat", "cpu  1 2 3\nbtime 1700000000\n"),
        ]);
        let os = os(&roots);
        assert_eq!((os.name.as_str(), os.id.as_str(), os.version.as_str()), ("Debian 13", "debian", "13"));
        assert_eq!((os.hostname.as_str(), os.kernel.as_str()), ("web1", "Linux 6.12.1"));
        assert_eq!((os.boot_ms, os.machine.as_str()), (Some(1_700_000_000_000), ""));
    }

    #[test]
    fn threads_of_one_core_count_once() {
        let thread = |id, core| {
            format!(
                "processor\t: {id}\nmodel name\t: Fast\ncpu MHz\t: 2{id}00.5\nphysical id\t: 0\ncore id\t: {core}\n\n"
            )
        };
        let text = [thread(0, 0), thread(1, 0), thread(2, 1)].concat();
        let cpu = parse_cpuinfo(text.as_bytes());
        assert_eq!((cpu.sockets, cpu.cores, cpu.threads, cpu.model.as_str()), (1, 2, 3, "Fast"));
        assert_eq!(cpu.mhz_max, Some(2200.5));
        let plain = parse_cpuinfo(b"processor\t: 0\nprocessor\t: 1\n");
        assert_eq!((plain.sockets, plain.cores, plain.threads), (1, 2, 2));
    }

    #[test]
    fn memory_disks_and_interfaces_are_told() {
        let (_tree, roots) = tree(&[
            ("proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 5 kB\n"),
            ("sys/block/sda/size", "8\n"),
            ("sys/block/sda/queue/rotational", "1\n"),
            ("sys/block/sda/device/model", "Old Disk   \n"),
            ("sys/block/loop0/size", "8\n"),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/class/net/eth0/speed", "-1\n"),
            ("sys/class/net/eth0/operstate", "down\n"),
            ("sys/class/net/bonding_masters", "\n"),
        ]);
        assert_eq!(memory(&roots).total_bytes, 10_240);
        assert_eq!(memory(&roots).swap_total_bytes, 0);
        let disk = Disk {
            name: "sda".into(),
            model: "Old Disk".into(),
            size_bytes: 4096,
            rotational: true,
            removable: false,
        };
        assert_eq!(disks(&roots), [disk]);
        let nics = nics(&roots);
        assert_eq!(nics.len(), 1);
        assert_eq!((nics[0].mtu, nics[0].speed_mbit, nics[0].state.as_str()), (Some(1500), None, "down"));
    }

    #[test]
    fn users_are_known_by_id_once() {
        let (_tree, roots) =
            tree(&[("etc/passwd", "ann:x:1000:1000::/:/bin/sh\nroot:x:0:0\ntoor:x:0:0\nbad\n")]);
        let users = users(&roots);
        let names: Vec<_> = users.iter().map(|user| (user.uid, user.name.as_str())).collect();
        assert_eq!(names, [(0, "root"), (1000, "ann")]);
    }

    #[test]
    fn machine_that_tells_nothing_is_no_error() {
        let (_tree, roots) = tree(&[]);
        assert_eq!(os(&roots).hostname, "");
        assert_eq!(cpu(&roots), Cpu::default());
        assert_eq!(memory(&roots), Memory::default());
        assert!(disks(&roots).is_empty() && nics(&roots).is_empty() && users(&roots).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_cpuinfo(&bytes);
            let _ = release_value(&bytes, b"ID");
            let _ = user(&bytes);
        }
    }
}
