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
use crate::jobs::{Jobs, JobsOptions};
use crate::telemetry::OwnMetrics;

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
        let clock = Arc::clone(&agent.clock);
        let options = JobsOptions {
            folder: config.store.path.join("jobs"),
            config: config.jobs.clone(),
            clock: Arc::new(move || clock.wall_ms()),
            agent: agent.identity.name.clone(),
            runtime: runtime.handle().clone(),
        };
        let jobs = Jobs::open(options).context("cannot take up the jobs of this host")?;
        let (sound, problems) = self.files(config);
        if let Some(problems) = problems {
            agent.set_last_error(format!("jobs: {}", problems.summary()));
            problems.0.iter().for_each(|problem| tracing::error!("not taken: {problem}"));
        }
        jobs.define(sound);
        tell_jobs(own, &jobs);
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
