//! Opening the jobs' file: whole, of a known version, or put aside.

use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;
use rusqlite::Connection;

use crate::database::Writing;
use crate::{StoreError, database, quarantine};

/// What `PRAGMA application_id` says: 'FPjb'.
const APPLICATION_ID: i64 = 1_179_675_234;
/// One step takes a file from the version of its place in this list to the next one. A step that was
/// released is never changed.
const STEPS: [&str; 3] = [
    include_str!("../sql/jobs.sql"),
    include_str!("../sql/jobs_changes.sql"),
    include_str!("../sql/jobs_removed.sql"),
];
/// Rows are short and many pages are read by key: what SQLite takes by itself.
const PAGE_BYTES: u32 = 4_096;

/// What was found when the file was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobsOpened {
    /// Where a damaged file was put.
    pub put_aside: Option<PathBuf>,
}

pub(super) fn open(folder: &Path, now_ms: TimeMs) -> Result<(PathBuf, Connection, JobsOpened), StoreError> {
    database::check_version()?;
    let path = folder.join("jobs.db");
    match opened(&path) {
        Ok(connection) => Ok((path, connection, JobsOpened::default())),
        Err(error) if error.is_damage() => {
            let aside = quarantine::put_aside(folder, &path, now_ms)?;
            tracing::error!(path = %path.display(), aside = %aside.display(), %error, "the jobs' file is damaged and was put aside");
            let connection = opened(&path)?;
            Ok((path, connection, JobsOpened { put_aside: Some(aside) }))
        }
        Err(error) => Err(error),
    }
}

fn opened(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    database::upgrade(&connection, path, APPLICATION_ID, &STEPS)?;
    Ok(connection)
}

/// Opens the one connection that writes.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    database::connect(path, &Writing { page_bytes: PAGE_BYTES, ..Writing::default() })
}
