//! How an agent becomes known to a hub: join tokens, the request, and why it is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AgentRecord, Certificate, HubStateError, Labels, Mode, Roles, SecretHash};
use crate::{TimeMs, format_span};

/// A join token as it is made. Only the hash of its secret is ever kept.
#[derive(Debug, Clone)]
pub struct NewJoinToken {
    /// Hash of the secret.
    pub secret: SecretHash,
    /// Milliseconds for which it counts.
    pub ttl_ms: i64,
    /// How many agents may come by it.
    pub uses: u32,
    /// Roles of the agents that come by it.
    pub roles: Roles,
    /// Labels of the agents that come by it; they win over what the agent says.
    pub labels: Labels,
    /// Has somebody to approve each agent that comes by it?
    pub needs_approval: bool,
    /// The one known agent that may come by it, with a new key if it lost the old one. None: only
    /// agents that are not known.
    pub for_agent: Option<String>,
}

impl NewJoinToken {
    /// One hour.
    pub const TTL_MS_DEFAULT: i64 = 3_600_000;
    /// A year: a token that counts for longer is a password.
    pub const TTL_MS_MAX: i64 = 366 * 86_400_000;
    /// Agents by one token.
    pub const USES_MAX: u32 = 100_000;

    /// A token for one agent within the hour.
    pub fn new(secret: SecretHash) -> Self {
        Self {
            secret,
            ttl_ms: Self::TTL_MS_DEFAULT,
            uses: 1,
            roles: Roles::new(),
            labels: Labels::new(),
            needs_approval: false,
            for_agent: None,
        }
    }
}

/// A join token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its public name.
    pub id: String,
    /// When it was made.
    pub created_ms: TimeMs,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_ms: TimeMs,
    /// How many agents may come by it.
    pub uses_max: u32,
    /// How many have.
    pub uses: u32,
    /// Roles of the agents that come by it.
    pub roles: Roles,
    /// Labels of the agents that come by it.
    pub labels: Labels,
    /// Has somebody to approve each agent that comes by it?
    pub needs_approval: bool,
    /// The one known agent that may come by it.
    pub for_agent: Option<String>,
    /// When it was revoked.
    pub revoked_ms: Option<TimeMs>,
}

/// What is known of an agent before it is one of this hub's.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// 128 random bits in hexadecimal, made by the agent.
    pub id: String,
    /// Made by the hub for the key that the agent proved to hold; handed out only once the
    /// enrolment has succeeded.
    pub certificate: Certificate,
    /// The name it asks for, its host's as a rule; made valid, and unique by a number behind it.
    pub name: String,
    /// Roles it asks for, besides those of the token.
    pub roles: Roles,
    /// Labels it asks for, besides those of the token.
    pub labels: Labels,
    /// Its version.
    pub version: String,
    /// Who dials.
    pub mode: Mode,
    /// What jobs its owner allows, in the agent's own word.
    pub allow_jobs: String,
}

/// A request to become an agent of this hub.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Hash of the join token's secret.
    pub secret: SecretHash,
    /// Who asks.
    pub agent: NewAgent,
    /// Where the request came from, for the audit log.
    pub address: Option<String>,
    /// When.
    pub now_ms: TimeMs,
}

impl Enrolment {
    /// Ten minutes in which the same request is a repeat of the same enrolment.
    pub const RETRY_MS: i64 = 600_000;
}

/// An enrolment that succeeded. The certificate of the request is now one of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The agent.
    pub agent: AgentRecord,
    /// Had it succeeded before, so that no use was burnt now?
    pub repeated: bool,
}

/// Why an agent is not let in. The hub tells these words to the agent: only who holds a token's
/// secret learns more than that it is unknown.
#[derive(Debug, thiserror::Error)]
pub enum EnrolRefusal {
    /// There is no such token.
    #[error(
        "this hub knows no such join token; copy the whole join string, or make a new one with `fieldpost hub token create`"
    )]
    UnknownToken,
    /// Too late.
    #[error("this join token has expired; make a new one with `fieldpost hub token create`")]
    ExpiredToken,
    /// Too many.
    #[error(
        "this join string has been used, last by {by} {} ago; make a new one with `fieldpost hub token create`",
        format_span(*.ago)
    )]
    UsedUpToken {
        /// The agent that it let in last: its name, or its id if it has gone since.
        by: String,
        /// How long ago.
        ago: Duration,
    },
    /// Somebody ended the token.
    #[error("this join token was revoked; make a new one with `fieldpost hub token create`")]
    RevokedToken,
    /// The token is for one certain agent.
    #[error("this join token is for another agent; make one for this host with `fieldpost hub token create`")]
    ForeignToken,
    /// The id is an agent's that has another key: a copy of its host's disk, or a new key.
    #[error(
        "agent {0} is known to this hub with another key; if this host is a copy of that one, remove its identity and join again, else forget the agent at the hub first"
    )]
    KnownAgent(String),
    /// The key is another agent's: a copy of its host's disk with a new id.
    #[error(
        "the key of this agent is that of agent {0}; remove the identity of this host and join again, so that it makes its own"
    )]
    KnownKey(String),
    /// The agent, or its key, was revoked.
    #[error(
        "this agent was revoked at the hub; remove the identity of this host and join again with a new token"
    )]
    RevokedAgent,
    /// The request cannot be, or the state is not to be had.
    #[error(transparent)]
    State(#[from] HubStateError),
}
