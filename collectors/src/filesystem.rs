//! Size, free space and inodes by mount, from mountinfo and statfs(2). Local file systems are
//! asked directly; whatever may hang (network, FUSE, anything unknown, and whatever is reached
//! through them) is asked by a prober. A mount that does not answer shows `device_error` and how
//! long it is stuck, loses its sizes (absent rather than stale) and recovers by itself; its last
//! sizes stay available for people, with their age.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fieldpost_model::{Pattern, Period, SeriesId, Tick, TimeMs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env, Stuck};
use crate::config::Common;
use crate::filter::{Filter, default_pattern};
use crate::mountinfo::{MountLine, mounts};
use crate::probe::{Probe, Prober};
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// node_exporter's default.
const MOUNT_POINTS_EXCLUDE: &str =
    "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";

/// node_exporter's default.
const FS_TYPES_EXCLUDE: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$";

/// How long one pass waits for mounts that may hang. A mount that is slower shows its answer at
/// the next pass.
const PATIENCE: Duration = Duration::from_millis(500);

/// File systems whose statfs only reads memory of this kernel, sorted. All others may hang.
const LOCAL: [&str; 44] = [
    "bcachefs",
    "binfmt_misc",
    "bpf",
    "btrfs",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fusectl",
    "hfsplus",
    "hugetlbfs",
    "iso9660",
    "jfs",
    "mqueue",
    "msdos",
    "nilfs2",
    "nsfs",
    "ntfs3",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "reiserfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "ubifs",
    "udf",
    "vfat",
    "xfs",
];

/// Families of a mount that answers, in the order of `Shown::ids`.
const ANSWERED: [(&str, &str); 7] = [
    (DEVICE_ERROR.0, DEVICE_ERROR.1),
    (READONLY.0, READONLY.1),
    ("node_filesystem_size_bytes", "Filesystem size in bytes."),
    ("node_filesystem_free_bytes", "Filesystem free space in bytes."),
    ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes."),
    ("node_filesystem_files", "Filesystem total file nodes."),
    ("node_filesystem_files_free", "Filesystem total free file nodes."),
];

const DEVICE_ERROR: (&str, &str) = (
    "node_filesystem_device_error",
    "Whether an error occurred while getting statistics for the given device.",
);
const READONLY: (&str, &str) = ("node_filesystem_readonly", "Filesystem read-only status.");
const STUCK: (&str, &str) = (
    "fieldpost_filesystem_stuck_seconds",
    "Seconds since a mount that does not answer was asked for its size.",
);

/// The `device_error` label of a mount that is stuck, as node_exporter has it.
const TIMEOUT: &str = "mountpoint timeout";

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval; never shorter than the base interval.
    pub interval: Option<Period>,
    /// Mount points that are not shown.
    pub mount_points_exclude: Option<Pattern>,
    /// The only mount points that are shown.
    pub mount_points_include: Option<Pattern>,
    /// File system types that are not shown.
    pub fs_types_exclude: Option<Pattern>,
    /// The only file system types that are shown.
    pub fs_types_include: Option<Pattern>,
    /// A mount that does not answer for so long counts as stuck.
    pub mount_timeout: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: None,
            interval: None,
            mount_points_exclude: default_pattern(MOUNT_POINTS_EXCLUDE),
            mount_points_include: None,
            fs_types_exclude: default_pattern(FS_TYPES_EXCLUDE),
            fs_types_include: None,
            mount_timeout: Period::from_secs(5),
        }
    }
}

impl Config {
    /// The settings that all have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Filesystem {
    of_init: KeptFile,
    of_self: KeptFile,
    buffer: Vec<u8>,
    known: Vec<u8>,
    rootfs: PathBuf,
    mount_points: Filter,
    fs_types: Filter,
    mount_timeout: Duration,
    prober: Prober,
    mounts: Seen<Mount>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.filesystem;
    let mount_points = Filter::new(
        "mount_points",
        config.mount_points_include.as_ref(),
        config.mount_points_exclude.as_ref(),
        MOUNT_POINTS_EXCLUDE,
    )?;
    let fs_types = Filter::new(
        "fs_types",
        config.fs_types_include.as_ref(),
        config.fs_types_exclude.as_ref(),
        FS_TYPES_EXCLUDE,
    )?;
    Ok(Box::new(Filesystem {
        of_init: KeptFile::new(env.roots.procfs.join("1/mountinfo")),
        of_self: KeptFile::new(env.roots.procfs.join("self/mountinfo")),
        buffer: Vec::new(),
        known: Vec::new(),
        rootfs: env.roots.rootfs.clone(),
        mount_points,
        fs_types,
        mount_timeout: config.mount_timeout.0,
        prober: Prober::default(),
        mounts: Seen::default(),
    }))
}

impl Collector for Filesystem {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.read_mounts()?;
        if self.buffer != self.known {
            self.learn(tick);
            std::mem::swap(&mut self.buffer, &mut self.known);
        }
        for (_, mount) in self.mounts.iter_mut() {
            if mount.is_local {
                let result = statfs(&mount.path);
                mount.record(result, tick);
            } else {
                mount.ask(&self.prober);
            }
        }
        self.collect_answers(tick);
        Ok(())
    }

    fn stuck(&self) -> Vec<Stuck> {
        self.mounts.iter().filter_map(|(_, mount)| mount.stuck(self.mount_timeout)).collect()
    }
}

impl Filesystem {
    /// The mounts of process 1 are the machine's; in a container or under `hidepid` only one's
    /// own are to be had.
    fn read_mounts(&mut self) -> Result<(), CollectError> {
        match self.of_init.read(&mut self.buffer) {
            Ok(()) => Ok(()),
            Err(_) => self.of_self.collect(&mut self.buffer).map(drop),
        }
    }

    /// Takes in a changed list of mounts. Where one is mounted over another of the same device,
    /// point and type, statfs sees the later one, and so its line counts.
    fn learn(&mut self, tick: &Tick) {
        let risky: Vec<Vec<u8>> = mounts(&self.buffer)
            .filter(|line| !is_local(line.fstype))
            .map(|line| line.mount_point.into())
            .collect();
        self.mounts.begin();
        let mut key = Vec::new();
        for line in mounts(&self.buffer) {
            let shown_at = strip_root(&self.rootfs, &line.mount_point);
            if !self.mount_points.allows(&label(shown_at)) || !self.fs_types.allows(&label(line.fstype)) {
                continue;
            }
            key.clear();
            key.extend_from_slice(&[line.source, &*line.mount_point, line.fstype].join(&0));
            let is_local =
                is_local(line.fstype) && !risky.iter().any(|risky| is_below(&line.mount_point, risky));
            let mount = self.mounts.get(&key, || Mount::new(&line, shown_at, &self.rootfs));
            mount.update(&line, is_local, tick);
        }
        self.mounts.end(tick);
    }

    /// Waits for those that were asked in this pass and takes what has come.
    fn collect_answers(&mut self, tick: &mut Tick) {
        let waited_for = |mount: &Mount| !mount.is_local && !mount.is_slow && !mount.probe.is_answered();
        if self.mounts.iter().any(|(_, mount)| waited_for(mount)) {
            let patience = PATIENCE.min(self.mount_timeout.max(Duration::from_millis(1)));
            let mounts = &self.mounts;
            self.prober
                .wait_until(Instant::now() + patience, || !mounts.iter().any(|(_, mount)| waited_for(mount)));
        }
        for (_, mount) in self.mounts.iter_mut().filter(|(_, mount)| !mount.is_local) {
            mount.take(&self.prober, self.mount_timeout, tick);
        }
    }
}

fn is_local(fstype: &[u8]) -> bool {
    LOCAL.binary_search_by(|known| known.as_bytes().cmp(fstype)).is_ok()
}

/// The way to a mount below another one leads through the other one's files.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/") || (above == b"/" && !rest.is_empty()))
}

/// Where the root of the machine is mounted elsewhere (`/host`), mount points are shown without it.
fn strip_root<'a>(rootfs: &Path, mount_point: &'a [u8]) -> &'a [u8] {
    let root = rootfs.as_os_str().as_bytes();
    match mount_point.strip_prefix(root) {
        _ if root == b"/" => mount_point,
        Some(b"") => b"/",
        Some(rest) => rest,
        None => mount_point,
    }
}

/// What statfs tells, in the units of the series: bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sizes {
    /// Size, free, available, inodes, free inodes.
    values: [f64; 5],
}

fn statfs(path: &Path) -> Result<Sizes, Errno> {
    let stat = rustix::fs::statfs(path)?;
    let block = stat.f_bsize as f64;
    let blocks = [stat.f_blocks as f64, stat.f_bfree as f64, stat.f_bavail as f64].map(|n| n * block);
    Ok(Sizes { values: [blocks[0], blocks[1], blocks[2], stat.f_files as f64, stat.f_ffree as f64] })
}

/// A mount that is shown.
struct Mount {
    device: String,
    mount_point: String,
    fstype: String,
    path: PathBuf,
    readonly: bool,
    is_local: bool,
    /// Its last answer took longer than a pass waits: it is asked ahead, for the next pass.
    is_slow: bool,
    device_number: (u64, u64),
    probe: Probe<Result<Sizes, Errno>>,
    shown: Option<Shown>,
    last: Option<(TimeMs, Sizes)>,
}

/// The series that a mount has now. They change with its error, which is a label of them all.
struct Shown {
    error: &'static str,
    ids: Vec<SeriesId>,
}

impl HoldsSeries for Mount {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        if let Some(shown) = &self.shown {
            shown.ids.each(f);
        }
    }
}

impl Mount {
    fn new(line: &MountLine<'_>, shown_at: &[u8], rootfs: &Path) -> Self {
        let inside = shown_at.strip_prefix(b"/").unwrap_or(shown_at);
        Self {
            device: label(line.source).into_owned(),
            mount_point: label(shown_at).into_owned(),
            fstype: label(line.fstype).into_owned(),
            path: rootfs.join(std::ffi::OsStr::from_bytes(inside)),
            readonly: line.readonly,
            is_local: false,
            is_slow: false,
            device_number: (line.major, line.minor),
            probe: Probe::default(),
            shown: None,
            last: None,
        }
    }

    fn update(&mut self, line: &MountLine<'_>, is_local: bool, tick: &Tick) {
        self.readonly = line.readonly;
        self.is_local = is_local;
        if self.device_number != (line.major, line.minor) {
            self.device_number = (line.major, line.minor);
            self.show(None, tick);
        }
    }

    fn ask(&mut self, prober: &Prober) {
        let path = self.path.clone();
        self.probe.ask(prober, move || statfs(&path));
    }

    /// Takes an answer that may hang on. A late one is shown as it is, and the next one asked for
    /// at once without anybody waiting, so that a slow mount still has a sample in every pass.
    fn take(&mut self, prober: &Prober, mount_timeout: Duration, tick: &mut Tick) {
        match self.probe.take() {
            Some(answer) => {
                self.is_slow = answer.took > PATIENCE;
                self.record(answer.value, tick);
                if self.is_slow {
                    self.ask(prober);
                }
            }
            None => {
                self.is_slow = true;
                let age = self.probe.out_for().unwrap_or_default();
                if age >= mount_timeout {
                    self.record_stuck(age, tick);
                }
            }
        }
    }

    fn record(&mut self, result: Result<Sizes, Errno>, tick: &mut Tick) {
        match result {
            Ok(sizes) => {
                self.last = Some((tick.time_ms(), sizes));
                self.show(Some(""), tick);
                let facts = [0.0, f64::from(u8::from(self.readonly))];
                self.set(facts.into_iter().chain(sizes.values).chain([1.0]), tick);
            }
            Err(error) => {
                self.show(Some(error_text(error)), tick);
                self.set([1.0, f64::from(u8::from(self.readonly))].into_iter(), tick);
            }
        }
    }

    fn record_stuck(&mut self, age: Duration, tick: &mut Tick) {
        self.show(Some(TIMEOUT), tick);
        self.set([1.0, f64::from(u8::from(self.readonly)), age.as_secs_f64()].into_iter(), tick);
    }

    fn set(&self, values: impl Iterator<Item = f64>, tick: &mut Tick) {
        let ids = self.shown.iter().flat_map(|shown| &shown.ids);
        ids.zip(values).for_each(|(id, value)| tick.set(*id, value));
    }

    /// Makes these the series that the mount has, and ends those of another error.
    fn show(&mut self, error: Option<&'static str>, tick: &Tick) {
        if self.shown.as_ref().map(|shown| shown.error) == error {
            return;
        }
        self.each(&mut |id| tick.retire(id));
        self.shown = error.map(|error| Shown { error, ids: self.resolve(error, tick) });
    }

    fn resolve(&self, error: &str, tick: &Tick) -> Vec<SeriesId> {
        let (device, mount_point, fstype) = (&*self.device, &*self.mount_point, &*self.fstype);
        let labels =
            [("device", device), ("device_error", error), ("fstype", fstype), ("mountpoint", mount_point)];
        let n_families = if error.is_empty() { ANSWERED.len() } else { 2 };
        let families = ANSWERED[..n_families].iter();
        let mut ids: Vec<SeriesId> = families.map(|(name, help)| tick.gauge(name, help, &labels)).collect();
        let (major, minor) = (self.device_number.0.to_string(), self.device_number.1.to_string());
        match error {
            "" => ids.push(tick.gauge(
                "node_filesystem_mount_info",
                "Filesystem mount information.",
                &[("device", device), ("major", &major), ("minor", &minor), ("mountpoint", mount_point)],
            )),
            TIMEOUT => {
                let labels = [("device", device), ("fstype", fstype), ("mountpoint", mount_point)];
                ids.push(tick.gauge(STUCK.0, STUCK.1, &labels));
            }
            _ => {}
        }
        ids
    }

    fn stuck(&self, mount_timeout: Duration) -> Option<Stuck> {
        let age = self.probe.out_for().filter(|age| !self.is_local && *age >= mount_timeout)?;
        let names = ANSWERED[2..].iter().map(|(name, _)| *name);
        let last = self.last.map(|(time_ms, sizes)| (time_ms, names.zip(sizes.values).collect()));
        Some(Stuck { subject: self.mount_point.clone(), age, last })
    }
}

/// The words of node_exporter (which are those of Go) for what statfs may answer, on every libc.
fn error_text(error: Errno) -> &'static str {
    match error {
        Errno::PERM => "operation not permitted",
        Errno::NOENT => "no such file or directory",
        Errno::IO => "input/output error",
        Errno::NXIO => "no such device or address",
        Errno::ACCESS => "permission denied",
        Errno::NODEV => "no such device",
        Errno::NOTDIR => "not a directory",
        Errno::NAMETOOLONG => "file name too long",
        Errno::NOSYS => "function not implemented",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::OVERFLOW => "value too large for defined data type",
        Errno::NOTCONN => "transport endpoint is not connected",
        Errno::SHUTDOWN => "cannot send after transport endpoint shutdown",
        Errno::CONNABORTED => "software caused connection abort",
        Errno::CONNREFUSED => "connection refused",
        Errno::CONNRESET => "connection reset by peer",
        Errno::TIMEDOUT => "connection timed out",
        Errno::HOSTDOWN => "host is down",
        Errno::HOSTUNREACH => "no route to host",
        Errno::STALE => "stale NFS file handle",
        Errno::REMOTEIO => "remote I/O error",
        Errno::NOKEY => "required key not available",
        _ => "statfs failed",
    }
}

#[cfg(test)]
#[path = "filesystem_tests.rs"]
mod tests;
