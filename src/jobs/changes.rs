//! The changes of runs in their order, for hubs: what is new since a place that the reader names. Nothing
//! is kept for any reader: the file of the jobs is the queue.

use std::time::Duration;

use fieldpost_model::hub_runs::{RunCursor, RunNews, RunStart};
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
    /// Up to this removal it was told what is missing.
    told_removals: u64,
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
            told_removals: 0,
            tasks: None,
        }
    }
}

impl RunChanges {
    /// What is new, as soon as there is anything, or nothing after so long. The first answer says
    /// where it begins, and what is missing from there on. Empty: runs were forgotten that the reader
    /// has not heard of, and it has to begin anew.
    pub async fn next(&mut self, patience: Duration) -> anyhow::Result<Vec<RunNews>> {
        let Some(cursor) = self.cursor.clone() else {
            let (start, told_removals) = self.begin().await?;
            self.cursor = Some(start.cursor.clone());
            self.told_removals = told_removals;
            return Ok(vec![RunNews::From(start)]);
        };
        let end = tokio::time::Instant::now() + patience;
        loop {
            self.written.mark_unchanged();
            self.changed.mark_unchanged();
            let Some(mut news) = self.runs_behind(&cursor).await? else { return Ok(Vec::new()) };
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

    /// Where it begins, and up to which removal it is told what is missing.
    async fn begin(&self) -> anyhow::Result<(RunStart, u64)> {
        let (jobs, wanted) = (self.jobs.clone(), self.wanted.clone());
        let read = tokio::task::spawn_blocking(move || {
            let file = &jobs.shared.file;
            let (head, removals) = (file.changes_head()?, file.removals_head()?);
            let (spool, known_removals) = spool_parts(&wanted.spool);
            // A place behind the end is of a file that was put back.
            if spool != head.spool || wanted.version > head.version {
                // What was forgotten before a reader came for the first time is none of its concern: how much
                // that was goes with the name of the numbering, which readers give back as it is.
                let cursor = RunCursor { spool: format!("{}-{removals}", head.spool), version: 0 };
                return anyhow::Ok((RunStart { cursor, gap: None }, removals));
            }
            let gap = file.gap(wanted.version, known_removals)?;
            Ok((RunStart { cursor: wanted, gap }, removals))
        });
        read.await?
    }

    /// The runs behind this place; none if some were forgotten that the reader was not told of.
    async fn runs_behind(&self, cursor: &RunCursor) -> anyhow::Result<Option<Vec<RunNews>>> {
        let (jobs, after, told_removals) = (self.jobs.clone(), cursor.version, self.told_removals);
        let read = tokio::task::spawn_blocking(move || {
            let runs = jobs.shared.file.changes(after, N_RUNS_MAX)?;
            // Looked at afterwards: what is forgotten in between is found here.
            let is_whole = jobs.shared.file.gap(after, told_removals)?.is_none();
            anyhow::Ok(is_whole.then_some(runs))
        });
        let Some(runs) = read.await?? else { return Ok(None) };
        let runs = runs.into_iter().map(|(version, mut run)| {
            run.job.stdin = run.job.stdin.filter(|text| text.len() <= STDIN_BYTES_MAX);
            RunNews::Run { version, run: Box::new(run) }
        });
        Ok(Some(runs.collect()))
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

/// The name of a numbering, and the removals before the reader came.
fn spool_parts(text: &str) -> (&str, u64) {
    match text.split_once('-') {
        Some((spool, removals)) => (spool, removals.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fieldpost_model::job::{Cause, Job, Run, RunState};

    use super::*;
    use crate::jobs::{Config, JobsOptions};

    fn opened(folder: &std::path::Path) -> Jobs {
        let options = JobsOptions {
            folder: folder.to_owned(),
            config: Config::default(),
            clock: Arc::new(|| 5_000),
            agent: "a".to_owned(),
            runtime: tokio::runtime::Handle::current(),
            failpoint: Default::default(),
        };
        Jobs::open(options).unwrap()
    }

    fn over(id: &str) -> Run {
        let job = Job { command: "true".to_owned(), ..Job::default() };
        let mut run = Run::new(id.to_owned(), job, Cause::Asked, "uid 0".to_owned(), 1_000);
        run.change(RunState::Succeeded, 2_000, "");
        run
    }

    /// Where it begins, and the ids of what comes.
    async fn told(jobs: &Jobs, wanted: RunCursor) -> (RunStart, Vec<String>, RunChanges) {
        let mut changes = jobs.changes(wanted);
        let [RunNews::From(start)] = &changes.next(Duration::ZERO).await.unwrap()[..] else {
            panic!("no beginning")
        };
        let start = start.clone();
        let news = changes.next(Duration::ZERO).await.unwrap();
        let ids = news.into_iter().filter_map(|news| match news {
            RunNews::Run { run, .. } => Some(run.id),
            _ => None,
        });
        (start, ids.collect(), changes)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_forgotten_before_it_is_told_is_told_as_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = opened(folder.path());
        jobs.commit(["old", "a", "b", "c"].map(over).to_vec(), Vec::new()).await.unwrap();
        jobs.forget("old").await.unwrap();
        let (start, ids, _) = told(&jobs, RunCursor::default()).await;
        assert_eq!((start.gap, ids), (None, ["a", "b", "c"].map(str::to_owned).to_vec()), "a new reader");
        let cursor = start.cursor;
        jobs.forget("a").await.unwrap();
        let (start, ids, _) = told(&jobs, cursor.clone()).await;
        let gap = start.gap.unwrap();
        assert_eq!((gap.n_runs, gap.from_ms, gap.to_ms), (1, 1_000, 2_000));
        assert_eq!((start.cursor, ids.len()), (cursor.clone(), 2));
        // Who has passed it is told of it no more.
        let passed = RunCursor { version: 3, ..cursor.clone() };
        let (start, _, mut changes) = told(&jobs, passed.clone()).await;
        assert_eq!(start.gap, None);
        jobs.commit(vec![over("d"), over("e")], Vec::new()).await.unwrap();
        jobs.forget("d").await.unwrap();
        let news = loop {
            let news = changes.next(Duration::ZERO).await.unwrap();
            if !matches!(news[..], [RunNews::Nothing] | [RunNews::Tasks(_)] | [RunNews::Run { .. }]) {
                break news;
            }
        };
        assert_eq!(news, [], "a reader that has not heard of it begins anew");
        let (start, _, _) = told(&jobs, passed).await;
        assert_eq!(start.gap.map(|gap| gap.n_runs), Some(1));
        let put_back = RunCursor { version: 1_000, ..cursor };
        let (start, ids, _) = told(&jobs, put_back).await;
        assert_eq!((start.cursor.version, start.gap, ids.len()), (0, None, 3), "all of it");
        assert!(start.cursor.spool.ends_with("-3"), "{}", start.cursor.spool);
    }
}
