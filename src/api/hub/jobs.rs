//! Definitions of jobs over all agents: those of the hosts' own, shown as their agents tell them, and the
//! hub's own, which are changed here.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use fieldpost_model::hub_state::{HubJob, HubStateError, Ordered, Target};
use fieldpost_model::job::{Job, check_job_name};
use fieldpost_model::{RemoteJobs, TimeMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runs::RunsOrdered;
use super::{DONE, Doer, blocking};
use crate::api::jobs::parsed;
use crate::api::problem::Problem;
use crate::config::{JobText, JobTextFault};
use crate::hub::{Hub, Matches, Misfit, OrderFault, OrderWish};
use crate::jobs::faults_of;
use fieldpost_model::hub_runs::RunWish;

/// All definitions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobList {
    /// Those of the hub, by name.
    pub hub: Vec<HubJobView>,
    /// Those of hosts, by agent, as it last told them.
    pub hosts: Vec<HostJobs>,
}

/// A job of the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HubJobView {
    /// The definition.
    #[serde(flatten)]
    pub defined: HubJob,
    /// When it runs, for people.
    pub schedule: String,
    /// Name of the agent that was chosen where any one may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_agent: Option<String>,
    /// Agents that do not take it, and why.
    #[serde(default)]
    pub faults: Vec<Misfit>,
}

/// The jobs of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostJobs {
    /// Name of its agent.
    pub agent: String,
    /// Its id.
    pub agent_id: String,
    /// When it told of them.
    pub said_ms: TimeMs,
    /// The jobs, as it tells them: job, origin, schedule, paused, next_ms, active, last.
    pub jobs: Vec<Value>,
}

/// Of which agent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    agent: Option<String>,
}

fn view(hub: &Hub, defined: HubJob) -> Result<HubJobView, Problem> {
    let chosen = defined.chosen.as_deref().map(|id| hub.state.agent(id)).transpose()?.flatten();
    let schedule = defined.job.schedule_text();
    let faults = hub.job_faults(&defined.job.name);
    Ok(HubJobView { defined, schedule, chosen_agent: chosen.map(|agent| agent.name), faults })
}

/// Lists.
pub async fn list(State(hub): super::State, Query(which): Query<Which>) -> Result<Json<JobList>, Problem> {
    blocking(hub, move |hub| {
        let only = which.agent.map(|name| {
            hub.state.agent(&name)?.map(|agent| agent.id).ok_or_else(|| super::agents::unknown(&name))
        });
        let only = only.transpose()?;
        let own = hub.state.hub_jobs()?.into_iter().map(|job| view(hub, job)).collect::<Result<_, _>>()?;
        let mut hosts = Vec::new();
        for (agent_id, said_ms, jobs) in hub.runs.tasks(only.as_deref())? {
            if let Some(agent) = hub.state.agent(&agent_id)? {
                hosts.push(HostJobs { agent: agent.name, agent_id, said_ms, jobs });
            }
        }
        hosts.sort_by(|a, b| a.agent.cmp(&b.agent));
        Ok(Json(JobList { hub: own, hosts }))
    })
    .await
}

/// A definition as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobWish {
    /// The job; its name is what it goes by.
    pub job: Job,
    /// Who runs it.
    pub target: Target,
    /// Is it to be disabled?
    #[serde(default)]
    pub paused: bool,
}

/// What there is to say of a definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobCheck {
    /// What is wrong with it, by key; empty: it may be kept.
    pub faults: Vec<Fault>,
    /// What was read, to be handed in as it is; none where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<JobWish>,
    /// When it runs, for people.
    pub schedule: String,
    /// Who would run it.
    pub matches: Matches,
}

/// A fault of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The key, such as `job.timeout` or `target`; empty if it is about the text as a whole.
    pub key: String,
    /// What is wrong with its value.
    pub text: String,
    /// In which line of the text it stands, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

fn faults(wish: &JobWish) -> Vec<Fault> {
    let fault = |key: &str, text: String| Fault { key: key.to_owned(), text, line: None };
    let mut faults: Vec<Fault> = Vec::new();
    if let Err(text) = check_job_name(&wish.job.name) {
        faults.push(fault("job.name", text));
    }
    let of_job = faults_of(&wish.job);
    faults.extend(
        of_job
            .into_iter()
            .filter(|(key, _)| key != "name")
            .map(|(key, text)| fault(&format!("job.{key}"), text)),
    );
    faults.extend(wish.target.fault().map(|text| fault("target", format!("the target {text}"))));
    faults
}

/// Says what is wrong with a definition, written in YAML or JSON, and changes nothing.
pub async fn check(State(hub): super::State, text: String) -> Result<Json<JobCheck>, Problem> {
    let written = JobText::new(&text);
    let wish: JobWish = match written.read("job") {
        Ok(wish) => wish,
        Err(faults) => {
            let fault = |JobTextFault { key, text, line }| Fault { key, text, line };
            let faults = faults.into_iter().map(fault).collect();
            return Ok(Json(JobCheck { faults, ..JobCheck::default() }));
        }
    };
    let mut faults = faults(&wish);
    faults.iter_mut().for_each(|fault| fault.line = written.line_of(&fault.key));
    blocking(hub, move |hub| {
        let matches = match wish.target.fault() {
            None => hub.matches(&wish.target, RemoteJobs::Any)?,
            Some(_) => Matches::default(),
        };
        let schedule = wish.job.schedule_text();
        Ok(Json(JobCheck { faults, wish: Some(wish), schedule, matches }))
    })
    .await
}

/// Keeps a definition, in place of any of its name.
pub async fn define(
    State(hub): super::State,
    Doer(act): Doer,
    text: String,
) -> Result<Json<HubJobView>, Problem> {
    let wish: JobWish = parsed(&text, Some("job"))?;
    put(hub, act, wish).await
}

/// The same under this name.
pub async fn replace(
    State(hub): super::State,
    Doer(act): Doer,
    Path(name): Path<String>,
    text: String,
) -> Result<Json<HubJobView>, Problem> {
    let mut wish: JobWish = parsed(&text, Some("job"))?;
    if wish.job.name.is_empty() {
        wish.job.name.clone_from(&name);
    }
    if wish.job.name != name {
        let detail = format!("the job is named {}, the address {name}; a job keeps its name", wish.job.name);
        return Err(Problem::bad_request(detail));
    }
    put(hub, act, wish).await
}

async fn put(
    hub: std::sync::Arc<Hub>,
    act: fieldpost_model::hub_state::Act,
    wish: JobWish,
) -> Result<Json<HubJobView>, Problem> {
    let faults = faults(&wish);
    if !faults.is_empty() {
        let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.text)).collect();
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_job", told.join("; ")));
    }
    blocking(hub, move |hub| {
        let JobWish { job, target, paused } = wish;
        let by = act.actor.to_string();
        let defined = HubJob { job, target, paused, chosen: None, by, changed_ms: act.now_ms };
        Ok(Json(view(hub, hub.define_job(&act, defined)?)?))
    })
    .await
}

fn found(hub: &Hub, name: &str) -> Result<HubJob, Problem> {
    let found = hub.state.hub_jobs()?.into_iter().find(|known| known.job.name == name);
    found.ok_or_else(|| HubStateError::unknown("job at the hub", name).into())
}

/// Forgets a definition; its runs stay.
pub async fn remove(
    State(hub): super::State,
    Doer(act): Doer,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(hub, move |hub| {
        hub.forget_job(&act, &name)?;
        Ok(DONE)
    })
    .await
}

/// Has a job run by itself again.
pub async fn enable(hub: super::State, doer: Doer, name: Path<String>) -> Result<Json<HubJobView>, Problem> {
    pause(hub, doer, name, false).await
}

/// Leaves the slots of a job out from now on.
pub async fn disable(hub: super::State, doer: Doer, name: Path<String>) -> Result<Json<HubJobView>, Problem> {
    pause(hub, doer, name, true).await
}

async fn pause(
    State(hub): super::State,
    Doer(act): Doer,
    Path(name): Path<String>,
    paused: bool,
) -> Result<Json<HubJobView>, Problem> {
    blocking(hub, move |hub| {
        let defined = HubJob { paused, changed_ms: act.now_ms, ..found(hub, &name)? };
        Ok(Json(view(hub, hub.define_job(&act, defined)?)?))
    })
    .await
}

/// Has a job of the hub run now, by whom it is meant for.
pub async fn trigger(
    State(hub): super::State,
    Doer(act): Doer,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<RunsOrdered>), Problem> {
    blocking(hub, move |hub| {
        let HubJob { job, target, .. } = found(hub, &name)?;
        let wish = OrderWish {
            id: None,
            ordered: Ordered::Job(Box::new(job)),
            target,
            secrets: Default::default(),
            expires: None,
        };
        let orders = hub.order(&act, wish).map_err(|fault: OrderFault| Problem::from(fault))?;
        let batch = orders.first().map(|order| order.batch.clone()).unwrap_or_default();
        let wish = RunWish { batch: Some(batch.clone()), limit: orders.len().max(1), ..RunWish::default() };
        let (runs, _) = hub.run_views(&wish)?;
        Ok((StatusCode::CREATED, Json(RunsOrdered { batch, runs })))
    })
    .await
}
