//! The API of messages: what runs have said above the level of plain output, newest first.

use std::fmt;
use std::str::FromStr;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::RunGap;
use fieldpost_model::job::{OutputKind, Run};
use serde::{Deserialize, Serialize};

use super::jobs::{Caller, blocking, found, told};
use super::problem::Problem;
use crate::jobs::{Jobs, Levels, LogRow, N_RECORDS_MAX, OUTPUT_DROPPED, RunQuery};

/// Messages that are told at once, at most.
const N_MESSAGES_MAX: usize = 1_000;
/// Runs that are looked through for them at a time.
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
    /// The `next` of the page before.
    after: Option<Place>,
}

/// Where a page ends. Runs are looked through so many at a time, the newest first; among those the
/// newest message comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Place {
    /// The runs are older than the one of this number.
    before: Option<i64>,
    /// And of their messages those that come behind this one.
    last: Option<Rank>,
}

/// By what messages are sorted: time, number, run.
type Rank = (TimeMs, u64, String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            write!(f, "{before}")?;
        }
        match &self.last {
            Some((time_ms, seq, run)) => write!(f, ".{time_ms}.{seq}.{run}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = "after: give the next of the page before";
        let mut parts = text.splitn(4, '.');
        let before = parts.next().filter(|text| !text.is_empty()).map(str::parse).transpose();
        let last = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => None,
            (Some(time_ms), Some(seq), Some(run)) => {
                let (time_ms, seq) = (time_ms.parse().ok(), seq.parse().ok());
                Some((time_ms.ok_or(fault)?, seq.ok_or(fault)?, run.to_owned()))
            }
            _ => return Err(fault),
        };
        Ok(Self { before: before.map_err(|_| fault)?, last })
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Some messages, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MessageList {
    /// The messages.
    pub messages: Vec<Message>,
    /// The cursor of the next page, which may be empty; none after the last.
    #[serde(default)]
    pub next: Option<String>,
    /// What is not kept any more, of the time that was asked about.
    #[serde(default)]
    pub gaps: Vec<MessageGap>,
}

/// Messages that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageGap {
    /// Since when, milliseconds.
    pub from_ms: TimeMs,
    /// Until when.
    pub to_ms: TimeMs,
    /// Of so many runs.
    pub n_runs: u64,
    /// The run, where it is one whose record is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// Its job.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// Why.
    pub reason: String,
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

impl Message {
    fn rank(&self) -> Rank {
        (self.row.time_ms, self.row.seq, self.run.clone())
    }
}

async fn messages(
    State(jobs): State<Jobs>,
    caller: Option<Extension<Caller>>,
    Query(query): Query<MessageQuery>,
) -> Result<Json<MessageList>, Problem> {
    let levels: Levels = query.levels.as_deref().unwrap_or("3-9").parse().map_err(Problem::bad_request)?;
    let one = match &query.run {
        Some(run) => Some(found(&jobs, run).await?),
        None => None,
    };
    Ok(Json(blocking(move || page(&jobs, caller.as_ref(), (&query, &levels), one)).await?))
}

fn page(
    jobs: &Jobs,
    caller: Option<&Extension<Caller>>,
    (query, levels): (&MessageQuery, &Levels),
    one: Option<Run>,
) -> anyhow::Result<MessageList> {
    let limit = query.limit.unwrap_or(N_MESSAGES_MAX).clamp(1, N_MESSAGES_MAX);
    let Place { before, last } = query.after.clone().unwrap_or_default();
    let (runs, older) = match one {
        Some(run) => (vec![run], None),
        None => {
            let (job, domain) = (query.job.clone(), query.domain.clone());
            let page =
                jobs.runs(&RunQuery { job, domain, before, limit: N_RUNS_MAX, ..RunQuery::default() })?;
            (page.runs, page.next)
        }
    };
    let mut list = MessageList::default();
    // Without a beginning everything is meant that is still kept.
    if let (Some(from), None, None) = (query.from, &query.run, &query.after) {
        list.gaps
            .extend(jobs.forgotten_between(from, query.to.unwrap_or(TimeMs::MAX))?.as_ref().map(forgotten));
    }
    for run in runs.iter().filter(|run| run.job.output == OutputKind::Levels && overlaps(run, query)) {
        let told = told(caller, run);
        let accepts = |row: &LogRow| {
            levels.contains(row.level)
                && told.as_ref().is_none_or(|told| told.contains(row.level))
                && query.text.as_ref().is_none_or(|text| row.text.contains(text))
                && query.from.is_none_or(|from| row.time_ms >= from)
                && query.to.is_none_or(|to| row.time_ms < to)
        };
        if last.is_none() {
            list.gaps.extend(gap(run));
        }
        let of_run = |row| Message { run: run.id.clone(), job: run.job.name.clone(), row };
        list.messages.extend(rows(jobs, run)?.into_iter().filter(accepts).map(of_run));
    }
    list.messages.sort_by_cached_key(|message| std::cmp::Reverse(message.rank()));
    if let Some(last) = last {
        list.messages.retain(|message| message.rank() < last);
    }
    let has_more = list.messages.len() > limit;
    list.messages.truncate(limit);
    let next = match list.messages.last().filter(|_| has_more) {
        Some(message) => Some(Place { before, last: Some(message.rank()) }),
        None => older.map(|older| Place { before: Some(older), last: None }),
    };
    list.next = next.map(|place| place.to_string());
    Ok(list)
}

/// Can it have said anything in the span that is asked about?
fn overlaps(run: &Run, query: &MessageQuery) -> bool {
    let is_before = query.from.is_some_and(|from| run.ended_ms.is_some_and(|ended_ms| ended_ms < from));
    !is_before && query.to.is_none_or(|to| run.created_ms < to)
}

/// Of runs that are not kept at all nobody knows what they said, or of which jobs they were.
fn forgotten(gap: &RunGap) -> MessageGap {
    let RunGap { n_runs, from_ms, to_ms, .. } = *gap;
    let (run, job, reason) = (String::new(), String::new(), "these runs are forgotten".to_owned());
    MessageGap { from_ms, to_ms, n_runs, run, job, reason }
}

/// What is not kept of the output of a run.
fn gap(run: &Run) -> Option<MessageGap> {
    let reason = if run.marks.iter().any(|mark| mark == OUTPUT_DROPPED) {
        "the output had to make room".to_owned()
    } else if run.output.dropped_bytes > 0 {
        format!("{} bytes from the middle of the output are not kept", run.output.dropped_bytes)
    } else {
        return None;
    };
    let from_ms = run.started_ms.unwrap_or(run.created_ms);
    let (run_id, job) = (run.id.clone(), run.job.name.clone());
    let to_ms = run.ended_ms.unwrap_or(from_ms);
    Some(MessageGap { from_ms, to_ms, n_runs: 1, run: run_id, job, reason })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for place in [
            Place::default(),
            Place { before: Some(7), last: None },
            Place { before: None, last: Some((-5, 3, "a.b-c".to_owned())) },
            Place { before: Some(1), last: Some((1_800_000_000_000, 9, "x".to_owned())) },
        ] {
            assert_eq!(place.to_string().parse::<Place>(), Ok(place));
        }
        for text in ["x", "1.2", "1.2.3", ".a.1.r", "1.1.b.r"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
