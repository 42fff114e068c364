//! Questions about runs and tasks.

use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{RunCursor, RunGap, RunVersion};
use fieldpost_model::job::{Run, RunState};
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::{JobsFile, TaskRow};
use crate::StoreError;

/// Which runs are asked for; without any condition all, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    /// Of this job.
    pub job: Option<String>,
    /// Of this domain.
    pub domain: Option<String>,
    /// In one of these states; none named: in any.
    pub states: Vec<RunState>,
    /// Accepted at this instant or later.
    pub since_ms: Option<TimeMs>,
    /// With all of these tags.
    pub tags: Vec<(String, String)>,
    /// Older than the one of this number.
    pub before: Option<i64>,
    /// So many at most.
    pub limit: usize,
}

/// Some runs, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<Run>,
    /// Where to go on, if there may be more.
    pub next: Option<i64>,
}

impl JobsFile {
    /// The run of this id.
    pub fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let sql = "SELECT record FROM runs WHERE id = ?1";
        self.read(|connection| {
            connection.prepare_cached(sql)?.query_row([id], |row| record(row, 0)).optional()
        })
    }

    /// Ids that begin or end so, two at most: enough to tell whether there is one.
    pub fn ids_like(&self, part: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM runs WHERE substr(id, 1, length(?1)) = ?1 OR substr(id, -length(?1)) = ?1
                   ORDER BY number DESC LIMIT 2";
        self.read(|connection| connection.prepare_cached(sql)?.query_map([part], |row| row.get(0))?.collect())
    }

    /// Runs, newest first.
    pub fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        self.read(|connection| page(connection, query))
    }

    /// Under which numbering changes are, and the number of the newest one.
    pub fn changes_head(&self) -> Result<RunCursor, StoreError> {
        let sql = "SELECT spool, version FROM numbering";
        self.read(|connection| {
            connection.prepare_cached(sql)?.query_row([], |row| {
                Ok(RunCursor { spool: row.get(0)?, version: row.get::<_, i64>(1)?.unsigned_abs() })
            })
        })
    }

    /// Runs that changed behind this change, in the order of their newest ones.
    pub fn changes(&self, after: RunVersion, limit: usize) -> Result<Vec<(RunVersion, Run)>, StoreError> {
        let sql = "SELECT version, record FROM runs WHERE version > ?1 ORDER BY version LIMIT ?2";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map((after, limit), |row| {
                Ok((row.get::<_, i64>(0)?.unsigned_abs(), record(row, 1)?))
            })?;
            rows.collect()
        })
    }

    /// The number of the newest removal; 0 before the first.
    pub fn removals_head(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) FROM removed";
        self.read(|connection| {
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
        })
    }

    /// Runs that changed behind this change and were forgotten behind this removal; none if there are
    /// none.
    pub fn gap(&self, after: RunVersion, after_removal: u64) -> Result<Option<RunGap>, StoreError> {
        let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.removed("version > ?1 AND number > ?2", (bound(after), bound(after_removal)))
    }

    /// Runs that were forgotten and were there in this span; none if there are none.
    pub fn forgotten_between(&self, from_ms: TimeMs, to_ms: TimeMs) -> Result<Option<RunGap>, StoreError> {
        self.removed("to_ms >= ?1 AND from_ms < ?2", (from_ms, to_ms))
    }

    fn removed(&self, condition: &str, bounds: (i64, i64)) -> Result<Option<RunGap>, StoreError> {
        let sql = format!(
            "SELECT max(version), sum(n_runs), min(from_ms), max(to_ms), max(n_runs) > 1 FROM removed
             WHERE {condition}"
        );
        self.read(|connection| {
            connection.prepare_cached(&sql)?.query_row(bounds, |row| {
                let Some(version) = row.get::<_, Option<i64>>(0)? else { return Ok(None) };
                Ok(Some(RunGap {
                    version: version.unsigned_abs(),
                    n_runs: row.get::<_, i64>(1)?.unsigned_abs(),
                    from_ms: row.get(2)?,
                    to_ms: row.get(3)?,
                    at_most: row.get(4)?,
                }))
            })
        })
    }

    /// Runs that are not over, the oldest first.
    pub fn runs_going_on(&self) -> Result<Vec<Run>, StoreError> {
        let sql = "SELECT record FROM runs WHERE is_final = 0 ORDER BY number";
        self.read(|connection| connection.prepare_cached(sql)?.query_map([], |row| record(row, 0))?.collect())
    }

    /// Ids of runs that are over and ended before this instant, or are older than the newest so
    /// many; the oldest first.
    pub fn old_runs(&self, before_ms: TimeMs, n_kept: u64, limit: usize) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM runs WHERE is_final = 1 AND (ended_ms < ?1 OR number <=
                   (SELECT coalesce(max(number), 0) FROM runs) - ?2) ORDER BY number LIMIT ?3";
        let n_kept = i64::try_from(n_kept).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|connection| {
            connection.prepare_cached(sql)?.query_map((before_ms, n_kept, limit), |row| row.get(0))?.collect()
        })
    }

    /// Runs that are over and whose output is more than fits, counted from the newest on; the oldest
    /// first.
    pub fn runs_beyond(&self, output_bytes_max: u64, limit: usize) -> Result<Vec<Run>, StoreError> {
        let sql =
            "SELECT record FROM runs JOIN (SELECT number AS n, sum(output_bytes) OVER (ORDER BY number DESC)
                   AS total FROM runs) ON n = number WHERE total > ?1 AND is_final = 1 AND output_bytes > 0
                   ORDER BY number LIMIT ?2";
        let most = i64::try_from(output_bytes_max).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|connection| {
            connection.prepare_cached(sql)?.query_map((most, limit), |row| record(row, 0))?.collect()
        })
    }

    /// Everything that is remembered of tasks, by name.
    pub fn tasks(&self) -> Result<Vec<TaskRow>, StoreError> {
        let sql = "SELECT name, definition, paused, slot_ms, ticker, changed_ms FROM tasks ORDER BY name";
        self.read(|connection| connection.prepare_cached(sql)?.query_map([], task)?.collect())
    }

    /// The sealed secrets of a run.
    pub fn sealed(&self, run: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT box FROM sealed WHERE run = ?1";
        self.read(|connection| connection.prepare_cached(sql)?.query_row([run], |row| row.get(0)).optional())
    }
}

fn page(connection: &Connection, query: &RunQuery) -> rusqlite::Result<RunPage> {
    let mut conditions = vec!["1".to_owned()];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &str, value: Value| {
        conditions.push(condition.to_owned());
        values.push(value);
    };
    for (column, word) in [("job", &query.job), ("domain", &query.domain)] {
        if let Some(word) = word {
            add(&format!("{column} = ?"), word.clone().into());
        }
    }
    if let Some(since_ms) = query.since_ms {
        add("created_ms >= ?", since_ms.into());
    }
    if let Some(before) = query.before {
        add("number < ?", before.into());
    }
    for (name, value) in &query.tags {
        let pair = format!("{}:{}", quoted(name), quoted(value));
        add("instr(tags, ?) > 0", pair.into());
    }
    if !query.states.is_empty() {
        let words: Vec<String> = query.states.iter().map(|state| format!("'{}'", state.as_str())).collect();
        conditions.push(format!("state IN ({})", words.join(",")));
    }
    let limit = query.limit;
    let sql = format!(
        "SELECT record, number FROM runs WHERE {} ORDER BY number DESC LIMIT {limit}",
        conditions.join(" AND ")
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| Ok((record(row, 0)?, row.get(1)?)))?;
    let rows: Vec<(Run, i64)> = rows.collect::<Result<_, _>>()?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(_, number)| *number)).flatten();
    Ok(RunPage { runs: rows.into_iter().map(|(run, _)| run).collect(), next })
}

/// As it stands in the column of tags.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

fn record(row: &Row<'_>, column: usize) -> rusqlite::Result<Run> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn task(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    Ok(TaskRow {
        name: row.get(0)?,
        definition: row.get(1)?,
        paused: row.get(2)?,
        slot_ms: row.get(3)?,
        ticker: row.get(4)?,
        changed_ms: row.get(5)?,
    })
}
