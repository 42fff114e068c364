//! Tasks: jobs that run by themselves, at their slots or always. A slot and the run it leads to are
//! written together, so that each slot is dealt with once, whatever happens in between.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod of_hub;

use anyhow::Context;
use fieldpost_model::TimeMs;
use fieldpost_model::job::{Cause, Job, Overlap, ParamValues, Queue, Run, RunState};
use fieldpost_store::{JobsChange, RunQuery, TaskRow, Written};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::handle::{Jobs, NewRun, PostError};
use super::row::Levels;
use super::schedule::{Due, SET_BACK_MS, Schedule};
use super::ticker::Ticker;
use crate::http_client::fault_of_url;
use of_hub::Definition;
pub use of_hub::NotTaken;

/// Whatever the scheduler has missed is found after so long.
const SWEEP_PERIOD: Duration = Duration::from_secs(15);
/// Tasks that are looked at at a time.
const N_LOOKS_MAX: usize = 64;
/// Tasks at a time, at most.
const N_TASKS_MAX: usize = 20_000;

/// Where a task was defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// In a file of the host's owner.
    File {
        /// Which.
        path: PathBuf,
    },
    /// By a request.
    Asked,
    /// At a hub.
    Hub {
        /// Which.
        id: String,
    },
}

/// A task.
pub(super) struct Task {
    pub(super) job: Job,
    origin: Origin,
    schedule: Option<Schedule>,
    row: TaskRow,
    /// Starts of a kept job in a row.
    pub(super) n_restarts: u32,
    ticker: Option<Uuid>,
    /// When the scheduler said that its time has come, until somebody has looked at it.
    said_ms: Option<TimeMs>,
}

/// All tasks, by name.
#[derive(Default)]
pub(super) struct Tasks {
    pub(super) all: BTreeMap<String, Task>,
    /// What is remembered of tasks whose definitions are not here yet.
    remembered: HashMap<String, TaskRow>,
}

/// A task as it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskView {
    /// Its definition.
    pub job: Job,
    /// Where that stands.
    pub origin: Origin,
    /// When it runs, for people.
    pub schedule: String,
    /// Was it disabled by somebody?
    pub paused: bool,
    /// Its next slot.
    pub next_ms: Option<TimeMs>,
    /// Its runs that are not over.
    pub active: Vec<String>,
    /// Its newest run.
    pub last: Option<LastRun>,
}

/// The newest run of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastRun {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: RunState,
    /// When it was accepted.
    pub created_ms: TimeMs,
}

/// What whoever has a task run gives it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Values of its parameters.
    pub params: ParamValues,
    /// What it reads on its standard input.
    pub stdin: Option<String>,
}

/// Why a task is not as somebody wishes.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// There is none of this name.
    #[error("there is no job {0}; see: fieldpost jobs")]
    Unknown(String),
    /// It stands in a file.
    #[error("job {0} is defined in {1}; change that file and reload the agent")]
    InFile(String, PathBuf),
    /// A hub has defined it.
    #[error("job {0} is defined at a hub; change it there, or disable it here")]
    AtHub(String),
    /// It goes on, and must not run twice at a time.
    #[error("job {0} still runs as {1}, and its overlap is forbidden")]
    GoesOn(String, String),
    /// There are too many.
    #[error("there are {0} jobs already; remove some")]
    TooMany(usize),
    /// A run of it was not accepted.
    #[error(transparent)]
    Post(#[from] PostError),
}

impl Task {
    fn new(job: Job, origin: Origin, row: TaskRow) -> Self {
        let schedule = Schedule::of(&job).ok().flatten();
        Self { job, origin, schedule, row, n_restarts: 0, ticker: None, said_ms: None }
    }

    pub(super) fn is_on(&self) -> bool {
        self.job.enabled && !self.row.paused
    }

    fn next_ms(&self, now_ms: TimeMs) -> Option<TimeMs> {
        let last_ms = self.row.slot_ms.unwrap_or(now_ms);
        self.schedule.as_ref().filter(|_| self.is_on())?.next(last_ms)
    }

    /// What is due; the slots count as dealt with from now on.
    fn take_due(&mut self, now_ms: TimeMs, here_since_ms: TimeMs) -> Option<Due> {
        let schedule = self.schedule.as_ref().filter(|_| self.job.enabled && !self.row.paused)?;
        let last_ms = self.row.slot_ms.unwrap_or(now_ms);
        // A clock that was set back makes slots of times that come again.
        let last_ms = if last_ms > now_ms + SET_BACK_MS { now_ms } else { last_ms };
        let due = schedule.due(last_ms, now_ms, here_since_ms, self.job.catch_up);
        let slot_ms = due.slot_ms.unwrap_or(last_ms);
        let is_new = self.row.slot_ms != Some(slot_ms);
        self.row.slot_ms = Some(slot_ms);
        self.row.changed_ms = now_ms;
        is_new.then_some(due)
    }
}

/// Faults of a job that need a calendar, beside those it knows itself.
pub fn faults_of(job: &Job) -> Vec<(String, String)> {
    let mut faults = job.faults();
    for (key, levels) in [
        ("loglevels", &job.loglevels),
        ("loglevels_store", &job.loglevels_store),
        ("loglevels_hub", &job.loglevels_hub),
    ] {
        if let Some(Err(text)) = levels.as_deref().map(str::parse::<Levels>) {
            faults.push((key.to_owned(), text));
        }
    }
    for (place, hook) in job.hooks.iter().enumerate() {
        faults.extend(fault_of_url(&hook.url).map(|text| (format!("hooks[{place}].url"), text)));
    }
    faults.extend(Schedule::of(job).err().map(|(key, text)| (key.to_owned(), text)));
    faults
}

fn row_of(name: &str, definition: Option<String>, now_ms: TimeMs) -> TaskRow {
    TaskRow {
        name: name.to_owned(),
        definition,
        paused: false,
        slot_ms: None,
        ticker: None,
        changed_ms: now_ms,
    }
}

impl Jobs {
    /// Takes up what is remembered of tasks. Called once, before any definition.
    pub(super) fn remember_tasks(&self) -> anyhow::Result<()> {
        let mut tasks = self.shared.tasks.lock();
        for row in self.shared.file.tasks()? {
            match row.definition.as_deref().map(serde_json::from_str::<Job>) {
                Some(Ok(job)) => drop(tasks.all.insert(row.name.clone(), Task::new(job, Origin::Asked, row))),
                Some(Err(error)) => match row.definition.as_deref().map(serde_json::from_str::<Definition>) {
                    Some(Ok(Definition { hub, job })) => {
                        let task = Task::new(job, Origin::Hub { id: hub }, row);
                        drop(tasks.all.insert(task.job.name.clone(), task));
                    }
                    _ => tracing::error!(job = row.name, %error, "a job is of another version"),
                },
                None => drop(tasks.remembered.insert(row.name.clone(), row)),
            }
        }
        Ok(())
    }

    /// Replaces what stands in files; each job has been checked.
    pub fn define(&self, files: Vec<(PathBuf, Job)>) {
        let now_ms = self.now_ms();
        let mut changes = Vec::new();
        let mut dropped = Vec::new();
        {
            let mut tasks = self.shared.tasks.lock();
            let names: Vec<String> = files.iter().map(|(_, job)| job.name.clone()).collect();
            let is_gone =
                |task: &Task| matches!(task.origin, Origin::File { .. }) && !names.contains(&task.job.name);
            let gone: Vec<String> =
                tasks.all.values().filter(|task| is_gone(task)).map(|task| task.job.name.clone()).collect();
            for name in gone {
                dropped.extend(tasks.all.remove(&name).and_then(|task| task.ticker));
                changes.push(JobsChange::RemoveTask(name));
            }
            for (path, job) in files {
                let name = job.name.clone();
                let known = tasks.all.remove(&name);
                let ticker = known.as_ref().and_then(|task| task.ticker);
                let row = known.map(|task| task.row).or_else(|| tasks.remembered.remove(&name));
                let mut row = row.unwrap_or_else(|| row_of(&name, None, now_ms));
                row.definition = None;
                row.slot_ms = row.slot_ms.or(Some(now_ms));
                changes.push(JobsChange::PutTask(row.clone()));
                let task = Task { ticker, ..Task::new(job, Origin::File { path }, row) };
                tasks.all.insert(name, task);
            }
        }
        drop(self.submit(changes));
        self.tasks_changed(dropped, None);
    }

    /// Defines a task by request, in place of one that was defined so.
    pub async fn add_task(&self, job: Job) -> Result<(), TaskError> {
        let faults = faults_of(&job);
        if !faults.is_empty() {
            return Err(PostError::Invalid(faults).into());
        }
        if job.name.is_empty() {
            return Err(
                PostError::Invalid(vec![("name".into(), "a job that is kept needs a name".into())]).into()
            );
        }
        let now_ms = self.now_ms();
        if let Ok(Some(schedule @ Schedule::At(_))) = Schedule::of(&job)
            && schedule.next(now_ms).is_none()
        {
            return Err(PostError::Invalid(vec![(
                "at".into(),
                "is over already; name an instant to come".into(),
            )])
            .into());
        }
        let definition = serde_json::to_string(&job).map_err(|error| PostError::Disk(error.to_string()))?;
        let name = job.name.clone();
        let row = TaskRow { slot_ms: Some(now_ms), ..row_of(&name, Some(definition), now_ms) };
        {
            let tasks = self.shared.tasks.lock();
            match tasks.all.get(&name).map(|task| &task.origin) {
                Some(Origin::File { path }) => return Err(TaskError::InFile(name, path.clone())),
                Some(Origin::Hub { .. }) => return Err(TaskError::AtHub(name)),
                None if tasks.all.len() >= N_TASKS_MAX => return Err(TaskError::TooMany(tasks.all.len())),
                _ => {}
            }
        }
        self.written(vec![JobsChange::PutTask(row.clone())]).await?;
        let asked = name.clone();
        let old = self.shared.tasks.lock().all.insert(name, Task::new(job, Origin::Asked, row));
        self.tasks_changed(old.and_then(|task| task.ticker).into_iter().collect(), Some(asked));
        Ok(())
    }

    async fn written(&self, changes: Vec<JobsChange>) -> Result<(), PostError> {
        match self.submit(changes).await {
            Ok(Written::Failed(error)) => Err(PostError::Disk(error.to_string())),
            Ok(_) => Ok(()),
            Err(_) => Err(PostError::Ending),
        }
    }

    /// Forgets a task that was defined by request. Its runs stay.
    pub async fn remove_task(&self, name: &str) -> Result<(), TaskError> {
        let ticker = {
            let mut tasks = self.shared.tasks.lock();
            match tasks.all.get(name) {
                None => return Err(TaskError::Unknown(name.to_owned())),
                Some(Task { origin: Origin::File { path }, .. }) => {
                    return Err(TaskError::InFile(name.to_owned(), path.clone()));
                }
                Some(Task { origin: Origin::Hub { .. }, .. }) => {
                    return Err(TaskError::AtHub(name.to_owned()));
                }
                Some(_) => tasks.all.remove(name).and_then(|task| task.ticker),
            }
        };
        self.written(vec![JobsChange::RemoveTask(name.to_owned())]).await?;
        self.tasks_changed(ticker.into_iter().collect(), Some(name.to_owned()));
        Ok(())
    }

    /// Disables a task or enables it again; a kept one is ended, or begins. Outlives the agent.
    pub async fn pause_task(&self, name: &str, paused: bool, by: &str) -> Result<(), TaskError> {
        let now_ms = self.now_ms();
        let (row, keeps) = {
            let mut tasks = self.shared.tasks.lock();
            let task = tasks.all.get_mut(name).ok_or_else(|| TaskError::Unknown(name.to_owned()))?;
            task.row.paused = paused;
            task.n_restarts = 0;
            // What passed while it was disabled was not missed.
            task.row.slot_ms = Some(now_ms.max(task.row.slot_ms.unwrap_or(now_ms)));
            (task.row.clone(), task.job.keep)
        };
        self.written(vec![JobsChange::PutTask(row)]).await?;
        if keeps && paused {
            for id in self.runs_of(name) {
                // One that ends by itself at this moment needs no killing.
                let _ = self.kill(&id, None, by).await;
            }
        }
        self.tasks_changed(Vec::new(), Some(name.to_owned()));
        Ok(())
    }

    /// Has a task run now, with what the caller gives it.
    pub async fn trigger(&self, name: &str, given: Given, by: &str) -> Result<Run, TaskError> {
        self.trigger_as(None, name, given, by).await
    }

    /// The same as a run of this id.
    pub async fn trigger_as(
        &self,
        id: Option<String>,
        name: &str,
        given: Given,
        by: &str,
    ) -> Result<Run, TaskError> {
        let mut job = {
            let tasks = self.shared.tasks.lock();
            tasks
                .all
                .get(name)
                .map(|task| task.job.clone())
                .ok_or_else(|| TaskError::Unknown(name.to_owned()))?
        };
        if job.overlap == Overlap::Forbid
            && let Some(id) = self.runs_of(name).pop()
        {
            return Err(TaskError::GoesOn(name.to_owned(), id));
        }
        if given.stdin.is_some() && !job.takes_stdin {
            let mut faults = job.fill(&given.params).err().unwrap_or_default();
            let text =
                "this job reads nothing from its caller; its definition would have to say takes_stdin: true";
            faults.push(("stdin".to_owned(), text.to_owned()));
            return Err(PostError::Invalid(faults).into());
        }
        job.stdin = given.stdin.or(job.stdin);
        let new = NewRun { id, job, params: given.params, by: by.to_owned(), ..NewRun::default() };
        Ok(self.post(new).await?)
    }

    /// All tasks, by name.
    pub fn tasks(&self) -> anyhow::Result<Vec<TaskView>> {
        let names: Vec<String> = self.shared.tasks.lock().all.keys().cloned().collect();
        names.iter().filter_map(|name| self.task(name).transpose()).collect()
    }

    /// One task.
    pub fn task(&self, name: &str) -> anyhow::Result<Option<TaskView>> {
        let now_ms = self.now_ms();
        let view = |task: &Task| TaskView {
            job: task.job.clone(),
            origin: task.origin.clone(),
            schedule: task.job.schedule_text(),
            paused: task.row.paused,
            next_ms: task.next_ms(now_ms),
            active: Vec::new(),
            last: None,
        };
        let Some(mut view) = self.shared.tasks.lock().all.get(name).map(view) else { return Ok(None) };
        view.active = self.runs_of(name);
        let query = RunQuery { job: Some(name.to_owned()), limit: 1, ..RunQuery::default() };
        let last = self.runs(&query)?.runs.pop();
        view.last = last.map(|run| LastRun { id: run.id, state: run.state, created_ms: run.created_ms });
        Ok(Some(view))
    }

    fn runs_of(&self, name: &str) -> Vec<String> {
        self.shared.state.lock().of_job(name)
    }

    /// Has the scheduler know what there is, and looks at the one that has changed, or at all.
    fn tasks_changed(&self, dropped: Vec<Uuid>, changed: Option<String>) {
        if !self.shared.going.load(Ordering::Acquire) {
            return;
        }
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            if let Err(error) = jobs.register(dropped, changed.as_deref()).await {
                tracing::error!("tasks go by the sweep only: {error:#}");
            }
            match changed {
                Some(name) => {
                    jobs.look_at(&name).await;
                    jobs.keep_up(&name).await;
                }
                None => jobs.sweep().await,
            }
        });
    }

    /// Of the one that has changed, or of all.
    async fn register(&self, dropped: Vec<Uuid>, changed: Option<&str>) -> anyhow::Result<()> {
        let mut ticker = self.shared.ticker.lock().await;
        let new: Vec<String> = {
            let tasks = self.shared.tasks.lock();
            let is_new = |task: &&Task| task.schedule.is_some() && task.ticker.is_none();
            let meant: Vec<&Task> = match changed {
                Some(name) => tasks.all.get(name).into_iter().collect(),
                None => tasks.all.values().collect(),
            };
            meant.into_iter().filter(is_new).map(|task| task.job.name.clone()).collect()
        };
        // Who has no tasks is not woken twice a second.
        if ticker.is_none() && !new.is_empty() {
            *ticker = Some(self.start_ticker().await?);
        }
        let Some(ticker) = ticker.as_ref() else { return Ok(()) };
        for id in dropped {
            ticker.remove(&id).await;
        }
        for name in new {
            let id = ticker.add(&name).await?;
            let mut tasks = self.shared.tasks.lock();
            if let Some(task) = tasks.all.get_mut(&name) {
                task.ticker = Some(id);
            }
        }
        match changed.map(|name| self.shared.tasks.lock().all.get(name).and_then(|task| task.ticker)) {
            Some(id) => id.iter().for_each(|id| ticker.refresh_one(id)),
            None => ticker.refresh(),
        }
        Ok(())
    }

    async fn start_ticker(&self) -> anyhow::Result<Ticker> {
        let asked = std::sync::Arc::downgrade(&self.shared);
        let next = move |name: &str| {
            let shared = asked.upgrade()?;
            let now_ms = (shared.clock)();
            shared.tasks.lock().all.get(name)?.next_ms(now_ms)
        };
        let told = std::sync::Arc::downgrade(&self.shared);
        let on_tick = move |name: &str| {
            let Some(shared) = told.upgrade() else { return };
            let now_ms = (shared.clock)();
            shared.tasks.lock().all.get_mut(name).map(|task| task.said_ms.get_or_insert(now_ms));
        };
        let started = Ticker::start(std::sync::Arc::new(next), std::sync::Arc::new(on_tick)).await;
        let (ticker, mut hears) = started.context("no scheduler")?;
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            // Looks that go on at the same time share a commit.
            let mut looks = tokio::task::JoinSet::new();
            while let Some(name) = hears.recv().await {
                while looks.try_join_next().is_some() {}
                if looks.len() >= N_LOOKS_MAX {
                    looks.join_next().await;
                }
                let jobs = jobs.clone();
                looks.spawn(async move { jobs.look_at(&name).await });
            }
        });
        Ok(ticker)
    }

    /// Begins with tasks: those that are kept at once, the others at their slots.
    pub(super) fn begin_tasks(&self) {
        self.shared.going.store(true, Ordering::Release);
        self.tasks_changed(Vec::new(), None);
        self.begin_presence();
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            while !jobs.shared.ending.load(Ordering::Acquire) {
                tokio::time::sleep(SWEEP_PERIOD).await;
                jobs.sweep().await;
                if let Some(ticker) = jobs.shared.ticker.lock().await.as_ref() {
                    ticker.refresh();
                }
            }
        });
    }

    /// Looks at every task.
    pub(super) async fn sweep(&self) {
        let names: Vec<String> = self.shared.tasks.lock().all.keys().cloned().collect();
        for name in names {
            self.look_at(&name).await;
            self.keep_up(&name).await;
        }
    }

    /// Deals with the slots of a task that have come. What the scheduler said in time is in time: where very
    /// many come at once the last of them have to wait for their turn.
    async fn look_at(&self, name: &str) {
        let now_ms = self.now_ms();
        let here_since_ms = self.shared.presence.since(now_ms);
        let said_ms = self.shared.tasks.lock().all.get_mut(name).and_then(|task| task.said_ms.take());
        // Slots that come while nothing new is taken are dealt with afterwards, as those of any absence.
        if !self.takes_new() {
            return;
        }
        let (job, due, row, before) = {
            let mut tasks = self.shared.tasks.lock();
            let Some(task) = tasks.all.get_mut(name) else { return };
            let before = task.row.slot_ms;
            let until_ms = said_ms.map_or(now_ms, |said_ms| said_ms.min(now_ms));
            let Some(due) = task.take_due(until_ms, here_since_ms) else { return };
            (task.job.clone(), due, task.row.clone(), before)
        };
        let active = self.runs_of(name);
        let mut runs = Vec::new();
        if let Some((n_slots, first, last)) = due.missed {
            let text = format!("missed {n_slots} slots until now, the first {}", stamp(first));
            runs.push(self.left_out(&job, last, true, text));
        }
        for (slot_ms, late) in &due.runs {
            let (slot_ms, late) = (*slot_ms, *late);
            if job.overlap == Overlap::Forbid
                && let Some(id) = active.first()
            {
                runs.push(self.left_out(
                    &job,
                    slot_ms,
                    late,
                    format!("run {id} still goes on (overlap: forbid)"),
                ));
                continue;
            }
            let serial = due.runs.len() > 1 || matches!(job.overlap, Overlap::Queue | Overlap::Replace);
            runs.push(self.slot_run(&job, slot_ms, late, serial));
        }
        if job.overlap == Overlap::Replace && !due.runs.is_empty() {
            for id in &active {
                // One that ends by itself at this moment makes room as well.
                let _ = self.kill(id, None, "the next slot (overlap: replace)").await;
            }
        }
        if let Err(error) = self.commit(runs, vec![JobsChange::PutTask(row)]).await {
            tracing::error!(job = name, "a slot waits for the next look: {error}");
            if let Some(task) = self.shared.tasks.lock().all.get_mut(name) {
                task.row.slot_ms = before;
            }
        }
    }

    /// The record of slots that have no run.
    fn left_out(&self, job: &Job, slot_ms: TimeMs, late: bool, text: String) -> Run {
        let id = Uuid::now_v7().to_string();
        let mut run = Run::new(id, job.clone(), Cause::Slot { slot_ms, late }, String::new(), self.now_ms());
        run.change(RunState::Cancelled, self.now_ms(), text);
        run
    }

    fn slot_run(&self, job: &Job, slot_ms: TimeMs, late: bool, serial: bool) -> Run {
        let mut job = job.clone();
        if serial && job.queue.is_none() {
            job.queue = Some(Queue { name: format!("job.{}", job.name), width: 1, priority: 0 });
        }
        let due_ms = match job.jitter.as_ms() {
            0 => None,
            jitter_ms => Some(self.now_ms() + Uuid::new_v4().as_u64_pair().1 as i64 % jitter_ms.max(1)),
        };
        let id = Uuid::now_v7().to_string();
        let mut run = Run::new(id, job, Cause::Slot { slot_ms, late }, String::new(), self.now_ms());
        // One that runs by itself has a default for whatever it needs.
        run.params = run.job.fill(&ParamValues::new()).unwrap_or_default();
        run.wait_until(due_ms);
        run
    }
}

fn stamp(time_ms: TimeMs) -> String {
    let time = chrono::DateTime::from_timestamp_millis(time_ms).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
