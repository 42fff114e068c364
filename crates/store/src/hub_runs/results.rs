//! The queue of results: what was ordered here and is over, until somebody takes it. Each is given once, so
//! that what was given is on the disk before it is answered.

use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{KnownRun, ResultPlace, ResultWish};
use fieldpost_model::job::Cause;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter};

use super::query::{COLUMNS, Conditions, known};

/// As much of records is given at once, bytes; one is given whatever its length.
const BYTES_MAX: usize = 16 << 20;
/// Results that wait to be taken, at most: the newest. What leaves the queue is still in the list of runs.
const N_WAITING_MAX: i64 = 100_000;

/// Was the run over before it is written now, as far as was known?
pub(super) fn was_over(transaction: &Transaction<'_>, known: &KnownRun) -> rusqlite::Result<bool> {
    let sql = "SELECT is_final FROM runs WHERE agent = ?1 AND id = ?2";
    let found =
        transaction.prepare_cached(sql)?.query_row([&known.agent_id, &known.run.id], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(false))
}

/// By what the run was ordered: what is tried again belongs to the order of the run before it.
pub(super) fn batch_of(transaction: &Transaction<'_>, known: &KnownRun) -> rusqlite::Result<String> {
    let Cause::Retry { of, .. } = &known.run.cause else { return Ok(known.batch.clone()) };
    let sql = "SELECT batch FROM runs WHERE agent = ?1 AND id = ?2";
    let found = transaction.prepare_cached(sql)?.query_row([&known.agent_id, of], |row| row.get(0));
    Ok(found.optional()?.unwrap_or_default())
}

/// The run is over: if it was ordered here, its result waits from now on.
pub(super) fn offer(transaction: &Transaction<'_>, known: &KnownRun) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO results (run, batch, job) SELECT number, batch, job FROM runs
        WHERE agent = ?1 AND id = ?2 AND batch <> '' AND is_final = 1";
    transaction.prepare_cached(sql)?.execute([&known.agent_id, &known.run.id]).map(drop)
}

/// What there is to take, as far as one can see without writing.
pub(super) struct Sight {
    /// Is there something, or does something come back now?
    pub(super) is_some: bool,
    pub(super) seen: ResultPlace,
    pub(super) next_back_ms: Option<TimeMs>,
}

/// Looks without taking, for most looks are for nothing.
pub(super) fn look(connection: &Connection, wish: &ResultWish, now_ms: TimeMs) -> rusqlite::Result<Sight> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'results'";
    let seen = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let sql = "SELECT min(back_ms) FROM results WHERE back_ms IS NOT NULL";
    let next_back_ms: Option<TimeMs> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let comes_back = next_back_ms.is_some_and(|back_ms| back_ms <= now_ms);
    let (sql, values) = question("1", wish);
    let is_some =
        comes_back || connection.prepare(&format!("{sql} LIMIT 1"))?.exists(params_from_iter(values))?;
    Ok(Sight { is_some, seen, next_back_ms })
}

/// Takes what there is, so many at most.
pub(super) fn take(
    transaction: &Transaction<'_>,
    wish: &ResultWish,
    now_ms: TimeMs,
) -> rusqlite::Result<Vec<(ResultPlace, KnownRun)>> {
    bring_back(transaction, now_ms)?;
    let mut results = Vec::new();
    {
        let (sql, values) = question(&format!("{COLUMNS}, place"), wish);
        let mut statement = transaction.prepare(&format!("{sql} LIMIT {}", wish.runs.limit))?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut n_bytes = 0;
        while let Some(row) = rows.next()? {
            n_bytes += row.get_ref(3)?.as_str()?.len();
            if n_bytes > BYTES_MAX && !results.is_empty() {
                break;
            }
            results.push((row.get(6)?, known(row)?.0));
        }
    }
    for (place, _) in &results {
        match wish.lent_until_ms {
            None => transaction.prepare_cached("DELETE FROM results WHERE place = ?1")?.execute([place])?,
            Some(back_ms) => transaction
                .prepare_cached("UPDATE results SET back_ms = ?2 WHERE place = ?1")?
                .execute([*place, back_ms])?,
        };
    }
    Ok(results)
}

/// Rows of the queue with their runs, in its order. What is asked of most is looked for in the queue itself.
fn question(columns: &str, wish: &ResultWish) -> (String, Vec<Value>) {
    let Conditions { texts, values } = Conditions::of(&wish.runs);
    let mut conditions = vec!["place > ?".to_owned(), "back_ms IS NULL".to_owned()];
    let mut all: Vec<Value> = vec![wish.behind.into()];
    for (column, word) in [("batch", &wish.runs.batch), ("job", &wish.runs.job)] {
        if let Some(word) = word {
            conditions.push(format!("results.{column} = ?"));
            all.push(word.clone().into());
        }
    }
    if !wish.runs.ids.is_empty() {
        let marks = vec!["?"; wish.runs.ids.len()].join(",");
        conditions.push(format!("results.run IN (SELECT number FROM runs WHERE id IN ({marks}))"));
        all.extend(wish.runs.ids.iter().cloned().map(Value::from));
    }
    conditions.extend(texts);
    all.extend(values);
    // CROSS: the queue is gone through, never all runs.
    let sql = format!(
        "SELECT {columns} FROM results CROSS JOIN runs ON runs.number = results.run WHERE {} ORDER BY place",
        conditions.join(" AND ")
    );
    (sql, all)
}

/// What was lent for long enough waits again, behind the others: a new place says that it is new.
fn bring_back(transaction: &Transaction<'_>, now_ms: TimeMs) -> rusqlite::Result<()> {
    let due = "SELECT run, batch, job FROM results WHERE back_ms <= ?1 ORDER BY place";
    let rows = transaction
        .prepare_cached(due)?
        .query_map([now_ms], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (run, batch, job) in rows {
        transaction.prepare_cached("DELETE FROM results WHERE run = ?1")?.execute([run])?;
        let sql = "INSERT INTO results (run, batch, job) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![run, batch, job])?;
    }
    Ok(())
}

/// Settles what is still lent; answers what is not.
pub(super) fn settle(
    transaction: &Transaction<'_>,
    places: &[ResultPlace],
    now_ms: TimeMs,
) -> rusqlite::Result<Vec<ResultPlace>> {
    let sql = "DELETE FROM results WHERE place = ?1 AND back_ms > ?2";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut late = Vec::new();
    for place in places {
        if statement.execute([*place, now_ms])? == 0 {
            late.push(*place);
        }
    }
    Ok(late)
}

/// Keeps the queue from growing where nobody takes anything.
pub(super) fn shorten(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM results WHERE place <= (SELECT place FROM results ORDER BY place DESC LIMIT 1 OFFSET ?1)";
    transaction.execute(sql, [N_WAITING_MAX])
}
