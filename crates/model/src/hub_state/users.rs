//! People who use the hub, and what proves who they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{HubStateError, PasswordHash, SecretHash};
use crate::TimeMs;

/// What a user may do; each one may do all that the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs jobs and sets statuses.
    Operator,
    /// Changes who may do what.
    Admin,
}

impl Role {
    /// All of them, least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = HubStateError;

    fn from_str(word: &str) -> Result<Self, HubStateError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == word);
        found.ok_or_else(|| HubStateError::invalid("role", "there are viewer, operator, admin"))
    }
}

/// What an API token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All that this role may do.
    Role(Role),
    /// Handing in measurements, and nothing else: it reads nothing.
    Ingest,
}

impl Scope {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Role(role) => role.as_str(),
            Scope::Ingest => "ingest",
        }
    }

    /// The same, but no more than this role may do.
    pub fn under(self, role: Role) -> Self {
        match self {
            Scope::Role(own) => Scope::Role(own.min(role)),
            Scope::Ingest => Scope::Ingest,
        }
    }
}

impl FromStr for Scope {
    type Err = HubStateError;

    fn from_str(word: &str) -> Result<Self, HubStateError> {
        if word == "ingest" {
            return Ok(Scope::Ingest);
        }
        let wrong = |_| HubStateError::invalid("scope", "there are viewer, operator, admin, ingest");
        word.parse().map(Scope::Role).map_err(wrong)
    }
}

/// A user as they are made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their name.
    pub name: String,
    /// Their password; none: they sign in by links only.
    pub password: Option<PasswordHash>,
    /// What they may do.
    pub role: Role,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Their name; no two users have the same, whatever the case of its letters.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// May they do nothing at present?
    pub disabled: bool,
    /// Can they sign in by password?
    pub has_password: bool,
    /// When they were made.
    pub created_ms: TimeMs,
    /// By whom.
    pub created_by: String,
}

/// A session as it is begun.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Hash of the secret in the cookie.
    pub secret: SecretHash,
    /// Whose.
    pub user: String,
    /// When it ends at the latest.
    pub expires_ms: TimeMs,
}

/// A session of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its public name.
    pub id: String,
    /// Whose.
    pub user: String,
    /// What they may do now.
    pub role: Role,
    /// When it began.
    pub created_ms: TimeMs,
    /// When it ends at the latest.
    pub expires_ms: TimeMs,
    /// When it was last used, as far as it was noted.
    pub last_used_ms: TimeMs,
}

/// An API token as it is made.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    /// Hash of the secret.
    pub secret: SecretHash,
    /// What people call it.
    pub name: String,
    /// Whose it is: it is never good for more than they may do. None: the hub's own.
    pub owner: Option<String>,
    /// What it is good for.
    pub scope: Scope,
    /// When it ends; none: never.
    pub expires_ms: Option<TimeMs>,
}

/// An API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its public name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// What it is good for.
    pub scope: Scope,
    /// When it was made.
    pub created_ms: TimeMs,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_ms: Option<TimeMs>,
    /// When it was last used, as far as it was noted.
    pub last_used_ms: Option<TimeMs>,
    /// When it was revoked.
    pub revoked_ms: Option<TimeMs>,
}

/// Why a one-time secret opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum SignInRefusal {
    /// There is none such, or it has been used.
    #[error("this sign-in link is unknown or has been used; ask for a new one")]
    Unknown,
    /// Too late.
    #[error("this sign-in link has expired; ask for a new one")]
    Expired,
    /// The user may not sign in.
    #[error("the user of this sign-in link is disabled; ask an admin")]
    Disabled,
    /// The request cannot be, or the state is not to be had.
    #[error(transparent)]
    State(#[from] HubStateError),
}
