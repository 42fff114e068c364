//! The API of the jobs: thin handlers for whoever may ask. A door says who asks; what somebody from
//! outside may do is settled here, once, by the ceiling that the host's owner has set.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use fieldpost_model::hub_runs::LiveRuns;
use fieldpost_model::job::{Job, Run, RunStat, RunState, Usage};
use fieldpost_model::{Period, TimeMs};
use futures_util::stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::server::Peer;
use crate::config::faults_of_text;
use crate::jobs::{
    Interval, Jobs, KillError, Killed, Levels, LogRow, N_RECORDS_MAX, NewRun, PostError, RunQuery, RunSample,
    signal_number,
};

/// Runs that are told at once, at most.
const N_RUNS_MAX: usize = 1_000;
/// Spans of statistics that are told at once, at most.
const N_INTERVALS_MAX: usize = 360;
/// The longest that an answer waits for the end of a run.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Somebody who follows is told that there is nothing new after so long at the latest.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(20);

/// What somebody from outside may have run on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Nothing.
    Off,
    /// What the host's owner has defined.
    Named,
    /// Anything.
    Any,
}

/// Who asks. Stamped on each request by the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user of this host, by number, through the Unix socket.
    Owner(u32),
    /// A hub, under the ceiling that the owner has set.
    Hub(String, Ceiling),
}

/// Which levels of the output of a run whoever asks may read; `None`: all.
pub(super) fn told(caller: Option<&Extension<Caller>>, run: &Run) -> Option<Levels> {
    let is_hub = caller.is_some_and(|caller| matches!(caller.0, Caller::Hub(..)));
    // What cannot be read admits nothing; it was checked when the job was taken.
    let levels = |text: &str| text.parse().unwrap_or_else(|_| Levels::none());
    run.job.loglevels_hub.as_deref().filter(|_| is_hub).map(levels)
}

impl Caller {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Owner(uid) => format!("uid {uid}"),
            Self::Hub(hub, _) => format!("hub {hub}"),
        }
    }

    /// May they have this run? `named`: it is one that the owner has defined.
    pub(super) fn may_run(&self, named: bool) -> Result<(), Problem> {
        let detail = match self {
            Self::Owner(_) | Self::Hub(_, Ceiling::Any) => return Ok(()),
            Self::Hub(_, Ceiling::Named) if named => return Ok(()),
            Self::Hub(_, Ceiling::Named) => "this agent admits only its own jobs (remote_jobs: named)",
            Self::Hub(_, Ceiling::Off) => "this agent admits no jobs from outside (remote_jobs: off)",
        };
        Err(Problem::new(StatusCode::FORBIDDEN, "jobs_not_admitted", detail))
    }
}

/// The routes. Requests need a [`Caller`], or a [`Peer`] of this host.
pub fn routes(jobs: Jobs) -> Router {
    let more = super::tasks::routes(jobs.clone())
        .merge(super::messages::routes(jobs.clone()))
        .merge(super::standing::routes(jobs.clone()));
    let runs = Router::new()
        .route("/v1/runs", get(list).post(create))
        .route("/v1/runs/live", get(live))
        .route("/v1/runs/{id}", get(show).delete(forget))
        .route("/v1/runs/{id}/kill", post(kill))
        .route("/v1/runs/{id}/logs", get(logs))
        .route("/v1/runs/{id}/result", get(result))
        .route("/v1/runs/{id}/stats", get(stats))
        .with_state(jobs);
    runs.merge(more)
}

/// Who asks, by what the door has stamped.
pub(super) fn caller(
    caller: Option<Extension<Caller>>,
    peer: Option<Extension<Peer>>,
) -> Result<Caller, Problem> {
    match (caller, peer) {
        (Some(Extension(caller)), _) => Ok(caller),
        (None, Some(Extension(Peer::Local(uid)))) => Ok(Caller::Owner(uid)),
        _ => Err(Problem::new(StatusCode::FORBIDDEN, "not_permitted", "jobs are not for this door")),
    }
}

pub(super) type Who = (Option<Extension<Caller>>, Option<Extension<Peer>>);

/// A run that is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Its id, if it is to have a certain one: then the same request twice is one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is to be run.
    pub job: Job,
    /// Values of secret variables; they are never told again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

/// A run, as it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Its place in its queue, while it waits; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
}

/// Some runs, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunList {
    /// The runs.
    pub runs: Vec<Run>,
    /// Where to go on, if there may be more.
    pub next: Option<i64>,
}

pub(super) fn view(jobs: &Jobs, run: Run) -> RunView {
    let position = jobs.position(&run.id);
    RunView { run, position }
}

async fn create(
    State(jobs): State<Jobs>,
    who: Who,
    text: String,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let caller = caller(who.0, who.1)?;
    caller.may_run(false)?;
    let request: RunRequest = parsed(&text, Some("job"))?;
    let RunRequest { id, job, secrets } = request;
    let new = NewRun { id, job, secrets, by: caller.name(), ..NewRun::default() };
    let run = jobs.post(new).await?;
    Ok((StatusCode::CREATED, Json(view(&jobs, run))))
}

/// Reads a request about a job; what is wrong with it is told all at once.
pub(super) fn parsed<T: DeserializeOwned>(text: &str, under: Option<&str>) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let faults = faults_of_text::<T>(text, under);
        let detail = if faults.is_empty() { error.to_string() } else { faults.join("; ") };
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_job", detail)
    })
}

impl From<PostError> for Problem {
    fn from(error: PostError) -> Self {
        let detail = error.to_string();
        match error {
            PostError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_job", detail),
            PostError::Exists(_) => Self::conflict("run_exists", detail),
            PostError::NotOnline(_) => Self::conflict("not_online", detail),
            PostError::Busy(_) | PostError::Ending => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(Duration::from_secs(1))
            }
            PostError::Disk(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "not_recorded", detail),
        }
    }
}

/// Which runs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    job: Option<String>,
    domain: Option<String>,
    /// Words of states, with commas.
    state: Option<String>,
    since: Option<TimeMs>,
    /// `name=value`, with commas.
    tag: Option<String>,
    before: Option<i64>,
    limit: Option<usize>,
}

impl ListQuery {
    fn query(self) -> Result<RunQuery, Problem> {
        let split = |text: Option<String>| -> Vec<String> {
            text.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
        };
        let states = split(self.state).iter().map(|word| word.parse()).collect::<Result<Vec<RunState>, _>>();
        let tags = split(self.tag).into_iter().map(|tag| match tag.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Problem::bad_request(format!("\"{tag}\" is no tag; write NAME=VALUE"))),
        });
        Ok(RunQuery {
            job: self.job,
            domain: self.domain,
            states: states.map_err(Problem::bad_request)?,
            since_ms: self.since,
            tags: tags.collect::<Result<_, _>>()?,
            before: self.before,
            limit: self.limit.unwrap_or(N_RUNS_MAX).clamp(1, N_RUNS_MAX),
        })
    }
}

async fn list(State(jobs): State<Jobs>, Query(query): Query<ListQuery>) -> Result<Json<RunList>, Problem> {
    let query = query.query()?;
    let page = blocking(move || jobs.runs(&query)).await?;
    Ok(Json(RunList { runs: page.runs, next: page.next }))
}

/// Of which runs that go on.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LiveQuery {
    job: Option<String>,
    domain: Option<String>,
}

async fn live(State(jobs): State<Jobs>, Query(query): Query<LiveQuery>) -> Json<LiveRuns> {
    Json(jobs.live_runs(query.domain.as_deref(), query.job.as_deref(), N_RUNS_MAX))
}

async fn show(State(jobs): State<Jobs>, Path(id): Path<String>) -> Result<Json<RunView>, Problem> {
    let run = found(&jobs, &id).await?;
    Ok(Json(view(&jobs, run)))
}

/// The run of this id, or of this part of one.
pub(super) async fn found(jobs: &Jobs, part: &str) -> Result<Run, Problem> {
    let (asked, part_of) = (jobs.clone(), part.to_owned());
    let run = blocking(move || match asked.id_of(&part_of)? {
        Some(id) => asked.run(&id),
        None => Ok(None),
    });
    run.await?.ok_or_else(|| {
        let detail = format!("there is no run {part}, or more than one; see: fieldpost runs");
        Problem::not_found("no_such_run", detail)
    })
}

async fn forget(State(jobs): State<Jobs>, who: Who, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let caller = caller(who.0, who.1)?;
    let run = found(&jobs, &id).await?;
    // Where only the owner's jobs are admitted, a hub may forget what it has ordered itself.
    let is_own = run.asked_by.starts_with(&format!("{} for ", caller.name()));
    caller.may_run(is_own)?;
    jobs.forget(&run.id).await.map_err(Problem::from)?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<KillError> for Problem {
    fn from(error: KillError) -> Self {
        let detail = error.to_string();
        match error {
            KillError::Unknown(_) => Self::not_found("no_such_run", detail),
            KillError::Over(_) => Self::conflict("run_over", detail),
            KillError::Failed(_) => Self::conflict("not_done", detail),
        }
    }
}

/// How a run is to be ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KillRequest {
    /// A certain signal, by name or number; without one it is asked to end, then killed.
    pub signal: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KillAnswer {
    /// The run.
    pub id: String,
    /// One word: `called_off`, `asked`, `already`.
    pub done: String,
    /// For people.
    pub text: String,
}

/// The signal that is asked for, if a certain one is.
pub(super) fn signal_of(request: &KillRequest) -> Result<Option<i32>, Problem> {
    let number = |text: &String| {
        signal_number(text)
            .ok_or_else(|| Problem::bad_request(format!("\"{text}\" is no signal; write TERM or 15")))
    };
    request.signal.as_ref().map(number).transpose()
}

async fn kill(
    State(jobs): State<Jobs>,
    who: Who,
    Path(id): Path<String>,
    Json(request): Json<KillRequest>,
) -> Result<Json<KillAnswer>, Problem> {
    let caller = caller(who.0, who.1)?;
    caller.may_run(true)?;
    let signal = signal_of(&request)?;
    let run = found(&jobs, &id).await?;
    let (done, text) = match jobs.kill(&run.id, signal, &caller.name()).await? {
        Killed::CalledOff => ("called_off", "it had not begun, and is called off"),
        Killed::Asked if signal.is_some() => ("asked", "it was sent the signal"),
        Killed::Asked => ("asked", "it is asked to end"),
        Killed::Already => ("already", "it is being ended already"),
    };
    Ok(Json(KillAnswer { id: run.id, done: done.to_owned(), text: text.to_owned() }))
}

/// How long to wait.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    wait: Option<Period>,
}

/// The run when it is over, or as it stands when nobody wants to wait any longer.
async fn result(
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Json<RunView>, Problem> {
    let run = found(&jobs, &id).await?;
    let patience = query.wait.map_or(Duration::ZERO, |wait| wait.0.min(WAIT_MAX));
    let run = jobs.wait(&run.id, patience).await?.unwrap_or(run);
    Ok(Json(view(&jobs, run)))
}

/// What a run has cost so far, and while it goes on the newest samples.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunStats {
    /// Where it stands.
    pub state: RunState,
    /// In all, and at most.
    pub usage: Usage,
    /// A second apart, the oldest first; behind an instant, if one was named.
    pub samples: Vec<RunSample>,
    /// What it has told of itself, by key.
    #[serde(default)]
    pub stats: BTreeMap<String, RunStat>,
    /// All of it by spans of the clock, the newest of them, the oldest first.
    #[serde(default)]
    pub intervals: Vec<Interval>,
}

/// How much of it: whoever looks once a second needs only what is new.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StatsQuery {
    /// Samples behind this instant.
    after: TimeMs,
    /// So many spans of the clock, the newest.
    intervals: usize,
}

impl Default for StatsQuery {
    fn default() -> Self {
        Self { after: 0, intervals: N_INTERVALS_MAX }
    }
}

async fn stats(
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<RunStats>, Problem> {
    let run = found(&jobs, &id).await?;
    let mut samples = jobs.samples(&run.id);
    samples.retain(|sample| sample.time_ms > query.after);
    let n_intervals = query.intervals.min(N_INTERVALS_MAX);
    let (run, intervals) = blocking(move || {
        // Looked at after the samples, so that its peaks are not behind them.
        let run = jobs.run(&run.id)?.unwrap_or(run);
        let intervals = jobs.intervals(&run, n_intervals)?;
        Ok((run, intervals))
    })
    .await?;
    Ok(Json(RunStats { state: run.state, samples, usage: run.usage, stats: run.stats, intervals }))
}

/// Which rows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogQuery {
    /// Behind the row of this number.
    after: u64,
    /// So many at most, where nobody follows.
    limit: Option<usize>,
    /// Of these levels: `1,2,6-9`.
    levels: Option<String>,
    /// With this text in them.
    text: Option<String>,
    /// Said at this instant or later.
    since: Option<TimeMs>,
    /// Said before this instant.
    until: Option<TimeMs>,
    /// Goes on until the run is over.
    follow: bool,
}

/// A choice of rows.
struct Choice {
    levels: Option<Levels>,
    told: Option<Levels>,
    query: LogQuery,
}

impl Choice {
    fn accepts(&self, row: &LogRow) -> bool {
        let query = &self.query;
        let has = |levels: &Option<Levels>| levels.as_ref().is_none_or(|levels| levels.contains(row.level));
        has(&self.levels)
            && has(&self.told)
            && query.text.as_ref().is_none_or(|text| row.text.contains(text))
            && query.since.is_none_or(|since| row.time_ms >= since)
            && query.until.is_none_or(|until| row.time_ms < until)
    }
}

/// Rows of the output, a line of JSON each, in order. Who follows gets what is there and then what
/// comes, without a gap or a double; an empty line means that there is nothing new.
async fn logs(
    State(jobs): State<Jobs>,
    caller: Option<Extension<Caller>>,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let run = found(&jobs, &id).await?;
    let levels = query.levels.as_deref().map(str::parse).transpose().map_err(Problem::bad_request)?;
    let (after, limit, follow) = (query.after, query.limit.unwrap_or(N_RECORDS_MAX), query.follow);
    let choice = Choice { levels, told: told(caller.as_ref(), &run), query };
    let body = if follow {
        Body::from_stream(followed(jobs, run.id, choice, after))
    } else {
        let (rows, _) = jobs.more(&run.id, after, limit, Duration::ZERO).await?;
        Body::from(lines(rows.into_iter().map(LogRow::from), &choice))
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn followed(
    jobs: Jobs,
    id: String,
    choice: Choice,
    after: u64,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Some((jobs, id, choice, after)), |state| async move {
        let (jobs, id, choice, after) = state?;
        let Ok((records, is_over)) = jobs.more(&id, after, N_RECORDS_MAX, FOLLOW_PATIENCE).await else {
            return None;
        };
        let Some(last) = records.last().map(|record| record.seq) else {
            return (!is_over).then(|| (Ok(Bytes::from_static(b"\n")), Some((jobs, id, choice, after))));
        };
        let text = lines(records.into_iter().map(LogRow::from), &choice);
        Some((Ok(Bytes::from(text)), Some((jobs, id, choice, last))))
    })
}

fn lines(rows: impl Iterator<Item = LogRow>, choice: &Choice) -> String {
    let chosen = rows.filter(|row| choice.accepts(row));
    chosen.map(|row| serde_json::to_string(&row).unwrap_or_default() + "\n").collect()
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_is_kept_whoever_asks() {
        let hub = |ceiling| Caller::Hub("h".into(), ceiling);
        let may = |caller: &Caller| (caller.may_run(false).is_ok(), caller.may_run(true).is_ok());
        assert_eq!(may(&Caller::Owner(1000)), (true, true));
        assert_eq!(may(&hub(Ceiling::Any)), (true, true));
        assert_eq!(may(&hub(Ceiling::Named)), (false, true));
        assert_eq!(may(&hub(Ceiling::Off)), (false, false));
    }
}
