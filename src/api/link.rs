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
use serde::{Deserialize, Serialize};

use super::agent_query;
use super::local;
use super::orders::{self, Granted};
use super::problem::Problem;
use crate::agent::{Acknowledgement, Agent, Identities, ItemMark, Order, Outbox, RecordHead, Status};
use crate::jobs::Jobs;

/// The hub at the other end, as the link has proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPrincipal(pub String);

/// What the handlers share.
#[derive(Clone)]
struct LinkState {
    outbox: Arc<Outbox>,
    identities: Arc<Identities>,
}

/// The routes of a link with this hub.
pub fn router(
    agent: Arc<Agent>,
    outbox: Arc<Outbox>,
    identities: Arc<Identities>,
    hub: HubPrincipal,
    (jobs, granted): (Jobs, Granted),
) -> Router {
    let reading = local::reading_routes(Arc::clone(&agent));
    let prometheus = Router::new().nest("/v1/prometheus", agent_query::routes(Arc::clone(&agent)));
    let about = Router::new().route("/v1/status", get(status)).with_state(agent);
    Router::new()
        .route("/v1/record", get(head))
        .route("/v1/record/ack", post(acknowledge))
        .route("/v1/record/spool", post(renumber))
        .route("/v1/record/{stream}", get(record))
        .route("/v1/record/{stream}/{seq}", get(item))
        .route("/v1/identity/request", post(request_identity))
        .route("/v1/identity", post(renew_identity))
        .route("/v1/identity/seen", post(identity_seen))
        .with_state(LinkState { outbox, identities })
        .merge(reading)
        .merge(prometheus)
        .merge(about)
        .merge(orders::routes(jobs, hub.0.clone(), granted))
        .layer(Extension(hub))
}

async fn status(State(agent): State<Arc<Agent>>) -> Json<Status> {
    Json(agent.status())
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

/// A request for a certificate.
#[derive(Serialize)]
struct Request {
    /// PKCS#10, PEM.
    request: String,
}

/// A certificate that was asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    /// PEM.
    chain: String,
}

/// A certificate that the hub has seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// Its serial number in hexadecimal.
    serial: String,
}

/// Makes a new key; the hub issues its certificate.
async fn request_identity(
    State(link): State<LinkState>,
    Extension(hub): Extension<HubPrincipal>,
) -> Result<Json<Request>, Problem> {
    let request = on_disk(move || link.identities.request(&hub.0)).await?;
    Ok(Json(Request { request }))
}

/// Takes the certificate. When this is answered it is on the disk.
async fn renew_identity(
    State(link): State<LinkState>,
    Extension(hub): Extension<HubPrincipal>,
    Json(new): Json<Chain>,
) -> Result<StatusCode, Problem> {
    on_disk(move || link.identities.renew(&hub.0, new.chain)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The hub has seen a certificate at work; the one before it is no longer needed.
async fn identity_seen(
    State(link): State<LinkState>,
    Extension(hub): Extension<HubPrincipal>,
    Json(seen): Json<Seen>,
) -> Result<StatusCode, Problem> {
    on_disk(move || link.identities.seen(&hub.0, &seen.serial)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(anyhow::Error::new(error)));
    done.map_err(|error| Problem::conflict("identity", format!("{error:#}")))
}
