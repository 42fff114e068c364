//! The runs of all agents at the hub: `runs.db` in its data folder. A copy of what agents keep: the
//! place that the hub has reached in the changes of an agent is written with them, so that a file that
//! was lost or damaged is filled again by asking from the beginning.

mod open;
mod query;
mod results;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{
    HubRuns, KnownGap, KnownRun, KnownRuns, ResultPlace, ResultWish, RunCursor, RunGap, RunVersion, RunWish,
    RunsFault, TakenResults,
};
use fieldpost_model::job::Run;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use crate::folder::beside;
use crate::hub_state::copy;
use crate::{StoreError, database};

/// Reading connections that are kept for the next reader.
const N_READERS_KEPT: usize = 4;
/// The log is copied into the file beyond this size.
const WAL_BYTES_COPIED: u64 = 1 << 20;
/// The log is emptied beyond this size.
const WAL_BYTES_MAX: u64 = 16 << 20;
/// Runs that are forgotten in one transaction.
const N_FORGOTTEN_AT_ONCE: u64 = 1_000;

/// The runs of all agents, in SQLite.
pub struct SqliteHubRuns {
    path: PathBuf,
    // Dropped in this order: the writer leaves last and empties the log.
    readers: Mutex<Vec<Connection>>,
    /// None after a write that the disk refused: that connection may believe what is not there.
    writer: Mutex<Option<Connection>>,
}

impl SqliteHubRuns {
    /// Opens the file in this folder, which has to be there, or makes it. One that is damaged is put
    /// aside under another name and a new one begun.
    pub fn open(folder: &Path, now_ms: TimeMs) -> Result<Self, StoreError> {
        let (path, connection) = open::open(folder, now_ms)?;
        Ok(Self { path, readers: Mutex::default(), writer: Mutex::new(Some(connection)) })
    }

    /// Copies the runs as they are at one instant into a new file, while everybody goes on.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        copy(&database::open_reader(&self.path)?, to)
    }

    fn fault(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> RunsFault {
        let path = self.path.clone();
        move |error| RunsFault::new(StoreError::sql(action, &path)(error))
    }

    /// Reads in one transaction, so that all of it is of one instant.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RunsFault> {
        let kept = self.readers.lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => database::open_reader(&self.path).map_err(RunsFault::new)?,
        };
        let answer = connection
            .unchecked_transaction()
            .and_then(|transaction| {
                let answer = work(&transaction)?;
                transaction.commit()?;
                Ok(answer)
            })
            .map_err(self.fault("read"))?;
        let mut readers = self.readers.lock();
        if readers.len() < N_READERS_KEPT {
            readers.push(connection);
        }
        Ok(answer)
    }

    /// What agents can be asked for again.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, RunsFault> {
        self.written("NORMAL", work)
    }

    /// What nobody could say again: it is on the disk when this returns.
    fn write_through<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RunsFault> {
        self.written("FULL", work)
    }

    fn written<T>(
        &self,
        synchronous: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RunsFault> {
        let mut writer = self.writer.lock();
        let connection = match &mut *writer {
            Some(connection) => connection,
            None => writer.insert(open::connect(&self.path).map_err(RunsFault::new)?),
        };
        let done = connection
            .pragma_update(None, "synchronous", synchronous)
            .and_then(|()| connection.transaction_with_behavior(TransactionBehavior::Immediate))
            .and_then(|transaction| {
                let answer = work(&transaction)?;
                transaction.commit()?;
                Ok(answer)
            });
        match done {
            Ok(answer) => {
                self.tend_log(connection);
                Ok(answer)
            }
            Err(error) => {
                *writer = None;
                Err(self.fault("write")(error))
            }
        }
    }

    /// What is in the log is safe; that it grows is the only harm if copying it fails, and the next
    /// write tries again.
    fn tend_log(&self, connection: &Connection) {
        let bytes = std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |metadata| metadata.len());
        if bytes > WAL_BYTES_COPIED
            && let Err(error) = database::checkpoint(connection, bytes > WAL_BYTES_MAX)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot copy the log of the hub's runs");
        }
    }
}

/// Writes a run of an agent as it is now; what ordered it stays known.
fn put(transaction: &Transaction<'_>, known: &KnownRun) -> rusqlite::Result<()> {
    let KnownRun { agent_id, version, run, .. } = known;
    // One that the agent has told of is believed before an order. It may have been shown under nobody
    // while nobody had taken it.
    transaction
        .prepare_cached("UPDATE OR IGNORE runs SET agent = ?1 WHERE agent = '' AND id = ?2")?
        .execute(params![agent_id, run.id])?;
    let (was_over, batch) = (results::was_over(transaction, known)?, results::batch_of(transaction, known)?);
    let sql = "INSERT INTO runs (agent, id, batch, version, job, domain, state, is_final, created_ms, ended_ms, tags,
        record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
        ON CONFLICT (agent, id) DO UPDATE SET version = ?4, job = ?5, domain = ?6, state = ?7, is_final = ?8,
        created_ms = ?9, ended_ms = ?10, tags = ?11, record = ?12, batch = iif(?3 = '', batch, ?3)
        WHERE ?4 > 0 OR version = 0";
    transaction.prepare_cached(sql)?.execute(params![
        agent_id,
        run.id,
        batch,
        i64::try_from(*version).unwrap_or(i64::MAX),
        run.job.name,
        run.job.domain,
        run.state.as_str(),
        run.state.is_final(),
        run.created_ms,
        run.ended_ms,
        database::to_json(&run.job.tags)?,
        database::to_json(run)?,
    ])?;
    if run.state.is_final() && !was_over { results::offer(transaction, known) } else { Ok(()) }
}

impl HubRuns for SqliteHubRuns {
    fn cursor(&self, agent_id: &str) -> Result<RunCursor, RunsFault> {
        let sql = "SELECT spool, version FROM cursors WHERE agent = ?1";
        self.read(|connection| {
            let read = connection.prepare_cached(sql)?.query_row([agent_id], |row| {
                Ok(RunCursor { spool: row.get(0)?, version: row.get::<_, i64>(1)?.unsigned_abs() })
            });
            Ok(read.optional()?.unwrap_or_default())
        })
    }

    fn take(&self, agent_id: &str, cursor: &RunCursor, runs: &[(RunVersion, Run)]) -> Result<(), RunsFault> {
        self.write(|transaction| {
            for (version, run) in runs {
                let known = KnownRun {
                    agent_id: agent_id.to_owned(),
                    batch: String::new(),
                    version: *version,
                    run: run.clone(),
                };
                put(transaction, &known)?;
            }
            let version = i64::try_from(cursor.version).unwrap_or(i64::MAX);
            transaction
                .prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)")?
                .execute(params![agent_id, cursor.spool, version])?;
            Ok(())
        })
    }

    fn take_gap(
        &self,
        agent_id: &str,
        cursor: &RunCursor,
        gap: Option<&RunGap>,
        now_ms: TimeMs,
    ) -> Result<(), RunsFault> {
        let behind = (agent_id, &cursor.spool, i64::try_from(cursor.version).unwrap_or(i64::MAX));
        // At most visits there is nothing to say.
        if gap.is_none() && !self.read(|connection| query::has_gap(connection, behind))? {
            return Ok(());
        }
        self.write(|transaction| {
            let sql = "DELETE FROM gaps WHERE agent = ?1 AND spool = ?2 AND version > ?3";
            transaction.prepare_cached(sql)?.execute(behind)?;
            let Some(gap) = gap else { return Ok(()) };
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let sql = "INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            transaction.prepare_cached(sql)?.execute(params![
                agent_id,
                cursor.spool,
                number(gap.version),
                number(gap.n_runs),
                gap.at_most,
                gap.from_ms,
                gap.to_ms,
                now_ms,
            ])?;
            Ok(())
        })
    }

    fn gaps(&self, agents: &[String], since_ms: TimeMs, limit: usize) -> Result<Vec<KnownGap>, RunsFault> {
        self.read(|connection| query::gaps(connection, agents, since_ms, limit))
    }

    fn take_tasks(&self, agent_id: &str, tasks: &[Value], now_ms: TimeMs) -> Result<(), RunsFault> {
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO tasks VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute(params![
                agent_id,
                now_ms,
                database::to_json(&tasks)?
            ])?;
            Ok(())
        })
    }

    fn tasks(&self, agent_id: Option<&str>) -> Result<Vec<(String, TimeMs, Vec<Value>)>, RunsFault> {
        self.read(|connection| query::tasks(connection, agent_id))
    }

    fn show_orders(&self, orders: &[KnownRun]) -> Result<(), RunsFault> {
        if orders.is_empty() {
            return Ok(());
        }
        // By what a run was ordered no agent could say again, and without it its result waits for nobody.
        self.write_through(|transaction| orders.iter().try_for_each(|known| put(transaction, known)))
    }

    fn find(&self, part: &str, agent_id: Option<&str>) -> Result<Vec<KnownRun>, RunsFault> {
        self.read(|connection| query::find(connection, part, agent_id))
    }

    fn runs(&self, wish: &RunWish) -> Result<KnownRuns, RunsFault> {
        self.read(|connection| query::runs(connection, wish))
    }

    fn n_runs(&self, wish: &RunWish, told: bool) -> Result<BTreeMap<String, usize>, RunsFault> {
        self.read(|connection| query::n_runs(connection, wish, told))
    }

    fn take_results(&self, wish: &ResultWish, now_ms: TimeMs) -> Result<TakenResults, RunsFault> {
        let sight = self.read(|connection| results::look(connection, wish, now_ms))?;
        let results = match sight.is_some {
            true => self.write_through(|transaction| results::take(transaction, wish, now_ms))?,
            false => Vec::new(),
        };
        Ok(TakenResults { results, seen: sight.seen, next_back_ms: sight.next_back_ms })
    }

    fn settle_results(&self, places: &[ResultPlace], now_ms: TimeMs) -> Result<Vec<ResultPlace>, RunsFault> {
        self.write_through(|transaction| results::settle(transaction, places, now_ms))
    }

    fn forget(&self, before_ms: TimeMs, n_kept: u64) -> Result<u64, RunsFault> {
        let sql = "DELETE FROM runs WHERE number IN (SELECT number FROM runs WHERE is_final = 1 AND (ended_ms < ?1 OR
            number <= (SELECT coalesce(max(number), 0) FROM runs) - ?2) LIMIT ?3)";
        let n_kept = i64::try_from(n_kept).unwrap_or(i64::MAX);
        self.write(|transaction| {
            results::shorten(transaction)?;
            transaction.execute("DELETE FROM gaps WHERE to_ms < ?1", [before_ms])
        })?;
        let mut n_removed = 0;
        loop {
            let limit = N_FORGOTTEN_AT_ONCE as i64;
            let n = self.write(|transaction| transaction.execute(sql, params![before_ms, n_kept, limit]))?;
            n_removed += n as u64;
            if (n as u64) < N_FORGOTTEN_AT_ONCE {
                return Ok(n_removed);
            }
        }
    }

    fn forget_run(&self, agent_id: &str, id: &str) -> Result<bool, RunsFault> {
        let sql = "DELETE FROM runs WHERE agent = ?1 AND id = ?2";
        self.write(|transaction| Ok(transaction.prepare_cached(sql)?.execute([agent_id, id])? > 0))
    }

    fn forget_agent(&self, agent_id: &str) -> Result<(), RunsFault> {
        self.write(|transaction| {
            for sql in [
                "DELETE FROM runs WHERE agent = ?1",
                "DELETE FROM cursors WHERE agent = ?1",
                "DELETE FROM tasks WHERE agent = ?1",
                "DELETE FROM gaps WHERE agent = ?1",
            ] {
                transaction.execute(sql, [agent_id])?;
            }
            Ok(())
        })
    }
}
