//! The list of agents: what people say of them, what they say of themselves, and which of their
//! certificates count.

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, AgentRecord, Agents, Certificate, Fingerprint, Hello, HubStateError, Labels, Mode, Roles,
    StateResult, Status, check_agent_name, check_labels, check_roles, check_text,
};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, params};
use serde_json::{Value, json};

use super::{Outcome, SqliteHubState, audit, rows};

/// Certificates of an agent that may not have arrived: what it may hold besides the one that it
/// has used.
const N_CERTIFICATES_UNUSED: i64 = 8;
/// Spools that are remembered of an agent, the newest.
const N_SPOOLS_MAX: i64 = 64;

/// The agent of this id or name.
pub(super) fn find(connection: &Connection, id_or_name: &str) -> rusqlite::Result<Option<AgentRecord>> {
    let sql = "SELECT id FROM agents WHERE id = ?1 OR name = ?1";
    let id: Option<String> =
        connection.prepare_cached(sql)?.query_row([id_or_name], |row| row.get(0)).optional()?;
    match id {
        Some(id) => Ok(rows::agents(connection, "id = ?1", "agent = ?1", &id)?.pop()),
        None => Ok(None),
    }
}

/// The agent of this id or name; an error if there is none.
pub(super) fn known(connection: &Connection, id_or_name: &str) -> Outcome<AgentRecord> {
    Ok(find(connection, id_or_name)?.ok_or_else(|| HubStateError::unknown("agent", id_or_name))?)
}

/// The id of the agent that holds a certificate with this key.
pub(super) fn id_of_key(connection: &Connection, key: &Fingerprint) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT agent FROM certificates WHERE key = ?1 UNION ALL SELECT id FROM agents WHERE key = ?1";
    connection.prepare_cached(sql)?.query_row([&key.0[..]], |row| row.get(0)).optional()
}

/// Adds a certificate, which makes its key the agent's newest. One of the same serial and key is
/// the same one, asked for again.
pub(super) fn add_certificate(
    transaction: &Transaction<'_>,
    agent: &str,
    certificate: &Certificate,
) -> Outcome<()> {
    let serial = &certificate.serial;
    let of = "SELECT agent, key FROM certificates WHERE serial = ?1";
    let holder = transaction.query_row(of, [serial], |row| Ok((row.get(0)?, rows::fingerprint(row, 1)?)));
    match holder.optional()? {
        None => {}
        Some((holder, key)) if holder == agent && key == certificate.key => return Ok(()),
        Some::<(String, _)>(_) => return Err(HubStateError::taken("certificate", serial).into()),
    }
    let sql =
        "INSERT INTO certificates (serial, agent, key, issued_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (key, issued_ms) = (&certificate.key.0[..], certificate.issued_ms);
    transaction.execute(sql, params![serial, agent, key, issued_ms, certificate.expires_ms])?;
    transaction.execute("UPDATE agents SET key = ?2 WHERE id = ?1", params![agent, key])?;
    Ok(())
}

/// Removes certificates of an agent beyond the newest few that may not have arrived, but not the
/// one that is in use.
pub(super) fn bound_certificates(
    transaction: &Transaction<'_>,
    agent: &str,
    used: &str,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM certificates WHERE agent = ?1 AND serial <> ?2 AND rowid NOT IN
        (SELECT rowid FROM certificates WHERE agent = ?1 AND serial <> ?2 ORDER BY rowid DESC LIMIT ?3)";
    transaction.execute(sql, params![agent, used, N_CERTIFICATES_UNUSED])?;
    Ok(())
}

impl SqliteHubState {
    /// Sets columns of an agent, with an entry in the audit log; answers the agent as it is then.
    fn change_agent(
        &self,
        act: &Act,
        agent: &str,
        change: impl FnOnce(&Transaction<'_>, &AgentRecord) -> Outcome<(&'static str, Value)>,
    ) -> StateResult<AgentRecord> {
        self.write(|transaction| {
            let before = known(transaction, agent)?;
            let (action, detail) = change(transaction, &before)?;
            audit::append(transaction, act, action, &before.id, &detail)?;
            known(transaction, &before.id)
        })
    }

    /// Sets one column of an agent.
    fn set_agent_column(
        &self,
        act: &Act,
        agent: &str,
        (column, action): (&'static str, &'static str),
        value: &dyn ToSql,
        detail: impl FnOnce(&AgentRecord) -> Value,
    ) -> StateResult<AgentRecord> {
        self.change_agent(act, agent, |transaction, before| {
            let sql = format!("UPDATE agents SET {column} = ?2 WHERE id = ?1");
            transaction.execute(&sql, params![before.id, value])?;
            Ok((action, detail(before)))
        })
    }
}

impl Agents for SqliteHubState {
    fn agents(&self) -> StateResult<Vec<AgentRecord>> {
        self.read(|connection| Ok(rows::agents(connection, "?1 = ''", "?1 = ''", "")?))
    }

    fn agent(&self, id_or_name: &str) -> StateResult<Option<AgentRecord>> {
        self.read(|connection| Ok(find(connection, id_or_name)?))
    }

    fn agent_name(&self, id: &str) -> StateResult<Option<String>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM agents WHERE id = ?1")?;
            Ok(statement.query_row([id], |row| row.get(0)).optional()?)
        })
    }

    fn agent_of_key(&self, key: &Fingerprint) -> StateResult<Option<AgentRecord>> {
        self.read(|connection| match id_of_key(connection, key)? {
            Some(id) => Ok(find(connection, &id)?),
            None => Ok(None),
        })
    }

    fn set_agent_status(
        &self,
        act: &Act,
        agent: &str,
        status: Status,
        comment: Option<&str>,
    ) -> StateResult<AgentRecord> {
        let comment = status.comment(comment)?;
        check_text("comment", &comment)?;
        self.change_agent(act, agent, |transaction, before| {
            // The same status with another comment has been so for as long as before.
            let since_ms = if before.status.status == status { before.status.since_ms } else { act.now_ms };
            let sql = "UPDATE agents SET status = ?2, comment = ?3, since_ms = ?4, set_by = ?5 WHERE id = ?1";
            let by = act.actor.to_string();
            transaction.execute(sql, params![before.id, status.as_str(), comment, since_ms, by])?;
            let detail =
                json!({ "name": before.name, "was": before.status.status, "is": status, "comment": comment });
            Ok(("agent.status", detail))
        })
    }

    fn approve_agent(&self, act: &Act, agent: &str) -> StateResult<AgentRecord> {
        self.change_agent(act, agent, |transaction, before| {
            if before.revoked_ms.is_some() {
                return Err(HubStateError::Revoked(before.name.clone()).into());
            }
            transaction.execute("UPDATE agents SET approved = 1 WHERE id = ?1", [&before.id])?;
            Ok(("agent.approve", json!({ "name": before.name, "key": before.key })))
        })
    }

    fn revoke_agent(&self, act: &Act, agent: &str) -> StateResult<AgentRecord> {
        self.change_agent(act, agent, |transaction, before| {
            let revoke =
                "INSERT OR IGNORE INTO revoked_keys SELECT key, agent, ?2 FROM certificates WHERE agent = ?1
                UNION SELECT key, id, ?2 FROM agents WHERE id = ?1";
            transaction.execute(revoke, params![before.id, act.now_ms])?;
            transaction.execute("DELETE FROM certificates WHERE agent = ?1", [&before.id])?;
            let sql = "UPDATE agents SET revoked_ms = coalesce(revoked_ms, ?2), approved = 0 WHERE id = ?1";
            transaction.execute(sql, params![before.id, act.now_ms])?;
            let serials: Vec<&str> = before.certificates.iter().map(|known| known.serial.as_str()).collect();
            Ok(("agent.revoke", json!({ "name": before.name, "key": before.key, "serials": serials })))
        })
    }

    fn forget_agent(&self, act: &Act, agent: &str) -> StateResult<()> {
        self.write(|transaction| {
            let before = known(transaction, agent)?;
            transaction.execute("DELETE FROM agents WHERE id = ?1", [&before.id])?;
            let detail = json!({ "name": before.name, "key": before.key });
            Ok(audit::append(transaction, act, "agent.forget", &before.id, &detail)?)
        })
    }

    fn rename_agent(&self, act: &Act, agent: &str, name: &str) -> StateResult<AgentRecord> {
        check_agent_name(name)?;
        self.change_agent(act, agent, |transaction, before| {
            let other = find(transaction, name)?.filter(|other| other.id != before.id);
            if other.is_some() {
                return Err(HubStateError::taken("agent", name).into());
            }
            transaction.execute("UPDATE agents SET name = ?2 WHERE id = ?1", params![before.id, name])?;
            Ok(("agent.rename", json!({ "was": before.name, "is": name })))
        })
    }

    fn set_agent_labels(&self, act: &Act, agent: &str, labels: &Labels) -> StateResult<AgentRecord> {
        check_labels(labels)?;
        let column = rows::to_json(labels).map_err(self.storage("write"))?;
        let detail = |before: &AgentRecord| json!({ "was": before.labels, "is": labels });
        self.set_agent_column(act, agent, ("labels", "agent.labels"), &column, detail)
    }

    fn set_agent_roles(&self, act: &Act, agent: &str, roles: &Roles) -> StateResult<AgentRecord> {
        check_roles(roles)?;
        let column = rows::to_json(roles).map_err(self.storage("write"))?;
        let detail = |before: &AgentRecord| json!({ "was": before.roles, "is": roles });
        self.set_agent_column(act, agent, ("roles", "agent.roles"), &column, detail)
    }

    fn set_agent_mode(&self, act: &Act, agent: &str, mode: &Mode) -> StateResult<AgentRecord> {
        check_mode(mode)?;
        let column = rows::to_json(mode).map_err(self.storage("write"))?;
        let detail = |before: &AgentRecord| json!({ "was": before.mode, "is": mode });
        self.set_agent_column(act, agent, ("mode", "agent.mode"), &column, detail)
    }

    fn renew_certificate(
        &self,
        act: &Act,
        agent: &str,
        used: &str,
        certificate: &Certificate,
    ) -> StateResult<AgentRecord> {
        self.change_agent(act, agent, |transaction, before| {
            if before.revoked_ms.is_some() {
                return Err(HubStateError::Revoked(before.name.clone()).into());
            }
            let Some(place) = before.certificates.iter().position(|known| known.serial == used) else {
                return Err(HubStateError::unknown("certificate of this agent", used).into());
            };
            check_key(transaction, &before.id, &certificate.key)?;
            for older in &before.certificates[..place] {
                transaction.execute("DELETE FROM certificates WHERE serial = ?1", [&older.serial])?;
            }
            add_certificate(transaction, &before.id, certificate)?;
            bound_certificates(transaction, &before.id, used)?;
            let detail = json!({ "used": used, "serial": certificate.serial, "key": certificate.key });
            Ok(("agent.renew", detail))
        })
    }

    fn note_seen(&self, seen: &[(String, TimeMs)]) -> StateResult<()> {
        if seen.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let sql = "UPDATE agents SET last_seen_ms = ?2 WHERE id = ?1 AND coalesce(last_seen_ms < ?2, 1)";
            let mut statement = transaction.prepare_cached(sql)?;
            for (id, at_ms) in seen {
                statement.execute(params![id, at_ms])?;
            }
            Ok(())
        })
    }

    fn note_hellos(&self, hellos: &[Hello]) -> StateResult<()> {
        let news = self.read(|connection| {
            let mut news = Vec::new();
            for hello in hellos {
                if is_news(connection, hello)? {
                    news.push(hello);
                }
            }
            Ok(news)
        })?;
        if news.is_empty() {
            return Ok(());
        }
        news.iter().try_for_each(|hello| check_hello(hello))?;
        self.write(|transaction| {
            news.iter().try_for_each(|hello| note_hello(transaction, hello)).map_err(Into::into)
        })
    }
}

/// Refuses a key that another agent has, or that was revoked.
fn check_key(transaction: &Transaction<'_>, agent: &str, key: &Fingerprint) -> Outcome<()> {
    let invalid = |reason: &str| Err(HubStateError::invalid("key", reason).into());
    if id_of_key(transaction, key)?.is_some_and(|holder| holder != agent) {
        return invalid("another agent has it; make a new one");
    }
    if is_revoked(transaction, key, "")? {
        return invalid("it was revoked; make a new one");
    }
    Ok(())
}

/// Was this key, or the agent of this id, ever revoked?
pub(super) fn is_revoked(connection: &Connection, key: &Fingerprint, agent: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM revoked_keys WHERE key = ?1 OR agent = ?2)";
    connection.prepare_cached(sql)?.query_row(params![&key.0[..], agent], |row| row.get(0))
}

/// Where an agent is polled has to be an address that fits.
pub(super) fn check_mode(mode: &Mode) -> Result<(), HubStateError> {
    match mode {
        Mode::Poll { address, .. } if address.is_empty() => {
            Err(HubStateError::invalid("mode", "an agent that is polled needs an address"))
        }
        Mode::Poll { address, .. } => check_text("address", address),
        Mode::Push => Ok(()),
    }
}

fn check_hello(hello: &Hello) -> Result<(), HubStateError> {
    let texts = [&hello.boot_id, &hello.spool_id, &hello.version, &hello.allow_jobs];
    texts.into_iter().try_for_each(|text| check_text("hello", text))
}

fn is_news(connection: &Connection, hello: &Hello) -> rusqlite::Result<bool> {
    let sql = "SELECT boot_id <> ?2 OR version <> ?3 OR allow_jobs <> ?4
            OR NOT EXISTS (SELECT 1 FROM spools WHERE agent = ?1 AND spool = ?5)
        FROM agents WHERE id = ?1";
    let Hello { agent_id, boot_id, version, allow_jobs, spool_id, .. } = hello;
    let mut statement = connection.prepare_cached(sql)?;
    let known =
        statement.query_row(params![agent_id, boot_id, version, allow_jobs, spool_id], |row| row.get(0));
    Ok(known.optional()?.unwrap_or(false))
}

fn note_hello(transaction: &Transaction<'_>, hello: &Hello) -> rusqlite::Result<()> {
    let sql = "UPDATE agents SET boot_id = ?2, version = ?3, allow_jobs = ?4 WHERE id = ?1";
    let Hello { agent_id, boot_id, version, allow_jobs, spool_id, at_ms } = hello;
    if transaction.prepare_cached(sql)?.execute(params![agent_id, boot_id, version, allow_jobs])? == 0 {
        return Ok(());
    }
    let sql = "INSERT OR IGNORE INTO spools (agent, spool, first_ms) VALUES (?1, ?2, ?3)";
    if transaction.prepare_cached(sql)?.execute(params![agent_id, spool_id, at_ms])? > 0 {
        let sql = "DELETE FROM spools WHERE agent = ?1 AND rowid NOT IN
            (SELECT rowid FROM spools WHERE agent = ?1 ORDER BY rowid DESC LIMIT ?2)";
        transaction.prepare_cached(sql)?.execute(params![agent_id, N_SPOOLS_MAX])?;
    }
    Ok(())
}
