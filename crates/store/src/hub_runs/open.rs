//! Opening the file of the hub's runs: whole, of a known version, or put aside.

use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;
use rusqlite::Connection;

use crate::database::Writing;
use crate::{StoreError, database, quarantine};

/// What `PRAGMA application_id` says: 'FPhr'.
const APPLICATION_ID: i64 = 1_179_674_738;
/// One step takes a file from the version of its place in this list to the next one. A step that was
/// released is never changed.
const STEPS: [&str; 3] = [
    include_str!("../sql/hub_runs.sql"),
    include_str!("../sql/hub_runs_gaps.sql"),
    include_str!("../sql/hub_runs_results.sql"),
];
/// Rows are short and many pages are read by key: what SQLite takes by itself.
const PAGE_BYTES: u32 = 4_096;

pub(super) fn open(folder: &Path, now_ms: TimeMs) -> Result<(PathBuf, Connection), StoreError> {
    database::check_version()?;
    let path = folder.join("runs.db");
    match opened(&path) {
        Ok(connection) => Ok((path, connection)),
        Err(error) if error.is_damage() => {
            let aside = quarantine::put_aside(folder, &path, now_ms)?;
            tracing::error!(path = %path.display(), aside = %aside.display(), %error, "the file of the hub's runs is damaged and was put aside; agents are asked for theirs again");
            let connection = opened(&path)?;
            Ok((path, connection))
        }
        Err(error) => Err(error),
    }
}

fn opened(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    database::upgrade(&connection, path, APPLICATION_ID, &STEPS)?;
    Ok(connection)
}

/// Opens the one connection that writes. What a power cut takes away with the end of the log is asked
/// for again, for the place in the agent's changes goes with it: no commit has to wait for the disk.
/// What cannot be asked for again is written as `crate::hub_runs::results` does.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let more = "PRAGMA synchronous=NORMAL;";
    database::connect(path, &Writing { page_bytes: PAGE_BYTES, more, ..Writing::default() })
}
