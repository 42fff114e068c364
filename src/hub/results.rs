//! Results of what was ordered, taken out of their queue as they come: each by one caller, who may wait for
//! the next one. What is lent comes back unless its taker says that it is dealt with.

use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::hub_runs::{ResultPlace, ResultWish, RunWish, RunsFault};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Hub, RunFault, RunView};

/// Between two looks at what comes back: the clock by which it is lent is not the one that is waited by.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(100);

/// A result as the hub tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultView {
    /// By what it is settled, where it is only lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ResultPlace>,
    /// The run that is over.
    #[serde(flatten)]
    pub view: RunView,
}

impl Hub {
    /// Takes results of such runs, `wish.limit` at most, and waits so long for the first of them; none came:
    /// an empty list. Each is given once, or, lent for a while, again after it unless it was settled.
    pub async fn take_results(
        self: &Arc<Self>,
        wish: RunWish,
        lent_for: Option<Duration>,
        patience: Duration,
    ) -> Result<Vec<ResultView>, RunFault> {
        let end = Instant::now() + patience;
        let mut came = self.results_came.subscribe();
        let mut behind = 0;
        loop {
            came.mark_unchanged();
            let (hub, runs) = (Arc::clone(self), wish.clone());
            let taken = tokio::task::spawn_blocking(move || hub.take_now(runs, behind, lent_for)).await;
            let (views, seen, back_in) = taken.map_err(RunsFault::new)??;
            if !views.is_empty() {
                return Ok(views);
            }
            behind = seen;
            let back_at = back_in.map(|back_in| Instant::now() + back_in.max(LOOK_PAUSE_MIN));
            let until = back_at.map_or(end, |back_at| back_at.min(end));
            let is_over = tokio::time::timeout_at(until, came.changed()).await.is_err();
            if is_over && Instant::now() >= end {
                return Ok(Vec::new());
            }
        }
    }

    /// What there is now, up to where that is known, and in how long something comes back. Waits for the disk.
    fn take_now(
        &self,
        runs: RunWish,
        behind: ResultPlace,
        lent_for: Option<Duration>,
    ) -> Result<(Vec<ResultView>, ResultPlace, Option<Duration>), RunFault> {
        let now_ms = self.now_ms();
        let lent_until_ms =
            lent_for.map(|span| now_ms.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)));
        let taken = self.runs.take_results(&ResultWish { runs, behind, lent_until_ms }, now_ms)?;
        let views = taken.results.into_iter().map(|(place, known)| {
            let receipt = lent_until_ms.map(|_| place);
            Ok(ResultView { receipt, view: self.run_view(known)? })
        });
        let back_in = taken
            .next_back_ms
            .map(|back_ms| Duration::from_millis(back_ms.saturating_sub(now_ms).max(0).unsigned_abs()));
        Ok((views.collect::<Result<_, RunFault>>()?, taken.seen, back_in))
    }

    /// Settles what was lent; answers the receipts for which that was too late, or done before. Waits for
    /// the disk.
    pub fn settle_results(&self, receipts: &[ResultPlace]) -> Result<Vec<ResultPlace>, RunFault> {
        Ok(self.runs.settle_results(receipts, self.now_ms())?)
    }

    /// Has those look who wait for results.
    pub(super) fn tell_of_results(&self) {
        self.results_came.send_modify(|number| *number += 1);
    }
}
