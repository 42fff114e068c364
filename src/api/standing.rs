//! The API of what people say of this agent and of all its runs together: its STATUS, a new start of
//! it, the end of everything that runs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use fieldpost_model::hub_state::{AgentStatus, Status};
use serde::{Deserialize, Serialize};

use super::jobs::{KillRequest, Who, caller, signal_of};
use super::problem::Problem;
use crate::jobs::{Jobs, KilledAll};

/// The routes.
pub fn routes(jobs: Jobs) -> Router {
    Router::new()
        .route("/v1/agent/status", get(status).post(set_status))
        .route("/v1/agent/restart", post(restart))
        .route("/v1/killall", post(kill_all))
        .with_state(jobs)
}

/// What people want to be said of this agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// The status.
    pub status: Status,
    /// Why; offline needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

async fn status(State(jobs): State<Jobs>) -> Json<AgentStatus> {
    Json(jobs.status())
}

async fn set_status(
    State(jobs): State<Jobs>,
    who: Who,
    Json(request): Json<StatusRequest>,
) -> Result<Json<AgentStatus>, Problem> {
    let caller = caller(who.0, who.1)?;
    caller.may_run(true)?;
    let comment = request.status.comment(request.comment.as_deref());
    let comment = comment.map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_status", error.to_string())
    })?;
    Ok(Json(jobs.set_status(request.status, comment, caller.name()).await?))
}

/// When the agent is started anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestartAnswer {
    /// At once, or only when it is online again?
    pub now: bool,
    /// What people say of it.
    pub status: AgentStatus,
}

async fn restart(State(jobs): State<Jobs>, who: Who) -> Result<Json<RestartAnswer>, Problem> {
    caller(who.0, who.1)?.may_run(true)?;
    let now = jobs.ask_restart().await?;
    Ok(Json(RestartAnswer { now, status: jobs.status() }))
}

/// Which runs are to be ended, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KillAllRequest {
    /// Only those of this job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// A certain signal, by name or number; without one they are asked to end, then killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

async fn kill_all(
    State(jobs): State<Jobs>,
    who: Who,
    Json(request): Json<KillAllRequest>,
) -> Result<Json<KilledAll>, Problem> {
    let caller = caller(who.0, who.1)?;
    caller.may_run(true)?;
    let signal = signal_of(&KillRequest { signal: request.signal })?;
    Ok(Json(jobs.kill_all(request.job.as_deref(), signal, &caller.name()).await))
}
