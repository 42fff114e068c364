//! What follows a run: the next try of one that failed, the next start of one that is kept. Each
//! pause is twice as long as the one before, and counts have an end, so that a command which fails at
//! once never storms.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fieldpost_model::job::{Cause, Run};

use super::handle::{Jobs, NewRun, PostError};
use super::tasks::Task;

/// The longest pause between two starts of a kept job, or two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

impl Jobs {
    /// Has a kept job run, unless it does.
    pub(super) async fn keep_up(&self, name: &str) {
        if !self.takes_new() {
            return;
        }
        let job = {
            let tasks = self.shared.tasks.lock();
            let task =
                tasks.all.get(name).filter(|task| task.job.keep && task.is_on() && !task.has_given_up());
            task.map(|task| task.job.clone())
        };
        let Some(job) = job else { return };
        if self.shared.state.lock().has_any_of(name) {
            return;
        }
        let new = NewRun { job, cause: Cause::Kept, ..NewRun::default() };
        self.post_kept(new).await;
    }

    /// What follows the end of a run: the next try, or the next start of what is kept.
    pub(super) async fn follow_up(&self, run: &Run, secrets: BTreeMap<String, String>) {
        if self.shared.ending.load(Ordering::Acquire) {
            return;
        }
        if run.cause == Cause::Kept {
            self.keep_again(run).await;
            return;
        }
        let Some(retry) = &run.job.retry else { return };
        let (first, number) = match &run.cause {
            Cause::Retry { of, number } => (of.clone(), number + 1),
            _ => (run.id.clone(), 1),
        };
        if number > retry.max || !retry.on.contains(&run.state) {
            return;
        }
        let pause = backoff(retry.backoff.0, number - 1);
        let new = NewRun {
            job: run.job.clone(),
            params: run.params.clone(),
            cause: Cause::Retry { of: first, number },
            due_ms: Some(self.now_ms() + pause.as_millis() as i64),
            by: run.asked_by.clone(),
            secrets,
            ..NewRun::default()
        };
        if let Err(error) = self.post(new).await {
            tracing::error!(run = run.id, "a run that failed is not tried again: {error}");
        }
    }

    async fn keep_again(&self, run: &Run) {
        let due_ms = {
            let mut tasks = self.shared.tasks.lock();
            let Some(task) = tasks.all.get_mut(&run.job.name).filter(|task| task.job.keep && task.is_on())
            else {
                return;
            };
            let restart = task.job.restart.unwrap_or_default();
            if run.took_ms.unwrap_or(0) >= restart.reset_after.0.as_millis() as u64 {
                task.n_restarts = 0;
            }
            task.n_restarts += 1;
            if task.has_given_up() {
                tracing::error!(
                    job = run.job.name,
                    "a kept job ended {} times in a row and is left alone",
                    task.n_restarts
                );
                return;
            }
            self.now_ms() + backoff(restart.backoff.0, task.n_restarts - 1).as_millis() as i64
        };
        let job = self.shared.tasks.lock().all.get(&run.job.name).map(|task| task.job.clone());
        let Some(job) = job else { return };
        let new = NewRun { job, cause: Cause::Kept, due_ms: Some(due_ms), ..NewRun::default() };
        self.post_kept(new).await;
    }

    /// Somebody else may have seen to it meanwhile.
    async fn post_kept(&self, new: NewRun) {
        let name = new.job.name.clone();
        match self.post(new).await {
            Ok(_) | Err(PostError::Exists(_)) => {}
            Err(error) => tracing::error!(job = name, "a kept job is not started: {error}"),
        }
    }
}

impl Task {
    /// Has it ended too often in a row?
    fn has_given_up(&self) -> bool {
        let max = self.job.restart.unwrap_or_default().max;
        max > 0 && self.n_restarts > max
    }
}

fn backoff(first: Duration, n_before: u32) -> Duration {
    first.saturating_mul(1 << n_before.min(16)).min(BACKOFF_MAX)
}
