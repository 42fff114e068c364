//! The jobs of a running agent: what may be asked of them. Whatever is answered is on the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::RunGap;
use fieldpost_model::job::{Cause, Job, ParamValues, Run, RunState, check_id};
use fieldpost_store::{JobsChange, JobsFile, RunPage, RunQuery, Written};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::config::Config;
use super::keeper_link::Keeper;
use super::launch::{Surroundings, attempt_folder};
use super::output::{self, Record};
use super::presence::Presence;
use super::protocol::Action;
use super::sampling::Samples;
use super::standing::Standing;
use super::state::State;
use super::tally::{JobTally, Key, Tallies};
use super::tasks::{Tasks, faults_of};
use super::ticker::Ticker;
use crate::seal::Seal;

/// Runs that are not over, at most: more are refused until some are.
const N_ACTIVE_MAX: usize = 50_000;
/// Records that are read at a time, at most, and about so many bytes.
pub const N_RECORDS_MAX: usize = 1_000;
const RECORDS_BYTES_MAX: usize = 1 << 20;

/// Who follows the output of a run looks for more of it so often.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(5);
/// And so rarely while there is none.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(200);

/// The time of the wall clock.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// A run that somebody wants.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// Its id, if it is to have a certain one.
    pub id: Option<String>,
    /// What is to be run.
    pub job: Job,
    /// What its parameters are given.
    pub params: ParamValues,
    /// Values of secret variables.
    pub secrets: BTreeMap<String, String>,
    /// Why.
    pub cause: Cause,
    /// Who wants it.
    pub by: String,
    /// Not before this instant.
    pub due_ms: Option<TimeMs>,
}

/// Why a run was not accepted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The job cannot be.
    #[error("{}", .0.iter().map(|(key, text)| format!("{key}: {text}")).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<(String, String)>),
    /// There is a run of this id.
    #[error("there is a run {0} already; give another id, or none")]
    Exists(String),
    /// Too many wait.
    #[error("{0} runs are not over; try again when some are")]
    Busy(usize),
    /// People have taken the agent out of service.
    #[error("this agent takes no new runs: it is {0}; to change that: fieldpost agent set-status online")]
    NotOnline(String),
    /// The agent is about to end.
    #[error("this agent is ending; try again when it is back")]
    Ending,
    /// The disk refused.
    #[error("the run cannot be recorded, and so is not started: {0}")]
    Disk(String),
}

/// What came of a request to end a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// It had not begun, and is called off.
    CalledOff,
    /// It is asked to end, or was sent the signal.
    Asked,
    /// It was being ended already.
    Already,
}

/// Why a run is not ended.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// There is none of this id.
    #[error("there is no run {0}; see: fieldpost runs")]
    Unknown(String),
    /// It is over.
    #[error("run {} is over already: {}", .0.id, .0.state)]
    Over(Box<Run>),
    /// It could not be told.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

/// What all parts of the jobs share.
pub(super) struct Shared {
    pub(super) config: Mutex<Config>,
    pub(super) runs: PathBuf,
    pub(super) file: JobsFile,
    pub(super) clock: Clock,
    pub(super) surroundings: Surroundings,
    pub(super) keeper: Keeper,
    pub(super) state: Mutex<State>,
    pub(super) changed: watch::Sender<u64>,
    /// Told after each commit.
    pub(super) written: watch::Sender<u64>,
    pub(super) runtime: Handle,
    pub(super) ending: AtomicBool,
    pub(super) standing: Standing,
    pub(super) nonces: Mutex<BTreeMap<String, String>>,
    pub(super) tasks: Mutex<Tasks>,
    pub(super) ticker: tokio::sync::Mutex<Option<Ticker>>,
    pub(super) presence: Presence,
    /// Have runs and tasks begun?
    pub(super) going: AtomicBool,
    pub(super) samples: Mutex<Samples>,
    pub(super) tallies: Tallies,
    pub(super) seal: Seal,
    /// Calls of hooks that may be under way.
    pub(super) hook_places: Arc<tokio::sync::Semaphore>,
}

/// The jobs of a running agent. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Jobs {
    pub(super) shared: Arc<Shared>,
}

impl Jobs {
    /// The time.
    pub fn now_ms(&self) -> TimeMs {
        (self.shared.clock)()
    }

    /// Accepts a run. When this answers, the run is on the disk; it begins when its turn comes.
    pub async fn post(&self, new: NewRun) -> Result<Run, PostError> {
        let mut faults = faults_of(&new.job);
        if let Some(Err(text)) = new.id.as_deref().map(check_id) {
            faults.push(("id".to_owned(), text));
        }
        let params = new.job.fill(&new.params).map_err(|more| faults.extend(more)).unwrap_or_default();
        if !faults.is_empty() {
            return Err(PostError::Invalid(faults));
        }
        // What follows a run that was taken is taken, and waits.
        if new.cause == Cause::Asked {
            self.shared.standing.admits()?;
        }
        let id = new.id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let mut run = Run::new(id.clone(), new.job, new.cause, new.by, self.now_ms());
        run.secret_names = new.secrets.keys().cloned().collect();
        run.params = params;
        run.wait_until(new.due_ms);
        self.take_in(vec![(run.clone(), new.secrets)], Vec::new()).await?;
        // It may have begun meanwhile.
        Ok(self.shared.state.lock().get(&id).map_or(run, |active| active.run.clone()))
    }

    /// Has runs written together with other changes, and begun when their turn comes. Those that
    /// are over already are only written.
    pub(super) async fn commit(&self, runs: Vec<Run>, also: Vec<JobsChange>) -> Result<(), PostError> {
        self.take_in(runs.into_iter().map(|run| (run, BTreeMap::new())).collect(), also).await
    }

    async fn take_in(
        &self,
        runs: Vec<(Run, BTreeMap<String, String>)>,
        mut changes: Vec<JobsChange>,
    ) -> Result<(), PostError> {
        if self.shared.ending.load(Ordering::Acquire) {
            return Err(PostError::Ending);
        }
        let mut waiting = Vec::new();
        self.shared.surroundings.failpoint.reach("post_before_commit");
        let written = {
            let mut state = self.shared.state.lock();
            if let Err(error) = self.add_all(&mut state, runs, &mut changes, &mut waiting) {
                take_back(&mut state, &waiting);
                return Err(error);
            }
            self.submit(changes)
        };
        let refused = match written.await {
            Ok(Written::Done) => None,
            Ok(Written::Exists) => {
                Some(PostError::Exists(waiting.first().map_or_else(String::new, |run| run.id.clone())))
            }
            Ok(Written::Failed(error)) => Some(PostError::Disk(error.to_string())),
            Err(_) => Some(PostError::Ending),
        };
        self.shared.surroundings.failpoint.reach("post_after_commit");
        if let Some(refused) = refused {
            take_back(&mut self.shared.state.lock(), &waiting);
            self.dispatch();
            return Err(refused);
        }
        for run in waiting {
            match run.state {
                RunState::Starting => self.begin(run),
                _ => self.accepted(&run),
            }
        }
        Ok(())
    }

    /// Takes runs into the state, and what has to be written of them into the changes.
    fn add_all(
        &self,
        state: &mut State,
        runs: Vec<(Run, BTreeMap<String, String>)>,
        changes: &mut Vec<JobsChange>,
        waiting: &mut Vec<Run>,
    ) -> Result<(), PostError> {
        let n_active = state.len();
        if n_active + runs.len() > N_ACTIVE_MAX {
            return Err(PostError::Busy(n_active));
        }
        let max_runs = self.shared.config.lock().max_runs;
        let is_going = self.shared.going.load(Ordering::Acquire) && self.takes_new();
        for (mut run, secrets) in runs {
            if !secrets.is_empty() {
                let sealed = self.shared.seal.seal(&run.id, &secrets);
                let sealed = sealed.map_err(|error| PostError::Disk(format!("{error:#}")))?;
                changes.push(JobsChange::PutSealed(run.id.clone(), sealed));
            }
            if run.state.is_final() {
                changes.push(JobsChange::AddRun(run.into()));
                continue;
            }
            let is_kept_already = run.cause == Cause::Kept && state.has_any_of(&run.job.name);
            if is_kept_already || !state.add(run.clone(), secrets) {
                return Err(PostError::Exists(run.id));
            }
            // Where nobody waits a run is accepted and begun by one commit instead of two.
            if run.state == RunState::Queued && is_going && state.begins_at_once(&run.id, max_runs) {
                run.attempt = 1;
                run.change(RunState::Starting, self.now_ms(), "");
                if let Some(active) = state.get_mut(&run.id) {
                    active.run.clone_from(&run);
                }
            }
            changes.push(JobsChange::AddRun(run.clone().into()));
            waiting.push(run);
        }
        Ok(())
    }

    /// Has changes written; what became of them comes later.
    pub(super) fn submit(&self, changes: Vec<JobsChange>) -> oneshot::Receiver<Written> {
        let (answer, answered) = oneshot::channel();
        let done = Box::new(move |written| drop(answer.send(written)));
        self.shared.file.submit(changes, done);
        answered
    }

    /// A run that is on the disk waits for its turn, or for its time.
    pub(super) fn accepted(&self, run: &Run) {
        match run.due_ms.filter(|_| run.state == RunState::Scheduled) {
            None => self.shared.state.lock().enqueue(&run.id),
            Some(due_ms) => self.wait_for(run.id.clone(), due_ms),
        }
        self.tell();
        self.dispatch();
    }

    /// Tells whoever waits that something is new.
    pub(super) fn tell(&self) {
        self.shared.changed.send_modify(|number| *number += 1);
    }

    /// A run.
    pub fn run(&self, id: &str) -> anyhow::Result<Option<Run>> {
        if let Some(active) = self.shared.state.lock().get(id) {
            return Ok(Some(active.run.clone()));
        }
        Ok(self.shared.file.run(id)?)
    }

    /// Runs that were there in this span and are forgotten.
    pub fn forgotten_between(&self, from_ms: TimeMs, to_ms: TimeMs) -> anyhow::Result<Option<RunGap>> {
        Ok(self.shared.file.forgotten_between(from_ms, to_ms)?)
    }

    /// The whole id of a run by its id, or by the beginning or end of it if no other has that.
    pub fn id_of(&self, part: &str) -> anyhow::Result<Option<String>> {
        if self.run(part)?.is_some() {
            return Ok(Some(part.to_owned()));
        }
        let mut found = self.shared.file.ids_like(part)?;
        Ok(if found.len() == 1 { found.pop() } else { None })
    }

    /// Runs, newest first.
    pub fn runs(&self, query: &RunQuery) -> anyhow::Result<RunPage> {
        let mut page = self.shared.file.runs(query)?;
        let state = self.shared.state.lock();
        for run in &mut page.runs {
            // What goes on is known better here than on the disk.
            if let Some(active) = state.get(&run.id) {
                run.clone_from(&active.run);
            }
        }
        Ok(page)
    }

    /// Which place a run has in its queue; none if it does not wait.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.shared.state.lock().position(id)
    }

    /// Waits until a run is over, or so long; answers how it stands then.
    pub async fn wait(&self, id: &str, patience: Duration) -> anyhow::Result<Option<Run>> {
        let end = tokio::time::Instant::now() + patience;
        let mut changed = self.shared.changed.subscribe();
        loop {
            let run = self.run(id)?;
            let is_over = run.as_ref().is_none_or(|run| run.state.is_final());
            if is_over || tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                return Ok(run);
            }
        }
    }

    /// What a run has said behind the record of this number, as soon as there is anything, or
    /// after so long; and whether there will be no more.
    pub async fn more(
        &self,
        id: &str,
        after: u64,
        n_max: usize,
        patience: Duration,
    ) -> anyhow::Result<(Vec<Record>, bool)> {
        let end = tokio::time::Instant::now() + patience;
        let mut changed = self.shared.changed.subscribe();
        let mut pause = LOOK_PAUSE_MIN;
        loop {
            let Some(run) = self.run(id)? else { return Ok((Vec::new(), true)) };
            let is_over = run.state.is_final();
            let jobs = self.clone();
            let records = tokio::task::spawn_blocking(move || jobs.records(&run, after, n_max)).await??;
            let now = tokio::time::Instant::now();
            if !records.is_empty() || is_over || now >= end {
                return Ok((records, is_over));
            }
            // Most that changes is of other runs, so that it only shortens the pause.
            let _ = tokio::time::timeout_at(end.min(now + pause), changed.changed()).await;
            tokio::time::sleep(LOOK_PAUSE_MIN).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }

    /// What a run has said behind the record of this number.
    pub fn records(&self, run: &Run, after: u64, n_max: usize) -> anyhow::Result<Vec<Record>> {
        let folder = attempt_folder(&self.shared.runs, &run.id, run.attempt);
        output::read(&folder, after, n_max.min(N_RECORDS_MAX), RECORDS_BYTES_MAX)
            .with_context(|| format!("cannot read the output of run {}", run.id))
    }

    /// Ends a run, or sends it a signal.
    pub async fn kill(&self, id: &str, signal: Option<i32>, by: &str) -> Result<Killed, KillError> {
        let (attempt, nonce) = {
            let mut state = self.shared.state.lock();
            let Some(active) = state.get_mut(id) else {
                drop(state);
                let run = self.shared.file.run(id).map_err(|error| KillError::Failed(error.into()))?;
                return Err(
                    run.map_or_else(|| KillError::Unknown(id.to_owned()), |run| KillError::Over(run.into()))
                );
            };
            if active.is_ending {
                return Ok(Killed::Already);
            }
            let nonce = self.shared.nonces.lock().get(id).cloned();
            match (active.run.state, nonce) {
                (RunState::Scheduled | RunState::Queued, _) => None,
                (RunState::Running | RunState::Stopping, Some(nonce)) => Some((active.run.attempt, nonce)),
                (state, _) if state.is_final() => return Err(KillError::Over(active.run.clone().into())),
                // Whoever starts it looks whether somebody wants its end.
                _ if active.asked_to_end.is_some() => return Ok(Killed::Already),
                _ => {
                    active.asked_to_end = Some((signal, by.to_owned()));
                    return Ok(Killed::Asked);
                }
            }
        }
        .unzip();
        match (attempt, nonce) {
            (Some(attempt), Some(nonce)) => {
                let folder = attempt_folder(&self.shared.runs, id, attempt);
                self.tell_shim(id, &folder, &nonce, signal, by).await
            }
            _ => self.call_off(id, by).await,
        }
    }

    async fn tell_shim(
        &self,
        id: &str,
        folder: &Path,
        nonce: &str,
        signal: Option<i32>,
        by: &str,
    ) -> Result<Killed, KillError> {
        use super::protocol::Reply;
        let action = signal.map_or(Action::Stop, Action::Signal);
        let (folder, nonce, asks) = (folder.to_owned(), nonce.to_owned(), by.to_owned());
        let asked =
            tokio::task::spawn_blocking(move || super::shim_link::ask(&folder, &nonce, &asks, action)).await;
        let reply = match asked {
            Ok(Ok(reply)) => reply,
            // One that does not answer is on its way out; how it ended is known in a moment.
            Ok(Err(_)) => return Ok(Killed::Already),
            Err(error) => return Err(KillError::Failed(error.into())),
        };
        match reply {
            Reply::Done => {
                let ends = signal.is_none_or(|signal| {
                    [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, libc::SIGQUIT].contains(&signal)
                });
                if ends {
                    self.note_stopping(id, by);
                }
                Ok(Killed::Asked)
            }
            Reply::Already | Reply::Over => Ok(Killed::Already),
            Reply::Denied => {
                Err(KillError::Failed(anyhow::anyhow!("the shim of this run knows another agent")))
            }
        }
    }

    fn note_stopping(&self, id: &str, by: &str) {
        let now_ms = self.now_ms();
        let mut state = self.shared.state.lock();
        if let Some(active) = state.get_mut(id)
            && active.run.state == RunState::Running
            // Its end is on its way to the disk: nothing may be written behind that.
            && !active.is_ending
        {
            active.run.change(RunState::Stopping, now_ms, format!("asked by {by}"));
            drop(self.submit(vec![JobsChange::PutRun(active.run.clone().into())]));
        }
        drop(state);
        self.tell();
    }

    async fn call_off(&self, id: &str, by: &str) -> Result<Killed, KillError> {
        let run = {
            let mut state = self.shared.state.lock();
            state.dequeue(id);
            let Some(active) = state.get_mut(id).filter(|active| !active.is_ending) else {
                return Ok(Killed::Already);
            };
            if !matches!(active.run.state, RunState::Scheduled | RunState::Queued) {
                // Its turn came at this very moment.
                active.asked_to_end = Some((None, by.to_owned()));
                return Ok(Killed::Asked);
            }
            active.is_ending = true;
            let mut run = active.run.clone();
            run.change(RunState::Cancelled, self.now_ms(), format!("called off by {by}"));
            run
        };
        self.settle(run).await;
        Ok(Killed::CalledOff)
    }

    /// Forgets a run that is over, with its output.
    pub async fn forget(&self, id: &str) -> Result<(), KillError> {
        if self.shared.state.lock().get(id).is_some() {
            return Err(KillError::Failed(anyhow::anyhow!("run {id} is not over; end it first")));
        }
        let run = self.shared.file.run(id).map_err(|error| KillError::Failed(error.into()))?;
        if run.is_none() {
            return Err(KillError::Unknown(id.to_owned()));
        }
        let jobs = self.clone();
        let id = id.to_owned();
        let removed = tokio::task::spawn_blocking(move || jobs.remove_blocking(&id)).await;
        removed.unwrap_or_else(|error| Err(error.into())).map_err(KillError::Failed)
    }

    /// Removes a run's folder, then its record: what is cut off in between is done the next time.
    pub(super) fn remove_blocking(&self, id: &str) -> anyhow::Result<()> {
        let folder = self.shared.runs.join(id);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
            _ => {}
        }
        match self.shared.file.write(vec![JobsChange::RemoveRun(id.to_owned())]) {
            Written::Failed(error) => anyhow::bail!("cannot forget run {id}: {error}"),
            _ => Ok(()),
        }
    }

    /// What the runs of each job with a name came to, by domain and name.
    pub fn tallies(&self) -> Vec<(Key, JobTally)> {
        self.shared.tallies.all()
    }

    /// Runs that go on, and those that wait for their turn.
    pub fn counts(&self) -> (u32, usize) {
        let state = self.shared.state.lock();
        (state.n_live(), state.n_waiting())
    }

    /// Takes other settings.
    pub fn apply(&self, config: Config) {
        *self.shared.config.lock() = config;
        self.dispatch();
    }

    /// Begins nothing new. Runs that go on do so; the next agent finds them again.
    pub fn stop(&self) {
        self.shared.ending.store(true, Ordering::Release);
    }

    /// Closes the file, with everything written.
    pub fn close(&self) {
        self.stop();
        self.sweep_cgroups();
        self.shared.file.close();
        super::places::leave(&self.shared.surroundings.cgroups);
    }
}

/// Runs that were taken in and are not accepted after all.
fn take_back(state: &mut State, runs: &[Run]) {
    for run in runs {
        if run.state == RunState::Starting {
            state.rests(&run.id);
        }
        state.remove(&run.id);
    }
}
