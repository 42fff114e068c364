//! Opening the hub's state: locked, whole, of a version that is known, and never begun anew where
//! there was one before.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

use crate::database::Writing;
use crate::folder::sync_folder;
use crate::{StoreError, database};

/// What `PRAGMA application_id` says: 'FPhs'.
const APPLICATION_ID: i64 = 1_179_674_739;
/// How long a connection waits for another's lock: readers never take one that holds it up, but for
/// emptying the log, which can be tried again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Rows are short and many pages are read by key: what SQLite takes by itself.
const PAGE_BYTES: u32 = 4_096;

/// One step takes a file from the version of its place in this list to the next one. A step that
/// was released is never changed: add another one behind it.
const STEPS: &[Step] = &[
    |transaction| transaction.execute_batch(include_str!("../sql/hub_state.sql")),
    |transaction| transaction.execute_batch(include_str!("../sql/hub_orders.sql")),
];

pub(super) type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// Why the hub's state cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HubStateOpenError {
    /// Its pages do not hold together.
    #[error("{path} is damaged: {reason}; it was left as it is. Restore a backup of the hub. To begin without any agents and users instead, move the file and {lock} away", path = .path.display(), lock = LOCK_NAME)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// The hub ran here, but its state is not there any more.
    #[error("the state of hub {hub_id} is gone from {path}; restore a backup of the hub. To begin without any agents and users instead, move {lock} away", path = .path.display(), lock = LOCK_NAME)]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// Whose it was.
        hub_id: String,
    },
    /// The file is another hub's.
    #[error("{path} is of hub {found}, but this folder is of hub {expected}; put the right file back. If this is meant, move {lock} away", path = .path.display(), lock = LOCK_NAME)]
    OtherHub {
        /// The file.
        path: PathBuf,
        /// The hub that the file is of.
        found: String,
        /// The hub that the folder is of.
        expected: String,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; stop that one, or name another data folder", path = .0.display())]
    Busy(PathBuf),
    /// It was written by a later version.
    #[error("{path} was written by a newer Fieldpost; use that one, or restore a backup from before the upgrade", path = .0.display())]
    TooNew(PathBuf),
    /// A state is where one is to be restored.
    #[error("{path} is there already; move it away before you restore a backup", path = .0.display())]
    Present(PathBuf),
    /// The operating system or SQLite refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Its lock, in which the hub's id is kept: by that a state that is gone is told from one that
/// never was.
const LOCK_NAME: &str = "state.lock";

/// Where the state is in a folder.
pub(super) fn state_path(folder: &Path) -> PathBuf {
    folder.join("state.db")
}

/// Locks, opens, checks and upgrades, in this order.
pub(super) fn open(folder: &Path) -> Result<(PathBuf, Connection, File), HubStateOpenError> {
    database::check_version()?;
    let path = state_path(folder);
    let (mut lock, expected) = take_lock(folder)?;
    if !is_made(&path)? && !expected.is_empty() {
        return Err(HubStateOpenError::Gone { path, hub_id: expected });
    }
    let mut connection = connect(&path)?;
    upgrade(&mut connection, &path, STEPS)?;
    let found = meta(&connection, "hub_id").map_err(|error| damaged(&path, &error.to_string()))?;
    if expected.is_empty() {
        note_hub(&mut lock, &found).map_err(StoreError::io("write", &folder.join(LOCK_NAME)))?;
        sync_folder(folder)?;
    } else if expected != found {
        return Err(HubStateOpenError::OtherHub { path, found, expected });
    }
    Ok((path, connection, lock))
}

/// Takes the lock; answers the id of the hub that was here, empty if none was.
pub(super) fn take_lock(folder: &Path) -> Result<(File, String), HubStateOpenError> {
    let path = folder.join(LOCK_NAME);
    let opened =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    let mut lock = opened.map_err(StoreError::io("open", &path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(HubStateOpenError::Busy(state_path(folder))),
        Err(error) => return Err(StoreError::io("lock", &path)(error.into()).into()),
    }
    let mut text = String::new();
    let read = (&mut lock).take(64).read_to_string(&mut text);
    read.map_err(StoreError::io("read", &path))?;
    Ok((lock, text.trim().to_owned()))
}

fn note_hub(lock: &mut File, hub_id: &str) -> std::io::Result<()> {
    lock.rewind()?;
    lock.set_len(0)?;
    lock.write_all(hub_id.as_bytes())?;
    lock.sync_all()
}

/// Opens the one connection that writes.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let more = "PRAGMA foreign_keys=ON; PRAGMA cache_size=-2048;";
    database::connect(path, &Writing { page_bytes: PAGE_BYTES, busy_timeout: BUSY_TIMEOUT, more })
}

/// Is there a state, rather than nothing or what a hub left that was cut off while it made one?
/// Only looks, so that what is refused stays as it is.
fn is_made(path: &Path) -> Result<bool, HubStateOpenError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => {}
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("look at", path)(error).into());
        }
        _ => return Ok(false),
    }
    match open_checked(path) {
        Ok((_, version)) => Ok(version > 0),
        Err(HubStateOpenError::Store(error)) if error.is_unmade() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a state for reading and reads all of it: it is small, and nothing in it can be asked for
/// again. Answers its version too, 0 if nothing is in it.
pub(super) fn open_checked(path: &Path) -> Result<(Connection, usize), HubStateOpenError> {
    let connection = database::open_reader(path).map_err(|error| found_damaged(path, error))?;
    let checked = check(&connection).map_err(StoreError::sql("check", path));
    match checked.map_err(|error| found_damaged(path, error))? {
        Ok(version) if version > STEPS.len() => Err(HubStateOpenError::TooNew(path.to_owned())),
        Ok(version) => Ok((connection, version)),
        Err(reason) => Err(damaged(path, &reason)),
    }
}

/// The version, or what is wrong.
fn check(connection: &Connection) -> rusqlite::Result<Result<usize, String>> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Ok(Err(answer));
    }
    let id = number("PRAGMA application_id")?;
    if id == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(Ok(0));
    }
    if id != APPLICATION_ID {
        return Ok(Err("it is not the state of a hub".to_owned()));
    }
    Ok(Ok(usize::try_from(number("PRAGMA user_version")?).unwrap_or(usize::MAX)))
}

fn found_damaged(path: &Path, error: StoreError) -> HubStateOpenError {
    match error {
        StoreError::Sql { ref source, .. } if error.is_damage() => damaged(path, &source.to_string()),
        error => error.into(),
    }
}

pub(super) fn damaged(path: &Path, reason: &str) -> HubStateOpenError {
    HubStateOpenError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

/// Goes up to the newest version step by step, each in a transaction of its own with its number.
/// Before the first step of a file with something in it, a copy is put beside it.
pub(super) fn upgrade(
    connection: &mut Connection,
    path: &Path,
    steps: &[Step],
) -> Result<(), HubStateOpenError> {
    let failed = || StoreError::sql("upgrade", path);
    let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed())?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > steps.len() {
        return Err(HubStateOpenError::TooNew(path.to_owned()));
    }
    if version > 0 && version < steps.len() {
        let copy = path.with_file_name(format!("state-before-version-{}.db", version + 1));
        super::backup::copy(connection, &copy)?;
    }
    for (step, next) in steps.iter().zip(1..).skip(version) {
        apply(connection, *step, next).map_err(failed())?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, step: Step, version: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step(&transaction)?;
    transaction.execute_batch(&format!("PRAGMA user_version = {version}"))?;
    transaction.commit()
}

/// What the state says of itself.
pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i64 {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    const TWO: &[Step] = &[
        |transaction| transaction.execute_batch("CREATE TABLE a (x); INSERT INTO a VALUES (7);"),
        |transaction| transaction.execute_batch("ALTER TABLE a ADD COLUMN y;"),
    ];

    #[test]
    fn upgrade_goes_step_by_step_and_keeps_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = state_path(folder.path());
        let mut connection = connect(&path).unwrap();
        upgrade(&mut connection, &path, &TWO[..1]).unwrap();
        assert_eq!(version(&connection), 1);
        upgrade(&mut connection, &path, TWO).unwrap();
        assert_eq!(version(&connection), 2);
        let x: i64 = connection.query_row("SELECT x FROM a WHERE y IS NULL", [], |row| row.get(0)).unwrap();
        assert_eq!(x, 7);
        let copy = Connection::open(folder.path().join("state-before-version-2.db")).unwrap();
        assert_eq!(version(&copy), 1);
        assert!(matches!(upgrade(&mut connection, &path, &TWO[..1]), Err(HubStateOpenError::TooNew(_))));
    }

    #[test]
    fn step_that_fails_leaves_the_version_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = state_path(folder.path());
        let mut connection = connect(&path).unwrap();
        let fails: Step = |transaction| transaction.execute_batch("CREATE TABLE b (x); no sql;");
        assert!(upgrade(&mut connection, &path, &[TWO[0], fails]).is_err());
        assert_eq!(version(&connection), 1);
        let tables = "SELECT count(*) FROM sqlite_schema";
        assert_eq!(connection.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
