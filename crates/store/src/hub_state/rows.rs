//! Columns of the hub's state as the model's types. What does not fit is reported as the column's
//! fault, never replaced by something that does.

use std::collections::HashMap;
use std::str::FromStr;

use fieldpost_model::hub_state::{AgentRecord, AgentStatus, Certificate, Fingerprint};
use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

pub(super) use crate::database::to_json;

/// A column with a word in it that a type knows.
pub(super) fn word<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// A column with JSON in it.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let read = serde_json::from_str(&text);
    read.map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// A column with a key's fingerprint.
pub(super) fn fingerprint(row: &Row<'_>, column: usize) -> rusqlite::Result<Fingerprint> {
    row.get(column).map(Fingerprint)
}

const AGENT_COLUMNS: &str = "id, name, status, comment, since_ms, set_by, roles, labels, version, mode, key,
    allow_jobs, approved, revoked_ms, enrolled_ms, last_seen_ms, boot_id";

/// Agents of which this condition holds, by name, with their certificates and spools. Which of
/// those are looked up is said by `of_agent`, a condition over their column `agent`.
pub(super) fn agents(
    connection: &Connection,
    condition: &str,
    of_agent: &str,
    parameter: &str,
) -> rusqlite::Result<Vec<AgentRecord>> {
    let sql = format!("SELECT {AGENT_COLUMNS} FROM agents WHERE {condition} ORDER BY name");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut agents: Vec<AgentRecord> = statement.query_map([parameter], agent)?.collect::<Result<_, _>>()?;
    let mut places: HashMap<String, usize> = HashMap::new();
    places.extend(agents.iter().enumerate().map(|(place, agent)| (agent.id.clone(), place)));
    let sql = format!(
        "SELECT agent, serial, key, issued_ms, expires_ms FROM certificates WHERE {of_agent} ORDER BY rowid"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([parameter])?;
    while let Some(row) = rows.next()? {
        if let Some(place) = places.get(row.get_ref(0)?.as_str()?) {
            agents[*place].certificates.push(certificate(row)?);
        }
    }
    let sql = format!("SELECT agent, spool FROM spools WHERE {of_agent} ORDER BY rowid");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([parameter])?;
    while let Some(row) = rows.next()? {
        if let Some(place) = places.get(row.get_ref(0)?.as_str()?) {
            agents[*place].spools.push(row.get(1)?);
        }
    }
    Ok(agents)
}

fn certificate(row: &Row<'_>) -> rusqlite::Result<Certificate> {
    Ok(Certificate {
        serial: row.get(1)?,
        key: fingerprint(row, 2)?,
        issued_ms: row.get(3)?,
        expires_ms: row.get(4)?,
    })
}

fn agent(row: &Row<'_>) -> rusqlite::Result<AgentRecord> {
    Ok(AgentRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        status: AgentStatus {
            status: word(row, 2)?,
            comment: row.get(3)?,
            since_ms: row.get(4)?,
            by: row.get(5)?,
        },
        roles: json(row, 6)?,
        labels: json(row, 7)?,
        version: row.get(8)?,
        mode: json(row, 9)?,
        key: fingerprint(row, 10)?,
        certificates: Vec::new(),
        allow_jobs: row.get(11)?,
        approved: row.get(12)?,
        revoked_ms: row.get(13)?,
        enrolled_ms: row.get(14)?,
        last_seen_ms: row.get(15)?,
        boot_id: row.get(16)?,
        spools: Vec::new(),
    })
}
