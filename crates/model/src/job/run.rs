//! A run: one execution of a job, from its acceptance to what it came to and cost.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Enforcement, Job, ParamValues};
use crate::TimeMs;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for its time.
    Scheduled,
    /// It waits for its turn.
    Queued,
    /// Its shim is made.
    Starting,
    /// Its command runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It ended as it should.
    Succeeded,
    /// It ended otherwise, or could not be started.
    Failed,
    /// It took too long, or was silent for too long.
    TimedOut,
    /// Somebody, or a limit, ended it.
    Killed,
    /// It was called off before it began.
    Cancelled,
    /// What became of it is not known: its shim is gone.
    Lost,
    /// The machine went down under it.
    InterruptedByReboot,
    /// It was not let run.
    Refused,
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Scheduled,
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Killed,
        Self::Cancelled,
        Self::Lost,
        Self::InterruptedByReboot,
        Self::Refused,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Killed => "killed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::InterruptedByReboot => "interrupted_by_reboot",
            Self::Refused => "refused",
        }
    }

    /// Is this the end of it?
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Queued | Self::Starting | Self::Running | Self::Stopping)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            format!("\"{text}\" is no state of a run; write one of {}", words.join(", "))
        })
    }
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// To which.
    pub state: RunState,
    /// When.
    pub time_ms: TimeMs,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Why there is this run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// The schedule of its job.
    Slot {
        /// The slot.
        slot_ms: TimeMs,
        /// Was it made up for?
        #[serde(default)]
        late: bool,
    },
    /// The job is kept running.
    Kept,
    /// A run that failed is tried again.
    Retry {
        /// The run before it.
        of: String,
        /// Which try this is: 1 is the first after the run itself.
        number: u32,
    },
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// By itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// By a signal.
    Signalled {
        /// Which.
        signal: i32,
    },
    /// It never began.
    NotStarted {
        /// The code that a shell would give: 127 not found, 126 not to be executed.
        code: i32,
        /// What the system says.
        error: String,
    },
}

impl Outcome {
    /// The one number that a shell would make of it: 128 and the signal.
    pub fn code(&self) -> i32 {
        match self {
            Self::Exited { code } | Self::NotStarted { code, .. } => *code,
            Self::Signalled { signal } => 128 + signal,
        }
    }
}

/// What a run has cost. Counts that nobody could take are 0; `source` says who took them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Processor time in user mode, seconds.
    pub cpu_user_seconds: f64,
    /// In the kernel.
    pub cpu_system_seconds: f64,
    /// The most memory at any instant, bytes.
    pub memory_peak_bytes: u64,
    /// Read from storage, bytes.
    pub io_read_bytes: u64,
    /// Written to storage, bytes.
    pub io_write_bytes: u64,
    /// The most processes at any instant that was sampled.
    pub processes_max: u32,
    /// The most threads.
    pub threads_max: u32,
    /// The most open files.
    pub files_max: u32,
    /// Processes of it that the kernel ended for want of memory.
    pub oom_kills: u32,
    /// Received over the network up to its last sample, bytes; only known of runs that have a network
    /// namespace to themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_received_bytes: Option<u64>,
    /// Sent, the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_sent_bytes: Option<u64>,
    /// `cgroup v2`, `cgroup v1`, `wait4`.
    pub source: String,
}

impl Usage {
    /// Processor time in all, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_user_seconds + self.cpu_system_seconds
    }
}

/// What a run has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputCounts {
    /// Bytes on its standard output.
    pub stdout_bytes: u64,
    /// On its standard error.
    pub stderr_bytes: u64,
    /// Lines in all.
    pub lines: u64,
    /// Bytes that are kept.
    pub kept_bytes: u64,
    /// Bytes between the head and the tail that are not.
    pub dropped_bytes: u64,
    /// Bytes that the disk refused.
    pub lost_bytes: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id: a UUID of version 7, unless one was given.
    pub id: String,
    /// What it is a run of.
    pub job: Job,
    /// What its parameters were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: ParamValues,
    /// Why it is.
    #[serde(default)]
    pub cause: Cause,
    /// Who asked for it, if anybody did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked_by: String,
    /// Where it stands.
    pub state: RunState,
    /// How it came there, the oldest first.
    pub changes: Vec<Change>,
    /// When it was accepted.
    pub created_ms: TimeMs,
    /// When its time comes, if that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<TimeMs>,
    /// When its command began.
    #[serde(default)]
    pub started_ms: Option<TimeMs>,
    /// When it was over.
    #[serde(default)]
    pub ended_ms: Option<TimeMs>,
    /// How often a start was tried; 0: it never was.
    #[serde(default)]
    pub attempt: u32,
    /// Its process, while it runs.
    #[serde(default)]
    pub pid: Option<u32>,
    /// How its command ended.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// What became of its limits.
    #[serde(default)]
    pub limits: Vec<Enforcement>,
    /// What it has cost.
    #[serde(default)]
    pub usage: Usage,
    /// What it has said.
    #[serde(default)]
    pub output: OutputCounts,
    /// Its result: the last message of a result level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<RunData>,
    /// What it told of itself, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, RunStat>,
    /// What is unusual about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<String>,
    /// How long its command took, by a clock that does not jump, milliseconds.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Names of the variables whose values are secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_names: Vec<String>,
}

/// What kind of statistic a command gives of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatKind {
    /// A value that goes up and down.
    #[default]
    Gauge,
    /// A count that is added up.
    Count,
    /// Milliseconds that something took.
    Timing,
    /// How many different ones there were.
    Set,
}

/// What one statistic came to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RunStat {
    /// Its kind.
    pub kind: StatKind,
    /// Its newest value.
    pub last: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// All together.
    pub sum: f64,
    /// How many values there were.
    pub count: u64,
    /// Half of the timings were no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// Ninety-five of a hundred were no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
}

impl RunStat {
    /// The mean of its values; 0 of none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}

/// What a run gave as its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunData {
    /// The level: 20 JSON, 21 YAML, 22 TOML, 23 HRD, 30 a job.
    pub level: u8,
    /// The text.
    pub text: String,
}

impl Run {
    /// A run that was just accepted.
    pub fn new(id: String, job: Job, cause: Cause, asked_by: String, now_ms: TimeMs) -> Self {
        let state = RunState::Queued;
        Self {
            id,
            job,
            params: ParamValues::new(),
            cause,
            asked_by,
            state,
            changes: vec![Change { state, time_ms: now_ms, reason: String::new() }],
            created_ms: now_ms,
            due_ms: None,
            started_ms: None,
            ended_ms: None,
            attempt: 0,
            pid: None,
            outcome: None,
            limits: Vec::new(),
            usage: Usage::default(),
            output: OutputCounts::default(),
            data: None,
            stats: BTreeMap::new(),
            marks: Vec::new(),
            took_ms: None,
            secret_names: Vec::new(),
        }
    }

    /// Its time comes later.
    pub fn wait_until(&mut self, due_ms: Option<TimeMs>) {
        self.due_ms = due_ms.filter(|due_ms| *due_ms > self.created_ms);
        if self.due_ms.is_some() {
            self.state = RunState::Scheduled;
            self.changes[0].state = RunState::Scheduled;
        }
    }

    /// The program and its arguments, with the values of its parameters.
    pub fn argv(&self) -> Vec<String> {
        self.job.filled_argv(&self.params)
    }

    /// Goes on to another state.
    pub fn change(&mut self, state: RunState, time_ms: TimeMs, reason: impl Into<String>) {
        self.state = state;
        self.changes.push(Change { state, time_ms, reason: reason.into() });
        if state.is_final() {
            self.ended_ms = Some(time_ms);
            self.pid = None;
        }
    }

    /// Why it is in its present state.
    pub fn reason(&self) -> &str {
        self.changes.last().map_or("", |change| &change.reason)
    }

    /// How long it waited before it began, milliseconds.
    pub fn waited_ms(&self) -> Option<u64> {
        self.started_ms.map(|started| u64::try_from(started - self.created_ms).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert!("done".parse::<RunState>().unwrap_err().contains("timed_out"));
    }

    #[test]
    fn end_is_noted_with_its_reason() {
        let mut run = Run::new("a".into(), Job::default(), Cause::Asked, "uid 0".into(), 5);
        run.change(RunState::Failed, 9, "exit 3");
        assert_eq!((run.ended_ms, run.reason(), run.changes.len()), (Some(9), "exit 3", 2));
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
    }
}
