//! The doors of the hub: each one finds out who asks and stamps it on the request; the gate
//! behind them decides.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;

use super::gate::Principal;
use super::hub::{self, session_secret};
use super::hub_local;
use super::manners;
use super::problem::Problem;
use super::server::Peer;
use crate::hub::{Hub, LocalDoor};

/// The longest body of a request; a route that takes longer ones says so itself.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What browsers say of where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Everything that the hub's listener serves: people, programs, and the agents' links.
pub fn public_router(hub: Arc<Hub>) -> Router {
    let routes = hub::routes().into_router().fallback(hub::nowhere);
    let routes = routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let routes = routes.layer(from_fn_with_state(Arc::clone(&hub), stamp)).layer(from_fn(manners::mind));
    // A link goes on as a WebSocket, and is no answer.
    routes.route("/link", get(link)).with_state(hub)
}

/// What the hub's Unix socket serves: the same, to its owner, and what concerns the process.
pub fn local_router(hub: Arc<Hub>, door: Arc<LocalDoor>) -> Router {
    let routes = hub::routes().into_router().layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let routes = routes.layer(from_fn_with_state(Arc::clone(&hub), stamp)).layer(from_fn(manners::mind));
    routes.with_state(hub).merge(hub_local::router(door))
}

async fn stamp(State(hub): State<Arc<Hub>>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let peer = request.extensions().get::<Peer>().copied();
    let principal = match peer {
        Some(Peer::Local(uid)) => Principal::Owner(uid),
        _ => {
            refuse_foreign_origin(&hub, &request)?;
            proved(hub, request.headers()).await?
        }
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// What a page of somebody else's makes a browser send is refused, for the browser adds the cookie
/// by itself. Programs send no `Origin`, or a token that no browser adds.
fn refuse_foreign_origin(hub: &Hub, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if request.method().is_safe() || headers.contains_key(AUTHORIZATION) {
        return Ok(());
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_foreign = match headers.get(ORIGIN) {
        Some(origin) => !is_ours(hub, origin.to_str().unwrap_or_default(), text(&HOST)),
        None => text(&SEC_FETCH_SITE).is_some_and(|site| matches!(site, "cross-site" | "same-site")),
    };
    if !is_foreign {
        return Ok(());
    }
    let detail =
        "this request comes from a page of another site; open the hub's own page, or send an API token";
    Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", detail))
}

/// Is this origin the hub as the browser reached it, or an address by which it is known?
fn is_ours(hub: &Hub, origin: &str, host: Option<&str>) -> bool {
    let at = origin.split_once("://").map(|(_, at)| at);
    let mut urls = hub.options.urls.iter().map(ToString::to_string);
    (at.is_some() && at == host) || urls.any(|url| url.trim_end_matches('/') == origin)
}

/// Who the headers prove to be asking.
async fn proved(hub: Arc<Hub>, headers: &HeaderMap) -> Result<Principal, Problem> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().to_owned());
    let session = session_secret(headers);
    if bearer.is_none() && session.is_none() {
        return Ok(Principal::Nobody);
    }
    let asked = tokio::task::spawn_blocking(move || match (bearer, session) {
        (Some(token), _) => hub.api_token(&token).map(|found| {
            found.map_or(Principal::Nobody, |token| Principal::Token { id: token.id, scope: token.scope })
        }),
        (None, session) => hub.session(&session.unwrap_or_default()).map(|found| {
            found.map_or(Principal::Nobody, |session| Principal::User {
                name: session.user,
                role: session.role,
            })
        }),
    });
    let answered = asked.await.map_err(|error| Problem::failed(&anyhow::Error::new(error)))?;
    Ok(answered?)
}

/// An agent opens its link, or a host wants to join: both prove themselves inside.
async fn link(State(hub): State<Arc<Hub>>, mut request: Request) -> Response {
    let address = match request.extensions().get::<Peer>() {
        Some(Peer::Network { address, .. }) => Some(address.ip().to_string()),
        _ => None,
    };
    hub.open_link(&mut request, address).map(axum::body::Body::from)
}
