//! The status of a running hub, as its Unix socket gives it to the client.

use std::path::PathBuf;

use fieldpost_model::TimeMs;
use serde::{Deserialize, Serialize};

/// A running hub's status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Which hub it is.
    pub hub_id: String,
    /// The hub's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_ms: TimeMs,
    /// The config it runs with.
    pub config: String,
    /// Its data folder.
    pub data: PathBuf,
    /// The address by which others know it.
    pub listen: String,
    /// What is wrong with the targets of scrape jobs, a line each.
    #[serde(default)]
    pub scrape_faults: Vec<String>,
}

/// The answer to a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Was the new config taken? If not, nothing was changed.
    pub ok: bool,
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys whose new values need a restart.
    pub needs_restart: Vec<String>,
    /// What is wrong with the config, a line each.
    pub errors: Vec<String>,
}

/// A backup as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupWish {
    /// The new folder that it goes into.
    pub to: PathBuf,
    /// With the key on which all trust rests, in clear?
    pub with_keys: bool,
}

/// What a backup holds; its last file, without which it is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// The version of its layout.
    pub layout: u32,
    /// The version of the hub that made it.
    pub version: String,
    /// Which hub that was.
    pub hub_id: String,
    /// When.
    pub made_ms: TimeMs,
    /// Is the key in it?
    pub with_keys: bool,
    /// Files of the record.
    pub n_files: usize,
    /// Bytes of them; those that are linked take no room until the original goes.
    pub bytes: u64,
    /// How many of them are linked.
    pub n_linked: usize,
}

/// Makes a backup.
pub type MakeBackup = Box<dyn Fn(&BackupWish) -> anyhow::Result<BackupMade> + Send + Sync>;

/// What the Unix socket offers to the hub's owner; made by whoever wires the hub.
pub struct LocalDoor {
    /// Tells the status.
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// Loads the config anew and applies it. May wait for the disk.
    pub reload: Box<dyn Fn() -> Reloaded + Send + Sync>,
    /// Makes a backup while everything goes on. Waits for the disk, long.
    pub backup: MakeBackup,
}
