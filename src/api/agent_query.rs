//! Prometheus' HTTP API over the agent's own store and its newest ticks: on the Unix socket, over the
//! link, and for programs that send the owner's token on a listener of its own.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use fieldpost_model::TimeMs;
use fieldpost_promql::{Catalogue, Engine, Limits};

use super::manners;
use super::problem::Problem;
use super::query::{Asked, Turns, each};
use crate::agent::Agent;

/// Queries that run at the same time, and those of one asker: this host has other things to do.
static TURNS: Turns = Turns::new(2, 1);

/// Samples that a query may read: what 500 series have in four hours of seconds.
const SAMPLES_MAX: u64 = 8_000_000;
/// Memory that a query may take, bytes.
const BYTES_MAX: u64 = 128 << 20;

impl Asked for Agent {
    fn now_ms(&self) -> TimeMs {
        self.clock.wall_ms()
    }

    fn question(&self) -> Box<dyn Catalogue + '_> {
        Box::new(Agent::question(self))
    }

    fn engine(&self) -> Engine {
        let engine = Engine::default();
        Engine { limits: Limits { samples: SAMPLES_MAX, bytes: BYTES_MAX, ..engine.limits }, ..engine }
    }

    fn turns(&self) -> &'static Turns {
        &TURNS
    }
}

/// The routes of Prometheus' API.
pub fn routes(agent: Arc<Agent>) -> Router {
    let mut routes = Some(Router::new());
    each::<Agent>(|method, path, handler| {
        let Ok(filter) = method.try_into() else { return };
        routes = routes.take().map(|routes| routes.route(path, handler(filter)));
    });
    routes.unwrap_or_default().with_state(agent)
}

/// What the listener for programs serves, to those who send the token: Prometheus' API, and to all
/// whether it is there.
pub fn router(agent: Arc<Agent>, token: String) -> Router {
    let guarded = routes(agent).layer(from_fn_with_state(Arc::<str>::from(token), check));
    let healthy = || async { "fieldpost agent is healthy\n" };
    let router = guarded.route("/-/healthy", get(healthy)).route("/-/ready", get(healthy));
    router.layer(from_fn(manners::mind))
}

async fn check(State(token): State<Arc<str>>, request: Request, next: Next) -> Result<Response, Problem> {
    let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if is_same(sent.trim().as_bytes(), token.as_bytes()) {
        return Ok(next.run(request).await);
    }
    let detail = "send the token of api.http.token_file: Authorization: Bearer TOKEN";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "not_signed_in", detail))
}

/// Compares without telling by the time it takes how much is right.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |unlike, (a, b)| unlike | (a ^ b)) == 0
}
