//! Backups of a hub: all of its data in one folder, made while it runs, and put back while it does
//! not. The key on which all trust rests is in it only if that is asked for: whoever has it can
//! pass for the hub.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use fieldpost_model::hub_state::{Act, AuditNote};
use fieldpost_store::hub::HubStore;
use fieldpost_store::{SqliteHubRuns, SqliteHubState, restore_hub_state};
use rustix::fs::{FlockOperation, flock};

use super::keys::{AUTHORITY_CERTIFICATE, AUTHORITY_KEY};
use super::{BackupMade, BackupWish, Hub};
use crate::private_file;

/// What is in a backup.
const MANIFEST: &str = "backup.json";
const STATE: &str = "state.db";
const RECORD: &str = "record";
const RUNS: &str = "runs.db";
const KEYS: &str = "keys";
/// The only layout so far.
const LAYOUT: u32 = 1;
/// In a data folder, by which the state is locked.
const LOCK: &str = "state.lock";

/// What a hub keeps on its disk.
pub struct Kept<'a> {
    /// Agents, tokens, users, audit.
    pub state: &'a SqliteHubState,
    /// What agents have sent.
    pub record: &'a HubStore,
    /// The runs of all agents: more of them than these still keep.
    pub runs: &'a SqliteHubRuns,
    /// The folder of the keys.
    pub keys: &'a Path,
}

/// Copies everything into a new folder, which must not exist or be empty.
pub fn back_up(hub: &Hub, kept: &Kept<'_>, wish: &BackupWish) -> anyhow::Result<BackupMade> {
    let to = &wish.to;
    ensure!(to.is_absolute(), "{} is no absolute path", to.display());
    ensure!(is_free(to)?, "{} holds something already; name a new folder", to.display());
    private_file::make_folder(to)?;
    let made = fill(hub, kept, wish);
    if made.is_err() {
        // A part of a backup is none.
        drop(fs::remove_dir_all(to));
    }
    made
}

fn fill(hub: &Hub, kept: &Kept<'_>, wish: &BackupWish) -> anyhow::Result<BackupMade> {
    let (to, act, Kept { state, record, runs, keys }) = (&wish.to, hub.act(), kept);
    let note = AuditNote {
        action: "hub.backup".to_owned(),
        subject: to.display().to_string(),
        detail: serde_json::json!({ "with_keys": wish.with_keys }).to_string(),
    };
    hub.state.note(&act, &note)?;
    // The record and the runs first: an agent that they know is then in the state as well.
    let record = record.backup(&to.join(RECORD)).context("cannot back up the record")?;
    runs.backup(&to.join(RUNS)).context("cannot back up the runs")?;
    state.backup(&to.join(STATE)).context("cannot back up the state")?;
    private_file::make_folder(&to.join(KEYS))?;
    let wanted: &[&str] =
        if wish.with_keys { &[AUTHORITY_CERTIFICATE, AUTHORITY_KEY] } else { &[AUTHORITY_CERTIFICATE] };
    for name in wanted {
        private_file::copy(&keys.join(name), &to.join(KEYS).join(name))?;
    }
    let made = BackupMade {
        layout: LAYOUT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hub_id: hub.hub_id.clone(),
        made_ms: act.now_ms,
        with_keys: wish.with_keys,
        n_files: record.n_files,
        bytes: record.bytes,
        n_linked: record.n_linked,
    };
    private_file::write(&to.join(MANIFEST), &serde_json::to_vec_pretty(&made)?)?;
    tracing::info!(to = %to.display(), with_keys = wish.with_keys, "backup made");
    Ok(made)
}

fn is_free(folder: &Path) -> anyhow::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot look into {}", folder.display())),
    }
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub backup: BackupMade,
    /// Where what was there before is now, if there was anything.
    pub put_aside: Option<PathBuf>,
    /// Is the key there? Without it the hub does not start.
    pub has_key: bool,
}

/// Puts a backup into a data folder whose hub does not run. What is there already is put aside if
/// `replace` says so, else it is an error. Keys that are there and belong to the backup stay.
pub fn restore(act: &Act, from: &Path, data: &Path, replace: bool) -> anyhow::Result<Restored> {
    let backup = manifest(from)?;
    private_file::make_folder(data)?;
    ensure_stopped(data)?;
    let key = key_for(from, data)?;
    let foreign_key = key.is_none() && data.join(KEYS).join(AUTHORITY_KEY).exists();
    let put_aside = put_aside(act, data, foreign_key, replace)?;
    copy_record(&from.join(RECORD), data)?;
    copy_runs(&from.join(RUNS), data)?;
    let keys = data.join(KEYS);
    private_file::make_folder(&keys)?;
    if let Some(key) = &key {
        private_file::write(&keys.join(AUTHORITY_KEY), key)?;
    }
    let certificate = private_file::read(&from.join(KEYS).join(AUTHORITY_CERTIFICATE))?;
    private_file::write(&keys.join(AUTHORITY_CERTIFICATE), &certificate.unwrap_or_default())?;
    // The state comes last: without it the hub does not start.
    restore_hub_state(act, &from.join(STATE), data).context("cannot restore the state")?;
    for name in [STATE, LOCK, RUNS] {
        if data.join(name).exists() {
            private_file::adopt(&data.join(name))?;
        }
    }
    Ok(Restored { backup, put_aside, has_key: key.is_some() })
}

fn manifest(from: &Path) -> anyhow::Result<BackupMade> {
    let bytes = private_file::read(&from.join(MANIFEST))?;
    let bytes = bytes
        .with_context(|| format!("{} is no whole backup: there is no {MANIFEST} in it", from.display()))?;
    let made: BackupMade =
        serde_json::from_slice(&bytes).with_context(|| format!("{MANIFEST} cannot be read"))?;
    ensure!(made.layout == LAYOUT, "this backup is of a newer Fieldpost ({}); use that one", made.version);
    Ok(made)
}

fn ensure_stopped(data: &Path) -> anyhow::Result<()> {
    let lock = match fs::File::open(data.join(LOCK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.with_context(|| format!("cannot open {}", data.join(LOCK).display()))?,
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("a hub runs on {}; stop it first: fieldpost hub --stop", data.display());
    }
    Ok(())
}

/// The key that belongs to the backup's certificate: the backup's, or the one that is there.
fn key_for(from: &Path, data: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(key) = private_file::read(&from.join(KEYS).join(AUTHORITY_KEY))? {
        return Ok(Some(key));
    }
    let certificate = |folder: &Path| private_file::read(&folder.join(KEYS).join(AUTHORITY_CERTIFICATE));
    let belongs = certificate(from)?.is_some_and(|wanted| certificate(data).ok().flatten() == Some(wanted));
    if belongs { private_file::read(&data.join(KEYS).join(AUTHORITY_KEY)) } else { Ok(None) }
}

/// Moves what is there into a folder of its own.
fn put_aside(act: &Act, data: &Path, foreign_key: bool, replace: bool) -> anyhow::Result<Option<PathBuf>> {
    let names =
        [STATE, "state.db-wal", "state.db-shm", LOCK, RUNS, "runs.db-wal", "runs.db-shm", RECORD, KEYS];
    let is_there = |name: &&str| data.join(name).exists();
    if !foreign_key && ![STATE, RECORD].iter().any(is_there) {
        return Ok(None);
    }
    if !replace {
        bail!("{} holds a hub's data already; --replace puts them aside", data.display());
    }
    let aside = data.join(format!("before-restore-{}", act.now_ms));
    private_file::make_folder(&aside)?;
    for name in names.iter().filter(|name| is_there(name)) {
        let moved = fs::rename(data.join(name), aside.join(name));
        moved.with_context(|| format!("cannot move {} aside", data.join(name).display()))?;
    }
    Ok(Some(aside))
}

/// Puts the runs in their place. Backups of earlier versions have none: agents are then asked for theirs.
fn copy_runs(from: &Path, data: &Path) -> anyhow::Result<()> {
    // The log of a file that is gone would be replayed into the restored one.
    for name in [RUNS, "runs.db-wal", "runs.db-shm"] {
        match fs::remove_file(data.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", data.join(name).display()));
            }
            _ => {}
        }
    }
    if from.exists() { private_file::copy(from, &data.join(RUNS)) } else { Ok(()) }
}

/// Copies the record, whole or not at all.
fn copy_record(from: &Path, data: &Path) -> anyhow::Result<()> {
    let made = data.join("record.restored");
    if made.exists() {
        fs::remove_dir_all(&made).with_context(|| format!("cannot remove {}", made.display()))?;
    }
    private_file::make_folder(&made)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot look into {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        private_file::copy(&entry.path(), &made.join(entry.file_name()))?;
    }
    fs::File::open(&made)?.sync_all()?;
    fs::rename(&made, data.join(RECORD)).context("cannot put the record in its place")?;
    Ok(fs::File::open(data)?.sync_all()?)
}
