//! The API on the hub's Unix socket: for the hub's owner and the client, who may do everything.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::problem::Problem;
use crate::hub::{BackupMade, BackupWish, LocalDoor, Reloaded, Status};

/// The routes of the hub's Unix socket.
pub fn router(door: Arc<LocalDoor>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/backup", post(backup))
        .with_state(door)
}

async fn status(State(door): State<Arc<LocalDoor>>) -> Json<Status> {
    Json((door.status)())
}

/// Loads the config anew; 422 with the errors if it is bad, and nothing was changed.
async fn reload(State(door): State<Arc<LocalDoor>>) -> (StatusCode, Json<Reloaded>) {
    let done = tokio::task::spawn_blocking(move || (door.reload)()).await;
    let reloaded = done.unwrap_or_else(|error| Reloaded {
        errors: vec![format!("the reload did not end: {error}")],
        ..Reloaded::default()
    });
    let code = if reloaded.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    (code, Json(reloaded))
}

/// Makes a backup, on the hub's own disk, as the hub's own user.
async fn backup(
    State(door): State<Arc<LocalDoor>>,
    Json(wish): Json<BackupWish>,
) -> Result<Json<BackupMade>, Problem> {
    let made = tokio::task::spawn_blocking(move || (door.backup)(&wish)).await;
    let made = made.unwrap_or_else(|error| Err(anyhow::Error::new(error)));
    made.map(Json).map_err(|error| Problem::conflict("no_backup", format!("{error:#}")))
}
