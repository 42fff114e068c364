//! The API on the Unix socket: for the agent's owner and the client, who may do everything.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fieldpost_model::{ProcessRow, Selector, TimeMs};
use serde::{Deserialize, Serialize};

use super::agent_query;
use super::problem::Problem;
use crate::agent::{Agent, Reloaded, Status, UplinkStatus, Uplinks};

/// The routes of the Unix socket.
pub fn router(agent: Arc<Agent>, uplinks: Arc<Uplinks>) -> Router {
    let hubs = Router::new()
        .route("/v1/hubs", get(hubs))
        .route("/v1/hubs/refresh", post(refresh_hubs))
        .with_state(Arc::clone(&uplinks));
    let about = Router::new().route("/v1/status", get(status)).with_state((Arc::clone(&agent), uplinks));
    let reload = Router::new().route("/v1/reload", post(reload)).with_state(Arc::clone(&agent));
    let prometheus = agent_query::routes(Arc::clone(&agent));
    reading_routes(agent).merge(reload).merge(hubs).merge(about).merge(prometheus)
}

/// What may be read of the agent, by its owner and by the hubs it belongs to.
pub fn reading_routes(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/values", get(values))
        .route("/v1/processes", get(processes))
        .route("/v1/info/{subject}", get(info))
        .route("/v1/live", get(live))
        .with_state(agent)
}

/// The hubs that the agent belongs to.
async fn hubs(State(uplinks): State<Arc<Uplinks>>) -> Json<Vec<UplinkStatus>> {
    Json(uplinks.status())
}

/// Looks anew which hubs the agent belongs to.
async fn refresh_hubs(State(uplinks): State<Arc<Uplinks>>) -> Result<Json<Vec<UplinkStatus>>, Problem> {
    let runtime = tokio::runtime::Handle::current();
    let refreshed = tokio::task::spawn_blocking(move || {
        let _inside = runtime.enter();
        uplinks.refresh().map(|()| uplinks.status())
    });
    let broke = |error| Err(anyhow::Error::new(error));
    Ok(Json(refreshed.await.unwrap_or_else(broke)?))
}

async fn status(State((agent, uplinks)): State<(Arc<Agent>, Arc<Uplinks>)>) -> Json<Status> {
    Json(Status { hubs: uplinks.status(), ..agent.status() })
}

/// Loads the config anew; 422 with the errors if it is bad, and nothing was changed.
async fn reload(State(agent): State<Arc<Agent>>) -> (StatusCode, Json<Reloaded>) {
    let done = tokio::task::spawn_blocking(move || agent.reload()).await;
    let reloaded = done.unwrap_or_else(|error| Reloaded {
        errors: vec![format!("the reload did not end: {error}")],
        ..Reloaded::default()
    });
    let code = if reloaded.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    (code, Json(reloaded))
}

/// Which values are asked for.
#[derive(Deserialize)]
struct ValuesQuery {
    /// A selector; all series without one.
    r#match: Option<String>,
}

/// The newest values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Values {
    /// The agent's time.
    pub now_ms: TimeMs,
    /// One for each series.
    pub values: Vec<Value>,
}

/// The newest value of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Value {
    /// The series' name.
    pub name: String,
    /// Its labels, in the order in which they are shown.
    pub labels: Vec<(String, String)>,
    /// The value; none where it is not a finite number, which JSON cannot carry.
    pub value: Option<f64>,
    /// When it was read.
    pub time_ms: TimeMs,
}

impl ValuesQuery {
    fn selector(&self) -> Result<Selector, Problem> {
        let parse =
            |text: &str| Selector::parse(text).map_err(|error| Problem::bad_request(error.to_string()));
        Ok(self.r#match.as_deref().map(parse).transpose()?.unwrap_or_default())
    }
}

/// What each tick changes from now on, a line of JSON each, without an end.
async fn live(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<ValuesQuery>,
) -> Result<Response, Problem> {
    let selector = query.selector()?;
    let lines = agent.watchers.watch(Arc::clone(&agent), selector).ok_or_else(|| {
        let detail = "too many watch this agent already; try again when one has left";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", detail)
    })?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

async fn values(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<ValuesQuery>,
) -> Result<Json<Values>, Problem> {
    let selector = query.selector()?;
    agent.refresh_stale().await;
    let now_ms = agent.clock.wall_ms();
    let (catalog, board) = (agent.catalog.read(), agent.board.read());
    let shown = board.shown(now_ms);
    let mut values = Vec::new();
    for (id, series) in catalog.iter() {
        let Some(value) = board.value(&shown, series.owner, id) else { continue };
        let label = |name: &str| series.labels.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value);
        if selector.accepts(&series.name(), label) {
            values.push(Value {
                name: series.name(),
                labels: series.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
                value: value.is_finite().then_some(value),
                time_ms: board.time_ms(series.owner),
            });
        }
    }
    Ok(Json(Values { now_ms, values }))
}

/// What this machine is.
async fn info(
    State(agent): State<Arc<Agent>>,
    Path(subject): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    let facts = agent.facts(&subject).await;
    let facts = facts
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stuck", format!("{error:#}")))?;
    let unknown = || Problem::not_found("no_such_subject", "there are os, cpu, mem, disk, nic and users");
    facts.map(Json).ok_or_else(unknown)
}

/// The newest process table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Processes {
    /// When it was taken; 0 if there is none yet.
    pub time_ms: TimeMs,
    /// Every process.
    pub processes: Vec<ProcessRow>,
}

async fn processes(State(agent): State<Arc<Agent>>) -> Json<Processes> {
    let (time_ms, processes) = agent.processes();
    Json(Processes { time_ms, processes })
}
