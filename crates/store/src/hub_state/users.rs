//! Users, and how the first of them is made.

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, HubStateError, NewUser, PasswordHash, Role, SecretHash, SignInRefusal, StateResult, User, Users,
    check_user_name,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Value, json};

use super::{Outcome, SqliteHubState, audit, rows};

const COLUMNS: &str = "name, role, disabled, password IS NOT NULL, created_ms, created_by";

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        name: row.get(0)?,
        role: rows::word(row, 1)?,
        disabled: row.get(2)?,
        has_password: row.get(3)?,
        created_ms: row.get(4)?,
        created_by: row.get(5)?,
    })
}

/// The user of this name.
pub(super) fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE name = ?1");
    connection.prepare_cached(&sql)?.query_row([name], user).optional()
}

/// The user of this name; an error if there is none.
pub(super) fn known(connection: &Connection, name: &str) -> Outcome<User> {
    Ok(find(connection, name)?.ok_or_else(|| HubStateError::unknown("user", name))?)
}

fn add(transaction: &Transaction<'_>, act: &Act, user: &NewUser) -> Outcome<User> {
    if find(transaction, &user.name)?.is_some() {
        return Err(HubStateError::taken("user", &user.name).into());
    }
    let password = user.password.as_ref().map(PasswordHash::as_phc);
    let (role, by) = (user.role.as_str(), act.actor.to_string());
    let sql = "INSERT INTO users VALUES (?1, ?2, 0, ?3, ?4, ?5)";
    transaction.execute(sql, params![user.name, role, password, act.now_ms, by])?;
    let detail = json!({ "role": user.role, "password": password.is_some() });
    audit::append(transaction, act, "user.add", &user.name, &detail)?;
    known(transaction, &user.name)
}

/// Somebody has to be left who can undo what is done.
fn keep_an_admin(connection: &Connection, leaves: &User) -> Outcome<()> {
    let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND NOT disabled AND name <> ?1)";
    let others: bool = connection.query_row(sql, [&leaves.name], |row| row.get(0))?;
    if leaves.role == Role::Admin && !leaves.disabled && !others {
        return Err(HubStateError::LastAdmin(leaves.name.clone()).into());
    }
    Ok(())
}

fn has_admin(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin')";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Ends what a user is signed in by, or could sign in by.
fn sign_out(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM sessions WHERE user = ?1", [name])?;
    transaction.execute("DELETE FROM sign_ins WHERE user = ?1", [name])?;
    Ok(())
}

impl SqliteHubState {
    fn change_user<T>(
        &self,
        act: &Act,
        name: &str,
        change: impl FnOnce(&Transaction<'_>, &User) -> Outcome<(&'static str, Value)>,
        answer: impl FnOnce(&Transaction<'_>) -> Outcome<T>,
    ) -> StateResult<T> {
        self.write(|transaction| {
            let before = known(transaction, name)?;
            let (action, detail) = change(transaction, &before)?;
            audit::append(transaction, act, action, &before.name, &detail)?;
            answer(transaction)
        })
    }
}

impl Users for SqliteHubState {
    fn users(&self) -> StateResult<Vec<User>> {
        let sql = format!("SELECT {COLUMNS} FROM users ORDER BY name");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let users = statement.query_map([], user)?.collect::<Result<_, _>>()?;
            Ok(users)
        })
    }

    fn user(&self, name: &str) -> StateResult<Option<User>> {
        self.read(|connection| Ok(find(connection, name)?))
    }

    fn password_of(&self, name: &str) -> StateResult<Option<PasswordHash>> {
        let sql = "SELECT password FROM users WHERE name = ?1 AND NOT disabled AND password IS NOT NULL";
        self.read(|connection| {
            let text: Option<String> = connection.query_row(sql, [name], |row| row.get(0)).optional()?;
            Ok(text.map(PasswordHash::from_phc).transpose()?)
        })
    }

    fn add_user(&self, act: &Act, user: &NewUser) -> StateResult<User> {
        check_user_name(&user.name)?;
        self.write(|transaction| add(transaction, act, user))
    }

    fn set_password(&self, act: &Act, name: &str, password: &PasswordHash) -> StateResult<()> {
        let change = |transaction: &Transaction<'_>, before: &User| {
            let sql = "UPDATE users SET password = ?2 WHERE name = ?1";
            transaction.execute(sql, params![before.name, password.as_phc()])?;
            sign_out(transaction, &before.name)?;
            Ok(("user.password", json!({ "had_one": before.has_password })))
        };
        self.change_user(act, name, change, |_| Ok(()))
    }

    fn set_role(&self, act: &Act, name: &str, role: Role) -> StateResult<User> {
        let change = |transaction: &Transaction<'_>, before: &User| {
            if role != Role::Admin {
                keep_an_admin(transaction, before)?;
            }
            let sql = "UPDATE users SET role = ?2 WHERE name = ?1";
            transaction.execute(sql, params![before.name, role.as_str()])?;
            Ok(("user.role", json!({ "was": before.role, "is": role })))
        };
        self.change_user(act, name, change, |transaction| known(transaction, name))
    }

    fn set_disabled(&self, act: &Act, name: &str, disabled: bool) -> StateResult<User> {
        let change = |transaction: &Transaction<'_>, before: &User| {
            if disabled {
                keep_an_admin(transaction, before)?;
                sign_out(transaction, &before.name)?;
            }
            let sql = "UPDATE users SET disabled = ?2 WHERE name = ?1";
            transaction.execute(sql, params![before.name, disabled])?;
            Ok((if disabled { "user.disable" } else { "user.enable" }, json!({})))
        };
        self.change_user(act, name, change, |transaction| known(transaction, name))
    }

    fn remove_user(&self, act: &Act, name: &str) -> StateResult<()> {
        let change = |transaction: &Transaction<'_>, before: &User| {
            keep_an_admin(transaction, before)?;
            transaction.execute("DELETE FROM users WHERE name = ?1", [&before.name])?;
            Ok(("user.remove", json!({ "role": before.role })))
        };
        self.change_user(act, name, change, |_| Ok(()))
    }

    fn offer_first_admin(&self, act: &Act, secret: &SecretHash, expires_ms: TimeMs) -> StateResult<()> {
        self.write(|transaction| {
            if has_admin(transaction)? {
                return Err(HubStateError::AdminExists.into());
            }
            transaction.execute("DELETE FROM sign_ins WHERE user IS NULL", [])?;
            let sql = "INSERT INTO sign_ins VALUES (?1, NULL, ?2)";
            transaction.execute(sql, params![&secret.0[..], expires_ms])?;
            Ok(audit::append(
                transaction,
                act,
                "first_admin.offer",
                "",
                &json!({ "expires_ms": expires_ms }),
            )?)
        })
    }

    fn claim_first_admin(
        &self,
        act: &Act,
        secret: &SecretHash,
        user: &NewUser,
    ) -> Result<User, SignInRefusal> {
        check_user_name(&user.name)?;
        if user.role != Role::Admin {
            return Err(HubStateError::invalid("user", "the first one has to be an admin").into());
        }
        self.write(|transaction| {
            let sql = "SELECT expires_ms FROM sign_ins WHERE secret = ?1 AND user IS NULL";
            let expires_ms: Option<TimeMs> =
                transaction.query_row(sql, [&secret.0[..]], |row| row.get(0)).optional()?;
            match expires_ms {
                None => return Ok(Err(SignInRefusal::Unknown)),
                Some(expires_ms) if act.now_ms >= expires_ms => return Ok(Err(SignInRefusal::Expired)),
                Some(_) => {}
            }
            if has_admin(transaction)? {
                return Ok(Err(HubStateError::AdminExists.into()));
            }
            transaction.execute("DELETE FROM sign_ins WHERE user IS NULL", [])?;
            audit::append(transaction, act, "first_admin.claim", &user.name, &json!({}))?;
            Ok(Ok(add(transaction, act, user)?))
        })?
    }
}
