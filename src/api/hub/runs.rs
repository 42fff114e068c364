//! Runs through the hub: ordered for agents by name or role, listed over all of them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use fieldpost_model::hub_runs::{RunPlace, RunWish, RunsFault};
use fieldpost_model::hub_state::{Ordered, Target};
use fieldpost_model::job::{Job, RunState};
use fieldpost_model::{Period, RemoteJobs, TimeMs};
use serde::{Deserialize, Serialize};

use super::{Doer, blocking};
use crate::api::jobs::parsed;
use crate::api::problem::Problem;
use crate::hub::{FleetRuns, GapView, LiveWish, Matches, OrderFault, OrderWish, RunFault, RunView};
use crate::jobs::faults_of;

/// Runs of a page.
const N_RUNS_MAX: usize = 1_000;
/// The longest that an answer waits for the end of a run.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// What is to run, and for whom: either `job` or `named`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunOrder {
    /// The id of the run, if it is to have a certain one: then the same order twice is one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// What the hosts' owners have defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<NamedJob>,
    /// For whom.
    pub target: Target,
    /// Values of secret variables; they are never told again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// How long it may wait for its agent; a day without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Period>,
}

/// A job of the hosts' own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedJob {
    /// Its name in their jobs.d.
    pub name: String,
    /// What it reads on its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Values of its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

/// What was ordered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunsOrdered {
    /// What was ordered together has the same.
    pub batch: String,
    /// The runs, one for each agent.
    pub runs: Vec<RunView>,
}

impl From<OrderFault> for Problem {
    fn from(fault: OrderFault) -> Self {
        let detail = fault.to_string();
        match fault {
            OrderFault::Target(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_target", detail),
            OrderFault::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_order", detail),
            OrderFault::NoAgent(_) => Self::not_found("no_such_agent", detail),
            OrderFault::Nobody(_) => Self::conflict("nobody_matches", detail),
            OrderFault::State(error) => error.into(),
            OrderFault::Runs(error) => error.into(),
            OrderFault::Seal(error) => Self::failed(&error),
        }
    }
}

impl From<RunsFault> for Problem {
    fn from(error: RunsFault) -> Self {
        Self::failed(&anyhow::Error::new(error))
    }
}

impl From<RunFault> for Problem {
    fn from(fault: RunFault) -> Self {
        let detail = fault.to_string();
        match fault {
            RunFault::Unknown(_) => Self::not_found("no_such_run", detail),
            RunFault::NoAgent(_) => Self::not_found("no_such_agent", detail),
            RunFault::State(error) => error.into(),
            RunFault::Runs(error) => error.into(),
            RunFault::Order(error) => error.into(),
        }
    }
}

/// What is wrong with a job, all of it at once.
pub(super) fn sound(job: &Job) -> Result<(), Problem> {
    let faults = faults_of(job);
    if faults.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = faults.iter().map(|(key, text)| format!("{key}: {text}")).collect();
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_job", told.join("; ")))
}

impl RunOrder {
    fn wish(self) -> Result<OrderWish, Problem> {
        let RunOrder { id, job, named, target, secrets, expires } = self;
        let invalid = |detail: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_order", detail);
        let ordered = match (job, named) {
            (Some(job), None) => {
                sound(&job)?;
                if job.is_scheduled() || job.keep {
                    return Err(invalid(
                        "job: an order runs once, now; define a job with a schedule: POST /api/v1/jobs",
                    ));
                }
                Ordered::Job(Box::new(job))
            }
            (None, Some(NamedJob { name, stdin, params })) => Ordered::Named { name, stdin, params },
            _ => return Err(invalid("say what is to run: either job or named")),
        };
        Ok(OrderWish { id, ordered, target, secrets, expires })
    }
}

/// Orders runs; when this is answered the order is on the disk.
pub async fn order(
    State(hub): super::State,
    Doer(act): Doer,
    text: String,
) -> Result<(StatusCode, Json<RunsOrdered>), Problem> {
    let wish = parsed::<RunOrder>(&text, Some("job"))?.wish()?;
    blocking(hub, move |hub| {
        let orders = hub.order(&act, &wish)?;
        let batch = orders.first().map(|order| order.batch.clone()).unwrap_or_default();
        let wish = RunWish { batch: Some(batch.clone()), limit: orders.len().max(1), ..RunWish::default() };
        let (runs, _) = hub.run_views(&wish)?;
        Ok((StatusCode::CREATED, Json(RunsOrdered { batch, runs })))
    })
    .await
}

/// Who would get something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetQuestion {
    /// For whom it is meant.
    pub target: Target,
    /// Is it a job of the hosts' own?
    #[serde(default)]
    pub named: bool,
}

/// Who would get it, and why others would not.
pub async fn targets(
    State(hub): super::State,
    Json(question): Json<TargetQuestion>,
) -> Result<Json<Matches>, Problem> {
    if let Some(fault) = question.target.fault() {
        return Err(OrderFault::Target(fault.to_owned()).into());
    }
    let needs = if question.named { RemoteJobs::Named } else { RemoteJobs::Any };
    blocking(hub, move |hub| Ok(Json(hub.matches(&question.target, needs)?))).await
}

/// Which runs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Names or ids of agents, with commas.
    pub(super) agent: Option<String>,
    /// In the name of the agent, whatever the case.
    pub(super) agent_part: Option<String>,
    pub(super) job: Option<String>,
    pub(super) job_part: Option<String>,
    pub(super) domain: Option<String>,
    /// Words of states, with commas.
    pub(super) state: Option<String>,
    /// `name=value`, with commas.
    pub(super) tag: Option<String>,
    pub(super) tag_part: Option<String>,
    pub(super) batch: Option<String>,
    pub(super) since: Option<TimeMs>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

/// Some runs, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubRunList {
    /// The runs.
    pub runs: Vec<RunView>,
    /// The cursor of the next page; none after the last.
    pub next: Option<String>,
    /// What agents had forgotten before the hub had drawn it; with the first page only.
    #[serde(default)]
    pub gaps: Vec<GapView>,
}

/// Words with commas between them.
pub(super) fn split(text: Option<&str>) -> Vec<String> {
    text.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
}

/// A place in the list as a cursor: `created-number`.
fn place(text: &str) -> Option<RunPlace> {
    let (created, number) = text.split_once('-')?;
    Some(RunPlace { created_ms: created.parse().ok()?, number: number.parse().ok()? })
}

impl Wish {
    /// Names of agents, and the rest of it.
    pub(super) fn read(self) -> Result<(Vec<String>, RunWish), Problem> {
        let states: Result<Vec<RunState>, _> =
            split(self.state.as_deref()).iter().map(|word| RunState::from_str(word)).collect();
        let tags = split(self.tag.as_deref()).into_iter().map(|tag| match tag.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Problem::bad_request(format!("\"{tag}\" is no tag; write NAME=VALUE"))),
        });
        let after = self.after.map(|text| {
            place(&text).ok_or_else(|| Problem::bad_request("after: give the next of the page before"))
        });
        let wish = RunWish {
            ids: Vec::new(),
            agents: Vec::new(),
            job: self.job,
            job_part: self.job_part,
            domain: self.domain,
            states: states.map_err(Problem::bad_request)?,
            tags: tags.collect::<Result<_, _>>()?,
            tag_part: self.tag_part,
            batch: self.batch,
            since_ms: self.since,
            going_on: false,
            after: after.transpose()?,
            limit: self.limit.unwrap_or(N_RUNS_MAX).clamp(1, N_RUNS_MAX),
        };
        Ok((split(self.agent.as_deref()), wish))
    }
}

/// Runs of all agents, newest first.
pub async fn list(State(hub): super::State, Query(wish): Query<Wish>) -> Result<Json<HubRunList>, Problem> {
    let part = wish.agent_part.as_deref().map(str::to_lowercase);
    let (names, mut wish) = wish.read()?;
    blocking(hub, move |hub| {
        if let Some(part) = part {
            let mut all = hub.state.agents()?;
            all.retain(|agent| agent.name.to_lowercase().contains(&part));
            if all.is_empty() {
                return Ok(Json(HubRunList { runs: Vec::new(), next: None, gaps: Vec::new() }));
            }
            wish.agents.extend(all.into_iter().map(|agent| agent.id));
        }
        for name in names {
            let agent = hub.state.agent(&name)?.ok_or_else(|| super::agents::unknown(&name))?;
            wish.agents.push(agent.id);
        }
        let (runs, next) = hub.run_views(&wish)?;
        let next = next.map(|RunPlace { created_ms, number }| format!("{created_ms}-{number}"));
        let gaps = match wish.after {
            None => hub.run_gaps(&wish.agents, wish.since_ms.unwrap_or(TimeMs::MIN))?,
            Some(_) => Vec::new(),
        };
        Ok(Json(HubRunList { runs, next, gaps }))
    })
    .await
}

/// Of which runs that go on.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveQuestion {
    agent: Option<String>,
    domain: Option<String>,
    job: Option<String>,
}

/// What the runs that go on use at this moment, no more than a second old: to be asked again and again.
pub async fn live(
    State(hub): super::State,
    Query(question): Query<LiveQuestion>,
) -> Result<Json<FleetRuns>, Problem> {
    let LiveQuestion { agent, domain, job } = question;
    let agent_id = match agent {
        Some(name) => {
            let found = blocking(hub.clone(), move |hub| {
                Ok(hub.state.agent(&name)?.ok_or_else(|| super::agents::unknown(&name))?.id)
            });
            Some(found.await?)
        }
        None => None,
    };
    let told = hub.live_runs(&LiveWish { agent_id, domain, job }).await?;
    Ok(Json(FleetRuns::clone(&told)))
}

/// Of which agent, where ids are not unique; and how long to wait.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    agent: Option<String>,
    wait: Option<Period>,
}

/// One run.
pub async fn one(
    State(hub): super::State,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<RunView>, Problem> {
    blocking(hub, move |hub| Ok(Json(hub.run_view(hub.known_run(&id, which.agent.as_deref())?)?))).await
}

/// The run when it is over, or as it stands when nobody wants to wait any longer.
pub async fn result(
    State(hub): super::State,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<RunView>, Problem> {
    let patience = which.wait.map_or(Duration::ZERO, |wait| wait.0.min(WAIT_MAX));
    let known = hub.wait_for_run(&id, which.agent.as_deref(), patience).await?;
    blocking(hub, move |hub| Ok(Json(hub.run_view(known)?))).await
}

/// What queues up at the agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueList {
    /// By agent and name.
    pub queues: Vec<QueueView>,
}

/// A queue of one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    /// Name of the agent.
    pub agent: String,
    /// The queue's name; empty for runs without one, which wait for room on the host only.
    pub queue: String,
    /// So many of it go on at a time; none for runs without a queue.
    pub width: Option<u32>,
    /// Since when nothing is known of it, for the agent is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since_ms: Option<TimeMs>,
    /// Runs that go on.
    pub running: Vec<QueuedRun>,
    /// Runs that wait, in their order.
    pub waiting: Vec<QueuedRun>,
}

/// A run of a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueuedRun {
    /// Its id.
    pub id: String,
    /// Its job.
    pub job: String,
    /// Where it stands.
    pub state: RunState,
    /// When it was accepted.
    pub created_ms: TimeMs,
    /// Higher ones go first.
    pub priority: i32,
}

/// All queues in which something is: of runs that agents have.
pub async fn queues(State(hub): super::State) -> Result<Json<QueueList>, Problem> {
    blocking(hub, |hub| {
        let wish = RunWish { going_on: true, limit: 20 * N_RUNS_MAX, ..RunWish::default() };
        let (runs, _) = hub.run_views(&wish)?;
        let mut queues: BTreeMap<(String, String), QueueView> = BTreeMap::new();
        for view in runs.into_iter().filter(|view| view.delivered && view.run.state != RunState::Scheduled) {
            put_in_queue(&mut queues, view);
        }
        let mut queues: Vec<QueueView> = queues.into_values().collect();
        for queue in &mut queues {
            queue.waiting.sort_by_key(|run| (std::cmp::Reverse(run.priority), run.created_ms));
        }
        Ok(Json(QueueList { queues }))
    })
    .await
}

fn put_in_queue(queues: &mut BTreeMap<(String, String), QueueView>, view: RunView) {
    let agent = view.agent.or(view.agent_id).unwrap_or_default();
    let of = view.run.job.queue;
    let queue = of.as_ref().map(|queue| queue.name.clone()).unwrap_or_default();
    let entry = queues.entry((agent.clone(), queue.clone())).or_insert_with(|| QueueView {
        agent,
        queue,
        width: of.as_ref().map(|queue| queue.width),
        unknown_since_ms: view.unknown_since_ms,
        running: Vec::new(),
        waiting: Vec::new(),
    });
    let run = QueuedRun {
        id: view.run.id,
        job: view.run.job.name,
        state: view.run.state,
        created_ms: view.run.created_ms,
        priority: of.map_or(0, |queue| queue.priority),
    };
    if run.state == RunState::Queued { entry.waiting.push(run) } else { entry.running.push(run) }
}
