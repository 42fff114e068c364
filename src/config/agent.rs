//! The config of the agent: agent.yaml.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fieldpost_collectors::COLLECTORS;
use fieldpost_model::{Period, RemoteJobs};
use serde::{Deserialize, Serialize};

use super::root::{Names, Root, below};
use super::yaml::Value;
use crate::{agent, hub, jobs, sinks, telemetry};

/// Everything that can be set of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often this machine is sampled.
    pub interval: Period,
    /// What is measured.
    pub collectors: fieldpost_collectors::Config,
    /// Where samples are kept, and for how long.
    pub store: fieldpost_store::Config,
    /// The page that Prometheus scrapes.
    pub metrics: agent::Metrics,
    /// The tables of processes and units that are kept.
    pub history: agent::History,
    /// Where the programs of this machine, and hubs that dial, reach the agent.
    pub api: Api,
    /// How the agent goes to its hubs.
    pub link: agent::Link,
    /// What jobs every hub may have run here; unset: each what it was granted when it was joined.
    pub remote_jobs: Option<RemoteJobs>,
    /// Programs of others to which samples are pushed.
    pub sinks: Vec<sinks::SinkConfig>,
    /// What runs on this machine, and what of it is kept.
    pub jobs: jobs::Config,
    /// What the agent says about itself.
    pub log: telemetry::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Period::from_secs(1),
            collectors: fieldpost_collectors::Config::default(),
            store: fieldpost_store::Config::default(),
            metrics: agent::Metrics::default(),
            history: agent::History::default(),
            api: Api::default(),
            link: agent::Link::default(),
            remote_jobs: None,
            sinks: Vec::new(),
            jobs: jobs::Config::default(),
            log: telemetry::Config::default(),
        }
    }
}

/// The `api` section: the doors for programs on this machine and for hubs that dial.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The Unix socket; unset: fieldpost.sock in `store.path`.
    pub socket: Option<PathBuf>,
    /// Where hubs that this agent has invited dial it; unset: nowhere.
    pub listen: Option<SocketAddr>,
    /// The door for programs that ask a Prometheus.
    pub http: agent::Http,
}

impl Root for Config {
    type Other = hub::Config;
    const NAMES: Names = Names {
        face: "agent",
        a_face: "an agent",
        main_file: "agent.yaml",
        drop_in_dir: "conf.d",
        socket: "fieldpost.sock",
        setting: "interval: 1s",
        port: 7701,
        open_port: 9100,
    };
    const NEED_RESTART: &'static [&'static str] = &[
        "store",
        "metrics.listen",
        "api.socket",
        "api.listen",
        "api.http",
        "link",
        "log.file",
        "collectors.backend",
        "sinks",
        "jobs.cgroup",
        "jobs.dir",
    ];

    fn in_state_dir(mut self, state_dir: &Path) -> Self {
        self.store.path = state_dir.to_owned();
        self
    }

    fn absolute(mut self, base: &Path) -> Self {
        let Self { collectors, store, api, sinks, jobs, log, .. } = &mut self;
        for file in sinks.iter_mut().flat_map(sinks::SinkConfig::files) {
            *file = below(base, file);
        }
        store.path = below(base, &store.path);
        jobs.dir = jobs.dir.take().map(|dir| below(base, &dir));
        api.socket = api.socket.take().map(|socket| below(base, &socket));
        for file in [&mut api.http.token_file, &mut api.http.certificate, &mut api.http.key] {
            *file = file.take().map(|file| below(base, &file));
        }
        log.file = log.file.take().map(|file| below(base, &file));
        for root in
            [&mut collectors.procfs, &mut collectors.sysfs, &mut collectors.rootfs, &mut collectors.udev]
        {
            *root = below(base, root);
        }
        for folder in &mut collectors.textfile.directory {
            if !Path::new(folder).is_absolute() {
                *folder = format!("{}/{folder}", base.display());
            }
        }
        self
    }

    fn faults(&self) -> Vec<(String, String)> {
        let within = |section: &'static str, faults: Vec<(String, String)>| {
            faults.into_iter().map(move |(key, text)| (format!("{section}.{key}"), text))
        };
        let of_sinks = sinks::faults(&self.sinks).into_iter().map(|text| ("sinks".to_owned(), text));
        let of_link = within("link", self.link.faults());
        let of_http = within("api.http", self.api.http.faults());
        let of_jobs = within("jobs", self.jobs.faults());
        let of_store = within("store", self.store.faults());
        of_store.chain(of_http).chain(of_link).chain(of_jobs).chain(of_sinks).collect()
    }

    fn worked_out(&self) -> HashMap<String, Value> {
        let mut values = HashMap::new();
        for entry in COLLECTORS {
            let name = entry.name;
            let is_on = self.collectors.is_on(entry);
            values.insert(format!("collectors.{name}.enabled"), Value::Bool(is_on));
            let interval = entry.slow.map_or(self.interval, Period).max(self.interval);
            values.insert(format!("collectors.{name}.interval"), Value::String(interval.to_string()));
        }
        values.insert("api.socket".to_owned(), Value::String(self.socket().display().to_string()));
        values
    }

    fn data_dir(&self) -> &Path {
        &self.store.path
    }

    fn socket(&self) -> PathBuf {
        self.api.socket.clone().unwrap_or_else(|| self.store.path.join(Self::NAMES.socket))
    }

    fn log(&self) -> &telemetry::Config {
        &self.log
    }
}
