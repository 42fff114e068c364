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
use fieldpost_model::job::Job;
use fieldpost_model::{RemoteJobs, TimeMs};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::jobs::{Caller, Ceiling, RunView, blocking, parsed, view};
use super::problem::Problem;
use crate::jobs::{Given, Jobs, NewRun, NotTaken, Origin, RunChanges};

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
        .route("/v1/hub-jobs", post(take_jobs))
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
    let run = match ordered {
        Ordered::Job(job) => {
            let job = *job;
            jobs.post(NewRun { id: Some(id), job, secrets, by, ..NewRun::default() }).await?
        }
        Ordered::Named { name, stdin, params } => {
            owners_own(&jobs, &name).await?;
            jobs.trigger_as(Some(id), &name, Given { params, stdin }, &by).await?
        }
    };
    Ok((StatusCode::CREATED, Json(view(&jobs, run))))
}

/// Only what the owner of this host has put into files goes by its name.
async fn owners_own(jobs: &Jobs, name: &str) -> Result<(), Problem> {
    let (asked, wanted) = (jobs.clone(), name.to_owned());
    let Some(task) = blocking(move || asked.task(&wanted)).await? else {
        let detail = format!("this host has no job {name}; see: fieldpost jobs");
        return Err(Problem::not_found("no_such_job", detail));
    };
    if matches!(task.origin, Origin::File { .. }) {
        return Ok(());
    }
    let detail = format!("job {name} is not one that the owner of this host has defined");
    Err(Problem::new(StatusCode::FORBIDDEN, "jobs_not_admitted", detail))
}

/// All that a hub has defined for this host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubJobs {
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// What was not taken of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubJobsTaken {
    /// By name, and why.
    pub refused: Vec<NotTaken>,
}

/// Takes over what the hub has defined; where it may not have any command run, nothing of it stays.
async fn take_jobs(
    State(jobs): State<Jobs>,
    Extension(caller): Extension<Caller>,
    text: String,
) -> Result<Json<HubJobsTaken>, Problem> {
    let Caller::Hub(hub, _) = &caller else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "not_permitted", "this is for hubs"));
    };
    if let Err(refused) = caller.may_run(false) {
        jobs.take_of_hub(hub, Vec::new()).await?;
        return Err(refused);
    }
    let wanted: HubJobs = parsed(&text, None)?;
    Ok(Json(HubJobsTaken { refused: jobs.take_of_hub(hub, wanted.jobs).await? }))
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
        let goes_on = !bytes.is_empty() && (follow || !is_end);
        Ok(Some((bytes, goes_on.then_some((changes, follow)))))
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
    Ok((bytes.into(), matches!(news[..], [RunNews::Nothing] | [])))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use serde_json::{Value, json};

    use super::*;
    use crate::jobs::{Config, JobsOptions, RunQuery};

    /// Orders for each ceiling.
    const N_ORDERS: usize = 1_000;
    const NOW_MS: TimeMs = 1_800_000_000_000;

    fn opened(folder: &std::path::Path) -> Jobs {
        let options = JobsOptions {
            folder: folder.to_owned(),
            config: Config::default(),
            clock: Arc::new(|| NOW_MS),
            agent: "a".to_owned(),
            runtime: tokio::runtime::Handle::current(),
            failpoint: Default::default(),
        };
        Jobs::open(options).unwrap()
    }

    fn job(name: &str) -> Job {
        Job { name: name.to_owned(), command: "true".to_owned(), ..Job::default() }
    }

    /// An order that nobody may have run, in many shapes; some of them are not even orders.
    fn tampered(n: usize) -> (&'static str, String, Value) {
        let id = format!("tampered-{n}");
        let order = |ordered: Value| json!({ "id": id, "ordered": ordered, "expires_ms": NOW_MS + 1 });
        let names =
            ["", "listed2", "Listed", "../listed", "listed\0", "listed ", "asked", "*", "listed/trigger"];
        let name = names[n / 8 % names.len()];
        let body = match n % 8 {
            0 => order(json!({ "job": job("listed") })),
            1 => order(json!({ "named": { "name": name } })),
            2 => order(json!({ "named": { "name": "listed", "command": "id" } })),
            3 => order(json!({ "named": { "name": "listed" }, "job": job("listed") })),
            4 => {
                json!({ "id": id, "ordered": { "named": { "name": "listed" } }, "expires_ms": NOW_MS - 1 - n as i64 })
            }
            5 => json!({ "id": id, "ordered": { "named": { "name": "listed" } } }),
            6 => return ("/v1/runs", id, json!({ "job": job("listed") })),
            _ if n % 16 == 7 => return ("/v1/hub-jobs", id, json!({ "jobs": [job("listed4")] })),
            _ => return ("/v1/jobs", id, json!(job("listed3"))),
        };
        ("/v1/orders", id, body)
    }

    async fn status(router: &Router, method: &str, path: &str, body: &Value) -> StatusCode {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_string())).unwrap();
        TowerToHyperService::new(router.clone()).call(request).await.unwrap().status()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn orders_that_are_tampered_with_or_not_listed_never_run() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = opened(folder.path());
        jobs.define(vec![("jobs.d/a.yaml".into(), job("listed"))]);
        jobs.add_task(job("asked")).await.unwrap();
        let ceiling = Arc::new(AtomicU8::new(0));
        let granted = {
            let ceiling = Arc::clone(&ceiling);
            Arc::new(move || match ceiling.load(Ordering::SeqCst) {
                0 => RemoteJobs::Off,
                1 => RemoteJobs::Named,
                _ => RemoteJobs::Any,
            })
        };
        let router = routes(jobs.clone(), "h".to_owned(), granted);
        let n_runs = || jobs.runs(&RunQuery { limit: 10, ..RunQuery::default() }).unwrap().runs.len();
        for word in [0, 1] {
            ceiling.store(word, Ordering::SeqCst);
            for n in 0..N_ORDERS {
                let (path, id, body) = tampered(n);
                let status = status(&router, "POST", path, &body).await;
                assert!(status.is_client_error(), "{path} {id} {status}: {body}");
            }
            assert_eq!(n_runs(), 0);
            assert_eq!(jobs.tasks().unwrap().len(), 2);
        }
        let listed =
            json!({ "id": "good", "ordered": { "named": { "name": "listed" } }, "expires_ms": NOW_MS + 1 });
        ceiling.store(0, Ordering::SeqCst);
        assert_eq!(status(&router, "POST", "/v1/orders", &listed).await, StatusCode::FORBIDDEN);
        assert_eq!(
            status(&router, "POST", "/v1/jobs/listed/trigger", &json!({})).await,
            StatusCode::FORBIDDEN
        );
        let is_paused = || jobs.task("listed").unwrap().unwrap().paused;
        assert_eq!(
            status(&router, "POST", "/v1/jobs/listed/disable", &json!({})).await,
            StatusCode::FORBIDDEN
        );
        assert!(!is_paused(), "the owner admits nothing");
        ceiling.store(1, Ordering::SeqCst);
        assert_eq!(status(&router, "POST", "/v1/orders", &listed).await, StatusCode::CREATED);
        assert_eq!(status(&router, "POST", "/v1/orders", &listed).await, StatusCode::CONFLICT, "once");
        assert_eq!(n_runs(), 1);
        assert_eq!(status(&router, "POST", "/v1/jobs/listed/disable", &json!({})).await, StatusCode::OK);
        assert!(is_paused());
        // What its caller wants it to read only where the host's owner has said so.
        let reading = |id: &str, name: &str| {
            let named = json!({ "named": { "name": name, "stdin": "some words" } });
            json!({ "id": id, "ordered": named, "expires_ms": NOW_MS + 1 })
        };
        let reads = Job { takes_stdin: true, ..job("reads") };
        jobs.define([job("listed"), job("deaf"), reads].map(|job| ("jobs.d/a.yaml".into(), job)).to_vec());
        let refused = status(&router, "POST", "/v1/orders", &reading("not", "deaf")).await;
        assert_eq!((refused, n_runs()), (StatusCode::UNPROCESSABLE_ENTITY, 1));
        let taken = status(&router, "POST", "/v1/orders", &reading("reads", "reads")).await;
        assert_eq!(taken, StatusCode::CREATED);
        assert_eq!(jobs.run("reads").unwrap().unwrap().job.stdin.as_deref(), Some("some words"));
        jobs.forget("good").await.unwrap_err();
    }
}
