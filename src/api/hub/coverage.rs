//! Coverage: of any agent and span, what is whole, what is missing, and what nobody can tell yet.

use axum::Json;
use axum::extract::{Query, State};
use fieldpost_model::TimeMs;
use serde::{Deserialize, Serialize};

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::CoverageStretch;

/// Stretches of a page.
const N_STRETCHES_MAX: usize = 1_000;
/// The span that is meant where none is given.
const SPAN_MS: TimeMs = 24 * 3_600_000;

/// Whose coverage, and of which span.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Name or id.
    agent: String,
    /// First instant, milliseconds since 1970; a day before `to` where it is not given.
    from: Option<TimeMs>,
    /// First instant after the span; now where it is not given.
    to: Option<TimeMs>,
}

/// A page of the coverage of a span.
#[derive(Debug, Serialize)]
pub struct CoveragePage {
    agent: String,
    agent_id: String,
    from_ms: TimeMs,
    to_ms: TimeMs,
    stretches: Vec<CoverageStretch>,
    /// The `from` of the next page; none after the last.
    next: Option<TimeMs>,
}

/// Stretches that together are the span, in their order.
pub async fn coverage(
    State(hub): super::State,
    Query(ask): Query<Ask>,
) -> Result<Json<CoveragePage>, Problem> {
    let to_ms = ask.to.unwrap_or_else(|| hub.now_ms());
    let from_ms = ask.from.unwrap_or(to_ms.saturating_sub(SPAN_MS));
    if from_ms >= to_ms {
        return Err(Problem::bad_request("from is not before to; both are milliseconds since 1970"));
    }
    blocking(hub, move |hub| {
        let agent = hub.state.agent(&ask.agent)?.ok_or_else(|| super::agents::unknown(&ask.agent))?;
        let mut stretches = hub.coverage_of(&agent.id, from_ms, to_ms)?;
        let next = stretches.get(N_STRETCHES_MAX).map(|stretch| stretch.from_ms);
        stretches.truncate(N_STRETCHES_MAX);
        Ok(Json(CoveragePage { agent: agent.name, agent_id: agent.id, from_ms, to_ms, stretches, next }))
    })
    .await
}
