//! Agents that the hub dials: taken in by their invitation, and visited as often as people say.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fieldpost_model::hub_state::{Labels, Roles};
use serde::{Deserialize, Serialize};

use super::agents::unknown;
use super::{Doer, blocking};
use crate::api::problem::Problem;
use crate::hub::{AgentView, PollWish};

/// An agent that is to be taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRequest {
    /// What `fieldpost invite` printed there.
    pub invitation: String,
    /// Seconds from one visit to the next; 0: the hub stays.
    pub interval_seconds: u64,
    /// Roles of the agent.
    #[serde(default)]
    pub roles: Roles,
    /// Labels of the agent.
    #[serde(default)]
    pub labels: Labels,
}

/// Takes an agent in: dials it by its invitation, and polls it from now on.
pub async fn add(
    State(hub): super::State,
    Doer(act): Doer,
    Json(request): Json<PollRequest>,
) -> Result<(StatusCode, Json<AgentView>), Problem> {
    let invitation = request.invitation.parse();
    let wish = PollWish {
        invitation: invitation.map_err(|error| Problem::bad_request(format!("{error}")))?,
        interval: Duration::from_secs(request.interval_seconds),
        roles: request.roles,
        labels: request.labels,
    };
    let adopted = hub.adopt(&act, wish).await;
    let failed = |error: anyhow::Error| {
        Problem::new(
            StatusCode::BAD_GATEWAY,
            "not_taken_in",
            format!("the agent was not taken in: {error:#}"),
        )
    };
    let id = adopted.map_err(failed)?.id;
    blocking(hub, move |hub| {
        let view = hub.agent(&id)?.ok_or_else(|| unknown(&id))?;
        Ok((StatusCode::CREATED, Json(view)))
    })
    .await
}

/// Where and how often an agent is visited from now on; what is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollChange {
    /// Where it listens, `HOST:PORT`.
    pub address: Option<String>,
    /// Seconds from one visit to the next; 0: the hub stays.
    pub interval_seconds: Option<u64>,
}

/// Changes where or how often an agent is visited.
pub async fn change(
    State(hub): super::State,
    Doer(act): Doer,
    Path(agent): Path<String>,
    Json(change): Json<PollChange>,
) -> Result<Json<AgentView>, Problem> {
    let address = change.address.as_deref().map(str::parse).transpose();
    let address = address.map_err(|error| Problem::bad_request(format!("{error}")))?;
    let interval = change.interval_seconds.map(Duration::from_secs);
    blocking(Arc::clone(&hub), move |hub| {
        let record = hub.state.agent(&agent)?.ok_or_else(|| unknown(&agent))?;
        let changed = hub.change_polling(&act, &record, address.as_ref(), interval);
        let changed = changed.map_err(|error| Problem::conflict("not_polled", format!("{error:#}")))?;
        hub.agent(&changed.id)?.map(Json).ok_or_else(|| unknown(&agent))
    })
    .await
}
