//! Scrapes targets that run no agent, as a Prometheus does: finds them, in the config and in files
//! that may change, and follows each until it is gone.

mod aim;
mod config;
mod discovery;
mod page;
mod relabel;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{
    Authorization, BasicAuth, FileSdConfig, InTheOpen, Scheme, ScrapeJob, StaticConfig, TlsConfig, faults,
};
pub use discovery::ReadGroups;
pub use relabel::{Action, Anchored, RelabelConfig};

use super::Hub;
use crate::http_client::{ClientTls, PageClient};
use aim::Aim;
use discovery::Discovery;
use relabel::Labels;
use target::Target;

/// How often it is looked whether files of targets have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// More targets of one job are not scraped.
const N_TARGETS_MAX: usize = 10_000;
/// Faults of one job that are kept for the status.
const N_FAULTS_MAX: usize = 16;

/// Scrapes the targets of all jobs until the end. The jobs may change meanwhile: what stays the same
/// goes on undisturbed.
pub async fn scrape(
    hub: Arc<Hub>,
    mut jobs: watch::Receiver<Vec<ScrapeJob>>,
    read_groups: ReadGroups,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let mut told: BTreeMap<String, watch::Sender<Arc<ScrapeJob>>> = BTreeMap::new();
    loop {
        let wanted = jobs.borrow_and_update().clone();
        // A job whose sender is gone ends.
        told.retain(|name, _| wanted.iter().any(|job| job.job_name == *name));
        for job in wanted {
            let Some(known) = told.get(&job.job_name) else {
                let (name, (sender, job)) = (job.job_name.clone(), watch::channel(Arc::new(job)));
                tasks.spawn(run(Arc::clone(&hub), job, read_groups, shutdown.clone()));
                told.insert(name, sender);
                continue;
            };
            known.send_if_modified(|kept| {
                let is_changed = **kept != job;
                *kept = Arc::new(job);
                is_changed
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            Ok(()) = jobs.changed() => {}
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Scrapes one job until it is taken away or the hub ends.
async fn run(
    hub: Arc<Hub>,
    mut changes: watch::Receiver<Arc<ScrapeJob>>,
    read_groups: ReadGroups,
    shutdown: CancellationToken,
) {
    let (tasks, mut targets) = (TaskTracker::new(), BTreeMap::new());
    let name = changes.borrow().job_name.clone();
    loop {
        let job = Arc::clone(&changes.borrow_and_update());
        match Clients::new(&job) {
            Ok(clients) => {
                let discovery = Discovery::new(&job.file_sd_configs, read_groups);
                let former = std::mem::take(&mut targets);
                let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
                let running =
                    Running { hub, job, clients, former, targets: BTreeMap::new(), tasks: &tasks, shutdown };
                targets = running.follow(discovery, &mut changes).await;
            }
            // What was scraped before goes on as it was.
            Err(error) => {
                tracing::error!(job = name, "a job is not scraped as the config says: {error:#}");
                hub.note_scrape_faults(&name, vec![format!("it is not scraped so: {error:#}")]);
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    _ = changes.changed() => {}
                }
            }
        }
        let is_taken_away = changes.has_changed().is_err();
        if is_taken_away || shutdown.is_cancelled() {
            if is_taken_away {
                targets.values().for_each(|stop| stop.gone.cancel());
                hub.note_scrape_faults(&name, Vec::new());
            }
            tasks.close();
            return tasks.wait().await;
        }
    }
}

/// The targets of a job that are scraped.
type Targets = BTreeMap<Aim, Stop>;

/// A job that is scraped.
struct Running<'a> {
    hub: Arc<Hub>,
    job: Arc<ScrapeJob>,
    clients: Clients,
    /// Those that are scraped as the job was before it was changed.
    former: Targets,
    targets: Targets,
    tasks: &'a TaskTracker,
    shutdown: CancellationToken,
}

/// What ends the scraping of one target.
#[derive(Clone, Default)]
pub(super) struct Stop {
    /// The target is gone: its series end.
    gone: CancellationToken,
    /// It is scraped on in another way: its series go on.
    replaced: CancellationToken,
}

impl Running<'_> {
    /// Follows the job until it is changed or taken away, or the hub ends. Its targets are scraped on.
    async fn follow(
        mut self,
        mut discovery: Discovery,
        changes: &mut watch::Receiver<Arc<ScrapeJob>>,
    ) -> Targets {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (is_any, mut is_first) = (discovery.is_any(), true);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                _ = changes.changed() => break,
                _ = looks.tick(), if is_first || is_any => {}
            }
            // Files may lie on a disk that is slow.
            let looking = tokio::task::spawn_blocking(move || {
                let is_changed = discovery.look();
                (discovery, is_changed)
            });
            let Ok((looked, is_changed)) = looking.await else { break };
            discovery = looked;
            if is_changed || is_first {
                self.take_over(&discovery);
            }
            is_first = false;
        }
        self.targets.append(&mut self.former);
        self.targets
    }

    /// Scrapes what is there now, and nothing else.
    fn take_over(&mut self, discovery: &Discovery) {
        let mut faults = discovery.faults();
        let wanted = self.wanted(discovery, &mut faults);
        tell(&self.job.job_name, &faults);
        self.hub.note_scrape_faults(&self.job.job_name, faults);
        let gone = self.targets.extract_if(.., |aim, _| !wanted.contains_key(aim));
        for (aim, stop) in gone.chain(std::mem::take(&mut self.former)) {
            match wanted.keys().any(|other| other.labels == aim.labels) {
                true => stop.replaced.cancel(),
                false => stop.gone.cancel(),
            }
        }
        for (aim, client) in wanted {
            if self.targets.contains_key(&aim) {
                continue;
            }
            let stop = Stop::default();
            let target = Target::new(Arc::clone(&self.hub), Arc::clone(&self.job), client, aim.clone());
            self.tasks.spawn(target.run(stop.clone(), self.shutdown.clone()));
            self.targets.insert(aim, stop);
        }
    }

    /// The targets that there are now, each once.
    fn wanted(&self, discovery: &Discovery, faults: &mut Vec<String>) -> BTreeMap<Aim, Arc<PageClient>> {
        let fixed = self.job.static_configs.iter().map(|group| (None, group));
        let of_files = discovery.groups().map(|(path, group)| (Some(path), group));
        let mut wanted = BTreeMap::new();
        for (path, group) in fixed.chain(of_files) {
            let mut labels: Labels = group.labels.clone();
            if let Some(path) = path {
                labels.insert(aim::FILE.to_owned(), path.display().to_string());
            }
            for address in &group.targets {
                if wanted.len() >= N_TARGETS_MAX {
                    faults.push(format!("there are more than {N_TARGETS_MAX} targets; the rest is left out"));
                    return wanted;
                }
                let aim = Aim::new(&self.job, address, &labels).transpose();
                let made = aim.map(|aim| aim.and_then(|aim| Ok((self.clients.of(&aim)?, aim))));
                match made {
                    Some(Ok((client, aim))) => drop(wanted.insert(aim, client)),
                    Some(Err(error)) => faults.push(format!("{error:#}")),
                    None => {}
                }
            }
        }
        wanted
    }
}

fn tell(job: &str, faults: &[String]) {
    for fault in faults.iter().take(N_FAULTS_MAX) {
        tracing::warn!(job, "targets are not as they should be: {fault}");
    }
}

/// What gets the pages of a job.
struct Clients {
    tls: ClientTls,
    /// Without `server_name` one is good for all targets.
    common: Option<Arc<PageClient>>,
}

impl Clients {
    fn new(job: &ScrapeJob) -> anyhow::Result<Self> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let TlsConfig { ca_file, cert_file, key_file, server_name, insecure_skip_verify } = &job.tls_config;
        let identity = match (cert_file, key_file) {
            (Some(certificate), Some(key)) => Some([read(certificate)?, b"\n".to_vec(), read(key)?].concat()),
            _ => None,
        };
        let tls = ClientTls {
            ca: ca_file.as_ref().map(read).transpose()?,
            identity,
            server_name: server_name.clone(),
            trusts_all: *insecure_skip_verify,
        };
        let common = match tls.server_name.is_none() {
            true => Some(Arc::new(PageClient::new(&tls, "")?)),
            false => None,
        };
        Ok(Self { tls, common })
    }

    fn of(&self, aim: &Aim) -> anyhow::Result<Arc<PageClient>> {
        match &self.common {
            Some(client) => Ok(Arc::clone(client)),
            None => Ok(Arc::new(PageClient::new(&self.tls, &aim.host)?)),
        }
    }
}

impl Hub {
    /// What is wrong with the targets of this job.
    fn note_scrape_faults(&self, job: &str, mut faults: Vec<String>) {
        if let Some(n_more) = faults.len().checked_sub(N_FAULTS_MAX).filter(|n| *n > 0) {
            faults.truncate(N_FAULTS_MAX);
            faults.push(format!("and {n_more} more"));
        }
        let mut known = self.scrape_faults.lock();
        match faults.is_empty() {
            true => drop(known.remove(job)),
            false => drop(known.insert(job.to_owned(), faults)),
        }
    }

    /// What is wrong with the targets of scrape jobs: lines that name the job.
    pub fn scrape_faults(&self) -> Vec<String> {
        let known = self.scrape_faults.lock();
        known
            .iter()
            .flat_map(|(job, faults)| faults.iter().map(move |text| format!("{job}: {text}")))
            .collect()
    }
}
