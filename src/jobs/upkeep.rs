//! Forgetting: runs that were over for long, or are too many, go with their output.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::handle::Jobs;

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

    fn forget_old(&self) -> anyhow::Result<()> {
        let config = self.shared.config.lock().clone();
        let before_ms = self.now_ms() - config.keep.as_ms();
        while !self.shared.ending.load(Ordering::Acquire) {
            let old = self.shared.file.old_runs(before_ms, config.keep_runs, N_TOGETHER)?;
            old.iter().try_for_each(|id| self.remove_blocking(id))?;
            if old.len() < N_TOGETHER {
                break;
            }
        }
        Ok(())
    }
}
