//! Join tokens: what lets a host in, once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{JoinToken, Labels, Roles};
use serde::{Deserialize, Serialize};

use super::{DONE, Doer, blocking};
use crate::api::problem::Problem;

/// A token as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// How long it is good, seconds.
    pub ttl_seconds: u64,
    /// How many hosts may come by it.
    pub uses: u32,
    /// Roles of those hosts.
    #[serde(default)]
    pub roles: Roles,
    /// Labels of those hosts.
    #[serde(default)]
    pub labels: Labels,
    /// Has somebody to approve each of them?
    #[serde(default)]
    pub needs_approval: bool,
}

/// A token as it was made. The join string is told this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// What `fieldpost join -` takes.
    pub join_string: String,
    /// Its public name.
    pub id: String,
    /// When it ends.
    pub expires_ms: TimeMs,
    /// How many hosts may come by it.
    pub uses: u32,
    /// Roles of those hosts.
    pub roles: Roles,
}

/// All that are kept, newest first.
pub async fn list(State(hub): super::State) -> Result<Json<Vec<JoinToken>>, Problem> {
    blocking(hub, |hub| Ok(Json(hub.state.join_tokens()?))).await
}

/// Makes one.
pub async fn create(
    State(hub): super::State,
    Doer(act): Doer,
    Json(request): Json<TokenRequest>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    blocking(hub, move |hub| {
        let ttl = Duration::from_secs(request.ttl_seconds);
        let wanted = crate::hub::TokenWish {
            ttl,
            uses: request.uses,
            roles: request.roles,
            labels: request.labels,
            needs_approval: request.needs_approval,
        };
        let (token, join_string) = hub.make_join_token(&act, wanted)?;
        let made = TokenMade {
            join_string,
            id: token.id,
            expires_ms: token.expires_ms,
            uses: token.uses_max,
            roles: token.roles,
        };
        Ok((StatusCode::CREATED, Json(made)))
    })
    .await
}

/// Ends one.
pub async fn revoke(
    State(hub): super::State,
    Doer(act): Doer,
    Path(token): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        hub.state.revoke_join_token(&act, &token)?;
        Ok(DONE)
    })
    .await
}
