//! The agent's API as a hub has it over the link: the record, and what the hub's people may ask
//! under the ceiling that this host's owner has set.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use fieldpost_model::{SEQ_MAX, Seq, Stream};
use serde::Deserialize;

use super::local;
use super::problem::Problem;
use crate::agent::{Acknowledgement, Agent, ItemMark, Order, Outbox, RecordHead};

/// The hub at the other end, as the link has proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPrincipal(pub String);

/// What the handlers share.
#[derive(Clone)]
struct LinkState {
    outbox: Arc<Outbox>,
}

/// The routes of a link with this hub.
pub fn router(agent: Arc<Agent>, outbox: Arc<Outbox>, hub: HubPrincipal) -> Router {
    let reading = local::reading_routes(agent);
    Router::new()
        .route("/v1/record", get(head))
        .route("/v1/record/ack", post(acknowledge))
        .route("/v1/record/spool", post(renumber))
        .route("/v1/record/{stream}", get(record))
        .route("/v1/record/{stream}/{seq}", get(item))
        .with_state(LinkState { outbox })
        .merge(reading)
        .layer(Extension(hub))
}

async fn head(State(link): State<LinkState>) -> Json<RecordHead> {
    Json(link.outbox.head())
}

/// Which part of a stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    /// The tail: everything after this number, as it comes.
    after: Option<Seq>,
    from: Option<Seq>,
    to: Option<Seq>,
    order: Option<Order>,
}

async fn record(
    State(link): State<LinkState>,
    Path(stream): Path<String>,
    Query(range): Query<Range>,
) -> Result<Response, Problem> {
    let stream: Stream = stream.parse().map_err(Problem::bad_request)?;
    let frames = match (range.after, range.from, range.to) {
        (Some(after), None, None) if after <= SEQ_MAX => link.outbox.tail(stream, after),
        (None, Some(from), Some(to)) if 1 <= from && from <= to && to <= SEQ_MAX => {
            link.outbox.part(stream, from, to, range.order.unwrap_or(Order::Oldest))
        }
        _ => return Err(Problem::bad_request("ask for after=N, or for from=N&to=M with 1 <= N <= M")),
    };
    Ok(Body::from_stream(frames).into_response())
}

/// By what an item is told from others, so that the hub sees whether a number still stands for
/// what it has under it.
async fn item(
    State(link): State<LinkState>,
    Path((stream, seq)): Path<(String, Seq)>,
) -> Result<Json<ItemMark>, Problem> {
    let stream: Stream = stream.parse().map_err(Problem::bad_request)?;
    let mark = link.outbox.mark(stream, seq).await?;
    mark.map(Json)
        .ok_or_else(|| Problem::not_found("no_item", format!("{} {seq} is no item", stream.as_str())))
}

async fn acknowledge(
    State(link): State<LinkState>,
    Extension(hub): Extension<HubPrincipal>,
    Json(acknowledgement): Json<Acknowledgement>,
) -> Result<StatusCode, Problem> {
    let noted = tokio::task::spawn_blocking(move || link.outbox.acknowledge(&hub.0, &acknowledgement)).await;
    let noted = noted.unwrap_or_else(|error| Err(anyhow::Error::new(error)));
    noted.map_err(|error| Problem::conflict("not_noted", format!("{error:#}")))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why a new numbering is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
}

async fn renumber(
    State(link): State<LinkState>,
    Json(why): Json<Reason>,
) -> Result<Json<RecordHead>, Problem> {
    let done = tokio::task::spawn_blocking(move || link.outbox.renumber(&why.reason)).await;
    Ok(Json(done.unwrap_or_else(|error| Err(anyhow::Error::new(error)))?))
}
