//! Opening the jobs' file: whole, of a known version, or put aside.

use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;
use rusqlite::{Connection, OpenFlags};

use crate::folder::{beside, sync_folder};
use crate::{StoreError, database};

/// What `PRAGMA application_id` says: 'FPjb'.
const APPLICATION_ID: i64 = 1_179_675_234;
/// The newest version that is known.
const VERSION: i64 = 1;
/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

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
            let aside = put_aside(&path, now_ms)?;
            tracing::error!(path = %path.display(), aside = %aside.display(), %error, "the jobs' file is damaged and was put aside");
            let connection = opened(&path)?;
            Ok((path, connection, JobsOpened { put_aside: Some(aside) }))
        }
        Err(error) => Err(error),
    }
}

fn opened(path: &Path) -> Result<Connection, StoreError> {
    let failed = || StoreError::sql("open", path);
    let connection = connect(path)?;
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    match number("PRAGMA user_version").map_err(failed())? {
        0 => {
            let schema = include_str!("../sql/jobs.sql");
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {schema} COMMIT;")).map_err(failed())?;
        }
        VERSION if number("PRAGMA application_id").map_err(failed())? == APPLICATION_ID => {}
        VERSION => return Err(failed()(rusqlite::Error::InvalidQuery)),
        _ => return Err(StoreError::TooNew(path.to_owned())),
    }
    if !database::quick_check(&connection).map_err(failed())? {
        return Err(failed()(rusqlite::Error::InvalidQuery));
    }
    Ok(connection)
}

/// Opens the one connection that writes. It alone copies the log into the file.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = || StoreError::sql("open", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).map_err(failed())?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(StoreError::io("make private", path))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed())?;
    let pragmas = format!("PRAGMA journal_mode=WAL; {}", include_str!("../sql/writer_pragmas.sql"));
    connection.execute_batch(&pragmas).map_err(failed())?;
    Ok(connection)
}

/// Database, log and index go together; nothing is deleted.
fn put_aside(path: &Path, now_ms: TimeMs) -> Result<PathBuf, StoreError> {
    let aside = beside(path, &format!(".damaged-{now_ms}"));
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (beside(path, suffix), beside(&aside, suffix));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("put aside", &from)(error));
            }
            _ => {}
        }
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    Ok(aside)
}
