//! Copies of the hub's state: taken while it is in use, and put back into an empty place.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use fieldpost_model::hub_state::Act;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde_json::json;

use super::SqliteHubState;
use super::open::{HubStateOpenError, damaged, open_checked, state_path, take_lock};
use crate::folder::{beside, sync_folder};
use crate::{StoreError, database};

/// Pages copied at a time.
const PAGES_A_STEP: i32 = 256;
/// How often a step that finds the state locked is tried again, and after how long.
const N_TRIES: u32 = 200;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(25);

impl SqliteHubState {
    /// Copies the state as it is at one instant into a new file, while everybody goes on. The copy
    /// is whole and on the disk when it appears under its name; an older one there is replaced.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        copy(&database::open_reader(&self.path)?, to)
    }
}

/// Puts a backup into a folder that has no state (any more), under a new epoch and
/// with an entry in the audit log. The backup is checked first and stays where it is.
pub fn restore_hub_state(act: &Act, backup: &Path, folder: &Path) -> Result<(), HubStateOpenError> {
    database::check_version()?;
    let (_lock, _) = take_lock(folder)?;
    let path = state_path(folder);
    if path.exists() {
        return Err(HubStateOpenError::Present(path));
    }
    let (source, version) = open_checked(backup)?;
    if version == 0 {
        return Err(damaged(backup, "there is nothing in it"));
    }
    let made = beside(&path, ".restored");
    copy(&source, &made)?;
    begin_epoch(act, &made).map_err(StoreError::sql("write", &made))?;
    put_old_log_aside(&path)?;
    std::fs::rename(&made, &path).map_err(StoreError::io("restore", &path))?;
    Ok(sync_folder(folder)?)
}

/// The log of a state that is gone would be replayed into the restored one.
fn put_old_log_aside(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm"] {
        let log = beside(path, suffix);
        match std::fs::rename(&log, beside(&log, ".before-restore")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("put aside", &log)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn begin_epoch(act: &Act, path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'epoch'", [])?;
    super::audit::append(&transaction, act, "state.restore", "", &json!({}))?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

/// Copies a database by SQLite's own means: into a temporary file, synced, then renamed.
pub(crate) fn copy(source: &Connection, to: &Path) -> Result<(), StoreError> {
    let made = beside(to, ".tmp");
    match std::fs::remove_file(&made) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &made)(error));
        }
        _ => {}
    }
    copy_pages(source, &made)?;
    let file = File::open(&made).map_err(StoreError::io("open", &made))?;
    file.sync_all().map_err(StoreError::io("sync", &made))?;
    std::fs::rename(&made, to).map_err(StoreError::io("rename", &made))?;
    sync_folder(to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

fn copy_pages(source: &Connection, made: &Path) -> Result<(), StoreError> {
    let failed = || StoreError::sql("back up into", made);
    // A read transaction holds the source at one instant: else each write begins the copy anew.
    let held = source.unchecked_transaction().map_err(failed())?;
    held.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed())?;
    let mut target = Connection::open(made).map_err(failed())?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(made, private).map_err(StoreError::io("make private", made))?;
    let backup = Backup::new(source, &mut target).map_err(failed())?;
    let mut n_tries = 0;
    loop {
        match backup.step(PAGES_A_STEP).map_err(failed())? {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked if n_tries == N_TRIES => {
                let held_up = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
                return Err(StoreError::io("back up into", made)(held_up));
            }
            StepResult::Busy | StepResult::Locked => {
                n_tries += 1;
                std::thread::sleep(TRY_AGAIN_AFTER);
            }
            _ => {}
        }
    }
    drop(backup);
    drop(held);
    // The copy carries no log with it: one file is the whole backup.
    target.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).map_err(failed())?;
    target.close().map_err(|(_, error)| failed()(error))
}
