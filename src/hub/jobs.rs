//! Jobs that are defined at the hub: each agent that one is meant for is told of it, runs it by itself,
//! and goes on with it while the hub is away.

use std::sync::Arc;

use anyhow::Context;
use fieldpost_model::RemoteJobs;
use fieldpost_model::hub_state::{Act, AgentRecord, HubJob, StateResult};
use fieldpost_model::job::Job;
use serde::Deserialize;
use serde_json::json;

use super::deliver::{DEADLINE, blocking};
use super::targets::{Misfit, bars};
use super::{Hub, Link};

/// What an agent does not take.
#[derive(Deserialize)]
struct Taken {
    refused: Vec<NotTaken>,
}

#[derive(Deserialize)]
struct NotTaken {
    name: String,
    reason: String,
}

impl Hub {
    /// Keeps a job, in place of any of its name; its agents are told. Waits for the disk.
    pub fn define_job(&self, act: &Act, mut job: HubJob) -> StateResult<HubJob> {
        job.chosen = self.choose(&job)?;
        self.state.put_hub_job(act, &job)?;
        self.tell_all();
        Ok(job)
    }

    /// Forgets a job; its agents are told, its runs stay.
    pub fn forget_job(&self, act: &Act, name: &str) -> StateResult<()> {
        self.state.remove_hub_job(act, name)?;
        self.tell_all();
        Ok(())
    }

    fn tell_all(&self) {
        self.links.all().iter().for_each(|link| link.orders.notify_one());
    }

    /// The agent that runs it where any one may: the same as before as long as that matches, else one
    /// that is there.
    fn choose(&self, job: &HubJob) -> StateResult<Option<String>> {
        if job.target.agent.is_some() || job.target.fanout {
            return Ok(None);
        }
        let found = self.matches(&job.target, RemoteJobs::Any)?.matches;
        if let Some(chosen) = job.chosen.clone().filter(|id| found.iter().any(|one| one.agent_id == *id)) {
            return Ok(Some(chosen));
        }
        let ready = found.iter().find(|one| one.waits.is_empty()).or(found.first());
        Ok(ready.map(|one| one.agent_id.clone()))
    }

    /// What this agent is to have.
    fn jobs_of(&self, agent: &AgentRecord) -> StateResult<Vec<Job>> {
        let mut wanted = Vec::new();
        for job in self.state.hub_jobs()? {
            let runs_by_itself = job.job.is_scheduled() || job.job.keep;
            let is_meant = job.target.misfit(agent).is_none() && bars(agent, RemoteJobs::Any).is_none();
            if job.paused || !runs_by_itself || !is_meant {
                continue;
            }
            let is_any_one = job.target.agent.is_none() && !job.target.fanout;
            if is_any_one && self.choose(&job)?.as_deref() != Some(&agent.id) {
                continue;
            }
            if is_any_one && job.chosen.as_deref() != Some(&agent.id) {
                let chosen = HubJob { chosen: Some(agent.id.clone()), ..job.clone() };
                self.state.put_hub_job(&self.act(), &chosen)?;
            }
            wanted.push(job.job);
        }
        Ok(wanted)
    }

    /// Which agents do not take this job, and why.
    pub fn job_faults(&self, name: &str) -> Vec<Misfit> {
        let faults = self.job_faults.lock();
        let of_agent = faults.values().flatten().filter(|(job, _)| job == name);
        of_agent.map(|(_, misfit)| misfit.clone()).collect()
    }
}

/// Tells an agent what it is to have, unless it has just that; answers what it was told.
pub(super) async fn tell(hub: &Arc<Hub>, link: &Arc<Link>, told: Option<String>) -> anyhow::Result<String> {
    let agent_id = link.agent_id.clone();
    let (agent, wanted) = blocking(hub, move |hub| {
        let agent = hub.state.agent(&agent_id)?.context("the agent is not known any more")?;
        let wanted = hub.jobs_of(&agent)?;
        Ok((agent, wanted))
    })
    .await?;
    let text = serde_json::to_string(&wanted)?;
    // One that never had any need not be told so by each hub that has none.
    if told.as_ref() == Some(&text) {
        return Ok(text);
    }
    let asked = tokio::time::timeout(DEADLINE, link.post("/v1/hub-jobs", &json!({ "jobs": wanted }))).await;
    let answer = asked.context("the agent does not answer")??;
    let status = answer.status();
    let body = answer.into_body().collect(super::deliver::ANSWER_BYTES_MAX).await?;
    if status.is_server_error() {
        anyhow::bail!("the agent answers {status}");
    }
    let refused = serde_json::from_slice::<Taken>(&body).map(|taken| taken.refused).unwrap_or_default();
    let faults = refused.into_iter().map(|NotTaken { name, reason }| {
        (name, Misfit { agent: agent.name.clone(), reason: reason.chars().take(500).collect() })
    });
    hub.job_faults.lock().insert(agent.id, faults.collect());
    Ok(text)
}
