//! The metrics page and the agent's health, for Prometheus and load balancers. Nothing else.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use fieldpost_formats::Dialect;
use fieldpost_formats::negotiate::accepts_gzip;
use fieldpost_model::Owner;

use super::page::{OwnMetrics, Page};
use crate::agent::{self, Agent, CollectorState};

/// What the handlers share.
pub struct MetricsState {
    agent: Arc<Agent>,
    page: Page,
}

impl MetricsState {
    /// The pages of this agent.
    pub fn new(agent: Arc<Agent>, own: OwnMetrics) -> Arc<Self> {
        let page = Page::new(Arc::clone(&agent.catalog), Arc::clone(&agent.board), own);
        Arc::new(Self { agent, page })
    }
}

/// The routes of the metrics listener.
pub fn router(state: Arc<MetricsState>) -> Router {
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .with_state(state)
}

async fn landing(State(state): State<Arc<MetricsState>>) -> Html<String> {
    let version = env!("CARGO_PKG_VERSION");
    let ready = if state.agent.is_ready() { "ready" } else { "starting" };
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>fieldpost agent</title>\
         <h1>fieldpost agent {version}</h1><p>{ready}</p>\
         <ul><li><a href=\"/metrics\">metrics</a></li><li><a href=\"/-/healthy\">healthy</a></li>\
         <li><a href=\"/-/ready\">ready</a></li></ul></html>\n"
    ))
}

async fn healthy() -> &'static str {
    "fieldpost agent is healthy\n"
}

async fn ready(State(state): State<Arc<MetricsState>>) -> (StatusCode, &'static str) {
    if state.agent.is_ready() {
        (StatusCode::OK, "fieldpost agent is ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "fieldpost agent is starting\n")
    }
}

async fn metrics(
    State(state): State<Arc<MetricsState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let dialect = Dialect::negotiate(&joined(&headers, &ACCEPT));
    let gzip = accepts_gzip(&joined(&headers, &ACCEPT_ENCODING));
    let choice =
        match Choice::parse(query.as_deref().unwrap_or_default(), state.agent.board.read().collectors()) {
            Ok(choice) => choice,
            Err(message) => return (StatusCode::BAD_REQUEST, message).into_response(),
        };
    state.agent.refresh_stale().await;
    let now_ms = state.agent.clock.wall_ms();
    let body = match choice {
        Choice::All => state.page.whole(dialect, gzip, now_ms),
        Choice::Only(owners) => state.page.part(dialect, gzip, now_ms, |owner| owners.contains(&owner)),
        Choice::Without(owners) => state.page.part(dialect, gzip, now_ms, |owner| !owners.contains(&owner)),
    };
    let mut response = body.into_response();
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(dialect.content_type()));
    answer.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// All values of a header as one list, as RFC 9110 has it.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// Which collectors a request asks for, in node_exporter's words.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    All,
    Only(Vec<Owner>),
    Without(Vec<Owner>),
}

impl Choice {
    /// Reads `collect[]=a&collect[]=b` or `exclude[]=a`; both at once are refused, as are
    /// collectors that are off or unknown.
    fn parse(query: &str, on: &[CollectorState]) -> Result<Self, String> {
        let (mut only, mut without) = (Vec::new(), Vec::new());
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]").as_str()
            {
                "collect[]" => only.push(named(value, on)?),
                "exclude[]" => without.push(named(value, on)?),
                _ => {}
            }
        }
        match (only.is_empty(), without.is_empty()) {
            (true, true) => Ok(Self::All),
            (false, true) => Ok(Self::Only(only)),
            (true, false) => Ok(Self::Without(without)),
            (false, false) => Err("collect[] and exclude[] cannot be used together\n".into()),
        }
    }
}

fn named(name: &str, on: &[CollectorState]) -> Result<Owner, String> {
    if let Some(state) = on.iter().find(|state| state.name == name) {
        return Ok(state.owner);
    }
    Err(if agent::is_collector(name) {
        format!("collector {name:?} is off\n")
    } else {
        format!("there is no collector {name:?}\n")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn collectors_are_chosen_by_name() {
        let on = [CollectorState::new("cpu", Owner(4), Duration::from_secs(1), false)];
        let parse = |query| Choice::parse(query, &on);
        assert_eq!(parse(""), Ok(Choice::All));
        assert_eq!(parse("collect[]=cpu"), Ok(Choice::Only(vec![Owner(4)])));
        assert_eq!(parse("exclude%5B%5D=cpu&x=y"), Ok(Choice::Without(vec![Owner(4)])));
        assert!(parse("collect[]=cpu&exclude[]=cpu").is_err());
        assert_eq!(parse("collect[]=swap"), Err("collector \"swap\" is off\n".into()));
        assert_eq!(parse("collect[]=nonsense"), Err("there is no collector \"nonsense\"\n".into()));
    }
}
