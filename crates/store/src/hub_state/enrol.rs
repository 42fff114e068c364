//! How an agent gets in: the token's use and the agent are one transaction, and every refusal is
//! decided before anything is written.
//!
//! The token comes first, so that only who holds a secret learns anything about agents. A known
//! id with another key is refused, although the token is good: with any token somebody could take
//! over any agent whose id they have read, and get its jobs. Whoever lost a key (or was given a
//! new one) comes back by a token that was made for that one agent, or after it was forgotten.

use std::time::Duration;

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, Actor, AgentRecord, EnrolRefusal, Enrolled, Enrolment, Fingerprint, HubStateError, JoinToken,
    Labels, NAME_BYTES_MAX, NewAgent, Roles, Status, check_agent_id, check_labels, check_roles, check_text,
    default_agent_name,
};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use super::agents::{add_certificate, bound_certificates, check_mode, find, id_of_key, is_revoked, known};
use super::tokens::token_of;
use super::{Outcome, SqliteHubState, audit, rows};

/// Digits of a number behind a name, with the dash.
const SUFFIX_BYTES: usize = 8;

/// What is decided about a request.
enum Way {
    /// It is a repeat of one that succeeded.
    Repeat,
    /// It comes in as one that is not known.
    New,
    /// It comes in again as this one.
    Again(Box<AgentRecord>),
}

impl SqliteHubState {
    pub(super) fn enrol_by_token(&self, enrolment: &Enrolment) -> Result<Enrolled, EnrolRefusal> {
        check(&enrolment.agent)?;
        self.write(|transaction| {
            let token = token_of(transaction, &enrolment.secret)?;
            let (token, way) = match decide(transaction, token, enrolment)? {
                Ok(decided) => decided,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let repeated = matches!(way, Way::Repeat);
            let act = Act {
                actor: Actor::JoinToken(token.id.clone()),
                address: enrolment.address.clone(),
                now_ms: enrolment.now_ms,
            };
            let given = Given::by(&token, &enrolment.agent);
            given.check()?;
            if !repeated {
                burn(transaction, &token.id, enrolment)?;
            }
            let agent = let_in(transaction, &act, way, &enrolment.agent, &given)?;
            Ok(Ok(Enrolled { agent, repeated }))
        })?
    }

    pub(super) fn admit(&self, act: &Act, agent: &NewAgent) -> Result<Enrolled, EnrolRefusal> {
        check(agent)?;
        self.write(|transaction| {
            let way = match decide_on_agent(transaction, agent, None)? {
                Ok(Way::Again(_)) => Way::Repeat,
                Ok(way) => way,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let repeated = matches!(way, Way::Repeat);
            let given = Given { roles: agent.roles.clone(), labels: agent.labels.clone(), approved: true };
            let agent = let_in(transaction, act, way, agent, &given)?;
            Ok(Ok(Enrolled { agent, repeated }))
        })?
    }
}

/// What an agent gets with its admission.
struct Given {
    roles: Roles,
    labels: Labels,
    approved: bool,
}

impl Given {
    fn by(token: &JoinToken, agent: &NewAgent) -> Self {
        let mut labels = agent.labels.clone();
        labels.extend(token.labels.clone());
        Self {
            roles: agent.roles.union(&token.roles).cloned().collect(),
            labels,
            approved: !token.needs_approval,
        }
    }

    fn check(&self) -> Result<(), HubStateError> {
        check_roles(&self.roles)?;
        check_labels(&self.labels)
    }
}

fn check(agent: &NewAgent) -> Result<(), HubStateError> {
    check_agent_id(&agent.id)?;
    check_roles(&agent.roles)?;
    check_labels(&agent.labels)?;
    check_text("version", &agent.version)?;
    check_text("word for jobs", &agent.allow_jobs)?;
    check_text("serial number", &agent.certificate.serial)?;
    check_mode(&agent.mode)
}

/// Looks at the token, and only then at the agent.
fn decide(
    connection: &Connection,
    token: Option<JoinToken>,
    enrolment: &Enrolment,
) -> Outcome<Result<(JoinToken, Way), EnrolRefusal>> {
    let Some(token) = token else { return Ok(Err(EnrolRefusal::UnknownToken)) };
    if token.revoked_ms.is_some() {
        return Ok(Err(EnrolRefusal::RevokedToken));
    }
    let (agent, now_ms) = (&enrolment.agent, enrolment.now_ms);
    if let Some(known) = repeat_of(connection, &token.id, agent, now_ms)? {
        let revoked = known.revoked_ms.is_some();
        return Ok(if revoked { Err(EnrolRefusal::RevokedAgent) } else { Ok((token, Way::Repeat)) });
    }
    if now_ms >= token.expires_ms {
        return Ok(Err(EnrolRefusal::ExpiredToken));
    }
    if token.uses >= token.uses_max {
        return Ok(Err(used_up(connection, &token.id, now_ms)?));
    }
    let way = decide_on_agent(connection, agent, token.for_agent.as_deref())?;
    Ok(way.map(|way| (token, way)))
}

/// Who holds a token that is used up learns who came before: a stolen string shows itself so.
fn used_up(connection: &Connection, token: &str, now_ms: TimeMs) -> rusqlite::Result<EnrolRefusal> {
    let sql = "SELECT coalesce(agents.name, token_uses.agent), used_ms FROM token_uses
        LEFT JOIN agents ON agents.id = token_uses.agent WHERE token = ?1 ORDER BY used_ms DESC LIMIT 1";
    let last =
        connection.query_row(sql, [token], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    let (by, used_ms) = last.optional()?.unwrap_or_else(|| ("an agent that has gone".to_owned(), now_ms));
    let ago = Duration::from_millis(now_ms.saturating_sub(used_ms).max(0).unsigned_abs());
    Ok(EnrolRefusal::UsedUpToken { by, ago })
}

/// The agent, if this token let this id with this key in a short while ago.
fn repeat_of(
    connection: &Connection,
    token: &str,
    agent: &NewAgent,
    now_ms: TimeMs,
) -> rusqlite::Result<Option<AgentRecord>> {
    let sql = "SELECT used_ms FROM token_uses WHERE token = ?1 AND key = ?2 AND agent = ?3";
    let key = &agent.certificate.key.0[..];
    let used_ms = connection.query_row(sql, params![token, key, agent.id], |row| row.get::<_, i64>(0));
    match used_ms.optional()? {
        Some(used_ms) if now_ms < used_ms.saturating_add(Enrolment::RETRY_MS) => find(connection, &agent.id),
        _ => Ok(None),
    }
}

/// Is this agent new, or one that may come again?
fn decide_on_agent(
    connection: &Connection,
    agent: &NewAgent,
    for_agent: Option<&str>,
) -> Outcome<Result<Way, EnrolRefusal>> {
    let key = &agent.certificate.key;
    if is_revoked(connection, key, &agent.id)? {
        return Ok(Err(EnrolRefusal::RevokedAgent));
    }
    if for_agent.is_some_and(|id| id != agent.id) {
        return Ok(Err(EnrolRefusal::ForeignToken));
    }
    if let Some(holder) = id_of_key(connection, key)?.filter(|holder| *holder != agent.id) {
        return Ok(Err(EnrolRefusal::KnownKey(holder)));
    }
    let known = find(connection, &agent.id)?;
    let same_key = |known: &AgentRecord, key: &Fingerprint| {
        known.key == *key || known.certificates.iter().any(|certificate| certificate.key == *key)
    };
    Ok(match known {
        None => Ok(Way::New),
        Some(known) if for_agent.is_some() || same_key(&known, key) => Ok(Way::Again(Box::new(known))),
        Some(known) => Err(EnrolRefusal::KnownAgent(known.id)),
    })
}

fn burn(transaction: &Transaction<'_>, token: &str, enrolment: &Enrolment) -> rusqlite::Result<()> {
    transaction.execute("UPDATE join_tokens SET uses = uses + 1 WHERE id = ?1", [token])?;
    let sql = "INSERT OR REPLACE INTO token_uses VALUES (?1, ?2, ?3, ?4)";
    let agent = &enrolment.agent;
    transaction.execute(sql, params![token, &agent.certificate.key.0[..], agent.id, enrolment.now_ms])?;
    Ok(())
}

fn let_in(
    transaction: &Transaction<'_>,
    act: &Act,
    way: Way,
    agent: &NewAgent,
    given: &Given,
) -> Outcome<AgentRecord> {
    let action = match way {
        Way::New => {
            add(transaction, act, agent, given)?;
            "agent.enrol"
        }
        Way::Again(known) => {
            renew(transaction, &known, agent, given)?;
            "agent.enrol_again"
        }
        Way::Repeat => "agent.enrol_repeated",
    };
    let certificate = &agent.certificate;
    add_certificate(transaction, &agent.id, certificate)?;
    bound_certificates(transaction, &agent.id, &certificate.serial)?;
    let enrolled = known(transaction, &agent.id)?;
    let detail = json!({
        "name": enrolled.name,
        "key": certificate.key,
        "serial": certificate.serial,
        "approved": enrolled.approved,
    });
    audit::append(transaction, act, action, &agent.id, &detail)?;
    Ok(enrolled)
}

fn add(transaction: &Transaction<'_>, act: &Act, agent: &NewAgent, given: &Given) -> Outcome<()> {
    let sql =
        "INSERT INTO agents (id, name, status, comment, since_ms, set_by, roles, labels, version, mode, key,
            allow_jobs, approved, enrolled_ms, boot_id)
        VALUES (?1, ?2, ?3, '', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?4, '')";
    transaction.execute(
        sql,
        params![
            agent.id,
            free_name(transaction, &agent.name)?,
            Status::Online.as_str(),
            act.now_ms,
            act.actor.to_string(),
            rows::to_json(&given.roles)?,
            rows::to_json(&given.labels)?,
            agent.version,
            rows::to_json(&agent.mode)?,
            &agent.certificate.key.0[..],
            agent.allow_jobs,
            given.approved
        ],
    )?;
    Ok(())
}

/// An agent that comes again keeps its name and what people gave it; with a new key the
/// certificates of the old one end.
fn renew(transaction: &Transaction<'_>, known: &AgentRecord, agent: &NewAgent, given: &Given) -> Outcome<()> {
    let roles: Roles = known.roles.union(&given.roles).cloned().collect();
    let mut labels = known.labels.clone();
    labels.extend(given.labels.clone());
    check_roles(&roles)?;
    check_labels(&labels)?;
    let sql = "UPDATE agents SET roles = ?2, labels = ?3, version = ?4, mode = ?5, allow_jobs = ?6,
        approved = approved OR ?7 WHERE id = ?1";
    transaction.execute(
        sql,
        params![
            known.id,
            rows::to_json(&roles)?,
            rows::to_json(&labels)?,
            agent.version,
            rows::to_json(&agent.mode)?,
            agent.allow_jobs,
            given.approved
        ],
    )?;
    let sql = "DELETE FROM certificates WHERE agent = ?1 AND key <> ?2";
    transaction.execute(sql, params![known.id, &agent.certificate.key.0[..]])?;
    Ok(())
}

/// The name that was asked for, or the first free one with a number behind it.
fn free_name(connection: &Connection, asked: &str) -> rusqlite::Result<String> {
    let name = default_agent_name(asked);
    if find(connection, &name)?.is_none() {
        return Ok(name);
    }
    let base: String = name.chars().take(NAME_BYTES_MAX - SUFFIX_BYTES).collect();
    // Many hosts of one image ask for the same name: begin behind as many as there are.
    let sql =
        "SELECT count(*) FROM agents WHERE substr(name, 1, length(?1) + 1) = (?1 || '-') COLLATE NOCASE";
    let mut number: u32 = connection.query_row(sql, [&base], |row| row.get(0))?;
    loop {
        number += 1;
        let name = format!("{base}-{}", number + 1);
        if find(connection, &name)?.is_none() {
            return Ok(name);
        }
    }
}
