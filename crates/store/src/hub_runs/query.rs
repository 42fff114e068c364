//! Questions about the runs of all agents.

use std::collections::BTreeMap;

use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{KnownGap, KnownRun, KnownRuns, RunGap, RunPlace, RunWish};
use fieldpost_model::job::Run;
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, Row, params_from_iter};

pub(super) const COLUMNS: &str = "agent, runs.batch, version, record, created_ms, number";
/// Characters of an id by whose end runs are found.
const TAIL_CHARS: usize = 8;

/// A run and its place in the list, from the columns above.
pub(super) fn known(row: &Row<'_>) -> rusqlite::Result<(KnownRun, RunPlace)> {
    let text: String = row.get(3)?;
    let run: Run = serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error)))?;
    let (agent_id, batch) = (row.get(0)?, row.get(1)?);
    let place = RunPlace { created_ms: row.get(4)?, number: row.get(5)? };
    Ok((KnownRun { agent_id, batch, version: row.get::<_, i64>(2)?.unsigned_abs(), run }, place))
}

/// What runs are called: their job's name, else what they run.
const CALLED: &str = "CASE runs.job WHEN '' THEN coalesce(json_extract(record, '$.job.shell'), \
                      json_extract(record, '$.job.command') || ' ' || coalesce(json_extract(record, '$.job.args'), ''), \
                      '') ELSE runs.job END";

/// By the whole id, else by its beginning or its last eight.
pub(super) fn find(
    connection: &Connection,
    part: &str,
    agent_id: Option<&str>,
) -> rusqlite::Result<Vec<KnownRun>> {
    let of_agent = if agent_id.is_some() { "agent = ?2" } else { "?2 = ?2" };
    let agent_id = agent_id.unwrap_or_default();
    let tail: String = part.chars().rev().take(TAIL_CHARS).collect::<Vec<_>>().into_iter().rev().collect();
    let by_tail = part.len() >= TAIL_CHARS;
    let ways: &[&str] = if by_tail {
        &[
            "id = ?1",
            "substr(id, -8) = ?3 AND substr(id, -length(?1)) = ?1",
            "id >= ?1 AND id < ?1 || char(1114111)",
        ]
    } else {
        &["id = ?1", "id >= ?1 AND id < ?1 || char(1114111)"]
    };
    for way in ways {
        // Named in each, so that all take the same values.
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE {way} AND {of_agent} AND ?3 = ?3 LIMIT 2");
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map((part, agent_id, &tail), known)?;
        let found: Vec<(KnownRun, RunPlace)> = found.collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found.into_iter().map(|(run, _)| run).collect());
        }
    }
    Ok(Vec::new())
}

/// Conditions on rows of `runs`, with their values.
pub(super) struct Conditions {
    pub(super) texts: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, text: impl Into<String>, value: impl Into<Value>) {
        self.texts.push(text.into());
        self.values.push(value.into());
    }

    /// The column has one of these values; none named: any.
    fn one_of(&mut self, column: &str, words: &[String]) {
        if !words.is_empty() {
            self.texts.push(format!("{column} IN ({})", vec!["?"; words.len()].join(",")));
            self.values.extend(words.iter().cloned().map(Value::from));
        }
    }

    /// All that is wished for, but the place in the list.
    pub(super) fn of(wish: &RunWish) -> Self {
        let mut all = Self { texts: vec!["1".to_owned()], values: Vec::new() };
        for (column, word) in [("job", &wish.job), ("domain", &wish.domain), ("batch", &wish.batch)] {
            if let Some(word) = word {
                all.add(format!("runs.{column} = ?"), word.clone());
            }
        }
        if let Some(part) = &wish.job_part {
            all.add(format!("instr(lower({CALLED}), lower(?)) > 0"), part.clone());
        }
        if let Some(part) = &wish.tag_part {
            // Between a name and its value stands `":"`.
            let parts: Vec<String> =
                part.splitn(2, '=').map(|part| quoted(part).trim_matches('"').to_owned()).collect();
            all.add("instr(lower(tags), lower(?)) > 0", parts.join("\":\""));
        }
        if let Some(since_ms) = wish.since_ms {
            all.add("created_ms >= ?", since_ms);
        }
        for (name, value) in &wish.tags {
            all.add("instr(tags, ?) > 0", format!("{}:{}", quoted(name), quoted(value)));
        }
        all.one_of("agent", &wish.agents);
        all.one_of("id", &wish.ids);
        if wish.going_on {
            all.texts.push("is_final = 0".to_owned());
        }
        if !wish.states.is_empty() {
            let words: Vec<String> =
                wish.states.iter().map(|state| format!("'{}'", state.as_str())).collect();
            all.texts.push(format!("state IN ({})", words.join(",")));
        }
        all
    }
}

/// How many such runs each agent has, by its id.
pub(super) fn n_runs(
    connection: &Connection,
    wish: &RunWish,
    told: bool,
) -> rusqlite::Result<BTreeMap<String, usize>> {
    let Conditions { texts, values } = Conditions::of(wish);
    let told = if told { "version > 0" } else { "1" };
    let sql =
        format!("SELECT agent, count(*) FROM runs WHERE {} AND {told} GROUP BY agent", texts.join(" AND "));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        Ok((row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
    })?;
    rows.collect()
}

pub(super) fn runs(connection: &Connection, wish: &RunWish) -> rusqlite::Result<KnownRuns> {
    let Conditions { mut texts, mut values } = Conditions::of(wish);
    if let Some(RunPlace { created_ms, number }) = wish.after {
        texts.push("(created_ms, number) < (?, ?)".to_owned());
        values.extend([created_ms.into(), number.into()]);
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM runs WHERE {} ORDER BY created_ms DESC, number DESC LIMIT {}",
        texts.join(" AND "),
        wish.limit
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), known)?;
    let rows: Vec<(KnownRun, RunPlace)> = rows.collect::<Result<_, _>>()?;
    let next = (rows.len() == wish.limit).then(|| rows.last().map(|(_, place)| *place)).flatten();
    Ok(KnownRuns { runs: rows.into_iter().map(|(run, _)| run).collect(), next })
}

/// As it stands in the column of tags.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

type SaidTasks = (String, TimeMs, Vec<serde_json::Value>);

pub(super) fn tasks(connection: &Connection, agent_id: Option<&str>) -> rusqlite::Result<Vec<SaidTasks>> {
    let sql = "SELECT agent, said_ms, tasks FROM tasks WHERE ?1 = '' OR agent = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([agent_id.unwrap_or_default()], |row| {
        let text: String = row.get(2)?;
        let read = serde_json::from_str(&text);
        let read =
            read.map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error)));
        Ok((row.get(0)?, row.get(1)?, read?))
    })?;
    rows.collect()
}

/// Was anything said to be missing behind this place: agent, spool, version?
pub(super) fn has_gap(connection: &Connection, behind: (&str, &String, i64)) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM gaps WHERE agent = ?1 AND spool = ?2 AND version > ?3";
    connection.prepare_cached(sql)?.exists(behind)
}

pub(super) fn gaps(
    connection: &Connection,
    agents: &[String],
    since_ms: TimeMs,
    limit: usize,
) -> rusqlite::Result<Vec<KnownGap>> {
    let of_agents = match agents.len() {
        0 => "1".to_owned(),
        n => format!("agent IN ({})", vec!["?"; n].join(",")),
    };
    let sql = format!(
        "SELECT agent, version, n_runs, at_most, from_ms, to_ms, noted_ms FROM gaps WHERE to_ms >= ? AND {of_agents}
         ORDER BY to_ms DESC LIMIT {limit}"
    );
    let mut statement = connection.prepare(&sql)?;
    let values = std::iter::once(Value::from(since_ms)).chain(agents.iter().cloned().map(Value::from));
    let rows = statement.query_map(params_from_iter(values), |row| {
        let gap = RunGap {
            version: row.get::<_, i64>(1)?.unsigned_abs(),
            n_runs: row.get::<_, i64>(2)?.unsigned_abs(),
            at_most: row.get(3)?,
            from_ms: row.get(4)?,
            to_ms: row.get(5)?,
        };
        Ok(KnownGap { agent_id: row.get(0)?, gap, noted_ms: row.get(6)? })
    })?;
    rows.collect()
}
