//! Join tokens.

use fieldpost_model::hub_state::{
    Act, EnrolRefusal, Enrolled, Enrolment, HubStateError, JoinToken, JoinTokens, NewAgent, NewJoinToken,
    SecretHash, StateResult, check_agent_id, check_labels, check_roles,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::{SqliteHubState, audit, rows};

const COLUMNS: &str = "id, created_ms, created_by, expires_ms, uses_max, uses, roles, labels, needs_approval,
    for_agent, revoked_ms";

/// The token of this secret.
pub(super) fn token_of(connection: &Connection, secret: &SecretHash) -> rusqlite::Result<Option<JoinToken>> {
    let sql = format!("SELECT {COLUMNS} FROM join_tokens WHERE secret = ?1");
    connection.prepare_cached(&sql)?.query_row([&secret.0[..]], token).optional()
}

fn token(row: &Row<'_>) -> rusqlite::Result<JoinToken> {
    Ok(JoinToken {
        id: row.get(0)?,
        created_ms: row.get(1)?,
        created_by: row.get(2)?,
        expires_ms: row.get(3)?,
        uses_max: row.get(4)?,
        uses: row.get(5)?,
        roles: rows::json(row, 6)?,
        labels: rows::json(row, 7)?,
        needs_approval: row.get(8)?,
        for_agent: row.get(9)?,
        revoked_ms: row.get(10)?,
    })
}

fn check(token: &NewJoinToken) -> Result<(), HubStateError> {
    let invalid = |reason: &str| Err(HubStateError::invalid("join token", reason));
    if !(1..=NewJoinToken::TTL_MS_MAX).contains(&token.ttl_ms) {
        return invalid("it has to count for longer than nothing and at most 366 days");
    }
    if !(1..=NewJoinToken::USES_MAX).contains(&token.uses) {
        return invalid("it has to be for 1 to 100000 agents");
    }
    check_roles(&token.roles)?;
    check_labels(&token.labels)?;
    token.for_agent.as_deref().map_or(Ok(()), check_agent_id)
}

impl JoinTokens for SqliteHubState {
    fn join_tokens(&self) -> StateResult<Vec<JoinToken>> {
        let sql = format!("SELECT {COLUMNS} FROM join_tokens ORDER BY created_ms DESC, rowid DESC");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let tokens = statement.query_map([], token)?.collect::<Result<_, _>>()?;
            Ok(tokens)
        })
    }

    fn add_join_token(&self, act: &Act, token: &NewJoinToken) -> StateResult<JoinToken> {
        check(token)?;
        let id = token.secret.id();
        self.write(|transaction| {
            if token_of(transaction, &token.secret)?.is_some() {
                return Err(HubStateError::taken("join token", &id).into());
            }
            let sql = "INSERT INTO join_tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, NULL)";
            let values = params![
                id,
                &token.secret.0[..],
                act.now_ms,
                act.actor.to_string(),
                act.now_ms.saturating_add(token.ttl_ms),
                token.uses,
                rows::to_json(&token.roles)?,
                rows::to_json(&token.labels)?,
                token.needs_approval,
                token.for_agent
            ];
            transaction.execute(sql, values)?;
            let detail = json!({
                "ttl_ms": token.ttl_ms,
                "uses": token.uses,
                "roles": token.roles,
                "labels": token.labels,
                "needs_approval": token.needs_approval,
                "for_agent": token.for_agent,
            });
            audit::append(transaction, act, "join_token.add", &id, &detail)?;
            Ok(token_of(transaction, &token.secret)?
                .ok_or_else(|| HubStateError::unknown("join token", &id))?)
        })
    }

    fn revoke_join_token(&self, act: &Act, id: &str) -> StateResult<()> {
        self.write(|transaction| {
            let sql = "UPDATE join_tokens SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1";
            if transaction.execute(sql, params![id, act.now_ms])? == 0 {
                return Err(HubStateError::unknown("join token", id).into());
            }
            Ok(audit::append(transaction, act, "join_token.revoke", id, &json!({}))?)
        })
    }

    fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, EnrolRefusal> {
        self.enrol_by_token(enrolment)
    }

    fn admit_agent(&self, act: &Act, agent: &NewAgent) -> Result<Enrolled, EnrolRefusal> {
        self.admit(act, agent)
    }
}
