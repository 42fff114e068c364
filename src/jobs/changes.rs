//! The changes of runs in their order, for hubs: what is new since a place that the reader names. Nothing
//! is kept for any reader: the file of the jobs is the queue.

use std::time::Duration;

use fieldpost_model::hub_runs::{RunCursor, RunNews};
use tokio::sync::watch;

use super::handle::Jobs;

/// Runs that are told at once, at most.
const N_RUNS_MAX: usize = 100;
/// Longer texts that commands read are left out: they are the agent's own.
const STDIN_BYTES_MAX: usize = 4 << 10;
/// Changes that follow each other closely go together.
const GATHER: Duration = Duration::from_millis(5);
/// Tasks are looked at no more often than this.
const TASKS_PAUSE: Duration = Duration::from_secs(2);

/// Who reads the changes.
pub struct RunChanges {
    jobs: Jobs,
    written: watch::Receiver<u64>,
    changed: watch::Receiver<u64>,
    /// None before the first line.
    cursor: Option<RunCursor>,
    wanted: RunCursor,
    /// What was said of the tasks last, and when it was looked at.
    tasks: Option<(String, tokio::time::Instant)>,
}

impl Jobs {
    /// Has readers told after each commit.
    pub(super) fn tell_of_commits(&self) {
        let shared = std::sync::Arc::downgrade(&self.shared);
        self.shared.file.on_change(Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.written.send_modify(|number| *number += 1);
            }
        }));
    }

    /// The changes behind this place; from the beginning where it is of another numbering.
    pub fn changes(&self, wanted: RunCursor) -> RunChanges {
        RunChanges {
            jobs: self.clone(),
            written: self.shared.written.subscribe(),
            changed: self.shared.changed.subscribe(),
            cursor: None,
            wanted,
            tasks: None,
        }
    }
}

impl RunChanges {
    /// What is new, as soon as there is anything, or nothing after so long. The first answer says
    /// where it begins.
    pub async fn next(&mut self, patience: Duration) -> anyhow::Result<Vec<RunNews>> {
        let Some(cursor) = self.cursor.clone() else {
            let cursor = self.begin().await?;
            self.cursor = Some(cursor.clone());
            return Ok(vec![RunNews::From(cursor)]);
        };
        let end = tokio::time::Instant::now() + patience;
        loop {
            self.written.mark_unchanged();
            self.changed.mark_unchanged();
            let mut news = self.runs_behind(&cursor).await?;
            if let Some(RunNews::Run { version, .. }) = news.last() {
                self.cursor = Some(RunCursor { version: *version, ..cursor });
                return Ok(news);
            }
            news.extend(self.tasks().await?);
            if !news.is_empty() {
                return Ok(news);
            }
            // Of tasks nobody is told by a commit alone: their slots come by the clock.
            let look = end.min(tokio::time::Instant::now() + TASKS_PAUSE);
            tokio::select! {
                _ = self.written.changed() => {}
                () = tokio::time::sleep_until(look) => {}
            }
            if tokio::time::Instant::now() >= end {
                return Ok(vec![RunNews::Nothing]);
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    async fn begin(&self) -> anyhow::Result<RunCursor> {
        let jobs = self.jobs.clone();
        let head = tokio::task::spawn_blocking(move || jobs.shared.file.changes_head()).await??;
        // A place behind the end is of a file that was put back.
        let is_known = self.wanted.spool == head.spool && self.wanted.version <= head.version;
        Ok(RunCursor { version: if is_known { self.wanted.version } else { 0 }, spool: head.spool })
    }

    async fn runs_behind(&self, cursor: &RunCursor) -> anyhow::Result<Vec<RunNews>> {
        let (jobs, after) = (self.jobs.clone(), cursor.version);
        let read = tokio::task::spawn_blocking(move || jobs.shared.file.changes(after, N_RUNS_MAX));
        let runs = read.await??.into_iter().map(|(version, mut run)| {
            run.job.stdin = run.job.stdin.filter(|text| text.len() <= STDIN_BYTES_MAX);
            RunNews::Run { version, run: Box::new(run) }
        });
        Ok(runs.collect())
    }

    /// All tasks, if they are others than was said.
    async fn tasks(&mut self) -> anyhow::Result<Option<RunNews>> {
        let now = tokio::time::Instant::now();
        if self.tasks.as_ref().is_some_and(|(_, looked)| now - *looked < TASKS_PAUSE) {
            return Ok(None);
        }
        let jobs = self.jobs.clone();
        let tasks = tokio::task::spawn_blocking(move || jobs.tasks()).await??;
        let text = serde_json::to_string(&tasks)?;
        let is_new = self.tasks.as_ref().is_none_or(|(said, _)| *said != text);
        self.tasks = Some((text, now));
        let tasks = tasks.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        Ok(is_new.then_some(RunNews::Tasks(tasks)))
    }
}
