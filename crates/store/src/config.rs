//! The section `store:` of the config.

use std::path::PathBuf;

use fieldpost_model::{ByteSize, Period};
use serde::{Deserialize, Serialize};

/// The longest window: a file of an hour may hold samples this far outside of it.
pub(crate) const WINDOW_MS_MAX: i64 = 600_000;

/// Where samples are kept, how long, and how much of the disk they may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Data folder; made if it is missing.
    pub path: PathBuf,
    /// Span that is sealed and committed at once, and the most that a crash can lose; at most 10m.
    pub window: Period,
    /// When a window counts as stored.
    pub durability: Durability,
    /// How long each thing is kept.
    pub retention: Retention,
    /// The most bytes that the data folder may take; the oldest go first.
    pub quota: ByteSize,
    /// Bytes of the file system that are left to others, by giving up the oldest.
    pub min_free: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/fieldpost"),
            window: Period::from_secs(10),
            durability: Durability::Full,
            retention: Retention::default(),
            quota: ByteSize(1 << 30),
            min_free: ByteSize(256 << 20),
        }
    }
}

/// When a window counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When it is on the disk: a power cut loses the open window at most.
    #[default]
    Full,
    /// When the system has it: spares SD cards; a power cut may lose the last minutes.
    Relaxed,
}

/// How long each thing is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Samples as they were taken.
    pub raw: Period,
    /// Minimum, maximum, sum, count and last of each minute.
    pub rollup_1m: Period,
    /// The same of each hour.
    pub rollup_1h: Period,
    /// The tables of processes and units.
    pub processes: Period,
    /// The log of the agent itself.
    pub events: Period,
}

/// Seconds in a day.
const DAY_SECONDS: u64 = 86_400;

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw: Period::from_secs(14 * DAY_SECONDS),
            rollup_1m: Period::from_secs(90 * DAY_SECONDS),
            rollup_1h: Period::from_secs(730 * DAY_SECONDS),
            processes: Period::from_secs(7 * DAY_SECONDS),
            events: Period::from_secs(365 * DAY_SECONDS),
        }
    }
}

impl Config {
    /// What is wrong with the values, each with the path of its key; empty when all is well.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut need = |good: bool, key: &str, text: &str| {
            if !good {
                faults.push((key.to_owned(), text.to_owned()));
            }
        };
        need(!self.path.as_os_str().is_empty(), "path", "must name a folder");
        need((1_000..=WINDOW_MS_MAX).contains(&self.window.as_ms()), "window", "must be 1s to 10m");
        need(self.quota.0 >= 8 << 20, "quota", "must be at least 8MiB");
        let retention = [
            (self.retention.raw, "retention.raw"),
            (self.retention.rollup_1m, "retention.rollup_1m"),
            (self.retention.rollup_1h, "retention.rollup_1h"),
            (self.retention.processes, "retention.processes"),
            (self.retention.events, "retention.events"),
        ];
        for (period, key) in retention {
            need(period.as_ms() >= 3_600_000, key, "must be at least 1h");
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_have_no_faults() {
        assert_eq!(Config::default().faults(), []);
    }

    #[test]
    fn faults_name_their_keys() {
        let config = Config { window: Period::from_secs(3_600), quota: ByteSize(1), ..Config::default() };
        let keys: Vec<_> = config.faults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["window", "quota"]);
    }
}
