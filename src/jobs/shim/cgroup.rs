//! The cgroups of a run: made before its command begins, with its limits; emptied and removed after.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fieldpost_model::job::{Enforcement, Limits, Usage};

use super::super::protocol::{CgroupPlaces, Order};

/// The period over which processor time is shared, microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// Controllers of version 1 that say what a run has cost.
const V1_ACCOUNTS: [&str; 2] = ["cpuacct", "memory"];

/// The cgroups of one run.
#[derive(Debug, Default)]
pub struct Cgroups {
    v2: Option<PathBuf>,
    v2_controllers: Vec<String>,
    v1: Vec<(String, PathBuf)>,
}

impl Cgroups {
    /// Makes what can be made. The run goes on without what cannot.
    pub fn make(order: &Order) -> Self {
        let CgroupPlaces { v2, v2_controllers, v1 } = &order.cgroups;
        let name = format!("{}.{}", order.run, order.attempt);
        let made = |base: &PathBuf| {
            let path = base.join(&name);
            fs::create_dir(&path).ok().map(|()| path)
        };
        let wanted =
            |controller: &str| V1_ACCOUNTS.contains(&controller) || is_needed(controller, &order.limits);
        let v1 = v1.iter().filter(|(controller, _)| wanted(controller));
        Self {
            v2: v2.as_ref().and_then(made),
            v2_controllers: v2_controllers.clone(),
            v1: v1.filter_map(|(controller, base)| Some((controller.clone(), made(base)?))).collect(),
        }
    }

    /// Where they are, that of version 2 first.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.v2.iter().chain(self.v1.iter().map(|(_, path)| path)).cloned().collect()
    }

    fn has_v2(&self, controller: &str) -> Option<&Path> {
        let has = self.v2_controllers.iter().any(|known| known == controller);
        self.v2.as_deref().filter(|_| has)
    }

    fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|(known, _)| known == controller).map(|(_, path)| path.as_path())
    }

    /// Puts a process in.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        self.paths().iter().try_for_each(|path| fs::write(path.join("cgroup.procs"), pid.to_string()))
    }

    /// Sets the limits that cgroups enforce; answers what became of each.
    pub fn limit(&self, limits: &Limits) -> Vec<Enforcement> {
        let mut found = Vec::new();
        if let Some(memory) = limits.memory {
            found.push(self.set(
                "memory",
                "memory",
                &[("memory.max", memory.0.to_string()), ("memory.oom.group", "1".into())],
                &[("memory.limit_in_bytes", memory.0.to_string())],
            ));
        }
        if let Some(cpu) = limits.cpu {
            let quota = (u64::from(cpu.0) * CPU_PERIOD_US / 100).max(1_000);
            let both = format!("{quota} {CPU_PERIOD_US}");
            found.push(self.set(
                "cpu",
                "cpu",
                &[("cpu.max", both)],
                &[("cpu.cfs_period_us", CPU_PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota.to_string())],
            ));
        }
        if let Some(pids) = limits.pids {
            let number = pids.to_string();
            found.push(self.set("pids", "pids", &[("pids.max", number.clone())], &[("pids.max", number)]));
        }
        if limits.io_bytes.is_some() || limits.io_operations.is_some() {
            found.push(self.limit_io(limits));
        }
        found
    }

    /// Writes the files of whichever version has the controller.
    fn set(
        &self,
        limit: &str,
        controller: &str,
        v2: &[(&str, String)],
        v1: &[(&str, String)],
    ) -> Enforcement {
        let (path, files, by) = match (self.has_v2(controller), self.v1(controller)) {
            (Some(path), _) => (path, v2, "cgroup v2"),
            (None, Some(path)) => (path, v1, "cgroup v1"),
            (None, None) => {
                let reason = format!("no cgroup with the controller {controller} can be made here");
                return Enforcement { limit: limit.to_owned(), by: None, reason };
            }
        };
        let mut files = files.iter();
        // The first one is the limit; those behind it only make it better.
        let first = files.next().map_or(Ok(()), |(file, value)| fs::write(path.join(file), value));
        let rest = files.try_for_each(|(file, value)| fs::write(path.join(file), value));
        let result = if by == "cgroup v1" { first.and(rest) } else { first };
        match result {
            Ok(()) => Enforcement { limit: limit.to_owned(), by: Some(by.to_owned()), reason: String::new() },
            Err(error) => Enforcement { limit: limit.to_owned(), by: None, reason: format!("{by}: {error}") },
        }
    }

    fn limit_io(&self, limits: &Limits) -> Enforcement {
        let disks = disks();
        let (bytes, operations) = (limits.io_bytes.map(|bytes| bytes.0), limits.io_operations);
        let mut result = Ok(());
        let mut by = None;
        if let Some(path) = self.has_v2("io") {
            by = Some("cgroup v2".to_owned());
            for disk in &disks {
                let mut line = disk.clone();
                if let Some(bytes) = bytes {
                    line += &format!(" rbps={bytes} wbps={bytes}");
                }
                if let Some(operations) = operations {
                    line += &format!(" riops={operations} wiops={operations}");
                }
                result = result.and(fs::write(path.join("io.max"), line));
            }
        } else if let Some(path) = self.v1("blkio") {
            by = Some("cgroup v1".to_owned());
            for disk in &disks {
                for (name, value) in [("bps", bytes), ("iops", operations)] {
                    let Some(value) = value else { continue };
                    for way in ["read", "write"] {
                        let file = path.join(format!("blkio.throttle.{way}_{name}_device"));
                        result = result.and(fs::write(file, format!("{disk} {value}")));
                    }
                }
            }
        }
        let limit = "io".to_owned();
        match (by, result) {
            (Some(_), Err(error)) => Enforcement { limit, by: None, reason: error.to_string() },
            (None, _) => {
                let reason = "no cgroup with the controller io can be made here".to_owned();
                Enforcement { limit, by: None, reason }
            }
            (Some(by), Ok(())) if by == "cgroup v1" => {
                let reason = "writes that wait in memory are not counted by version 1".to_owned();
                Enforcement { limit, by: Some(by), reason }
            }
            (by, Ok(())) => Enforcement { limit, by, reason: String::new() },
        }
    }

    /// Kills everything in them at once. Answers whether that could be done.
    pub fn kill(&self) -> bool {
        self.v2.as_ref().is_some_and(|path| fs::write(path.join("cgroup.kill"), "1").is_ok())
    }

    /// Processes that the kernel ended in them for want of memory.
    pub fn oom_kills(&self) -> u32 {
        let v2 = self.has_v2("memory").map(|path| path.join("memory.events"));
        let file = v2.or_else(|| self.v1("memory").map(|path| path.join("memory.oom_control")));
        file.and_then(|file| field(&file, "oom_kill")).unwrap_or(0) as u32
    }

    /// What everything in them has cost; `None` where nothing counts it.
    pub fn usage(&self) -> Option<Usage> {
        let mut usage = Usage { oom_kills: self.oom_kills(), ..Usage::default() };
        let v2 = self.v2.as_ref()?;
        let cpu = v2.join("cpu.stat");
        let micros = |name| field(&cpu, name).map(|micros| micros as f64 / 1e6);
        (usage.cpu_user_seconds, usage.cpu_system_seconds) = (micros("user_usec")?, micros("system_usec")?);
        "cgroup v2".clone_into(&mut usage.source);
        let peak = self.has_v2("memory").map(|path| path.join("memory.peak"));
        let peak = peak.or_else(|| self.v1("memory").map(|path| path.join("memory.max_usage_in_bytes")));
        usage.memory_peak_bytes = peak.and_then(|file| number(&file)).unwrap_or(0);
        let io = fs::read_to_string(v2.join("io.stat")).unwrap_or_default();
        let sum = |name: &str| -> u64 {
            let words = io.split_whitespace().filter_map(|word| word.strip_prefix(name));
            words.filter_map(|number| number.parse::<u64>().ok()).sum()
        };
        (usage.io_read_bytes, usage.io_write_bytes) = (sum("rbytes="), sum("wbytes="));
        Some(usage)
    }

    /// Removes them. They have to be empty; those that are not stay for whoever looks later.
    pub fn remove(&self) {
        for path in self.paths() {
            if let Err(error) = fs::remove_dir(&path) {
                super::tell(&format!("cannot remove {}: {error}", path.display()));
            }
        }
    }
}

fn is_needed(controller: &str, limits: &Limits) -> bool {
    match controller {
        "cpu" => limits.cpu.is_some(),
        "pids" => limits.pids.is_some(),
        "blkio" => limits.io_bytes.is_some() || limits.io_operations.is_some(),
        _ => false,
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind this word.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(known, _)| *known == name)?.1.trim().parse().ok()
}

/// The numbers of the whole disks of this machine.
fn disks() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok());
    // Memory that looks like a disk (major numbers 1 and 7) has no limits.
    let numbers = numbers.map(|text| text.trim().to_owned());
    numbers.filter(|number| !number.starts_with("1:") && !number.starts_with("7:")).collect()
}
