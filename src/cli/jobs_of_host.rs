//! The jobs of this host as the agent runs them: found again at its start, with the definitions that
//! stand in files, which are read anew at each reload.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use fieldpost_model::job::Job;
use tokio::runtime::Runtime;

use super::own_metrics::tell_jobs;
use crate::agent::Agent;
use crate::config::{Config, Problems, Request, job_files};
use crate::jobs::{Failpoint, Jobs, JobsOptions};
use crate::telemetry::OwnMetrics;

/// Tests name a place at which the agent or its shims end at once.
const FAILPOINT_VARIABLE: &str = "FIELDPOST_FAILPOINT";

fn failpoint() -> anyhow::Result<Failpoint> {
    let name = std::env::var(FAILPOINT_VARIABLE).ok();
    name.map_or_else(|| Ok(Failpoint::default()), |name| Failpoint::new(&name)).context(FAILPOINT_VARIABLE)
}

/// The jobs, once they are there.
pub struct HostJobs {
    request: Request,
    jobs: OnceLock<Jobs>,
}

impl HostJobs {
    /// Whose definitions stand where this request finds the config.
    pub fn new(request: &Request) -> Self {
        Self { request: request.clone(), jobs: OnceLock::new() }
    }

    fn files(&self, config: &Config) -> (Vec<(PathBuf, Job)>, Option<Problems>) {
        job_files(&self.request.files, config.jobs.dir.as_deref())
    }

    /// Takes up the jobs; runs of the agent before this one are found again. Files with faults hold
    /// up nothing but the jobs at fault.
    pub fn open(
        &self,
        runtime: &Runtime,
        config: &Config,
        agent: &Arc<Agent>,
        own: &OwnMetrics,
    ) -> anyhow::Result<Jobs> {
        let options = JobsOptions {
            folder: config.store.path.join("jobs"),
            config: config.jobs.clone(),
            // By way of the C library, so that tests can turn it under a running agent.
            clock: Arc::new(|| chrono::Utc::now().timestamp_millis()),
            agent: agent.identity.name.clone(),
            runtime: runtime.handle().clone(),
            failpoint: failpoint()?,
        };
        let jobs = Jobs::open(options).context("cannot take up the jobs of this host")?;
        let (sound, problems) = self.files(config);
        if let Some(problems) = problems {
            agent.set_last_error(format!("jobs: {}", problems.summary()));
            problems.0.iter().for_each(|problem| tracing::error!("not taken: {problem}"));
        }
        jobs.define(sound);
        tell_jobs(own, &jobs);
        let asked = jobs.clone();
        agent.ask_status_by(Box::new(move || asked.status()));
        Ok(self.jobs.get_or_init(|| jobs).clone())
    }

    /// Takes over new settings and definitions, if all of them are sound and `apply` succeeds.
    pub fn reload(&self, config: &Config, apply: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let (sound, problems) = self.files(config);
        if let Some(problems) = problems {
            return Err(problems.into());
        }
        apply()?;
        if let Some(jobs) = self.jobs.get() {
            jobs.apply(config.jobs.clone());
            jobs.define(sound);
        }
        Ok(())
    }
}
