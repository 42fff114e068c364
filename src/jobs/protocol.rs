//! What agent and shim tell each other: the order that a shim is given, the files by which it says
//! that a command began and how it ended, and what may be asked of it while it runs. Either side
//! may be of another version: fields are only ever added, with a default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fieldpost_model::TimeMs;
use fieldpost_model::job::{Enforcement, Limits, Outcome, OutputCounts, RunData, RunStat, Usage};
use serde::{Deserialize, Serialize};

use super::failpoint::Failpoint;

/// The file that says that the command began, or never will.
pub const STARTED_FILE: &str = "started.json";
/// The file that says how it ended.
pub const ENDED_FILE: &str = "exit.json";
/// The socket of a shim.
pub const SOCKET_FILE: &str = "sock";
/// What the command told of itself, by spans of the clock.
pub const TOLD_FILE: &str = "told.jsonl";
/// What that came to in all so far.
pub const TOTALS_FILE: &str = "totals.json";
/// What the run cost, by spans of the clock.
pub const COST_FILE: &str = "cost.jsonl";
/// What a shim says that it should not have to.
pub const SHIM_LOG_FILE: &str = "shim.log";
/// What a shim writes on its standard output once the command runs.
pub const STARTED_WORD: &[u8] = b"started\n";

/// What a shim is to do. It comes as a file without a name on the shim's standard input, for it
/// holds secrets; what the command is to read stands behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The run.
    pub run: String,
    /// Which start of it this is.
    pub attempt: u32,
    /// Whoever knows it may give the shim orders.
    pub nonce: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Values that are masked where the command prints them.
    pub masked: Vec<String>,
    /// The folder that it runs in.
    pub dir: PathBuf,
    /// As whom it runs, if not as the agent.
    pub account: Option<Account>,
    /// 0: never.
    pub timeout_ms: u64,
    /// 0: never.
    pub output_timeout_ms: u64,
    /// Between the request to end and the kill.
    pub kill_grace_ms: u64,
    /// So much of the beginning of its output is kept.
    pub head_bytes: u64,
    /// So much of the end.
    pub tail_bytes: u64,
    /// Is the output read by the level protocol?
    pub levels: bool,
    /// Only these levels are heard: ranges, first and last.
    #[serde(default)]
    pub heard_levels: Option<Vec<(u8, u8)>>,
    /// Of these only such are kept.
    #[serde(default)]
    pub kept_levels: Option<Vec<(u8, u8)>>,
    /// Statistics are gathered over so long.
    #[serde(default = "ten_seconds_ms")]
    pub stats_interval_ms: u64,
    /// Where it ends at once, in tests.
    #[serde(default, skip_serializing_if = "Failpoint::is_none")]
    pub failpoint: Failpoint,
    /// What it may use.
    pub limits: Limits,
    /// Is it refused where a limit cannot be enforced?
    pub limits_required: bool,
    /// Where cgroups may be made.
    pub cgroups: CgroupPlaces,
}

fn ten_seconds_ms() -> u64 {
    10_000
}

/// A user by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// All groups they belong to.
    pub groups: Vec<u32>,
}

/// Where cgroups of runs may be made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CgroupPlaces {
    /// In the one tree of version 2.
    pub v2: Option<PathBuf>,
    /// The controllers that children of that have.
    pub v2_controllers: Vec<String>,
    /// In the trees of version 1, by controller.
    pub v1: BTreeMap<String, PathBuf>,
}

/// A process as nobody can mistake it for another: the number, and when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub start_ticks: u64,
    /// The inode of its pidfd, which is its own on kernels from 6.9 on.
    #[serde(default)]
    pub inode: u64,
}

/// What stands in [`STARTED_FILE`]. The file is made once, by whoever comes first: a shim just
/// before the command begins, or an agent that has to know that it never will.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Start {
    /// The command began.
    Started(Box<Started>),
    /// It never will.
    Void {
        /// When that was settled.
        time_ms: TimeMs,
    },
}

/// A command that began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// When.
    pub time_ms: TimeMs,
    /// During which boot.
    pub boot_id: String,
    /// By which whoever speaks to the shim shows that it means this one.
    pub nonce: String,
    /// The shim.
    pub shim: ProcessId,
    /// The command.
    pub child: ProcessId,
    /// Its cgroups, that of version 2 first.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    /// What became of its limits.
    #[serde(default)]
    pub limits: Vec<Enforcement>,
}

/// What stands in [`ENDED_FILE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// When all of it was over.
    pub time_ms: TimeMs,
    /// How long the command took, by a clock that does not jump, milliseconds.
    pub took_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Who or what ended it, if it did not end by itself.
    #[serde(default)]
    pub why: Option<Why>,
    /// When that was asked for.
    #[serde(default)]
    pub stopping_ms: Option<TimeMs>,
    /// What became of its limits.
    #[serde(default)]
    pub limits: Vec<Enforcement>,
    /// What it has cost.
    #[serde(default)]
    pub usage: Usage,
    /// What it has said.
    #[serde(default)]
    pub output: OutputCounts,
    /// Its result.
    #[serde(default)]
    pub data: Option<RunData>,
    /// What it told of itself, by key.
    #[serde(default)]
    pub stats: BTreeMap<String, RunStat>,
    /// Processes that it left behind, and that were ended after it.
    #[serde(default)]
    pub left_behind: bool,
}

/// Who or what ended a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Why {
    /// It took too long.
    Timeout,
    /// It was silent for too long.
    Silence,
    /// Somebody asked for its end.
    Asked {
        /// Who.
        by: String,
    },
    /// The kernel, for want of memory.
    OutOfMemory,
    /// It was not let run.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What may be asked of a shim, a line of JSON on its socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// The shim's nonce.
    pub nonce: String,
    /// Who asks.
    pub by: String,
    /// What for.
    pub action: Action,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// End it: a request, then the kill.
    Stop,
    /// Send this signal to the command and its group.
    Signal(i32),
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is being done.
    Done,
    /// It was being ended already.
    Already,
    /// The command has ended.
    Over,
    /// Not from you.
    Denied,
}
