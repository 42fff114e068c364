//! The API of messages: what runs have said above the level of plain output, newest first.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use fieldpost_model::TimeMs;
use fieldpost_model::job::{OutputKind, Run};
use serde::{Deserialize, Serialize};

use super::jobs::{Caller, blocking, found, told};
use super::problem::Problem;
use crate::jobs::{Jobs, Levels, LogRow, N_RECORDS_MAX, RunQuery};

/// Messages that are told at once, at most.
const N_MESSAGES_MAX: usize = 1_000;
/// Runs that are looked through for them, at most, the newest.
const N_RUNS_MAX: usize = 500;

/// The routes of messages.
pub fn routes(jobs: Jobs) -> Router {
    Router::new().route("/v1/messages", get(messages)).with_state(jobs)
}

/// Which messages.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageQuery {
    run: Option<String>,
    from: Option<TimeMs>,
    to: Option<TimeMs>,
    levels: Option<String>,
    job: Option<String>,
    domain: Option<String>,
    /// With this text in them.
    text: Option<String>,
    limit: Option<usize>,
}

/// Some messages, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageList {
    /// The messages.
    pub messages: Vec<Message>,
}

/// What a run has said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// The run.
    pub run: String,
    /// Its job.
    pub job: String,
    /// What it said.
    #[serde(flatten)]
    pub row: LogRow,
}

async fn messages(
    State(jobs): State<Jobs>,
    caller: Option<Extension<Caller>>,
    Query(query): Query<MessageQuery>,
) -> Result<Json<MessageList>, Problem> {
    let levels: Levels = query.levels.as_deref().unwrap_or("3-9").parse().map_err(Problem::bad_request)?;
    let limit = query.limit.unwrap_or(N_MESSAGES_MAX).clamp(1, N_MESSAGES_MAX);
    let one = match &query.run {
        Some(run) => Some(found(&jobs, run).await?),
        None => None,
    };
    let found = blocking(move || {
        let runs = match one {
            Some(run) => vec![run],
            None => {
                let (job, domain) = (query.job.clone(), query.domain.clone());
                jobs.runs(&RunQuery { job, domain, limit: N_RUNS_MAX, ..RunQuery::default() })?.runs
            }
        };
        let mut found = Vec::new();
        for run in runs.iter().filter(|run| run.job.output == OutputKind::Levels) {
            let told = told(caller.as_ref(), run);
            let accepts = |row: &LogRow| {
                levels.contains(row.level)
                    && told.as_ref().is_none_or(|told| told.contains(row.level))
                    && query.text.as_ref().is_none_or(|text| row.text.contains(text))
                    && query.from.is_none_or(|from| row.time_ms >= from)
                    && query.to.is_none_or(|to| row.time_ms < to)
            };
            found.extend(rows(&jobs, run)?.into_iter().filter(accepts).map(|row| Message {
                run: run.id.clone(),
                job: run.job.name.clone(),
                row,
            }));
        }
        found.sort_by_key(|message| std::cmp::Reverse((message.row.time_ms, message.row.seq)));
        found.truncate(limit);
        Ok(found)
    });
    Ok(Json(MessageList { messages: found.await? }))
}

/// All rows of a run.
fn rows(jobs: &Jobs, run: &Run) -> anyhow::Result<Vec<LogRow>> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let records = jobs.records(run, after, N_RECORDS_MAX)?;
        let Some(last) = records.last() else { return Ok(rows) };
        after = last.seq;
        rows.extend(records.into_iter().map(LogRow::from));
    }
}
