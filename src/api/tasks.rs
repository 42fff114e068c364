//! The API of the tasks: jobs that run by themselves. What the host's owner has put into files is
//! shown, disabled and triggered here, and changed there.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use fieldpost_model::job::{Job, Plain};
use serde::{Deserialize, Serialize};

use super::jobs::{RunView, Who, blocking, caller, parsed, view};
use super::problem::Problem;
use crate::jobs::{Given, Jobs, TaskError, TaskView};

/// The routes of the tasks.
pub fn routes(jobs: Jobs) -> Router {
    Router::new()
        .route("/v1/jobs", get(list).post(define))
        .route("/v1/jobs/{name}", delete(remove))
        .route("/v1/jobs/{name}/enable", post(enable))
        .route("/v1/jobs/{name}/disable", post(disable))
        .route("/v1/jobs/{name}/trigger", post(trigger))
        .with_state(jobs)
}

/// All tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskList {
    /// By name.
    pub jobs: Vec<TaskView>,
}

/// What a job is given with which it runs now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerRequest {
    /// Values of its parameters: text, numbers, true or false.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Plain>,
    /// What it reads on its standard input, if it takes that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

async fn list(State(jobs): State<Jobs>) -> Result<Json<TaskList>, Problem> {
    Ok(Json(TaskList { jobs: blocking(move || jobs.tasks()).await? }))
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        let detail = error.to_string();
        match error {
            TaskError::Unknown(_) => Self::not_found("no_such_job", detail),
            TaskError::InFile(..) => Self::conflict("defined_in_file", detail),
            TaskError::AtHub(_) => Self::conflict("defined_at_hub", detail),
            TaskError::GoesOn(..) => Self::conflict("still_running", detail),
            TaskError::TooMany(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "too_many", detail),
            TaskError::Post(error) => error.into(),
        }
    }
}

async fn define(State(jobs): State<Jobs>, who: Who, text: String) -> Result<Json<TaskView>, Problem> {
    caller(who.0, who.1)?.may_run(false)?;
    let job: Job = parsed(&text, None)?;
    let name = job.name.clone();
    jobs.add_task(job).await?;
    found(&jobs, &name).await
}

async fn found(jobs: &Jobs, name: &str) -> Result<Json<TaskView>, Problem> {
    let (asked, task) = (jobs.clone(), name.to_owned());
    let task = blocking(move || asked.task(&task)).await?;
    task.map(Json).ok_or_else(|| TaskError::Unknown(name.to_owned()).into())
}

async fn remove(State(jobs): State<Jobs>, who: Who, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    caller(who.0, who.1)?.may_run(false)?;
    jobs.remove_task(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn enable(jobs: State<Jobs>, who: Who, name: Path<String>) -> Result<Json<TaskView>, Problem> {
    pause(jobs, who, name, false).await
}

async fn disable(jobs: State<Jobs>, who: Who, name: Path<String>) -> Result<Json<TaskView>, Problem> {
    pause(jobs, who, name, true).await
}

async fn pause(
    State(jobs): State<Jobs>,
    who: Who,
    Path(name): Path<String>,
    is_paused: bool,
) -> Result<Json<TaskView>, Problem> {
    let caller = caller(who.0, who.1)?;
    caller.may_run(true)?;
    jobs.pause_task(&name, is_paused, &caller.name()).await?;
    found(&jobs, &name).await
}

async fn trigger(
    State(jobs): State<Jobs>,
    who: Who,
    Path(name): Path<String>,
    text: String,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let caller = caller(who.0, who.1)?;
    caller.may_run(true)?;
    let TriggerRequest { params, stdin } = match text.trim() {
        "" => TriggerRequest::default(),
        text => serde_json::from_str(text).map_err(|error| {
            Problem::bad_request(format!(
                "{error}; write {{\"params\": {{\"name\": \"value\"}}, \"stdin\": \"text\"}}"
            ))
        })?,
    };
    let params = params.into_iter().map(|(name, value)| (name, value.0)).collect();
    let run = jobs.trigger(&name, Given { params, stdin }, &caller.name()).await?;
    Ok((StatusCode::CREATED, Json(view(&jobs, run))))
}
