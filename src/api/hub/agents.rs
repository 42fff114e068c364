//! Agents: the list, what people say about them, whether they are trusted, and their own API
//! forwarded over the link.

use axum::Json;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use fieldpost_model::hub_state::Status;
use serde::{Deserialize, Serialize};

use super::{DONE, Doer, blocking, question};
use crate::api::problem::Problem;
use crate::hub::AgentView;

/// Agents of a page.
const N_AGENTS_MAX: usize = 10_000;

/// Which part of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The last name of the page before.
    after: Option<String>,
    /// The most agents.
    limit: Option<usize>,
}

/// Agents, by name: all of them, or a page. The header `Link` leads to the next.
pub async fn list(
    State(hub): super::State,
    Query(part): Query<Part>,
) -> Result<(HeaderMap, Json<Vec<AgentView>>), Problem> {
    let limit = part.limit.unwrap_or(N_AGENTS_MAX).clamp(1, N_AGENTS_MAX);
    blocking(hub, move |hub| {
        let (agents, more) = hub.agents_after(part.after.as_deref(), limit)?;
        let mut headers = HeaderMap::new();
        if let Some(last) = agents.last().filter(|_| more) {
            // Names of agents need no escaping in an address.
            let next = format!("</api/v1/agents?limit={limit}&after={}>; rel=\"next\"", last.name);
            headers.extend(HeaderValue::from_str(&next).ok().map(|next| (LINK, next)));
        }
        Ok((headers, Json(agents)))
    })
    .await
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
        // What waited for this may go out now.
        changed.iter().for_each(|agent| hub.tell_of_orders(&agent.id));
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
    // The record is the hub's own affair, and endless answers would take up the link's places.
    let first = rest.split(['/', '?']).next().unwrap_or_default();
    if matches!(first, "record" | "live") {
        let detail = format!("/v1/{first} of an agent is not forwarded; see /api/openapi.json");
        return Err(Problem::not_found("no_such_route", detail));
    }
    let path = match query {
        Some(query) => format!("/v1/{rest}?{query}"),
        None => format!("/v1/{rest}"),
    };
    question::ask(&hub, &*question::link_of(&hub, &agent).await?, &path).await
}
