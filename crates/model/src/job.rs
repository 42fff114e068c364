//! Jobs and runs as types: what to run, when, where and with which limits; and what became of each
//! execution. One type for YAML files, for JSON and for the disk.

mod check;
mod limits;
mod params;
mod run;
mod schedule;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use check::{JOB_NAME_BYTES_MAX, check_id, check_job_name};
pub use limits::{CpuShare, Enforcement, Limits};
pub use params::{Param, ParamKind, ParamValues, Plain, VARIABLE_PREFIX};
pub use run::{Cause, Change, Outcome, OutputCounts, Run, RunData, RunStat, RunState, StatKind, Usage};
pub use schedule::{CatchUp, Overlap};

use crate::Period;

/// The version of the type itself.
const VERSION: u32 = 1;

/// A job: what to run, when, and with which limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Job {
    /// Version of this description.
    pub version: u32,
    /// Its name, by which it is found; recurring jobs need one.
    pub name: String,
    /// Whose it is: a label of its series, for those who share a host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// The program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// A line for /bin/sh, instead of `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Variables of its environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are secret: the names, and the files in which the values are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_files: BTreeMap<String, PathBuf>,
    /// What whoever has it run may fill in: `{{name}}` in args and env.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
    /// What it reads on its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// May whoever has it run give what it reads, in place of `stdin`?
    #[serde(skip_serializing_if = "is_false")]
    pub takes_stdin: bool,
    /// The folder that it runs in; the home of its user without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// As whom it runs; the agent's own user without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// In which group; that of the user without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Words to find its runs by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A run is ended after so long; 0: never.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: Period,
    /// A run is ended when it has said nothing for so long; 0: never.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_timeout: Period,
    /// Between the request to end and the kill.
    pub kill_grace: Period,
    /// Is it to run whenever the agent runs?
    #[serde(skip_serializing_if = "is_false")]
    pub keep: bool,
    /// What is done when a kept job ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// It runs each so often, from midnight of 1970 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
    /// It runs at times of five or six fields, as crontab(5) has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA zone of `cron` and `at`; UTC without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// It runs once, at this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Each slot begins up to so much later, by chance.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter: Period,
    /// Which of the slots that were missed are made up for.
    pub catch_up: CatchUp,
    /// What a slot does while the run before it goes on.
    pub overlap: Overlap,
    /// Runs of one queue wait for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// What a run may use.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Is a run refused where a limit cannot be enforced?
    #[serde(skip_serializing_if = "is_false")]
    pub limits_required: bool,
    /// How its output is read.
    pub output: OutputKind,
    /// Its samples are gathered over so long.
    pub stats_interval: Period,
    /// The exit codes that mean success.
    pub success_codes: Vec<i32>,
    /// Only output of these levels is heard: `1,2,6-9`; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loglevels: Option<String>,
    /// Of what is heard only these levels are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loglevels_store: Option<String>,
    /// Of what is stored only these levels are told to hubs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loglevels_hub: Option<String>,
    /// Who is told how its runs end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// A run that failed is followed by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Does its schedule count?
    pub enabled: bool,
}

fn is_zero(period: &Period) -> bool {
    period.0.is_zero()
}

fn is_false(word: &bool) -> bool {
    !word
}

impl Default for Job {
    fn default() -> Self {
        Self {
            version: VERSION,
            name: String::new(),
            domain: String::new(),
            command: String::new(),
            args: Vec::new(),
            shell: None,
            env: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            params: Vec::new(),
            stdin: None,
            takes_stdin: false,
            dir: None,
            user: None,
            group: None,
            tags: BTreeMap::new(),
            timeout: Period::default(),
            output_timeout: Period::default(),
            kill_grace: Period::from_secs(10),
            keep: false,
            restart: None,
            every: None,
            cron: None,
            tz: None,
            at: None,
            jitter: Period::default(),
            catch_up: CatchUp::None,
            overlap: Overlap::Forbid,
            queue: None,
            limits: Limits::default(),
            limits_required: false,
            output: OutputKind::Plain,
            stats_interval: Period::from_secs(10),
            success_codes: vec![0],
            loglevels: None,
            loglevels_store: None,
            loglevels_hub: None,
            hooks: Vec::new(),
            retry: None,
            enabled: true,
        }
    }
}

impl Job {
    /// The program and its arguments, as they are given to the kernel.
    pub fn argv(&self) -> Vec<String> {
        match &self.shell {
            Some(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            None => std::iter::once(&self.command).chain(&self.args).cloned().collect(),
        }
    }

    /// Does it run by itself, again and again or once at a time?
    pub fn is_scheduled(&self) -> bool {
        self.every.is_some() || self.cron.is_some() || self.at.is_some()
    }

    /// When it runs, for people: `every 30s`, `cron */5 * * * * Europe/Berlin`.
    pub fn schedule_text(&self) -> String {
        let zone = self.tz.as_deref().map_or_else(String::new, |tz| format!(" {tz}"));
        match (&self.every, &self.cron, &self.at) {
            (Some(every), _, _) => format!("every {every}"),
            (_, Some(cron), _) => format!("cron {cron}{zone}"),
            (_, _, Some(at)) => format!("at {at}{zone}"),
            _ if self.keep => "kept".to_owned(),
            _ => "on demand".to_owned(),
        }
    }
}

/// How a kept job comes back after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// So many times in a row at most; 0: without an end.
    pub max: u32,
    /// The first pause; each following one is twice as long, up to five minutes.
    pub backoff: Period,
    /// After it has run for so long, pauses and counts begin anew.
    pub reset_after: Period,
}

impl Default for Restart {
    fn default() -> Self {
        Self { max: 0, backoff: Period::from_secs(1), reset_after: Period::from_secs(300) }
    }
}

/// How a run that failed is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// So many more runs at most.
    pub max: u32,
    /// Which outcomes are tried again.
    pub on: Vec<RunState>,
    /// The first pause; each following one is twice as long, up to five minutes.
    pub backoff: Period,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max: 1,
            on: vec![RunState::Failed, RunState::TimedOut, RunState::Lost],
            backoff: Period::from_secs(1),
        }
    }
}

/// Who is told how a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Of which ends.
    #[serde(default = "failures")]
    pub on: Vec<RunState>,
    /// Where it is posted to: https, or http on this machine.
    pub url: String,
    /// The file with the key by which the body is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

fn failures() -> Vec<RunState> {
    vec![RunState::Failed, RunState::TimedOut, RunState::Killed, RunState::Lost]
}

/// A named queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// So many of its runs go on at a time.
    #[serde(default = "one")]
    pub width: u32,
    /// Higher ones go first.
    #[serde(default)]
    pub priority: i32,
}

fn one() -> u32 {
    1
}

/// How the output of a run is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// As bytes: standard output is level 1, standard error level 2.
    #[default]
    Plain,
    /// By the level protocol: `N::text` and blocks `N:::` to `:::`.
    Levels,
}
