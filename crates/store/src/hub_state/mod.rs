//! The hub's state in SQLite: `state.db` in the hub's data folder. One connection writes, behind
//! a lock; each change and its audit entry are one transaction, on the disk when the call
//! returns. Readers have connections of their own.

mod agents;
mod audit;
mod backup;
mod enrol;
mod open;
mod orders;
mod rows;
mod sessions;
mod tokens;
mod users;

use std::fs::File;
use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{Act, Enrolment, HubState, HubStateError, SecretHash, StateResult};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::json;
use sha2::{Digest, Sha256};

pub(crate) use backup::copy;
pub use backup::restore_hub_state;
pub use open::HubStateOpenError;

use crate::folder::beside;
use crate::{StoreError, database};

/// Reading connections that are kept for the next reader.
const N_READERS_KEPT: usize = 4;
/// The log is copied into the file beyond this size.
const WAL_BYTES_COPIED: u64 = 1 << 20;
/// The log is emptied beyond this size.
const WAL_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a setting.
const SETTING_BYTES_MAX: usize = 64 << 10;

/// SHA-256 of a secret, under which it is kept. For secrets of 128 random bits or more only.
pub fn secret_hash(secret: &[u8]) -> SecretHash {
    SecretHash(Sha256::digest(secret).into())
}

/// The hub's state, open. Locks its file against other processes for as long as it lives.
pub struct SqliteHubState {
    path: PathBuf,
    // Dropped in this order: the writer leaves last and empties the log, then the lock goes.
    readers: Mutex<Vec<Connection>>,
    /// None after a write that the disk refused: that connection may believe what is not there.
    writer: Mutex<Option<Connection>>,
    _lock: File,
}

/// Why the work of a transaction ended early.
enum Failure {
    /// SQLite refused.
    Sql(rusqlite::Error),
    /// The state refuses.
    Said(HubStateError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<HubStateError> for Failure {
    fn from(error: HubStateError) -> Self {
        Self::Said(error)
    }
}

type Outcome<T> = Result<T, Failure>;

impl SqliteHubState {
    /// Opens the state in the hub's data folder, or makes it where the hub never ran. A state that
    /// is damaged, gone or of another hub is refused and left as it is. The folder has to be there
    /// and closed to others.
    pub fn open(folder: &Path) -> Result<Self, HubStateOpenError> {
        let (path, connection, lock) = open::open(folder)?;
        Ok(Self { path, writer: Mutex::new(Some(connection)), readers: Mutex::default(), _lock: lock })
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn storage(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> HubStateError {
        let path = self.path.clone();
        move |error| HubStateError::Storage(Box::new(StoreError::sql(action, &path)(error)))
    }

    fn told(&self, action: &'static str, failure: Failure) -> HubStateError {
        match failure {
            Failure::Sql(error) => self.storage(action)(error),
            Failure::Said(error) => error,
        }
    }

    /// Reads in one transaction, so that all of it is of one instant.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> StateResult<T> {
        let kept = self.readers.lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                database::open_reader(&self.path).map_err(|error| HubStateError::Storage(error.into()))?
            }
        };
        let read = connection.unchecked_transaction().map_err(Failure::from).and_then(|transaction| {
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        });
        let mut readers = self.readers.lock();
        if read.is_ok() && readers.len() < N_READERS_KEPT {
            readers.push(connection);
        }
        read.map_err(|failure| self.told("read", failure))
    }

    /// Does all of the work or none of it; on the disk when it returns.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Outcome<T>) -> StateResult<T> {
        let mut writer = self.writer.lock();
        let connection = match &mut *writer {
            Some(connection) => connection,
            None => writer.insert(self.reopened()?),
        };
        match transact(connection, work) {
            Ok(answer) => {
                self.tend_log(connection);
                Ok(answer)
            }
            Err(failure) => {
                if matches!(&failure, Failure::Sql(error) if is_of_the_disk(error)) {
                    *writer = None;
                }
                Err(self.told("write", failure))
            }
        }
    }

    fn reopened(&self) -> StateResult<Connection> {
        open::connect(&self.path).map_err(|error| HubStateError::Storage(error.into()))
    }

    /// What is in the log is safe; that it grows is the only harm if copying it fails, and the
    /// next write tries again.
    fn tend_log(&self, connection: &Connection) {
        let bytes = std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |metadata| metadata.len());
        if bytes > WAL_BYTES_COPIED
            && let Err(error) = database::checkpoint(connection, bytes > WAL_BYTES_MAX)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot copy the log of the hub's state");
        }
    }
}

fn transact<T>(connection: &mut Connection, work: impl FnOnce(&Transaction<'_>) -> Outcome<T>) -> Outcome<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answer = work(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

/// A failed sync is final for a connection: what it wrote may be in memory only.
fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| matches!(code, SystemIoFailure | DatabaseCorrupt | NotADatabase))
}

impl HubState for SqliteHubState {
    fn hub_id(&self) -> StateResult<String> {
        self.read(|connection| Ok(open::meta(connection, "hub_id")?))
    }

    fn epoch(&self) -> StateResult<String> {
        self.read(|connection| Ok(open::meta(connection, "epoch")?))
    }

    fn setting(&self, key: &str) -> StateResult<Option<String>> {
        let sql = "SELECT value FROM settings WHERE key = ?1";
        self.read(|connection| Ok(connection.query_row(sql, [key], |row| row.get(0)).optional()?))
    }

    fn set_setting(&self, act: &Act, key: &str, value: Option<&str>) -> StateResult<()> {
        let short = value.is_none_or(|value| value.len() <= SETTING_BYTES_MAX);
        if key.is_empty() || key.len() > fieldpost_model::hub_state::NAME_BYTES_MAX || !short {
            return Err(HubStateError::invalid(
                "setting",
                "its key or its value is too long, or the key empty",
            ));
        }
        self.write(|transaction| {
            match value {
                Some(value) => transaction
                    .execute("INSERT OR REPLACE INTO settings VALUES (?1, ?2)", params![key, value])?,
                None => transaction.execute("DELETE FROM settings WHERE key = ?1", [key])?,
            };
            let detail = json!({ "bytes": value.map(str::len) });
            Ok(audit::append(transaction, act, "setting.set", key, &detail)?)
        })
    }

    fn purge_expired(&self, act: &Act, before_ms: TimeMs) -> StateResult<u64> {
        // A token that has just expired still counts for the repeat of an enrolment.
        let before_ms = before_ms.min(act.now_ms.saturating_sub(Enrolment::RETRY_MS));
        self.write(|transaction| {
            let mut n_removed = 0;
            for sql in [
                "DELETE FROM join_tokens WHERE expires_ms < ?1 OR revoked_ms < ?1",
                "DELETE FROM api_tokens WHERE expires_ms < ?1 OR revoked_ms < ?1",
                "DELETE FROM sessions WHERE expires_ms < ?1",
                "DELETE FROM sign_ins WHERE expires_ms < ?1",
                "DELETE FROM orders WHERE is_open = 0 AND changed_ms < ?1 AND expires_ms < ?1",
            ] {
                n_removed += transaction.execute(sql, [before_ms])? as u64;
            }
            if n_removed > 0 {
                let detail = json!({ "removed": n_removed, "before_ms": before_ms });
                audit::append(transaction, act, "expired.purge", "", &detail)?;
            }
            Ok(n_removed)
        })
    }
}
