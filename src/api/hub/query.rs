//! Prometheus' HTTP API over the hub's record: Grafana, promtool and people ask here.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::on;
use fieldpost_model::TimeMs;
use tokio::sync::Semaphore;

use crate::api::gate::{Need, Routes};
use crate::api::query::{self, Ask, Fault, Reply};
use crate::hub::Hub;

/// Queries that run at the same time; others wait for their turn, as long as their client does.
static TURNS: Semaphore = Semaphore::const_new(4);

/// The routes of Prometheus' API. Questions may be asked by a form, for they may be long.
pub fn routes(mut routes: Routes<Arc<Hub>>, need: Need) -> Routes<Arc<Hub>> {
    for method in [Method::GET, Method::POST] {
        routes = routes
            .on(method.clone(), "/api/v1/query", need, |filter| on(filter, instant))
            .on(method.clone(), "/api/v1/query_range", need, |filter| on(filter, range))
            .on(method.clone(), "/api/v1/series", need, |filter| on(filter, series))
            .on(method.clone(), "/api/v1/labels", need, |filter| on(filter, label_names))
            .on(method, "/api/v1/query_exemplars", need, |filter| on(filter, exemplars));
    }
    routes
        .on(Method::GET, "/api/v1/label/{name}/values", need, |filter| on(filter, label_values))
        .on(Method::GET, "/api/v1/metadata", need, |filter| on(filter, metadata))
        .on(Method::GET, "/api/v1/rules", need, |filter| on(filter, rules))
        .on(Method::GET, "/api/v1/alerts", need, |filter| on(filter, alerts))
        .on(Method::GET, "/api/v1/status/buildinfo", need, |filter| on(filter, build_info))
}

/// Answers on a thread that may wait for the disk.
async fn answered(
    hub: Arc<Hub>,
    work: impl FnOnce(&Hub, TimeMs) -> Result<Reply, Fault> + Send + 'static,
) -> Result<Reply, Fault> {
    let turn = TURNS.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        // Held until the work is done, not only until the client has gone.
        let _turn = turn;
        let now_ms = hub.now_ms();
        work(&hub, now_ms)
    });
    done.await.unwrap_or_else(|error| Err(Fault::internal(format!("the query broke off: {error}"))))
}

async fn instant(State(hub): super::State, ask: Ask) -> Result<Reply, Fault> {
    answered(hub, move |hub, now_ms| query::instant(hub, &ask, now_ms)).await
}

async fn range(State(hub): super::State, ask: Ask) -> Result<Reply, Fault> {
    answered(hub, move |hub, _| query::range(hub, &ask)).await
}

async fn series(State(hub): super::State, ask: Ask) -> Result<Reply, Fault> {
    answered(hub, move |hub, now_ms| query::series(hub, &ask, now_ms)).await
}

async fn label_names(State(hub): super::State, ask: Ask) -> Result<Reply, Fault> {
    answered(hub, move |hub, now_ms| query::label_names(hub, &ask, now_ms)).await
}

async fn label_values(State(hub): super::State, Path(name): Path<String>, ask: Ask) -> Result<Reply, Fault> {
    answered(hub, move |hub, now_ms| query::label_values(hub, &ask, &name, now_ms)).await
}

async fn metadata(State(hub): super::State, ask: Ask) -> Result<Reply, Fault> {
    answered(hub, move |hub, now_ms| query::metadata(hub, &ask, now_ms)).await
}

async fn exemplars() -> Reply {
    query::nothing()
}

async fn rules() -> Reply {
    query::no_rules()
}

async fn alerts() -> Reply {
    query::no_alerts()
}

async fn build_info() -> Reply {
    query::build_info()
}
