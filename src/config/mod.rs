//! The config: gathers the `Config` of every room, loads it from files, environment and flags, and
//! says of each value who gave it, and of each fault where it stands. It decides nothing else.
//!
//! ```text
//! default < agent.yaml < conf.d/*.yaml < environment < flags
//! ```

mod change;
mod effective;
mod key;
mod limits;
mod load;
mod problem;
mod source;
pub mod yaml;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use fieldpost_model::Period;
use serde::{Deserialize, Serialize};

pub use change::{Change, changes};
pub use effective::{Origin, Row};
pub use key::KeyPath;
pub use load::{Loaded, Request, Setting};
pub use problem::{Problem, Problems, Source};
pub use source::Files;

use crate::{agent, telemetry};

/// Everything that can be set.
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
    /// Where the programs of this machine reach the agent.
    pub api: Api,
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
            log: telemetry::Config::default(),
        }
    }
}

/// The `api` section: the door for programs on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The Unix socket; unset: fieldpost.sock in `store.path`.
    pub socket: Option<PathBuf>,
}

/// Name of the Unix socket within the store's folder.
pub const SOCKET_NAME: &str = "fieldpost.sock";

impl Config {
    /// The Unix socket of the agent.
    pub fn socket(&self) -> PathBuf {
        self.api.socket.clone().unwrap_or_else(|| self.store.path.join(SOCKET_NAME))
    }

    /// A digest by which a later process can tell whether it has the same config.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        yaml::show(&yaml::value_from(self)).hash(&mut hasher);
        hasher.finish()
    }

    /// Makes paths absolute, for a daemon that leaves its folder.
    pub fn absolute(mut self, base: &Path) -> Self {
        // Taking a path by its components drops what `./` adds in its middle.
        let below = |path: &Path| base.join(path).components().collect::<PathBuf>();
        let Self { collectors, store, api, log, .. } = &mut self;
        store.path = below(&store.path);
        api.socket = api.socket.take().map(|socket| below(&socket));
        log.file = log.file.take().map(|file| below(&file));
        for root in
            [&mut collectors.procfs, &mut collectors.sysfs, &mut collectors.rootfs, &mut collectors.udev]
        {
            *root = below(root);
        }
        for folder in &mut collectors.textfile.directory {
            if !Path::new(folder).is_absolute() {
                *folder = format!("{}/{folder}", base.display());
            }
        }
        self
    }
}
