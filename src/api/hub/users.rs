//! Users: who may sign in, and what they may do.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fieldpost_model::hub_state::{NewUser, Role, User};
use serde::Deserialize;

use super::{DONE, Doer, blocking};
use crate::api::problem::Problem;

/// A user as they are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    name: String,
    role: Role,
    /// None: they sign in by one-time links only.
    password: Option<String>,
}

/// All users, by name.
pub async fn list(State(hub): super::State) -> Result<Json<Vec<User>>, Problem> {
    blocking(hub, |hub| Ok(Json(hub.state.users()?))).await
}

/// Adds one.
pub async fn add(
    State(hub): super::State,
    Doer(act): Doer,
    Json(request): Json<UserRequest>,
) -> Result<(StatusCode, Json<User>), Problem> {
    blocking(hub, move |hub| {
        let password = request.password.as_deref().map(|password| hub.password_hash(password)).transpose()?;
        let user = NewUser { name: request.name, password, role: request.role };
        Ok((StatusCode::CREATED, Json(hub.state.add_user(&act, &user)?)))
    })
    .await
}

/// Removes one, with everything by which they sign in.
pub async fn remove(
    State(hub): super::State,
    Doer(act): Doer,
    Path(user): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        hub.state.remove_user(&act, &user)?;
        Ok(DONE)
    })
    .await
}
