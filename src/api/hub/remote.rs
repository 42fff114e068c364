//! What agents are asked to do from afar: to answer, to start anew, to end all that runs, to leave a job of
//! their own out for a while. Each agent grants or refuses it by what its owner allows.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use fieldpost_model::hub_state::AuditNote;
use fieldpost_model::job::check_job_name;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::question::{in_time, link_of};
use super::{Doer, blocking};
use crate::api::problem::Problem;
use crate::hub::Hub;

/// An answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// How long it took to the agent and back, milliseconds.
    pub round_trip_ms: f64,
}

/// Calls an agent over its link.
pub async fn ping(State(hub): super::State, Path(agent): Path<String>) -> Result<Json<Pong>, Problem> {
    let link = link_of(&hub, &agent).await?;
    let begun = Instant::now();
    // Whatever it answers, it has answered.
    in_time(async { Ok(link.get("/v1/agent/status").await?) }).await?;
    Ok(Json(Pong { round_trip_ms: begun.elapsed().as_secs_f64() * 1e3 }))
}

async fn have(
    hub: Arc<Hub>,
    doer: Doer,
    agent: String,
    (action, path): (&str, &str),
    body: Value,
) -> Result<Response, Problem> {
    let link = link_of(&hub, &agent).await?;
    let note =
        AuditNote { action: action.to_owned(), subject: link.agent_id.clone(), detail: body.to_string() };
    blocking(hub, move |hub| Ok(hub.state.note(&doer.0, &note)?)).await?;
    Ok(in_time(link.post(path, &body)).await?.map(Body::new))
}

/// Has an agent start anew: at once, or as soon as it is online.
pub async fn restart(
    State(hub): super::State,
    doer: Doer,
    Path(agent): Path<String>,
) -> Result<Response, Problem> {
    have(hub, doer, agent, ("agent.restart", "/v1/agent/restart"), json!({})).await
}

/// Has an agent end all its runs, or those of one job.
pub async fn kill_all(
    State(hub): super::State,
    doer: Doer,
    Path(agent): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, Problem> {
    have(hub, doer, agent, ("agent.killall", "/v1/killall"), body).await
}

/// Has an agent run a job of its own by itself again.
pub async fn enable_job(
    State(hub): super::State,
    doer: Doer,
    Path((agent, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    pause(hub, doer, agent, (&name, "enable")).await
}

/// Has an agent leave the slots of a job of its own out from now on.
pub async fn disable_job(
    State(hub): super::State,
    doer: Doer,
    Path((agent, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    pause(hub, doer, agent, (&name, "disable")).await
}

async fn pause(
    hub: Arc<Hub>,
    doer: Doer,
    agent: String,
    (name, verb): (&str, &str),
) -> Result<Response, Problem> {
    // It becomes a part of a path at the agent.
    check_job_name(name).map_err(Problem::bad_request)?;
    let (action, path) = (format!("agent.job_{verb}"), format!("/v1/jobs/{name}/{verb}"));
    have(hub, doer, agent, (&action, &path), json!({ "job": name })).await
}
