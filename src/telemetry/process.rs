//! What this process costs, as the kernel that runs it says, whatever tree the collectors read.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use fieldpost_model::USER_HZ;
use rustix::process::{Resource, getrlimit};

use super::own::Readings;

/// What this process has used and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// User and system CPU time, seconds.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: f64,
    /// Start, seconds after boot.
    pub started_seconds: f64,
    /// Virtual memory, bytes.
    pub virtual_bytes: f64,
    /// Resident memory, bytes.
    pub rss_bytes: f64,
}

impl Cost {
    /// Of this moment; nothing where /proc cannot be read.
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Of another process, at this moment.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads /proc/PID/stat (proc_pid_stat(5)); the name may hold anything, so what counts begins
    /// after the last parenthesis.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |position: usize| fields.get(position)?.parse::<f64>().ok();
        let hertz = f64::from(USER_HZ);
        Some(Self {
            cpu_seconds: (number(11)? + number(12)?) / hertz,
            threads: number(17)?,
            started_seconds: number(19)? / hertz,
            virtual_bytes: number(20)?,
            rss_bytes: number(21)? * rustix::param::page_size() as f64,
        })
    }
}

/// Under the names that every Prometheus client uses.
pub(super) fn read(readings: &mut Readings) {
    if let Some(cost) = Cost::now() {
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory.", Some(cost.rss_bytes)),
            ("process_virtual_memory_bytes", "Virtual memory.", Some(cost.virtual_bytes)),
            ("process_threads", "Threads.", Some(cost.threads)),
            (
                "process_start_time_seconds",
                "Start time since the epoch, in seconds.",
                booted_seconds().map(|boot| boot + cost.started_seconds),
            ),
            ("process_open_fds", "Open file descriptors.", n_descriptors()),
        ];
        let cpu = cost.cpu_seconds;
        readings.counter("process_cpu_seconds_total", "User and system CPU time.", &[], cpu);
        for (name, help, value) in gauges {
            value.into_iter().for_each(|value| readings.gauge(name, help, &[], value));
        }
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        readings.gauge("process_max_fds", "Most file descriptors allowed.", &[], limit as f64);
    }
}

/// Boot, seconds since the epoch. Read once, so that the start never moves.
fn booted_seconds() -> Option<f64> {
    static BOOTED: OnceLock<Option<f64>> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
    })
}

/// Since Linux 6.2 the size of the folder is the number; before, it is 0 and they are counted.
fn n_descriptors() -> Option<f64> {
    let folder = "/proc/self/fd";
    match std::fs::metadata(folder).ok()?.size() {
        0 => Some(std::fs::read_dir(folder).ok()?.count() as f64),
        n => Some(n as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_line_is_read_behind_a_name_with_parentheses() {
        let line = "12 (a) b) S 1 2 3 0 -1 0 5 6 7 8 40 30 0 0 20 0 9 0 1234 5678 99 0\n";
        let cost = Cost::parse(line).unwrap();
        assert_eq!((cost.cpu_seconds, cost.threads, cost.started_seconds), (0.7, 9.0, 12.34));
        assert_eq!(cost.rss_bytes, 99.0 * rustix::param::page_size() as f64);
    }

    #[test]
    fn this_process_holds_memory_and_descriptors() {
        assert!(Cost::now().unwrap().rss_bytes > 0.0);
        assert!(n_descriptors().unwrap() >= 3.0);
    }
}
