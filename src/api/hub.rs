//! The hub's API for people and programs: a table of routes, each with what it needs, and thin
//! handlers over the hub's handle. The same table is served on the hub's listener and, to its
//! owner, on its Unix socket.

mod agents;
mod api_tokens;
mod audit;
mod coverage;
mod description;
mod fleet;
mod jobs;
mod live;
mod logs;
mod page;
mod past;
mod polls;
mod push;
mod query;
mod question;
mod remote;
mod results;
mod run_door;
mod runs;
mod sign_in;
mod tokens;
mod users;

use std::sync::Arc;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::routing::on;
use fieldpost_model::hub_state::{Act, HubStateError, Role};

use super::gate::{Need, Principal, Routes};
use super::problem::Problem;
use super::server::Peer;
use crate::hub::Hub;

pub use agents::StatusChange;
pub use api_tokens::{ApiTokenMade, ApiTokenRequest, ApiTokenView};
pub use audit::{AuditPage, AuditProof};
pub use jobs::{Fault, HostJobs, HubJobView, JobCheck, JobList, JobWish};
pub use page::nowhere;
pub use polls::{PollChange, PollRequest};
pub use remote::Pong;
pub use results::{ResultList, Settled, Settling};
pub use runs::{
    HubRunList, NamedJob, QueueList, QueueView, QueuedRun, RunOrder, RunsOrdered, TargetQuestion,
};
pub use sign_in::session_secret;
pub use tokens::{TokenMade, TokenRequest};
pub use users::{Disabling, NewPassword, NewRole, SignInLinkMade, UserRequest};

/// The hub as handlers get it.
pub type State = axum::extract::State<Arc<Hub>>;

/// Every route of the hub's API.
pub fn routes() -> Routes<Arc<Hub>> {
    let viewer = Need::Role(Role::Viewer);
    let operator = Need::Role(Role::Operator);
    let admin = Need::Role(Role::Admin);
    let routes = Routes::new()
        .on(Method::GET, "/-/healthy", Need::Nothing, |filter| on(filter, page::healthy))
        .on(Method::GET, "/-/ready", Need::Nothing, |filter| on(filter, page::healthy))
        .on(Method::POST, "/api/v1/first-admin", Need::Nothing, |filter| on(filter, sign_in::first_admin))
        .on(Method::POST, "/api/v1/session", Need::Nothing, |filter| on(filter, sign_in::begin))
        .on(Method::POST, "/api/v1/session/link", Need::Nothing, |filter| on(filter, sign_in::redeem))
        .on(Method::DELETE, "/api/v1/session", viewer, |filter| on(filter, sign_in::end))
        .on(Method::GET, "/api/v1/session", viewer, |filter| on(filter, sign_in::whoami))
        .on(Method::GET, "/api/v1/agents", viewer, |filter| on(filter, agents::list))
        .on(Method::GET, "/api/v1/agents/{agent}", viewer, |filter| on(filter, agents::one))
        .on(Method::DELETE, "/api/v1/agents/{agent}", admin, |filter| on(filter, agents::forget))
        .on(Method::POST, "/api/v1/agents/{agent}/approve", admin, |filter| on(filter, agents::approve))
        .on(Method::POST, "/api/v1/agents/{agent}/revoke", admin, |filter| on(filter, agents::revoke))
        .on(Method::POST, "/api/v1/agents/{agent}/name", admin, |filter| on(filter, agents::rename))
        .on(Method::POST, "/api/v1/polls", admin, |filter| on(filter, polls::add))
        .on(Method::POST, "/api/v1/agents/{agent}/poll", admin, |filter| on(filter, polls::change))
        .on(Method::GET, "/api/v1/agents/{agent}/v1/{*rest}", viewer, |filter| on(filter, agents::forward))
        .on(Method::POST, "/api/v1/status", operator, |filter| on(filter, agents::set_status))
        .on(Method::GET, "/api/v1/tokens", admin, |filter| on(filter, tokens::list))
        .on(Method::POST, "/api/v1/tokens", admin, |filter| on(filter, tokens::create))
        .on(Method::DELETE, "/api/v1/tokens/{token}", admin, |filter| on(filter, tokens::revoke))
        .on(Method::GET, "/api/v1/users", admin, |filter| on(filter, users::list))
        .on(Method::POST, "/api/v1/users", admin, |filter| on(filter, users::add))
        .on(Method::DELETE, "/api/v1/users/{user}", admin, |filter| on(filter, users::remove))
        .on(Method::POST, "/api/v1/users/{user}/password", admin, |filter| on(filter, users::set_password))
        .on(Method::POST, "/api/v1/users/{user}/role", admin, |filter| on(filter, users::set_role))
        .on(Method::POST, "/api/v1/users/{user}/disabled", admin, |filter| on(filter, users::set_disabled))
        .on(Method::POST, "/api/v1/users/{user}/sign-in-link", admin, |filter| {
            on(filter, users::sign_in_link)
        })
        .on(Method::GET, "/api/v1/api-tokens", admin, |filter| on(filter, api_tokens::list))
        .on(Method::POST, "/api/v1/api-tokens", admin, |filter| on(filter, api_tokens::create))
        .on(Method::DELETE, "/api/v1/api-tokens/{id}", admin, |filter| on(filter, api_tokens::revoke))
        .on(Method::POST, "/api/v1/write", Need::Ingest, |filter| on(filter, push::write))
        .on(Method::POST, "/v1/metrics", Need::Ingest, |filter| on(filter, push::metrics))
        .on(Method::POST, "/v1/logs", Need::Ingest, |filter| on(filter, push::logs))
        .on(Method::GET, "/api/v1/audit", admin, |filter| on(filter, audit::list))
        .on(Method::GET, "/api/v1/audit/proof", admin, |filter| on(filter, audit::verify))
        .on(Method::GET, "/api/v1/coverage", viewer, |filter| on(filter, coverage::coverage))
        .on(Method::GET, "/api/v1/logs", viewer, |filter| on(filter, logs::logs))
        .on(Method::GET, "/api/v1/live", viewer, |filter| on(filter, live::live))
        .on(Method::GET, "/api/openapi.json", Need::Nothing, |filter| on(filter, description::document));
    job_routes(past_routes(page_routes(query::routes(routes, viewer)), viewer), viewer, operator)
}

/// Addresses of the page's views: each is a link that shows the same again.
const VIEWS: [&str; 14] = [
    "/",
    "/hosts/{host}",
    "/jobs",
    "/jobs/{job}",
    "/runs",
    "/runs/{run}",
    "/queues",
    "/explore",
    "/logs",
    "/agents",
    "/users",
    "/tokens",
    "/audit",
    "/settings",
];

/// The page: its views, and the files that it is made of.
fn page_routes(mut routes: Routes<Arc<Hub>>) -> Routes<Arc<Hub>> {
    for view in VIEWS {
        routes = routes.on(Method::GET, view, Need::Nothing, |filter| on(filter, page::page));
    }
    routes
        .on(Method::GET, "/app.js", Need::Nothing, |filter| on(filter, page::script))
        .on(Method::GET, "/app.css", Need::Nothing, |filter| on(filter, page::style))
        .on(Method::GET, "/icon.svg", Need::Nothing, |filter| on(filter, page::icon))
}

/// The fleet at a glance, and agents' past.
fn past_routes(routes: Routes<Arc<Hub>>, viewer: Need) -> Routes<Arc<Hub>> {
    routes
        .on(Method::GET, "/api/v1/fleet", viewer, |filter| on(filter, fleet::fleet))
        .on(Method::GET, "/api/v1/about", viewer, |filter| on(filter, fleet::about))
        .on(Method::GET, "/api/v1/agents/{agent}/culprits", viewer, |filter| on(filter, past::culprits))
        .on(Method::GET, "/api/v1/agents/{agent}/processes", viewer, |filter| on(filter, past::processes))
        .on(Method::GET, "/api/v1/agents/{agent}/units", viewer, |filter| on(filter, past::units))
        .on(Method::GET, "/api/v1/agents/{agent}/events", viewer, |filter| on(filter, past::events))
}

/// Runs and jobs, of all agents.
fn job_routes(routes: Routes<Arc<Hub>>, viewer: Need, operator: Need) -> Routes<Arc<Hub>> {
    routes
        .on(Method::GET, "/api/v1/runs", viewer, |filter| on(filter, runs::list))
        .on(Method::POST, "/api/v1/runs", operator, |filter| on(filter, runs::order))
        .on(Method::GET, "/api/v1/runs/live", viewer, |filter| on(filter, runs::live))
        .on(Method::GET, "/api/v1/runs/{id}", viewer, |filter| on(filter, runs::one))
        .on(Method::DELETE, "/api/v1/runs/{id}", operator, |filter| on(filter, run_door::remove))
        .on(Method::GET, "/api/v1/runs/{id}/result", viewer, |filter| on(filter, runs::result))
        .on(Method::GET, "/api/v1/runs/{id}/logs", viewer, |filter| on(filter, run_door::logs))
        .on(Method::GET, "/api/v1/runs/{id}/stats", viewer, |filter| on(filter, run_door::stats))
        .on(Method::POST, "/api/v1/runs/{id}/kill", operator, |filter| on(filter, run_door::kill))
        .on(Method::POST, "/api/v1/results/pop", operator, |filter| on(filter, results::pop))
        .on(Method::POST, "/api/v1/results/settle", operator, |filter| on(filter, results::settle))
        .on(Method::GET, "/api/v1/agents/{agent}/ping", viewer, |filter| on(filter, remote::ping))
        .on(Method::POST, "/api/v1/agents/{agent}/restart", operator, |filter| on(filter, remote::restart))
        .on(Method::POST, "/api/v1/agents/{agent}/killall", operator, |filter| on(filter, remote::kill_all))
        .on(Method::POST, "/api/v1/agents/{agent}/jobs/{name}/enable", operator, |filter| {
            on(filter, remote::enable_job)
        })
        .on(Method::POST, "/api/v1/agents/{agent}/jobs/{name}/disable", operator, |filter| {
            on(filter, remote::disable_job)
        })
        .on(Method::POST, "/api/v1/targets", viewer, |filter| on(filter, runs::targets))
        .on(Method::GET, "/api/v1/queues", viewer, |filter| on(filter, runs::queues))
        .on(Method::GET, "/api/v1/jobs", viewer, |filter| on(filter, jobs::list))
        .on(Method::POST, "/api/v1/jobs", operator, |filter| on(filter, jobs::define))
        .on(Method::POST, "/api/v1/jobs/check", viewer, |filter| on(filter, jobs::check))
        .on(Method::PUT, "/api/v1/jobs/{name}", operator, |filter| on(filter, jobs::replace))
        .on(Method::DELETE, "/api/v1/jobs/{name}", operator, |filter| on(filter, jobs::remove))
        .on(Method::POST, "/api/v1/jobs/{name}/enable", operator, |filter| on(filter, jobs::enable))
        .on(Method::POST, "/api/v1/jobs/{name}/disable", operator, |filter| on(filter, jobs::disable))
        .on(Method::POST, "/api/v1/jobs/{name}/trigger", operator, |filter| on(filter, jobs::trigger))
}

/// Who does something, from where and when: for the state and its audit log.
pub struct Doer(pub Act);

impl FromRequestParts<Arc<Hub>> for Doer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Self::Rejection> {
        let principal = parts.extensions.get::<Principal>().unwrap_or(&Principal::Nobody);
        let address = match parts.extensions.get::<Peer>() {
            Some(Peer::Network { address, .. }) => Some(address.ip().to_string()),
            _ => None,
        };
        Ok(Self(Act { actor: principal.actor(), address, now_ms: hub.now_ms() }))
    }
}

/// Does what may wait for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    hub: Arc<Hub>,
    work: impl FnOnce(&Hub) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(move || work(&hub)).await;
    done.unwrap_or_else(|error| {
        Err(Problem::failed(&anyhow::Error::new(error).context("the request broke off")))
    })
}

impl From<HubStateError> for Problem {
    fn from(error: HubStateError) -> Self {
        let text = error.to_string();
        match error {
            HubStateError::Unknown { .. } => Problem::not_found("unknown", text),
            HubStateError::Taken { .. } => Problem::conflict("taken", text),
            HubStateError::Invalid { .. } => Problem::bad_request(text),
            HubStateError::Revoked(_) => Problem::conflict("revoked", text),
            HubStateError::LastAdmin(_) => Problem::conflict("last_admin", text),
            HubStateError::AdminExists => Problem::conflict("admin_exists", text),
            HubStateError::Storage(_) => {
                Problem::failed(&anyhow::Error::new(error).context("the hub's state cannot be used"))
            }
        }
    }
}

/// Who asks, as a handler gets it.
type Asker = Extension<Principal>;

/// Nothing more to say.
const DONE: StatusCode = StatusCode::NO_CONTENT;
