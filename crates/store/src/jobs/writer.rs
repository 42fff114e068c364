//! The thread that writes: one transaction for all that waits, on the disk before anybody is told.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use fieldpost_model::job::Run;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use super::{JobsChange, OnChange, Submission, TaskRow, Written, open};
use crate::folder::beside;
use crate::{StoreError, database};

/// Submissions that are committed together, at most.
const N_TOGETHER_MAX: usize = 256;
/// Ids of forgotten orders that are kept, the newest.
const N_FORGOTTEN_MAX: i64 = 100_000;
/// Rows of runs that were forgotten, at most; then so many of the oldest become one.
const N_REMOVED_MAX: i64 = 10_000;
const N_REMOVED_MERGED: i64 = 1_000;
/// The log is copied into the file beyond this size.
const WAL_BYTES_COPIED: u64 = 1 << 20;
/// The log is emptied beyond this size.
const WAL_BYTES_MAX: u64 = 16 << 20;

/// Writes until nobody can submit any more.
pub(super) fn run(
    path: &Path,
    connection: Connection,
    inbox: &Receiver<Submission>,
    told: &Mutex<Option<OnChange>>,
) {
    let mut connection = Some(connection);
    while let Ok(first) = inbox.recv() {
        let mut batch = vec![first];
        while batch.len() < N_TOGETHER_MAX {
            let Ok(next) = inbox.try_recv() else { break };
            batch.push(next);
        }
        if connection.is_none() {
            connection = open::connect(path).ok();
        }
        let written = match &mut connection {
            Some(connection) => write(path, connection, &batch),
            None => Err(StoreError::Closed),
        };
        match written {
            Ok(answers) => {
                if let Some(told) = &*told.lock() {
                    told();
                }
                batch.into_iter().zip(answers).for_each(|(submission, answer)| (submission.done)(answer));
                if let Some(connection) = &connection {
                    tend_log(path, connection);
                }
            }
            Err(error) => {
                // A failed sync is final for a connection: what it wrote may be in memory only.
                connection = None;
                let error = Arc::new(error);
                for submission in batch {
                    (submission.done)(Written::Failed(Arc::clone(&error)));
                }
            }
        }
    }
    if let Some(connection) = &connection
        && let Err(error) = database::checkpoint(connection, true)
    {
        tracing::debug!(%error, "the log of the jobs' file stays for the next start");
    }
}

fn write(path: &Path, connection: &mut Connection, batch: &[Submission]) -> Result<Vec<Written>, StoreError> {
    let failed = || StoreError::sql("write", path);
    let mut transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
    let mut answers = Vec::with_capacity(batch.len());
    for submission in batch {
        let mut savepoint = transaction.savepoint().map_err(failed())?;
        let done = submission.changes.iter().try_for_each(|change| apply(&savepoint, change));
        match done {
            Ok(()) => {
                savepoint.commit().map_err(failed())?;
                answers.push(Written::Done);
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                savepoint.rollback().map_err(failed())?;
                answers.push(Written::Exists);
            }
            Err(error) => return Err(failed()(error)),
        }
    }
    transaction.commit().map_err(failed())?;
    Ok(answers)
}

fn apply(connection: &Connection, change: &JobsChange) -> rusqlite::Result<()> {
    let sql = |text: &str| connection.prepare_cached(text);
    let n_rows = match change {
        JobsChange::AddRun(run) => {
            let (tags, record) = (database::to_json(&run.job.tags)?, database::to_json(run)?);
            let version = next_version(connection)?;
            sql("INSERT INTO runs (id, job, domain, state, is_final, created_ms, ended_ms, tags, output_bytes, record,
                 version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?
            .execute(params![
                run.id,
                run.job.name,
                run.job.domain,
                run.state.as_str(),
                run.state.is_final(),
                run.created_ms,
                run.ended_ms,
                tags,
                output_bytes(run),
                record,
                version
            ])?
        }
        JobsChange::PutRun(run) => {
            let version = next_version(connection)?;
            sql("UPDATE runs SET state = ?2, is_final = ?3, ended_ms = ?4, record = ?5, output_bytes = ?6,
                 version = ?7 WHERE id = ?1")?
            .execute(params![
                run.id,
                run.state.as_str(),
                run.state.is_final(),
                run.ended_ms,
                database::to_json(run)?,
                output_bytes(run),
                version
            ])?
        }
        JobsChange::RemoveRun(id) => remove(connection, id)?,
        JobsChange::PutTask(TaskRow { name, definition, paused, slot_ms, ticker, changed_ms }) => {
            sql("INSERT OR REPLACE INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![name, definition, paused, slot_ms, ticker, changed_ms])?
        }
        JobsChange::RemoveTask(name) => sql("DELETE FROM tasks WHERE name = ?1")?.execute([name])?,
        JobsChange::PutSealed(run, sealed) => {
            sql("INSERT OR REPLACE INTO sealed VALUES (?1, ?2)")?.execute(params![run, sealed])?
        }
        JobsChange::RemoveSealed(run) => sql("DELETE FROM sealed WHERE run = ?1")?.execute([run])?,
    };
    tracing::trace!(n_rows, "written");
    Ok(())
}

fn next_version(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "UPDATE numbering SET version = version + 1 RETURNING version";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// Forgets a run. Of one that a hub ordered the id stays, for the order may come again.
fn remove(connection: &Connection, id: &str) -> rusqlite::Result<usize> {
    let sql = "INSERT OR IGNORE INTO forgotten (id) SELECT id FROM runs WHERE id = ?1 AND
        record ->> '$.asked_by' LIKE 'hub %'";
    if connection.prepare_cached(sql)?.execute([id])? > 0 {
        let sql = "DELETE FROM forgotten WHERE number <= (SELECT max(number) FROM forgotten) - ?1";
        connection.prepare_cached(sql)?.execute([N_FORGOTTEN_MAX])?;
    }
    note_removed(connection, id)?;
    connection.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([id])
}

/// Counts a run that is forgotten, for hubs that have not heard of it.
fn note_removed(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO removed (version, n_runs, from_ms, to_ms)
        SELECT version, 1, created_ms, coalesce(ended_ms, created_ms) FROM runs WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([id])?;
    let n_rows: i64 =
        connection.prepare_cached("SELECT count(*) FROM removed")?.query_row([], |row| row.get(0))?;
    if n_rows <= N_REMOVED_MAX {
        return Ok(());
    }
    let merged = "SELECT max(number), max(version), sum(n_runs), min(from_ms), max(to_ms) FROM
        (SELECT * FROM removed ORDER BY number LIMIT ?1)";
    let row = connection.prepare_cached(merged)?.query_row([N_REMOVED_MERGED], |row| {
        Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
    })?;
    connection.prepare_cached("DELETE FROM removed WHERE number <= ?1")?.execute([row[0]])?;
    connection.prepare_cached("INSERT INTO removed VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(row)?;
    Ok(())
}

fn output_bytes(run: &Run) -> i64 {
    i64::try_from(run.output.kept_bytes).unwrap_or(i64::MAX)
}

/// What is in the log is safe; that it grows is the only harm if copying it fails, and the next
/// write tries again.
fn tend_log(path: &Path, connection: &Connection) {
    let bytes = std::fs::metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len());
    if bytes > WAL_BYTES_COPIED
        && let Err(error) = database::checkpoint(connection, bytes > WAL_BYTES_MAX)
    {
        tracing::warn!(path = %path.display(), %error, "cannot copy the log of the jobs' file");
    }
}
