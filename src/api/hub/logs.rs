//! Log records that others pushed: of one sender or of all, by time, level and text, a page at a time.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Query, State};
use fieldpost_model::{LogEntry, TimeMs};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::{LogAsk, LogPlace};

/// Records of a page, unless fewer are asked for.
const N_RECORDS_MAX: usize = 500;
/// The span that is meant where none is given.
const SPAN_MS: TimeMs = 24 * 3_600_000;
/// Questions that are answered at the same time: a word that is nowhere is looked for in all of a span.
static TURNS: Semaphore = Semaphore::const_new(2);

/// In which order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

/// Whose logs, and of which span.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// `push-` and the id of the API token by which they were pushed; or an agent. All where it is not
    /// given.
    agent: Option<String>,
    /// First instant, milliseconds since 1970; a day before `to` where it is not given.
    from: Option<TimeMs>,
    /// First instant after the span; now where it is not given.
    to: Option<TimeMs>,
    /// What comes first.
    #[serde(default)]
    order: Order,
    /// The least severity, 1 to 24.
    severity: Option<u8>,
    /// What they say, in letters large or small.
    text: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// The most records.
    limit: Option<usize>,
}

/// A page of log records.
#[derive(Debug, Serialize)]
pub struct LogPage {
    from_ms: TimeMs,
    to_ms: TimeMs,
    /// In the order that was asked for.
    records: Vec<LogLine>,
    /// The names of those who sent them, by their ids.
    senders: BTreeMap<String, String>,
    /// The `after` of the next page; none after the last.
    next: Option<String>,
}

/// A record and whose it is.
#[derive(Debug, Serialize)]
struct LogLine {
    agent_id: String,
    #[serde(flatten)]
    entry: LogEntry,
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
    let turn = TURNS.acquire().await.map_err(|error| Problem::failed(&anyhow::Error::new(error)))?;
    blocking(hub, move |hub| {
        // Held until the work is done, not only until the client has gone.
        let _turn = turn;
        let source = |name: &String| hub.log_source(name)?.ok_or_else(|| super::agents::unknown(name));
        let wanted = LogAsk {
            agent_id: ask.agent.as_ref().map(source).transpose()?,
            from_ms,
            to_ms,
            after,
            is_newest_first: ask.order == Order::Newest,
            severity: ask.severity.unwrap_or(0),
            text: ask.text.unwrap_or_default(),
            // One more than asked for tells whether there is another page.
            limit: limit + 1,
        };
        let mut found = hub.logs(&wanted)?;
        let is_more = found.len() > limit;
        found.truncate(limit);
        let ids: BTreeSet<&str> = found.iter().map(|(place, _)| place.agent_id.as_str()).collect();
        let senders = hub.senders(&ids)?;
        let next = found.last().filter(|_| is_more).map(|(place, _)| place.to_string());
        let line = |(place, entry): (LogPlace, LogEntry)| LogLine { agent_id: place.agent_id, entry };
        let records = found.into_iter().map(line).collect();
        Ok(Json(LogPage { from_ms, to_ms, records, senders, next }))
    })
    .await
}
