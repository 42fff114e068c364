//! The API on the hub's Unix socket: for the hub's owner and the client, who may do everything.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::hub::{LocalDoor, Reloaded, Status};

/// The routes of the hub's Unix socket.
pub fn router(door: Arc<LocalDoor>) -> Router {
    Router::new().route("/v1/status", get(status)).route("/v1/reload", post(reload)).with_state(door)
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
