//! What can be done with one run of an agent through the hub: end it, see what it says, what it costs.
//! What only the agent knows is asked of it over the link.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use fieldpost_model::hub_runs::KnownRun;
use fieldpost_model::hub_state::AuditNote;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::question::{self, in_time};
use super::{Asker, DONE, Doer, blocking};
use crate::api::jobs::{KillAnswer, KillRequest, RunStats};
use crate::api::problem::Problem;
use crate::hub::{Ending, Hub, Link};

/// As much is read of a refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Of which agent, where ids are not unique.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Which {
    agent: Option<String>,
}

async fn known(hub: &Arc<Hub>, id: String, which: Which) -> Result<KnownRun, Problem> {
    blocking(Arc::clone(hub), move |hub| Ok(hub.known_run(&id, which.agent.as_deref())?)).await
}

/// The link to the agent of this run.
async fn link(hub: &Arc<Hub>, run: &KnownRun) -> Result<Arc<Link>, Problem> {
    if run.version == 0 {
        let detail = "the run waits for its agent; nothing more is known of it yet";
        return Err(Problem::new(StatusCode::BAD_GATEWAY, "no_link", detail));
    }
    let agent_id = run.agent_id.clone();
    blocking(Arc::clone(hub), move |hub| question::link(hub, &agent_id)).await
}

/// Ends a run, or sends it a signal: at the hub if it was not sent yet, else at its agent.
pub async fn kill(
    State(hub): super::State,
    Doer(act): Doer,
    Path(id): Path<String>,
    Query(which): Query<Which>,
    Json(request): Json<KillRequest>,
) -> Result<Response, Problem> {
    let run = known(&hub, id, which).await?;
    let (ending, run) = blocking(Arc::clone(&hub), move |hub| {
        let ending = hub.end_order(&act, &run)?;
        if ending == Ending::AskAgent {
            let note = AuditNote {
                action: "run.kill".to_owned(),
                subject: run.run.id.clone(),
                detail: json!({ "agent": run.agent_id }).to_string(),
            };
            hub.state.note(&act, &note)?;
        }
        Ok((ending, run))
    })
    .await?;
    let answer = |done: &str, text: &str| {
        let (done, text) = (done.to_owned(), text.to_owned());
        Ok(Json(KillAnswer { id: run.run.id.clone(), done, text }).into_response())
    };
    match ending {
        Ending::CalledOff => answer("called_off", "it had not been sent to an agent, and is called off"),
        Ending::Noted => answer("asked", "it is on its way to its agent, which is asked to end it"),
        Ending::AskAgent if run.run.state.is_final() => {
            let detail = format!("run {} is over already: {}", run.run.id, run.run.state);
            Err(Problem::conflict("run_over", detail))
        }
        Ending::AskAgent => {
            let link = link(&hub, &run).await?;
            let path = format!("/v1/runs/{}/kill", run.run.id);
            Ok(in_time(link.post(&path, &request)).await?.map(Body::new))
        }
    }
}

/// Forgets a run that is over: at its agent, with its output, then here. What never came to an agent is
/// forgotten here alone, and so is what only an agent had that was forgotten itself.
pub async fn remove(
    State(hub): super::State,
    Doer(act): Doer,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<StatusCode, Problem> {
    let run = known(&hub, id, which).await?;
    if !run.run.state.is_final() {
        let detail = format!(
            "run {} is not known to be over, it was last {}; end it first: fieldpost run kill",
            run.run.id, run.run.state
        );
        return Err(Problem::conflict("run_not_over", detail));
    }
    let (known, noted) = (run.clone(), act.clone());
    let at_agent = blocking(Arc::clone(&hub), move |hub| {
        if known.version == 0 {
            return Ok(None);
        }
        let has_agent = hub.state.agent(&known.agent_id)?.is_some();
        let link = has_agent.then(|| question::link(hub, &known.agent_id)).transpose()?;
        let note = AuditNote {
            action: "run.remove".to_owned(),
            subject: known.run.id.clone(),
            detail: json!({ "agent": known.agent_id }).to_string(),
        };
        hub.state.note(&noted, &note)?;
        Ok(link)
    })
    .await?;
    if let Some(link) = at_agent {
        let path = format!("/v1/runs/{}", run.run.id);
        let answer = in_time(link.delete(&path)).await?;
        // One that the agent has forgotten itself is only forgotten here.
        if !answer.status().is_success() && answer.status() != StatusCode::NOT_FOUND {
            return Err(refused(answer.status(), Body::new(answer.into_body())).await);
        }
    }
    blocking(hub, move |hub| {
        hub.forget_run(&act, &run)?;
        Ok(DONE)
    })
    .await
}

/// The query without what only the hub needs: the agent knows itself.
fn for_agent(query: Option<String>) -> String {
    let query = query.unwrap_or_default();
    query.split('&').filter(|pair| !pair.starts_with("agent=")).collect::<Vec<_>>().join("&")
}

/// What the agent says about why it does not.
async fn refused(status: StatusCode, body: Body) -> Problem {
    let bytes = axum::body::to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        Problem::new(StatusCode::BAD_GATEWAY, "refused", format!("the agent answers {status}"))
    })
}

/// Rows of the output, a line of JSON each, as the agent gives them; followed until the run is over.
pub async fn logs(
    State(hub): super::State,
    asker: Asker,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let run = known(&hub, id, which).await?;
    let link = link(&hub, &run).await?;
    let query = for_agent(query);
    let place = match query.split('&').any(|pair| pair == "follow=true") {
        true => Some(hub.places.take(&asker.0.actor().to_string()).ok_or_else(|| {
            let detail = "too many streams are open; close one, or try again later";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail)
        })?),
        false => None,
    };
    let path = format!("/v1/runs/{}/logs?{query}", run.run.id);
    let answer = in_time(async { Ok(link.get(&path).await?) }).await?;
    let (parts, body) = answer.into_parts();
    let held = Body::new(body).into_data_stream().map(move |bytes| {
        let _held_until_the_end = &place;
        bytes
    });
    let (mut answer, _) = Response::new(Body::empty()).into_parts();
    answer.status = parts.status;
    answer.headers.extend(
        parts.headers.into_iter().filter(|(name, _)| name.as_ref().is_some_and(|name| *name == CONTENT_TYPE)),
    );
    Ok(Response::from_parts(answer, Body::from_stream(held)))
}

/// What a run has cost so far; while it goes on with its newest samples, if its agent is there.
pub async fn stats(
    State(hub): super::State,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let run = known(&hub, id, which).await?;
    if let Ok(link) = link(&hub, &run).await {
        let path = format!("/v1/runs/{}/stats?{}", run.run.id, for_agent(query));
        if let Ok(answer) = question::ask(&hub, &link, &path).await
            && (answer.status().is_success() || answer.status() == StatusCode::BAD_REQUEST)
        {
            return Ok(answer);
        }
    }
    let run = run.run;
    let (samples, intervals) = (Vec::new(), Vec::new());
    let stats = RunStats { state: run.state, usage: run.usage, samples, stats: run.stats, intervals };
    Ok(Json(stats).into_response())
}
