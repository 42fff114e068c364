//! Users: who may sign in, and what they may do.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{NewUser, Role, User};
use serde::{Deserialize, Serialize};

use super::{DONE, Doer, blocking};
use crate::api::problem::Problem;

/// A user as they are asked for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// None: they sign in by one-time links only.
    pub password: Option<String>,
}

/// A new password.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password.
    pub password: String,
}

/// What somebody may do from now on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// The role.
    pub role: Role,
}

/// Whether somebody may do anything at all.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disabling {
    /// Disabled, or enabled again?
    pub disabled: bool,
}

/// A link by which a user signs in once. It is told this once.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignInLinkMade {
    /// The link.
    pub url: String,
    /// When it ends.
    pub expires_ms: TimeMs,
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

/// Sets a password; the user's sessions end.
pub async fn set_password(
    State(hub): super::State,
    Doer(act): Doer,
    Path(user): Path<String>,
    Json(new): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        hub.state.set_password(&act, &user, &hub.password_hash(&new.password)?)?;
        Ok(DONE)
    })
    .await
}

/// Sets a role.
pub async fn set_role(
    State(hub): super::State,
    Doer(act): Doer,
    Path(user): Path<String>,
    Json(new): Json<NewRole>,
) -> Result<Json<User>, Problem> {
    blocking(hub, move |hub| Ok(Json(hub.state.set_role(&act, &user, new.role)?))).await
}

/// Disables or enables a user.
pub async fn set_disabled(
    State(hub): super::State,
    Doer(act): Doer,
    Path(user): Path<String>,
    Json(new): Json<Disabling>,
) -> Result<Json<User>, Problem> {
    blocking(hub, move |hub| Ok(Json(hub.state.set_disabled(&act, &user, new.disabled)?))).await
}

/// Makes a link by which a user signs in once.
pub async fn sign_in_link(
    State(hub): super::State,
    Doer(act): Doer,
    Path(user): Path<String>,
) -> Result<(StatusCode, Json<SignInLinkMade>), Problem> {
    blocking(hub, move |hub| {
        let link = hub.offer_sign_in(&act, &user)?;
        Ok((StatusCode::CREATED, Json(SignInLinkMade { url: link.url, expires_ms: link.expires_ms })))
    })
    .await
}
