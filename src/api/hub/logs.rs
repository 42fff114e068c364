//! Log records that others pushed: a span of a source, the oldest first, a page at a time.

use axum::Json;
use axum::extract::{Query, State};
use fieldpost_model::{LogEntry, TimeMs};
use serde::{Deserialize, Serialize};

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::LogPlace;

/// Records of a page, unless fewer are asked for.
const N_RECORDS_MAX: usize = 500;
/// The span that is meant where none is given.
const SPAN_MS: TimeMs = 24 * 3_600_000;

/// Whose logs, and of which span.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// `push-` and the id of the API token by which they were pushed; or an agent.
    agent: String,
    /// First instant, milliseconds since 1970; a day before `to` where it is not given.
    from: Option<TimeMs>,
    /// First instant after the span; now where it is not given.
    to: Option<TimeMs>,
    /// The `next` of the page before.
    after: Option<String>,
    /// The most records.
    limit: Option<usize>,
}

/// A page of log records.
#[derive(Debug, Serialize)]
pub struct LogPage {
    agent_id: String,
    from_ms: TimeMs,
    to_ms: TimeMs,
    /// The oldest first.
    records: Vec<LogEntry>,
    /// The `after` of the next page; none after the last.
    next: Option<String>,
}

/// A page of log records.
pub async fn logs(State(hub): super::State, Query(ask): Query<Ask>) -> Result<Json<LogPage>, Problem> {
    let to_ms = ask.to.unwrap_or_else(|| hub.now_ms().saturating_add(1));
    let from_ms = ask.from.unwrap_or(to_ms.saturating_sub(SPAN_MS));
    if from_ms >= to_ms {
        return Err(Problem::bad_request("from is not before to; both are milliseconds since 1970"));
    }
    let after = ask.after.as_deref().map(str::parse::<LogPlace>).transpose().map_err(Problem::bad_request)?;
    let limit = ask.limit.unwrap_or(N_RECORDS_MAX).clamp(1, N_RECORDS_MAX);
    blocking(hub, move |hub| {
        let source = hub.log_source(&ask.agent).map_err(|error| Problem::failed(&error))?;
        let agent_id = source.ok_or_else(|| super::agents::unknown(&ask.agent))?;
        // One more than asked for tells whether there is another page.
        let found = hub.logs(&agent_id, (from_ms, to_ms), after, limit + 1);
        let mut found = found.map_err(|error| Problem::failed(&error))?;
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(place, _)| place.to_string());
        let records = found.into_iter().map(|(_, entry)| entry).collect();
        Ok(Json(LogPage { agent_id, from_ms, to_ms, records, next }))
    })
    .await
}
