//! Results of what was ordered, taken as they come.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use fieldpost_model::Period;
use fieldpost_model::hub_runs::{ResultPlace, RunWish};
use serde::{Deserialize, Serialize};

use super::blocking;
use super::runs::{Wish, split};
use crate::api::problem::Problem;
use crate::hub::ResultView;

/// Results that are taken at a time.
const N_RESULTS_MAX: usize = 100;
/// Ids that are asked about at a time.
const N_IDS_MAX: usize = 1_000;
/// The longest that an answer waits for a result.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// The longest that results are lent.
const LEND_MAX: Duration = Duration::from_secs(86_400);

/// Which results, and how they are taken.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    agent: Option<String>,
    job: Option<String>,
    domain: Option<String>,
    state: Option<String>,
    tag: Option<String>,
    batch: Option<String>,
    /// Whole ids of runs, with commas.
    id: Option<String>,
    limit: Option<usize>,
    wait: Option<Period>,
    lend: Option<Period>,
}

/// Results that were taken; none if none came in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResultList {
    /// The results, in the order in which the hub heard of them.
    pub results: Vec<ResultView>,
}

/// What is dealt with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settling {
    /// Receipts of results that were lent.
    pub receipts: Vec<ResultPlace>,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settled {
    /// Those for which it was too late, for the result waits again or somebody else has it; or which were
    /// settled before.
    pub late: Vec<ResultPlace>,
}

impl Question {
    fn read(self) -> Result<(Vec<String>, RunWish, Duration, Option<Duration>), Problem> {
        let ids = split(self.id.as_deref());
        if ids.len() > N_IDS_MAX {
            return Err(Problem::bad_request(format!(
                "id: name {N_IDS_MAX} at most, or the batch of an order"
            )));
        }
        let lend = self.lend.map(|lend| lend.0);
        if lend.is_some_and(|lend| lend.is_zero() || lend > LEND_MAX) {
            return Err(Problem::bad_request("lend: write a span of at most 1d"));
        }
        let limit = self.limit.unwrap_or(1).clamp(1, N_RESULTS_MAX);
        let Self { agent, job, domain, state, tag, batch, .. } = self;
        let wish = Wish { agent, job, domain, state, tag, batch, limit: Some(limit), ..Wish::default() };
        let (agents, wish) = wish.read()?;
        let patience = self.wait.map_or(Duration::ZERO, |wait| wait.0.min(WAIT_MAX));
        Ok((agents, RunWish { ids, ..wish }, patience, lend))
    }
}

/// Takes results out of the queue: each is given once, unless it is lent and not settled in time.
pub async fn pop(
    State(hub): super::State,
    Query(question): Query<Question>,
) -> Result<Json<ResultList>, Problem> {
    let (agents, mut wish, patience, lend) = question.read()?;
    let of_agents = blocking(hub.clone(), move |hub| {
        let id = |name: &String| Ok(hub.state.agent(name)?.ok_or_else(|| super::agents::unknown(name))?.id);
        agents.iter().map(id).collect::<Result<Vec<String>, Problem>>()
    });
    wish.agents = of_agents.await?;
    Ok(Json(ResultList { results: hub.take_results(wish, lend, patience).await? }))
}

/// Settles what was lent.
pub async fn settle(
    State(hub): super::State,
    Json(settling): Json<Settling>,
) -> Result<Json<Settled>, Problem> {
    if settling.receipts.len() > N_IDS_MAX {
        return Err(Problem::bad_request(format!("receipts: name {N_IDS_MAX} at most")));
    }
    blocking(hub, move |hub| Ok(Json(Settled { late: hub.settle_results(&settling.receipts)? }))).await
}
