//! What proves that a request comes from a user: sessions, API tokens, one-time links.

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, ApiToken, HubStateError, NAME_BYTES_MAX, NewApiToken, NewSession, Role, SecretHash, Session,
    Sessions, SignInRefusal, StateResult,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::json;

use super::{Outcome, SqliteHubState, audit, rows, users};

/// Sessions of one user at the same time.
const N_SESSIONS_MAX: i64 = 64;

const SESSION_SQL: &str = "SELECT id, user, role, sessions.created_ms, expires_ms, last_used_ms
    FROM sessions JOIN users ON users.name = sessions.user WHERE NOT disabled AND";

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        user: row.get(1)?,
        role: rows::word(row, 2)?,
        created_ms: row.get(3)?,
        expires_ms: row.get(4)?,
        last_used_ms: row.get(5)?,
    })
}

fn session_of(
    connection: &Connection,
    secret: &SecretHash,
    now_ms: TimeMs,
) -> rusqlite::Result<Option<Session>> {
    let sql = format!("{SESSION_SQL} secret = ?1 AND expires_ms > ?2");
    connection.prepare_cached(&sql)?.query_row(params![&secret.0[..], now_ms], session).optional()
}

/// Begins a session of a user who is known and not disabled.
fn begin(transaction: &Transaction<'_>, act: &Act, user: &str, asked: &NewSession) -> Outcome<Session> {
    if asked.expires_ms <= act.now_ms {
        return Err(HubStateError::invalid("session", "it would end before it begins").into());
    }
    let (id, now_ms) = (asked.secret.id(), act.now_ms);
    let known = "SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)";
    if transaction.query_row(known, [&id], |row| row.get(0))? {
        return Err(HubStateError::taken("session", &id).into());
    }
    let sql = "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?4)";
    transaction.execute(sql, params![id, &asked.secret.0[..], user, now_ms, asked.expires_ms])?;
    let sql = "DELETE FROM sessions WHERE user = ?1 AND rowid NOT IN
        (SELECT rowid FROM sessions WHERE user = ?1 ORDER BY rowid DESC LIMIT ?2)";
    transaction.execute(sql, params![user, N_SESSIONS_MAX])?;
    let detail = json!({ "session": id, "expires_ms": asked.expires_ms });
    audit::append(transaction, act, "session.begin", user, &detail)?;
    Ok(session_of(transaction, &asked.secret, now_ms)?
        .ok_or_else(|| HubStateError::unknown("session", &id))?)
}

const TOKEN_COLUMNS: &str = "id, api_tokens.name, owner, scope, api_tokens.created_ms, api_tokens.created_by,
    expires_ms, last_used_ms, revoked_ms";

fn api_token(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    Ok(ApiToken {
        id: row.get(0)?,
        name: row.get(1)?,
        owner: row.get(2)?,
        scope: rows::word(row, 3)?,
        created_ms: row.get(4)?,
        created_by: row.get(5)?,
        expires_ms: row.get(6)?,
        last_used_ms: row.get(7)?,
        revoked_ms: row.get(8)?,
    })
}

/// The token with the role that its owner has, which is none for the hub's own.
fn api_token_under_owner(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let token = api_token(row)?;
    if row.get_ref(9)? == ValueRef::Null {
        return Ok(token);
    }
    let role: Role = rows::word(row, 9)?;
    Ok(ApiToken { scope: token.scope.under(role), ..token })
}

fn check_api_token(token: &NewApiToken, now_ms: TimeMs) -> Result<(), HubStateError> {
    let invalid = |reason: &str| Err(HubStateError::invalid("API token", reason));
    if token.name.is_empty() || token.name.len() > NAME_BYTES_MAX {
        return invalid("its name has to have 1 to 128 bytes");
    }
    if token.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return invalid("it would end before it begins");
    }
    Ok(())
}

impl Sessions for SqliteHubState {
    fn begin_session(&self, act: &Act, asked: &NewSession) -> StateResult<Session> {
        self.write(|transaction| {
            let user = users::known(transaction, &asked.user)?;
            if user.disabled {
                return Err(HubStateError::invalid("session", "its user is disabled").into());
            }
            begin(transaction, act, &user.name, asked)
        })
    }

    fn session(&self, secret: &SecretHash, now_ms: TimeMs) -> StateResult<Option<Session>> {
        self.read(|connection| Ok(session_of(connection, secret, now_ms)?))
    }

    fn sessions_of(&self, user: &str, now_ms: TimeMs) -> StateResult<Vec<Session>> {
        let sql = format!("{SESSION_SQL} user = ?1 AND expires_ms > ?2 ORDER BY sessions.rowid DESC");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let sessions = statement.query_map(params![user, now_ms], session)?.collect::<Result<_, _>>()?;
            Ok(sessions)
        })
    }

    fn end_session(&self, act: &Act, id: &str) -> StateResult<()> {
        self.write(|transaction| {
            let sql = "DELETE FROM sessions WHERE id = ?1 RETURNING user";
            let user: Option<String> = transaction.query_row(sql, [id], |row| row.get(0)).optional()?;
            let user = user.ok_or_else(|| HubStateError::unknown("session", id))?;
            Ok(audit::append(transaction, act, "session.end", &user, &json!({ "session": id }))?)
        })
    }

    fn offer_sign_in(
        &self,
        act: &Act,
        user: &str,
        secret: &SecretHash,
        expires_ms: TimeMs,
    ) -> StateResult<()> {
        self.write(|transaction| {
            let user = users::known(transaction, user)?.name;
            let sql = "INSERT INTO sign_ins VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![&secret.0[..], user, expires_ms])?;
            let detail = json!({ "expires_ms": expires_ms });
            Ok(audit::append(transaction, act, "sign_in.offer", &user, &detail)?)
        })
    }

    fn redeem_sign_in(
        &self,
        act: &Act,
        secret: &SecretHash,
        asked: &NewSession,
    ) -> Result<Session, SignInRefusal> {
        self.write(|transaction| {
            let sql =
                "SELECT name, expires_ms, disabled FROM sign_ins JOIN users ON users.name = sign_ins.user
                WHERE secret = ?1";
            let offered = transaction
                .query_row(sql, [&secret.0[..]], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            let (user, expires_ms, disabled): (String, TimeMs, bool) = match offered.optional()? {
                Some(offered) => offered,
                None => return Ok(Err(SignInRefusal::Unknown)),
            };
            if act.now_ms >= expires_ms {
                return Ok(Err(SignInRefusal::Expired));
            }
            if disabled {
                return Ok(Err(SignInRefusal::Disabled));
            }
            transaction.execute("DELETE FROM sign_ins WHERE secret = ?1", [&secret.0[..]])?;
            audit::append(transaction, act, "sign_in.redeem", &user, &json!({}))?;
            Ok(Ok(begin(transaction, act, &user, asked)?))
        })?
    }

    fn api_tokens(&self) -> StateResult<Vec<ApiToken>> {
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM api_tokens ORDER BY created_ms DESC, rowid DESC");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let tokens = statement.query_map([], api_token)?.collect::<Result<_, _>>()?;
            Ok(tokens)
        })
    }

    fn add_api_token(&self, act: &Act, asked: &NewApiToken) -> StateResult<ApiToken> {
        check_api_token(asked, act.now_ms)?;
        let id = asked.secret.id();
        self.write(|transaction| {
            let owner = asked.owner.as_deref().map(|name| users::known(transaction, name)).transpose()?;
            let owner = owner.map(|owner| owner.name);
            let known = "SELECT EXISTS (SELECT 1 FROM api_tokens WHERE id = ?1)";
            if transaction.query_row(known, [&id], |row| row.get(0))? {
                return Err(HubStateError::taken("API token", &id).into());
            }
            let sql = "INSERT INTO api_tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, NULL)";
            let (scope, by) = (asked.scope.as_str(), act.actor.to_string());
            let secret = &asked.secret.0[..];
            transaction.execute(
                sql,
                params![id, secret, asked.name, owner, scope, act.now_ms, by, asked.expires_ms],
            )?;
            let detail =
                json!({ "name": asked.name, "owner": owner, "scope": scope, "expires_ms": asked.expires_ms });
            audit::append(transaction, act, "api_token.add", &id, &detail)?;
            let sql = format!("SELECT {TOKEN_COLUMNS} FROM api_tokens WHERE id = ?1");
            Ok(transaction.query_row(&sql, [&id], api_token)?)
        })
    }

    fn api_token(&self, secret: &SecretHash, now_ms: TimeMs) -> StateResult<Option<ApiToken>> {
        let sql = format!(
            "SELECT {TOKEN_COLUMNS}, users.role FROM api_tokens LEFT JOIN users ON users.name = owner
             WHERE secret = ?1 AND revoked_ms IS NULL AND coalesce(expires_ms > ?2, 1)
                AND NOT coalesce(disabled, 0)"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row(params![&secret.0[..], now_ms], api_token_under_owner).optional()?)
        })
    }

    fn revoke_api_token(&self, act: &Act, id: &str) -> StateResult<()> {
        self.write(|transaction| {
            let sql = "UPDATE api_tokens SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1";
            if transaction.execute(sql, params![id, act.now_ms])? == 0 {
                return Err(HubStateError::unknown("API token", id).into());
            }
            Ok(audit::append(transaction, act, "api_token.revoke", id, &json!({}))?)
        })
    }

    fn note_used(&self, used: &[(String, TimeMs)]) -> StateResult<()> {
        if used.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            for table in ["sessions", "api_tokens"] {
                let sql = format!(
                    "UPDATE {table} SET last_used_ms = ?2 WHERE id = ?1 AND coalesce(last_used_ms < ?2, 1)"
                );
                let mut statement = transaction.prepare_cached(&sql)?;
                for (id, at_ms) in used {
                    statement.execute(params![id, at_ms])?;
                }
            }
            Ok(())
        })
    }
}
