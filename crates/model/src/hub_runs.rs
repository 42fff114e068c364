//! The runs of all agents at the hub: one trait, and what goes in and comes out of it. Each is a copy
//! of what its agent keeps, drawn in the order of changes; how it is kept is its implementation's own
//! affair.

use std::collections::BTreeMap;
use std::error::Error;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TimeMs;
use crate::job::{Run, RunStat, RunState};

/// A change of an agent's runs: numbers grow, and a run that changed again has the newer one only.
pub type RunVersion = u64;

/// Where a hub is in the changes of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCursor {
    /// Under which numbering: another one begins anew.
    pub spool: String,
    /// All changes up to this one are here.
    pub version: RunVersion,
}

/// Runs that an agent had forgotten before the hub had heard of their newest changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGap {
    /// The newest of these changes.
    pub version: RunVersion,
    /// So many runs.
    pub n_runs: u64,
    /// Did the hub know some of them, for they were counted together?
    pub at_most: bool,
    /// When the first of them was accepted.
    pub from_ms: TimeMs,
    /// When the last of them ended.
    pub to_ms: TimeMs,
}

/// Where changes begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStart {
    /// The place.
    #[serde(flatten)]
    pub cursor: RunCursor,
    /// What is not there any more behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<RunGap>,
}

/// What a run that goes on uses at this moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveRun {
    /// Its id.
    pub id: String,
    /// Its job.
    pub job: String,
    /// The job's domain.
    pub domain: String,
    /// When its command began.
    pub started_ms: Option<TimeMs>,
    /// The process that was started.
    pub pid: Option<u32>,
    /// When the newest sample was taken; 0: none was yet, and what follows is nothing.
    pub time_ms: TimeMs,
    /// Processor time since its beginning, seconds.
    pub cpu_seconds: f64,
    /// Cores in use, between the newest two samples.
    pub cpu_cores: Option<f64>,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// The most of that so far, bytes.
    pub memory_peak_bytes: u64,
    /// Processes.
    pub processes: u32,
    /// Threads.
    pub threads: u32,
    /// Open files.
    pub files: u32,
    /// Read from storage, bytes a second, between the newest two samples.
    pub read_bytes_per_second: Option<f64>,
    /// Written to storage, bytes a second.
    pub written_bytes_per_second: Option<f64>,
    /// What it has told of itself, by key.
    pub stats: BTreeMap<String, RunStat>,
}

/// The runs of a host that go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveRuns {
    /// The host's time.
    pub now_ms: TimeMs,
    /// The runs, the longest running first.
    pub runs: Vec<LiveRun>,
    /// So many more go on and are left out.
    #[serde(default)]
    pub n_left_out: usize,
}

/// A gap as the hub has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownGap {
    /// The agent's id.
    pub agent_id: String,
    /// What is missing.
    pub gap: RunGap,
    /// When the hub was told.
    pub noted_ms: TimeMs,
}

/// A line of what an agent says of its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunNews {
    /// Where what follows begins: the first line.
    From(RunStart),
    /// A run as it is since this change.
    Run {
        /// The number of the change.
        version: RunVersion,
        /// The run.
        run: Box<Run>,
    },
    /// All tasks of the host, as the agent tells them.
    Tasks(Vec<Value>),
    /// Nothing is new.
    Nothing,
}

/// A run as the hub has it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownRun {
    /// The id of its agent; empty while an order waits for whoever takes it.
    pub agent_id: String,
    /// What was ordered together has the same; empty for what no hub ordered.
    pub batch: String,
    /// The number of its newest change; 0: the agent has not told of it yet.
    pub version: RunVersion,
    /// The run.
    pub run: Run,
}

/// Place of a run in the list: newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunPlace {
    /// When it was accepted.
    pub created_ms: TimeMs,
    /// Its number at the hub.
    pub number: i64,
}

/// Which runs; without any condition all, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunWish {
    /// These, by their whole ids; none named: any.
    pub ids: Vec<String>,
    /// Of these agents, by id; none named: of any.
    pub agents: Vec<String>,
    /// Of this job.
    pub job: Option<String>,
    /// Of jobs with this in their names, whatever the case; of runs without a name, in their command.
    pub job_part: Option<String>,
    /// Of this domain.
    pub domain: Option<String>,
    /// In one of these states; none named: in any.
    pub states: Vec<RunState>,
    /// With all of these tags.
    pub tags: Vec<(String, String)>,
    /// With this in a tag, `name=value`, whatever the case.
    pub tag_part: Option<String>,
    /// Ordered together.
    pub batch: Option<String>,
    /// Accepted at this instant or later.
    pub since_ms: Option<TimeMs>,
    /// Only those that are not over.
    pub going_on: bool,
    /// Behind this one in the list.
    pub after: Option<RunPlace>,
    /// So many at most.
    pub limit: usize,
}

/// Some runs, newest first.
#[derive(Debug, Clone, Default)]
pub struct KnownRuns {
    /// The runs.
    pub runs: Vec<KnownRun>,
    /// Where to go on, if there may be more.
    pub next: Option<RunPlace>,
}

/// Place of a result in the queue: the hub heard of its run's end behind those with lower ones. No place is
/// given a second time.
pub type ResultPlace = i64;

/// How results are taken.
#[derive(Debug, Clone, Default)]
pub struct ResultWish {
    /// Of which runs, and so many at most. Their order is that in which the hub heard of their ends.
    pub runs: RunWish,
    /// Behind this place only: what is before it was looked at.
    pub behind: ResultPlace,
    /// Whoever takes them has until then to say that they are dealt with; none: taken is taken.
    pub lent_until_ms: Option<TimeMs>,
}

/// Results that were taken.
#[derive(Debug, Clone, Default)]
pub struct TakenResults {
    /// Their places, by which they are settled where they are only lent, and their runs.
    pub results: Vec<(ResultPlace, KnownRun)>,
    /// Everything up to here was looked at.
    pub seen: ResultPlace,
    /// When the next one that is lent comes back, unless it is settled before.
    pub next_back_ms: Option<TimeMs>,
}

/// Why the runs could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the hub's runs cannot be used")]
pub struct RunsFault(#[source] Box<dyn Error + Send + Sync>);

impl RunsFault {
    /// For this reason.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

/// The runs of all agents. Synchronous: the caller chooses the thread. What it holds can be asked for
/// again, as long as the agents keep it.
pub trait HubRuns: Send + Sync {
    /// Where the hub is in the changes of an agent.
    fn cursor(&self, agent_id: &str) -> Result<RunCursor, RunsFault>;

    /// Takes changes in, with the cursor behind them: all or none.
    fn take(&self, agent_id: &str, cursor: &RunCursor, runs: &[(RunVersion, Run)]) -> Result<(), RunsFault>;

    /// Takes in what is missing behind this place in the changes of an agent, in place of what was said of
    /// that before: until the place is passed the agent says it each time.
    fn take_gap(
        &self,
        agent_id: &str,
        cursor: &RunCursor,
        gap: Option<&RunGap>,
        now_ms: TimeMs,
    ) -> Result<(), RunsFault>;

    /// What is missing of agents (none named: of any) that ended at this instant or later; the newest
    /// first, so many at most.
    fn gaps(&self, agents: &[String], since_ms: TimeMs, limit: usize) -> Result<Vec<KnownGap>, RunsFault>;

    /// Takes in what an agent says of its tasks.
    fn take_tasks(&self, agent_id: &str, tasks: &[Value], now_ms: TimeMs) -> Result<(), RunsFault>;

    /// What agents have said of their tasks, and when, by agent; of all, or of this one.
    fn tasks(&self, agent_id: Option<&str>) -> Result<Vec<(String, TimeMs, Vec<Value>)>, RunsFault>;

    /// Shows orders as runs, until their agents tell of them: one that has told is believed.
    fn show_orders(&self, orders: &[KnownRun]) -> Result<(), RunsFault>;

    /// The runs of this id, or of this beginning or end of one, two at most: enough to tell whether
    /// there is one.
    fn find(&self, part: &str, agent_id: Option<&str>) -> Result<Vec<KnownRun>, RunsFault>;

    /// Runs, newest first.
    fn runs(&self, wish: &RunWish) -> Result<KnownRuns, RunsFault>;

    /// How many of them each agent has, by its id; `told`: of which it has told itself. Place and limit of the
    /// wish mean nothing here.
    fn n_runs(&self, wish: &RunWish, told: bool) -> Result<BTreeMap<String, usize>, RunsFault>;

    /// Takes results of what was ordered here out of the queue, those that came first before others. Each is
    /// given once, unless it is only lent and comes back; on the disk when this returns.
    fn take_results(&self, wish: &ResultWish, now_ms: TimeMs) -> Result<TakenResults, RunsFault>;

    /// Settles what was lent: it does not come back. Answers the places of which that was too late, or which
    /// were settled before.
    fn settle_results(&self, places: &[ResultPlace], now_ms: TimeMs) -> Result<Vec<ResultPlace>, RunsFault>;

    /// Forgets runs that ended before this instant, or are older than the newest so many.
    fn forget(&self, before_ms: TimeMs, n_kept: u64) -> Result<u64, RunsFault>;

    /// Forgets one run; `false`: there is none.
    fn forget_run(&self, agent_id: &str, id: &str) -> Result<bool, RunsFault>;

    /// Forgets all of an agent.
    fn forget_agent(&self, agent_id: &str) -> Result<(), RunsFault>;
}
