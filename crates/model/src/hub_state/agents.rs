//! An agent as its hub knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Fingerprint, HubStateError};
use crate::TimeMs;

/// Labels of an agent, by name.
pub type Labels = BTreeMap<String, String>;

/// Roles of an agent, by which jobs find it.
pub type Roles = BTreeSet<String>;

/// What people say about an agent. What the hub sees of its link is another thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In service.
    Online,
    /// Out of service, for a reason that was given.
    Offline,
    /// Being worked on.
    Maintenance,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 3] = [Status::Online, Status::Offline, Status::Maintenance];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Online => "online",
            Status::Offline => "offline",
            Status::Maintenance => "maintenance",
        }
    }

    /// The comment that goes with it: the one given, or its own. Offline has none of its own.
    pub fn comment(self, given: Option<&str>) -> Result<String, HubStateError> {
        match (self, given.map(str::trim).filter(|comment| !comment.is_empty())) {
            (_, Some(comment)) => Ok(comment.to_owned()),
            (Status::Online, None) => Ok(String::new()),
            (Status::Maintenance, None) => Ok("maintenance".to_owned()),
            (Status::Offline, None) => {
                Err(HubStateError::invalid("status", "offline needs a comment that says why; add one"))
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = HubStateError;

    fn from_str(word: &str) -> Result<Self, HubStateError> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == word);
        let reason = || HubStateError::invalid("status", "there are online, offline, maintenance");
        found.ok_or_else(reason)
    }
}

/// A status with its why and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The status.
    pub status: Status,
    /// Why.
    pub comment: String,
    /// Since when.
    pub since_ms: TimeMs,
    /// Who set it.
    pub by: String,
}

/// Who dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum Mode {
    /// The agent dials the hub.
    Push,
    /// The hub dials the agent.
    Poll {
        /// Where the agent listens, `host:port`.
        address: String,
        /// Seconds from one visit to the next; 0: the hub stays.
        interval_seconds: u64,
    },
}

/// A certificate that the hub gave to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// The key in it.
    pub key: Fingerprint,
    /// When it was given.
    pub issued_ms: TimeMs,
    /// When it ends.
    pub expires_ms: TimeMs,
}

/// What an agent says of itself when its link comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its id, as its certificate has it.
    pub agent_id: String,
    /// Identity of this run of the agent: another one at the same time is a clone.
    pub boot_id: String,
    /// Under which its items are numbered.
    pub spool_id: String,
    /// Its version.
    pub version: String,
    /// What jobs its owner allows, in the agent's own word.
    pub allow_jobs: String,
    /// When it said so.
    pub at_ms: TimeMs,
}

/// An agent as the hub knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// 128 random bits in hexadecimal, made by the agent.
    pub id: String,
    /// What people call it; no two agents have the same, whatever the case of its letters.
    pub name: String,
    /// What people say about it.
    pub status: AgentStatus,
    /// By which jobs find it.
    pub roles: Roles,
    /// Site and so on.
    pub labels: Labels,
    /// Version of Fieldpost that it runs.
    pub version: String,
    /// Who dials.
    pub mode: Mode,
    /// Its newest key.
    pub key: Fingerprint,
    /// Certificates that are accepted from it, oldest first; expired ones too, by which it may
    /// only renew. None once it is revoked.
    pub certificates: Vec<Certificate>,
    /// What jobs its owner allows, in the agent's own word.
    pub allow_jobs: String,
    /// May it do more than wait? Tokens may demand that somebody approves.
    pub approved: bool,
    /// When it was revoked.
    pub revoked_ms: Option<TimeMs>,
    /// When it first came.
    pub enrolled_ms: TimeMs,
    /// When it was last heard of.
    pub last_seen_ms: Option<TimeMs>,
    /// Identity of the run that was last heard of; empty before the first.
    pub boot_id: String,
    /// Spools that it has used, oldest first.
    pub spools: Vec<String>,
}

impl AgentRecord {
    /// May a link of this agent carry anything now?
    pub fn is_trusted(&self) -> bool {
        self.approved && self.revoked_ms.is_none()
    }

    /// Is a certificate of this serial accepted from it at this time?
    pub fn accepts(&self, serial: &str, now_ms: TimeMs) -> bool {
        let valid = |known: &Certificate| known.serial == serial && now_ms < known.expires_ms;
        self.revoked_ms.is_none() && self.certificates.iter().any(valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_needs_a_comment_and_maintenance_has_one() {
        assert!(Status::Offline.comment(None).is_err());
        assert!(Status::Offline.comment(Some(" \n")).is_err());
        assert_eq!(Status::Offline.comment(Some(" sold ")).unwrap(), "sold");
        assert_eq!(Status::Maintenance.comment(None).unwrap(), "maintenance");
        assert_eq!(Status::Online.comment(None).unwrap(), "");
    }

    #[test]
    fn words_of_statuses_come_back() {
        Status::ALL.iter().for_each(|status| assert_eq!(status.as_str().parse::<Status>().unwrap(), *status));
        assert!("gone".parse::<Status>().is_err());
    }
}
