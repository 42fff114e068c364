//! Agents: the list, what people say about them, whether they are trusted, and their own API
//! forwarded over the link.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use fieldpost_model::hub_state::Status;
use serde::{Deserialize, Serialize};

use super::{DONE, Doer, blocking};
use crate::api::problem::Problem;
use crate::hub::AgentView;

/// The longest that an agent may take for an answer that is forwarded.
const FORWARD_DEADLINE: Duration = Duration::from_secs(15);

/// All agents, by name.
pub async fn list(State(hub): super::State) -> Result<Json<Vec<AgentView>>, Problem> {
    blocking(hub, |hub| Ok(Json(hub.agents()?))).await
}

/// One agent.
pub async fn one(State(hub): super::State, Path(agent): Path<String>) -> Result<Json<AgentView>, Problem> {
    blocking(hub, move |hub| hub.agent(&agent)?.map(Json).ok_or_else(|| unknown(&agent))).await
}

/// There is no such agent.
pub fn unknown(agent: &str) -> Problem {
    let detail = format!("there is no agent `{agent}`; see: fieldpost hub agents");
    Problem::not_found("no_such_agent", detail)
}

/// What people say about some agents from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    /// Names or ids.
    pub agents: Vec<String>,
    /// The status.
    pub status: Status,
    /// Why; needed for `offline`.
    pub comment: Option<String>,
}

/// Sets the status of some agents: of all of them, or of none if one is unknown.
pub async fn set_status(
    State(hub): super::State,
    Doer(act): Doer,
    Json(change): Json<StatusChange>,
) -> Result<Json<Vec<AgentView>>, Problem> {
    blocking(hub, move |hub| {
        change.status.comment(change.comment.as_deref())?;
        for agent in &change.agents {
            hub.agent(agent)?.ok_or_else(|| unknown(agent))?;
        }
        let mut changed = Vec::new();
        for agent in &change.agents {
            hub.state.set_agent_status(&act, agent, change.status, change.comment.as_deref())?;
            changed.extend(hub.agent(agent)?);
        }
        Ok(Json(changed))
    })
    .await
}

/// Lets an agent in that waits.
pub async fn approve(
    State(hub): super::State,
    Doer(act): Doer,
    Path(agent): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        hub.state.approve_agent(&act, &agent)?;
        Ok(DONE)
    })
    .await
}

/// Ends an agent's trust and its link.
pub async fn revoke(
    State(hub): super::State,
    Doer(act): Doer,
    Path(agent): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        let record = hub.state.revoke_agent(&act, &agent)?;
        hub.links.cut(&record.id);
        Ok(DONE)
    })
    .await
}

/// Takes an agent off the list; its data stay.
pub async fn forget(
    State(hub): super::State,
    Doer(act): Doer,
    Path(agent): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        let view = hub.agent(&agent)?.ok_or_else(|| unknown(&agent))?;
        hub.state.forget_agent(&act, &view.id)?;
        hub.links.cut(&view.id);
        Ok(DONE)
    })
    .await
}

/// Another name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewName {
    name: String,
}

/// Gives an agent another name.
pub async fn rename(
    State(hub): super::State,
    Doer(act): Doer,
    Path(agent): Path<String>,
    Json(new): Json<NewName>,
) -> Result<Json<AgentView>, Problem> {
    blocking(hub, move |hub| {
        hub.state.rename_agent(&act, &agent, &new.name)?;
        hub.agent(&new.name)?.map(Json).ok_or_else(|| unknown(&new.name))
    })
    .await
}

/// What the agent itself answers.
pub async fn forward(
    State(hub): super::State,
    Path((agent, rest)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let name = agent.clone();
    let record = blocking(std::sync::Arc::clone(&hub), move |hub| Ok(hub.state.agent(&agent)?)).await?;
    let record = record.ok_or_else(|| unknown(&name))?;
    let link = hub.links.get(&record.id).ok_or_else(|| {
        let detail = format!("there is no link to {name}; see: fieldpost hub agents");
        Problem::new(StatusCode::BAD_GATEWAY, "no_link", detail)
    })?;
    let path = match query {
        Some(query) => format!("/v1/{rest}?{query}"),
        None => format!("/v1/{rest}"),
    };
    let answered = tokio::time::timeout(FORWARD_DEADLINE, link.get(&path)).await;
    let late = || Problem::new(StatusCode::GATEWAY_TIMEOUT, "late", format!("{name} did not answer in time"));
    let answer = answered.map_err(|_| late())?.map_err(|error| {
        Problem::new(StatusCode::BAD_GATEWAY, "link_failed", format!("the link to {name} failed: {error}"))
    })?;
    Ok(answer.map(Body::new))
}
