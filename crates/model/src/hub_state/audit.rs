//! Who does something and when, and the log of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TimeMs;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The hub itself.
    Hub,
    /// A local user (by number), through the hub's socket.
    Socket(u32),
    /// A user who signed in.
    User(String),
    /// The holder of an API token, by the token's id.
    ApiToken(String),
    /// An agent, by its id.
    Agent(String),
    /// The holder of a join token, by the token's id.
    JoinToken(String),
    /// Somebody who has proved nothing yet.
    Stranger,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Hub => f.write_str("hub"),
            Actor::Socket(uid) => write!(f, "socket:{uid}"),
            Actor::User(name) => write!(f, "user:{name}"),
            Actor::ApiToken(id) => write!(f, "api-token:{id}"),
            Actor::Agent(id) => write!(f, "agent:{id}"),
            Actor::JoinToken(id) => write!(f, "join-token:{id}"),
            Actor::Stranger => f.write_str("stranger"),
        }
    }
}

/// Somebody, at some time, from somewhere: comes with every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Who.
    pub actor: Actor,
    /// From which address; none where there is no network in between.
    pub address: Option<String>,
    /// When, by the hub's clock.
    pub now_ms: TimeMs,
}

impl Act {
    /// An act of somebody on this machine.
    pub fn new(actor: Actor, now_ms: TimeMs) -> Self {
        Self { actor, address: None, now_ms }
    }

    /// The same, from this address.
    pub fn at(self, address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..self }
    }
}

/// What happened, where the state itself does not change: a refused sign-in, a tunnel, a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditNote {
    /// What was done, as `thing.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More about it: a JSON object without secrets.
    pub detail: String,
}

impl AuditNote {
    /// Bytes of a note's detail.
    pub const DETAIL_BYTES_MAX: usize = 16 << 10;
}

/// A hash as people and programs compare it: 64 hexadecimal digits.
mod as_digits {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::super::hashes::{hex, parse_hex};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hex(&text).ok_or_else(|| D::Error::custom("a hash has 64 hexadecimal digits"))
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number; the first is 1, without holes.
    pub seq: u64,
    /// When, by the hub's clock.
    pub time_ms: TimeMs,
    /// Who, as [`Actor`] writes itself.
    pub actor: String,
    /// From which address; empty if from none.
    pub address: String,
    /// What was done, as `thing.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More about it: a JSON object.
    pub detail: String,
    /// SHA-256 of the hash before it (32 zeros before the first) and [`AuditEntry::canonical`].
    #[serde(with = "as_digits")]
    pub hash: [u8; 32],
}

impl AuditEntry {
    /// All of the entry but its hash, in the one form that is hashed: no two entries have the
    /// same, because the length of each text is in front of it.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = b"fieldpost audit 1\0".to_vec();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.time_ms.to_be_bytes());
        for text in [&self.actor, &self.address, &self.action, &self.subject, &self.detail] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Number of the newest entry; 0 if there is none.
    pub seq: u64,
    /// Its hash.
    #[serde(with = "as_digits")]
    pub hash: [u8; 32],
}

/// What is wrong with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault", content = "seq")]
pub enum AuditFault {
    /// The entry of this number, or the one before it, is not as it was written.
    Changed(u64),
    /// The entry of this number is gone.
    Missing(u64),
    /// Entries from this number on were put in behind the end.
    Added(u64),
    /// The log is whole in itself, but the entry of this number is another one than was witnessed.
    Rewritten(u64),
}

/// What going through the log brought to light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// How many entries are as they were written, from the first on.
    pub n_good: u64,
    /// The first fault, if there is one.
    pub fault: Option<AuditFault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_entries_have_the_same_canonical_form() {
        let entry = |actor: &str, address: &str| AuditEntry {
            seq: 1,
            time_ms: 2,
            actor: actor.into(),
            address: address.into(),
            action: String::new(),
            subject: String::new(),
            detail: String::new(),
            hash: [0; 32],
        };
        assert_ne!(entry("ab", "c").canonical(), entry("a", "bc").canonical());
        assert_ne!(entry("a\0", "").canonical(), entry("a", "\0").canonical());
    }
}
