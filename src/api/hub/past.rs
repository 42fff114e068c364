//! An agent's past out of the hub's record: who used its host, its processes at any moment, and
//! what it noted of itself.

use axum::Json;
use axum::extract::{Path, Query, State};
use fieldpost_model::{Event, TimeMs};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::{Blame, Hub, PastProcesses, PastUnits};

/// Questions about tables that are answered at the same time; a long span takes a core for seconds.
static TURNS: Semaphore = Semaphore::const_new(2);
/// The longest span of which it is told who used a host.
const BLAME_MS_MAX: TimeMs = 24 * 3_600_000;
/// The span that is meant where none is given.
const SPAN_MS: TimeMs = 24 * 3_600_000;
/// Events of an answer.
const N_EVENTS_MAX: usize = 1_000;

/// Of which span.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// First instant, milliseconds since 1970.
    from: Option<TimeMs>,
    /// First instant after the span; now where it is not given.
    to: Option<TimeMs>,
}

impl Span {
    fn read(&self, hub: &Hub) -> Result<(TimeMs, TimeMs), Problem> {
        let to_ms = self.to.unwrap_or_else(|| hub.now_ms());
        let from_ms = self.from.unwrap_or(to_ms.saturating_sub(SPAN_MS));
        if from_ms >= to_ms {
            return Err(Problem::bad_request("from is not before to; both are milliseconds since 1970"));
        }
        Ok((from_ms, to_ms))
    }
}

/// Answers about an agent that there is, as soon as it is its turn.
async fn about_agent<T: Send + 'static>(
    hub: std::sync::Arc<Hub>,
    agent: String,
    work: impl FnOnce(&Hub, &str) -> Result<T, Problem> + Send + 'static,
) -> Result<Json<T>, Problem> {
    let turn = TURNS.acquire().await.map_err(|error| Problem::failed(&anyhow::Error::new(error)))?;
    blocking(hub, move |hub| {
        // Held until the work is done, not only until the client has gone.
        let _turn = turn;
        let record = hub.state.agent(&agent)?.ok_or_else(|| super::agents::unknown(&agent))?;
        work(hub, &record.id).map(Json)
    })
    .await
}

/// Who used the host in a span: shares of CPU time, growth of memory, and storage traffic.
pub async fn culprits(
    State(hub): super::State,
    Path(agent): Path<String>,
    Query(span): Query<Span>,
) -> Result<Json<Blame>, Problem> {
    about_agent(hub, agent, move |hub, id| {
        let (from_ms, to_ms) = span.read(hub)?;
        if to_ms - from_ms > BLAME_MS_MAX {
            return Err(Problem::bad_request("the span is longer than a day; choose a shorter one"));
        }
        hub.blame(id, from_ms, to_ms)?.ok_or_else(|| {
            let detail = "no process table of this agent is stored for this span";
            Problem::not_found("no_tables", detail)
        })
    })
    .await
}

/// Which instant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Milliseconds since 1970.
    at: TimeMs,
}

/// The processes of the host at a moment.
pub async fn processes(
    State(hub): super::State,
    Path(agent): Path<String>,
    Query(moment): Query<Moment>,
) -> Result<Json<PastProcesses>, Problem> {
    about_agent(hub, agent, move |hub, id| Ok(hub.processes_at(id, moment.at)?)).await
}

/// The units of the host at a moment.
pub async fn units(
    State(hub): super::State,
    Path(agent): Path<String>,
    Query(moment): Query<Moment>,
) -> Result<Json<PastUnits>, Problem> {
    about_agent(hub, agent, move |hub, id| Ok(hub.units_at(id, moment.at)?)).await
}

/// What an agent noted.
#[derive(Debug, Serialize)]
pub struct Events {
    from_ms: TimeMs,
    to_ms: TimeMs,
    /// The newest ones, oldest first.
    events: Vec<Event>,
}

/// What the agent noted of itself in a span: starts, stops, what was stuck, gaps, clock jumps.
pub async fn events(
    State(hub): super::State,
    Path(agent): Path<String>,
    Query(span): Query<Span>,
) -> Result<Json<Events>, Problem> {
    about_agent(hub, agent, move |hub, id| {
        let (from_ms, to_ms) = span.read(hub)?;
        Ok(Events { from_ms, to_ms, events: hub.noted(id, from_ms, to_ms, N_EVENTS_MAX)? })
    })
    .await
}
