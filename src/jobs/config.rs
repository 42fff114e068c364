//! The `jobs` section of agent.yaml.

use std::path::PathBuf;

use fieldpost_model::job::Limits;
use fieldpost_model::{ByteSize, Period};
use serde::{Deserialize, Serialize};

/// More runs at a time than this are a mistake: each is two processes at least.
const MAX_RUNS_MAX: u32 = 10_000;
/// More output of one run than this belongs into a file of its own.
const OUTPUT_MAX: ByteSize = ByteSize(1 << 30);
/// Less would cut single lines.
const OUTPUT_MIN: ByteSize = ByteSize(64 << 10);

/// The `jobs` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// So many runs go on at a time; more wait.
    pub max_runs: u32,
    /// What was over for so long is forgotten, with its output.
    pub keep: Period,
    /// So many runs are remembered at most, the newest.
    pub keep_runs: u64,
    /// So much of the beginning of a run's output is kept.
    pub head: ByteSize,
    /// So much of its end.
    pub tail: ByteSize,
    /// So much output is kept of all runs that are over; that of the oldest goes first.
    pub output_max: ByteSize,
    /// What runs may use whose job does not say so; nothing is limited unless it is set.
    pub limits: Limits,
    /// The folder in which cgroups of runs are made; unset: below the agent's own.
    pub cgroup: Option<PathBuf>,
    /// The folder with the files that define jobs; unset: jobs.d in the config directory.
    pub dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_runs: 100,
            keep: Period::from_secs(30 * 86_400),
            keep_runs: 100_000,
            head: ByteSize(1 << 20),
            tail: ByteSize(4 << 20),
            output_max: ByteSize(1 << 30),
            limits: Limits::default(),
            cgroup: None,
            dir: None,
        }
    }
}

impl Config {
    /// What is wrong with the values, each with its key; empty when all is well.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if !(1..=MAX_RUNS_MAX).contains(&self.max_runs) {
            faults.push(("max_runs".to_owned(), format!("must be from 1 to {MAX_RUNS_MAX}")));
        }
        for (key, size) in [("head", self.head), ("tail", self.tail)] {
            if !(OUTPUT_MIN..=OUTPUT_MAX).contains(&size) {
                faults.push((key.to_owned(), format!("must be from {OUTPUT_MIN} to {OUTPUT_MAX}")));
            }
        }
        if self.keep_runs == 0 {
            faults.push(("keep_runs".to_owned(), "must be 1 at least".to_owned()));
        }
        faults
    }
}
