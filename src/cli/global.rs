//! Flags that every command takes, and the environment they stand in.

use std::env;
use std::path::PathBuf;

use anyhow::Context;

use super::exit;
use crate::config::{Config, Files, Loaded, Request, Root, Setting};
use crate::telemetry::Level;

/// Folder of the system's config, and the name of every other folder of ours.
const SYSTEM_CONFIG_DIR: &str = "/etc/fieldpost";
const SYSTEM_STATE_DIR: &str = "/var/lib/fieldpost";
const SYSTEM_RUNTIME_DIR: &str = "/run/fieldpost";
const NAME: &str = "fieldpost";
/// Variables that are settings begin so.
const VARIABLE_PREFIX: &str = "FIELDPOST__";

/// Flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Folder with agent.yaml, hub.yaml and their drop-ins
    #[arg(long, global = true, value_name = "DIR", env = "FIELDPOST_CONFIGDIR", hide_env_values = true)]
    pub config_dir: Option<PathBuf>,
    /// One config file instead of a folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set any config key, such as store.path=./data; may be given again
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
    /// What is worth a line in the log: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", value_enum, hide_possible_values = true)]
    pub log_level: Option<Level>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The Unix socket of the agent, or of the hub
    #[arg(long, global = true, value_name = "PATH", env = "FIELDPOST_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,
    /// No colours; so does NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as interval=5s".to_owned()),
    }
}

impl Global {
    /// Where the config is to come from.
    pub fn request(&self) -> anyhow::Result<Request> {
        let is_root = is_root();
        let mut searched = vec![PathBuf::from(SYSTEM_CONFIG_DIR)];
        searched.extend(user_dir("XDG_CONFIG_HOME", ".config"));
        Ok(Request {
            files: Files {
                named_dir: self.config_dir.clone(),
                named_file: self.config.clone(),
                searched,
                owner_only: is_root,
            },
            variables: variables()?,
            settings: self.settings(),
            state_dir: state_dir(),
            base: None,
            for_both: false,
        })
    }

    fn settings(&self) -> Vec<Setting> {
        let setting = |flag, key: &str, value: String| Setting { flag, key: key.to_owned(), value };
        let mut settings: Vec<Setting> =
            self.set.iter().map(|(key, value)| setting("--set", key, value.clone())).collect();
        settings.extend(self.log_level.map(|level| setting("--log-level", "log.level", level.to_string())));
        settings
    }

    /// Loads the agent's config.
    pub fn load(&self) -> anyhow::Result<Loaded<Config>> {
        Ok(self.request()?.load()?)
    }

    /// Was it said which agent or hub is meant?
    pub fn is_explicit(&self) -> bool {
        self.socket.is_some() || self.config.is_some() || self.config_dir.is_some() || !self.set.is_empty()
    }

    /// The sockets at which the face of this config may be reached, the likeliest first.
    pub fn sockets<R: Root>(&self, config: &R) -> Vec<PathBuf> {
        if let Some(socket) = &self.socket {
            return vec![socket.clone()];
        }
        let mut sockets = vec![config.socket()];
        if !self.is_explicit() {
            sockets.extend(runtime_dirs().into_iter().map(|dir| dir.join(R::NAMES.socket)));
        }
        sockets
    }
}

/// Is this root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Folders in which clients look for the socket of an agent or a hub: the user's own, then the
/// system's. Each shows its socket in the first one.
pub fn runtime_dirs() -> Vec<PathBuf> {
    let own = absolute_var("XDG_RUNTIME_DIR").map(|dir| dir.join(NAME));
    let mut dirs: Vec<PathBuf> = absolute_var("RUNTIME_DIRECTORY").into_iter().collect();
    if is_root() {
        dirs.push(PathBuf::from(SYSTEM_RUNTIME_DIR));
        dirs.extend(own);
    } else {
        dirs.extend(own.or_else(|| user_dir("XDG_STATE_HOME", ".local/state")));
        dirs.push(PathBuf::from(SYSTEM_RUNTIME_DIR));
    }
    dirs
}

/// Where `store.path` has its default: what systemd gives the service, else the system's or the user's.
fn state_dir() -> PathBuf {
    let given = absolute_var("STATE_DIRECTORY");
    let own = || if is_root() { None } else { user_dir("XDG_STATE_HOME", ".local/state") };
    given.or_else(own).unwrap_or_else(|| PathBuf::from(SYSTEM_STATE_DIR))
}

/// The same for what somebody runs for themselves, whoever they are.
pub fn own_state_dir() -> PathBuf {
    user_dir("XDG_STATE_HOME", ".local/state").unwrap_or_else(state_dir)
}

fn user_dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    let base = absolute_var(variable).or_else(|| Some(absolute_var("HOME")?.join(below_home)))?;
    Some(base.join(NAME))
}

/// The XDG specification has relative paths ignored; systemd may give several, divided by colons.
fn absolute_var(name: &str) -> Option<PathBuf> {
    let value = env::var(name).ok()?;
    let first = PathBuf::from(value.split(':').next().unwrap_or_default());
    first.is_absolute().then_some(first)
}

fn variables() -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (name, value) in env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
        let value = value.into_string().ok().with_context(|| format!("environment {name} is not UTF-8"));
        found.push((name.to_owned(), value.map_err(|error| exit::failure(exit::CONFIG, error.to_string()))?));
    }
    found.sort();
    Ok(found)
}
