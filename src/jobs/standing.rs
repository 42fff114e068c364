//! The STATUS of this agent, as people set it: online; offline or in maintenance, when what runs is
//! finished and nothing new begins. It outlives the agent. Also the ways in which an agent leaves its
//! work: when nothing runs, or by ending all that does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{AgentStatus, Status};
use fieldpost_model::job::{Cause, RunState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::durable::{self, Sync};
use super::handle::{Jobs, KillError, Killed, PostError};

/// The file within the jobs' folder.
const FILE: &str = "status.json";
/// Runs that are ended at the same time: each asks its shim from a thread.
const N_KILLS_MAX: usize = 64;

/// What stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    status: AgentStatus,
    /// Is the agent to be started anew as soon as it is online?
    #[serde(default)]
    restart: bool,
}

/// The status, and what hangs on it.
pub(super) struct Standing {
    path: PathBuf,
    kept: Mutex<Kept>,
    /// Is nothing new begun because the agent ends when nothing runs?
    leaving: AtomicBool,
    /// Tells that the agent is to be started anew.
    restarts: Arc<Notify>,
    /// One change at a time reaches the disk.
    writing: tokio::sync::Mutex<()>,
}

/// What came of ending all runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KilledAll {
    /// They had not begun, and are called off.
    pub called_off: usize,
    /// They are asked to end, or were sent the signal.
    pub asked: usize,
    /// They were being ended already.
    pub already: usize,
    /// They could not be told.
    pub failed: usize,
}

fn online(now_ms: TimeMs) -> AgentStatus {
    AgentStatus { status: Status::Online, comment: String::new(), since_ms: now_ms, by: String::new() }
}

impl Standing {
    /// As the agent before this one has left it. Where that cannot be read nothing new is taken
    /// until somebody has looked.
    pub(super) fn open(folder: &Path, now_ms: TimeMs) -> Self {
        let path = folder.join(FILE);
        let kept = match durable::read::<Kept>(&path) {
            // The restart that was asked for is the one that has just been.
            Ok(kept) => {
                Kept { status: kept.map_or_else(|| online(now_ms), |kept| kept.status), restart: false }
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the status of this agent cannot be read; nothing new is taken");
                let comment = format!("{FILE} cannot be read");
                let status = Status::Maintenance;
                Kept { status: AgentStatus { status, comment, ..online(now_ms) }, restart: false }
            }
        };
        Self {
            path,
            kept: Mutex::new(kept),
            leaving: AtomicBool::new(false),
            restarts: Arc::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn is_online(&self) -> bool {
        self.kept.lock().status.status == Status::Online
    }

    /// May somebody have something run?
    pub(super) fn admits(&self) -> Result<(), PostError> {
        if self.leaving.load(Ordering::Acquire) {
            return Err(PostError::Ending);
        }
        match &self.kept.lock().status {
            AgentStatus { status: Status::Online, .. } => Ok(()),
            status => Err(PostError::NotOnline(words(status))),
        }
    }
}

/// `maintenance (disk is being replaced)`.
fn words(status: &AgentStatus) -> String {
    let AgentStatus { status, comment, .. } = status;
    let is_new = !comment.is_empty() && comment != status.as_str();
    if is_new { format!("{status} ({comment})") } else { status.to_string() }
}

impl Jobs {
    /// Is anything new begun?
    pub(super) fn takes_new(&self) -> bool {
        let standing = &self.shared.standing;
        let ends = self.shared.ending.load(Ordering::Acquire) || standing.leaving.load(Ordering::Acquire);
        !ends && standing.is_online()
    }

    /// What people say of this agent.
    pub fn status(&self) -> AgentStatus {
        self.shared.standing.kept.lock().status.clone()
    }

    /// Sets it; when this answers it is on the disk. What waited begins when the agent is online
    /// again, and slots that came meanwhile are dealt with as their jobs say.
    pub async fn set_status(
        &self,
        status: Status,
        comment: String,
        by: String,
    ) -> anyhow::Result<AgentStatus> {
        let status = AgentStatus { status, comment, since_ms: self.now_ms(), by };
        let restart = self.shared.standing.kept.lock().restart;
        self.keep(Kept { status: status.clone(), restart }).await?;
        if status.status == Status::Online {
            if restart {
                self.shared.standing.restarts.notify_one();
            }
            self.dispatch();
            self.sweep().await;
        }
        Ok(status)
    }

    /// Has the agent started anew: now, or as soon as it is online. Answers whether that is now.
    pub async fn ask_restart(&self) -> anyhow::Result<bool> {
        let (status, is_online) = (self.status(), self.shared.standing.is_online());
        if is_online {
            self.shared.standing.restarts.notify_one();
        } else {
            self.keep(Kept { status, restart: true }).await?;
        }
        Ok(is_online)
    }

    /// Returns when the agent is to be started anew.
    pub async fn restart_wanted(&self) {
        self.shared.standing.restarts.notified().await;
    }

    async fn keep(&self, kept: Kept) -> anyhow::Result<()> {
        let _one_at_a_time = self.shared.standing.writing.lock().await;
        let (jobs, new) = (self.clone(), kept.clone());
        let write = move || durable::write(&jobs.shared.standing.path, &new, Sync::Now);
        let written = tokio::task::spawn_blocking(write).await?;
        written.with_context(|| format!("cannot write {}", self.shared.standing.path.display()))?;
        *self.shared.standing.kept.lock() = kept;
        Ok(())
    }

    /// Begins nothing new and returns when nothing runs: kept jobs are ended last, and come back
    /// with the agent. What waits for its turn waits for the next agent.
    pub async fn leave(&self) {
        self.shared.standing.leaving.store(true, Ordering::Release);
        self.until_rest(|cause| *cause != Cause::Kept).await;
        for id in self.live(|cause| *cause == Cause::Kept) {
            // One that ends by itself at this moment needs no killing.
            let _ = self.kill(&id, None, "the end of the agent").await;
        }
        self.until_rest(|_| true).await;
    }

    /// Runs that go on, for such a cause.
    fn live(&self, chosen: impl Fn(&Cause) -> bool) -> Vec<String> {
        let is_live = |state| matches!(state, RunState::Starting | RunState::Running | RunState::Stopping);
        let state = self.shared.state.lock();
        let live = state.all().filter(|active| is_live(active.run.state) && chosen(&active.run.cause));
        live.map(|active| active.run.id.clone()).collect()
    }

    async fn until_rest(&self, chosen: impl Fn(&Cause) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !self.live(&chosen).is_empty() && changed.changed().await.is_ok() {}
    }

    /// Ends every run, or all of one job; those that wait are called off. Kept jobs come back.
    pub async fn kill_all(&self, job: Option<&str>, signal: Option<i32>, by: &str) -> KilledAll {
        let ids: Vec<String> = {
            let state = self.shared.state.lock();
            let of_job = state.all().filter(|active| job.is_none_or(|job| active.run.job.name == job));
            of_job.map(|active| active.run.id.clone()).collect()
        };
        let mut done = KilledAll::default();
        let mut kills = JoinSet::new();
        for id in ids {
            if kills.len() >= N_KILLS_MAX {
                done.count(&kills.join_next().await);
            }
            let (jobs, by) = (self.clone(), by.to_owned());
            kills.spawn(async move { jobs.kill(&id, signal, &by).await });
        }
        while !kills.is_empty() {
            done.count(&kills.join_next().await);
        }
        done
    }
}

type Joined = Option<Result<Result<Killed, KillError>, tokio::task::JoinError>>;

impl KilledAll {
    fn count(&mut self, joined: &Joined) {
        match joined {
            Some(Ok(Ok(Killed::CalledOff))) => self.called_off += 1,
            Some(Ok(Ok(Killed::Asked))) => self.asked += 1,
            // It was over before its turn came.
            Some(Ok(Ok(Killed::Already) | Err(KillError::Over(_) | KillError::Unknown(_)))) => {
                self.already += 1;
            }
            Some(Ok(Err(KillError::Failed(_))) | Err(_)) => self.failed += 1,
            None => {}
        }
    }
}
