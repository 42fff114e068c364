//! CPU time of this process and of others, in nanoseconds, from the scheduler's own counts.

use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that this process has used, all of its threads together, ended ones too.
pub fn own() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// CPU time of a process and of its descendants. The kernel keeps nanoseconds only for threads
/// that live: look often enough, and what ended in between is counted up to the look before.
pub struct Meter {
    root: u32,
    threads: HashMap<(u32, u32), u64>,
}

impl Meter {
    /// Meters this process from its start.
    pub fn new(pid: u32) -> Self {
        Self { root: pid, threads: HashMap::new() }
    }

    /// The CPU time used so far.
    pub fn look(&mut self) -> Duration {
        for pid in family(self.root) {
            for thread in numbers(&format!("/proc/{pid}/task")) {
                let text = read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
                if let Some(ns) = text.split(' ').next().and_then(|ns| ns.parse().ok()) {
                    self.threads.insert((pid, thread), ns);
                }
            }
        }
        Duration::from_nanos(self.threads.values().sum())
    }

    /// The same by the kernel's coarse count (10 ms), which has ended threads too.
    pub fn coarse(&self) -> Duration {
        let ticks = |pid: u32| {
            let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
            fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()
        };
        Duration::from_millis(10 * family(self.root).into_iter().map(ticks).sum::<u64>())
    }
}

/// Resident memory of a process and its descendants, and the anonymous part of it, MiB.
pub fn memory_mib(root: u32) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for pid in family(root) {
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        sums.0 += kib("VmRSS:").unwrap_or(0.0) / 1024.0;
        sums.1 += kib("RssAnon:").unwrap_or(0.0) / 1024.0;
    }
    sums
}

/// The process and all that descend from it.
fn family(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for thread in numbers(&format!("/proc/{pid}/task")) {
            let children = read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

fn numbers(folder: &str) -> Vec<u32> {
    let entries = read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The one in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
