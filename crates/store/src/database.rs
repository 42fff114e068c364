//! Opening SQLite files: for the one writer, for readers, and fresh ones that are written once.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// The first SQLite without the fault that corrupts a store when two connections write and
/// checkpoint at once.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of two KiB: a window's blob wastes half of one on average.
pub(crate) const PAGE_BYTES: u32 = 2_048;
/// Version of the schema of every file, in `user_version`. Bump it with a step that upgrades.
const SCHEMA_VERSION: i32 = 1;

/// Refuses to run on an SQLite that destroys data.
pub(crate) fn check_version() -> Result<(), StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::SqliteTooOld(rusqlite::version()));
    }
    Ok(())
}

/// Opens or makes a file with a log that only this connection checkpoints; each commit is on
/// the disk when it returns.
pub(crate) fn open_writer(path: &Path, schema: &str) -> Result<Connection, StoreError> {
    let failed = || StoreError::sql("open", path);
    let connection = connect(path, &Writing::default())?;
    match schema_version(&connection).map_err(failed())? {
        0 => connection.execute_batch(&format!("BEGIN IMMEDIATE; {schema} COMMIT;")).map_err(failed())?,
        SCHEMA_VERSION => {}
        _ => return Err(StoreError::TooNew(path.to_owned())),
    }
    Ok(connection)
}

/// How a file with a log is written.
pub(crate) struct Writing {
    /// Counts where the file is made.
    pub(crate) page_bytes: u32,
    /// How long the connection waits for another's lock.
    pub(crate) busy_timeout: Duration,
    /// Pragmas beside those that all have.
    pub(crate) more: &'static str,
}

impl Default for Writing {
    fn default() -> Self {
        Self { page_bytes: PAGE_BYTES, busy_timeout: BUSY_TIMEOUT, more: "" }
    }
}

/// A connection whose statements are planned once. Otherwise some are planned anew for each value that they are
/// given, which costs more than they do: <https://sqlite.org/queryplanner-ng.html#qpsg>.
fn planned(opened: rusqlite::Result<Connection>) -> rusqlite::Result<Connection> {
    let connection = opened?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Opens the one connection that writes into a file, whatever is in it. It alone copies the log into
/// the file.
pub(crate) fn connect(path: &Path, writing: &Writing) -> Result<Connection, StoreError> {
    let Writing { page_bytes, busy_timeout, more } = writing;
    let failed = || StoreError::sql("open", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = planned(Connection::open_with_flags(path, flags)).map_err(failed())?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(StoreError::io("make private", path))?;
    connection.busy_timeout(*busy_timeout).map_err(failed())?;
    let pragmas = format!(
        "PRAGMA page_size={page_bytes}; PRAGMA journal_mode=WAL; {} {more}",
        include_str!("sql/writer_pragmas.sql")
    );
    connection.execute_batch(&pragmas).map_err(failed())?;
    Ok(connection)
}

/// Opens a file that only grows until it is renamed to its name: no log, no sync before the end.
pub(crate) fn open_fresh(path: &Path, schema: &str) -> Result<Connection, StoreError> {
    let failed = || StoreError::sql("make", path);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", path)(error));
        }
        _ => {}
    }
    let connection = planned(Connection::open(path)).map_err(failed())?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(StoreError::io("make private", path))?;
    let pragmas = format!("PRAGMA page_size={PAGE_BYTES}; {}", include_str!("sql/fresh_pragmas.sql"));
    connection.execute_batch(&pragmas).map_err(failed())?;
    connection.execute_batch(schema).map_err(failed())?;
    Ok(connection)
}

/// Opens for reading a file that a writer may have open. It neither checkpoints nor removes logs.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let failed = || StoreError::sql("open", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = planned(Connection::open_with_flags(path, flags)).map_err(failed())?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed())?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed())?;
    connection.execute_batch(include_str!("sql/reader_pragmas.sql")).map_err(failed())?;
    Ok(connection)
}

/// Opens for reading a file that never changes again: no lock, no log.
pub(crate) fn open_finished(path: &Path) -> Result<Connection, StoreError> {
    let failed = || StoreError::sql("open", path);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = planned(Connection::open_with_flags(uri(path), flags)).map_err(failed())?;
    connection.execute_batch(include_str!("sql/reader_pragmas.sql")).map_err(failed())?;
    Ok(connection)
}

/// `file:` with everything escaped that means something in a URI.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(byte as char);
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri + "?immutable=1"
}

fn schema_version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Is the file whole? Reads all of it.
pub(crate) fn quick_check(connection: &Connection) -> rusqlite::Result<bool> {
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(answer == "ok")
}

/// Moves the log into the file. With `truncate` the log is emptied too, which waits for readers.
pub(crate) fn checkpoint(connection: &Connection, truncate: bool) -> rusqlite::Result<()> {
    let mode = if truncate { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
    connection.query_row(mode, [], |_| Ok(()))
}
/// Brings a file up to the newest version, one step for each: its place in the list is the version that it
/// takes the file from. Refused are files of later versions, of something else, and damaged ones.
pub(crate) fn upgrade(
    connection: &Connection,
    path: &Path,
    application_id: i64,
    steps: &[&str],
) -> Result<(), StoreError> {
    let failed = || StoreError::sql("open", path);
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let version = usize::try_from(number("PRAGMA user_version").map_err(failed())?).unwrap_or(0);
    if version > steps.len() {
        return Err(StoreError::TooNew(path.to_owned()));
    }
    if version > 0 && number("PRAGMA application_id").map_err(failed())? != application_id {
        return Err(failed()(rusqlite::Error::InvalidQuery));
    }
    for step in &steps[version..] {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {step} COMMIT;")).map_err(failed())?;
    }
    if !quick_check(connection).map_err(failed())? {
        return Err(failed()(rusqlite::Error::InvalidQuery));
    }
    Ok(())
}

/// JSON for a column.
pub(crate) fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn statements_are_planned_once_whatever_they_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("planned.db");
        let writer = connect(&path, &Writing::default()).unwrap();
        writer.execute_batch("CREATE TABLE t (a TEXT) STRICT; CREATE INDEX i ON t (a);").unwrap();
        for connection in [&writer, &open_reader(&path).unwrap()] {
            let mut n_planned = 0;
            for value in ["a", "b", "c"] {
                let mut statement =
                    connection.prepare_cached("SELECT a FROM t WHERE a = ?1 ORDER BY rowid").unwrap();
                assert!(!statement.exists([value]).unwrap());
                n_planned += statement.get_status(StatementStatus::RePrepare);
            }
            assert_eq!(n_planned, 0);
        }
    }
}
