//! Forgetting: runs that were over for long, or are too many, go with their output.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::job::Run;
use fieldpost_store::{JobsChange, Written};

use super::handle::Jobs;
use super::recovery;

/// The mark of a run whose output is not kept any more.
pub const OUTPUT_DROPPED: &str = "its output had to make room";
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(600);
/// The first look is a little after the start, when there is less to do.
const FIRST: Duration = Duration::from_secs(30);
/// Runs that are forgotten at a time.
const N_TOGETHER: usize = 500;

impl Jobs {
    /// Forgets what is old, for as long as the agent runs.
    pub(super) fn begin_upkeep(&self) {
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(FIRST).await;
            while !jobs.shared.ending.load(Ordering::Acquire) {
                let forgetting = jobs.clone();
                match tokio::task::spawn_blocking(move || forgetting.forget_old()).await {
                    Ok(Err(error)) => tracing::warn!("old runs are not forgotten yet: {error:#}"),
                    Err(error) => tracing::error!(%error, "forgetting old runs ended badly"),
                    Ok(Ok(())) => {}
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
    }

    /// Removes what shims have left that were killed before they had begun, or while they ended.
    pub(super) fn sweep_cgroups(&self) {
        let is_over = |id: &str| self.run(id).is_ok_and(|run| run.is_some_and(|run| run.state.is_final()));
        recovery::sweep_cgroups(&self.shared.surroundings.cgroups, is_over);
    }

    fn forget_old(&self) -> anyhow::Result<()> {
        self.sweep_cgroups();
        let config = self.shared.config.lock().clone();
        let before_ms = self.now_ms() - config.keep.as_ms();
        while !self.shared.ending.load(Ordering::Acquire) {
            let old = self.shared.file.old_runs(before_ms, config.keep_runs, N_TOGETHER)?;
            old.iter().try_for_each(|id| self.remove_blocking(id))?;
            if old.len() < N_TOGETHER {
                break;
            }
        }
        while !self.shared.ending.load(Ordering::Acquire) {
            let beyond = self.shared.file.runs_beyond(config.output_max.0, N_TOGETHER)?;
            let n_runs = beyond.len();
            beyond.into_iter().try_for_each(|run| self.drop_output(run))?;
            if n_runs < N_TOGETHER {
                break;
            }
        }
        Ok(())
    }

    /// The record stays, and says so.
    fn drop_output(&self, mut run: Run) -> anyhow::Result<()> {
        let folder = self.shared.runs.join(&run.id);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
            _ => {}
        }
        run.output.dropped_bytes += std::mem::take(&mut run.output.kept_bytes);
        run.marks.push(OUTPUT_DROPPED.to_owned());
        match self.shared.file.write(vec![JobsChange::PutRun(run.into())]) {
            Written::Failed(error) => anyhow::bail!("cannot record that output was dropped: {error}"),
            _ => Ok(()),
        }
    }
}
