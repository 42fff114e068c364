//! The agent's API of the jobs as a hub has it over the link: its orders, each run at most once however
//! often it is sent, and the changes of runs as they come. What a hub may have run is settled by the
//! ceiling of this host's owner, at each request anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use fieldpost_model::hub_runs::{RunCursor, RunNews};
use fieldpost_model::hub_state::Ordered;
use fieldpost_model::{RemoteJobs, TimeMs};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::jobs::{Caller, Ceiling, RunView, blocking, parsed, view};
use super::problem::Problem;
use crate::jobs::{Jobs, NewRun, Origin, RunChanges};

/// Somebody who reads changes is told that there is nothing new after so long at the latest.
const PATIENCE: Duration = Duration::from_secs(10);
/// A visit ends when nothing came for so long.
const VISIT_PATIENCE: Duration = Duration::from_millis(20);

/// What the owner of this host lets the hub do at this moment.
pub type Granted = Arc<dyn Fn() -> RemoteJobs + Send + Sync>;

/// All of the jobs for this hub, under what its owner grants.
pub fn routes(jobs: Jobs, hub: String, granted: Granted) -> Router {
    let own = Router::new()
        .route("/v1/orders", post(order))
        .route("/v1/runs/changes", get(changes))
        .with_state(jobs.clone());
    let stamp = move |mut request: Request, next: Next| {
        let ceiling = match granted() {
            RemoteJobs::Off => Ceiling::Off,
            RemoteJobs::Named => Ceiling::Named,
            RemoteJobs::Any => Ceiling::Any,
        };
        request.extensions_mut().insert(Caller::Hub(hub.clone(), ceiling));
        next.run(request)
    };
    super::jobs::routes(jobs).merge(own).layer(from_fn(stamp))
}

/// A run that a hub orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// The id of the run: the same one again is the same order.
    pub id: String,
    /// What is to run.
    pub ordered: Ordered,
    /// Values of secret variables.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Who wants it, by the hub's word.
    #[serde(default)]
    pub by: String,
    /// It is not taken after this instant.
    pub expires_ms: TimeMs,
}

async fn order(
    State(jobs): State<Jobs>,
    Extension(caller): Extension<Caller>,
    text: String,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let request: OrderRequest = parsed(&text, None)?;
    caller.may_run(request.ordered.needs() == RemoteJobs::Named)?;
    let by = format!("{} for {}", caller.name(), request.by);
    let asked = jobs.clone();
    let id = request.id.clone();
    if blocking(move || asked.run(&id)).await?.is_some() {
        return Err(Problem::conflict("run_exists", format!("there is a run {} already", request.id)));
    }
    if jobs.now_ms() > request.expires_ms {
        let detail = "this order came after it had expired; mind the clocks of hub and agent";
        return Err(Problem::new(StatusCode::GONE, "expired", detail));
    }
    let OrderRequest { id, ordered, secrets, .. } = request;
    let job = match ordered {
        Ordered::Job(job) => *job,
        Ordered::Named { name, stdin, .. } => {
            let asked = jobs.clone();
            let found = blocking(move || asked.task(&name).map(|task| (task, name))).await?;
            let (Some(task), _) = found else {
                let detail = format!("this host has no job {}; see: fieldpost jobs", found.1);
                return Err(Problem::not_found("no_such_job", detail));
            };
            if !matches!(task.origin, Origin::File { .. }) {
                let detail =
                    format!("job {} is not one that the owner of this host has defined", task.job.name);
                return Err(Problem::new(StatusCode::FORBIDDEN, "jobs_not_admitted", detail));
            }
            let stdin = stdin.or_else(|| task.job.stdin.clone());
            fieldpost_model::job::Job { stdin, ..task.job }
        }
    };
    let run = jobs.post(NewRun { id: Some(id), job, secrets, by, ..NewRun::default() }).await?;
    Ok((StatusCode::CREATED, Json(view(&jobs, run))))
}

/// From where, and whether it goes on.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChangesQuery {
    spool: String,
    after: u64,
    follow: bool,
}

/// Changes of runs, a line of JSON each: where it begins, then what is new.
async fn changes(State(jobs): State<Jobs>, Query(query): Query<ChangesQuery>) -> Response {
    let changes = jobs.changes(RunCursor { spool: query.spool, version: query.after });
    let patience = if query.follow { PATIENCE } else { VISIT_PATIENCE };
    let start = Some((changes, query.follow));
    let lines = stream::try_unfold(start, move |state| async move {
        let Some((mut changes, follow)) = state else { return anyhow::Ok(None) };
        let (bytes, is_end) = lines(&mut changes, patience).await?;
        Ok(Some((bytes, (follow || !is_end).then_some((changes, follow)))))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn lines(changes: &mut RunChanges, patience: Duration) -> anyhow::Result<(Bytes, bool)> {
    let news = changes.next(patience).await?;
    let mut bytes = Vec::new();
    for line in &news {
        serde_json::to_writer(&mut bytes, line).context("a change cannot be told")?;
        bytes.push(b'\n');
    }
    Ok((bytes.into(), matches!(news[..], [RunNews::Nothing])))
}
