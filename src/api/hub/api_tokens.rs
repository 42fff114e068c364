//! API tokens: by which programs ask the hub.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::ApiToken;
use serde::{Deserialize, Serialize};

use super::{DONE, Doer, blocking};
use crate::api::problem::Problem;
use crate::hub::NewApiTokenWish;

/// A token as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiTokenRequest {
    /// What people call it.
    pub name: String,
    /// What it is good for: `viewer`, `operator`, `admin`, or `ingest`.
    pub scope: String,
    /// Whose it is: it is never good for more than they may do. None: the hub's own.
    pub owner: Option<String>,
    /// How long it is good, seconds; none: until it is revoked.
    pub ttl_seconds: Option<u64>,
}

/// A token as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenView {
    /// Its public name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it is good for.
    pub scope: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// When it was made.
    pub created_ms: TimeMs,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_ms: Option<TimeMs>,
    /// When it was last used, as far as it was noted.
    pub last_used_ms: Option<TimeMs>,
    /// When it was revoked.
    pub revoked_ms: Option<TimeMs>,
}

impl From<ApiToken> for ApiTokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scope: token.scope.as_str().to_owned(),
            owner: token.owner,
            created_ms: token.created_ms,
            created_by: token.created_by,
            expires_ms: token.expires_ms,
            last_used_ms: token.last_used_ms,
            revoked_ms: token.revoked_ms,
        }
    }
}

/// A token as it was made. The secret is told this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenMade {
    /// What goes into `Authorization: Bearer`.
    pub secret: String,
    /// What is kept of it.
    pub token: ApiTokenView,
}

/// All of them, newest first.
pub async fn list(State(hub): super::State) -> Result<Json<Vec<ApiTokenView>>, Problem> {
    blocking(hub, |hub| Ok(Json(hub.state.api_tokens()?.into_iter().map(ApiTokenView::from).collect()))).await
}

/// Makes one.
pub async fn create(
    State(hub): super::State,
    Doer(act): Doer,
    Json(request): Json<ApiTokenRequest>,
) -> Result<(StatusCode, Json<ApiTokenMade>), Problem> {
    blocking(hub, move |hub| {
        let wish = NewApiTokenWish {
            name: request.name,
            owner: request.owner,
            scope: request.scope.parse()?,
            ttl: request.ttl_seconds.map(Duration::from_secs),
        };
        let (secret, token) = hub.make_api_token(&act, wish)?;
        Ok((StatusCode::CREATED, Json(ApiTokenMade { secret, token: token.into() })))
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
        hub.state.revoke_api_token(&act, &token)?;
        Ok(DONE)
    })
    .await
}
