//! The introduction, the first words on a link: the agent says who it is and what it knows, the
//! hub answers with what both know, or with why not. Each a length and JSON, bounded in size and
//! time, and read by every version for ever: unknown fields are passed over.

use std::fmt;
use std::io;

use fieldpost_model::TimeMs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Io;
use crate::carrier::within;
use crate::error::LinkError;

/// Versions of what follows the introduction that this program speaks.
pub const PROTOCOL: Protocols = Protocols { min: 1, max: 1 };
/// The longest message.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
const WHILE: &str = "introducing each other";

/// A span of protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocols {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl Protocols {
    /// The newest version that both speak, or who has to be upgraded.
    pub fn common(self, hub: Self) -> Result<u32, RefusalCode> {
        if self.max < hub.min {
            Err(RefusalCode::AgentTooOld)
        } else if hub.max < self.min {
            Err(RefusalCode::HubTooOld)
        } else {
            Ok(self.max.min(hub.max))
        }
    }
}

/// What an agent says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it speaks.
    pub protocols: Protocols,
    /// Its program's version, for people.
    pub program: String,
    /// Its id; must be the one of its certificate.
    pub agent_id: String,
    /// Changes with each start of the host: two that live at once betray a clone.
    pub boot_id: String,
    /// Its spools, the present one first.
    #[serde(default)]
    pub spool_ids: Vec<String>,
    /// What it can do beyond the protocol's minimum.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// What a hub answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that is spoken from now on.
    pub protocol: u32,
    /// Id of the hub.
    pub hub_id: String,
    /// The hub's program version, for people.
    pub program: String,
    /// The hub's clock, in ms since 1970.
    pub time_ms: TimeMs,
    /// What the hub can do beyond the protocol's minimum.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// Why a hub says no, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Upgrade the agent.
    AgentTooOld,
    /// Upgrade the hub.
    HubTooOld,
    /// Its certificate was revoked.
    Revoked,
    /// Its certificate ended too long ago to be renewed.
    Expired,
    /// It came without a certificate.
    NoCertificate,
    /// The hub does not know it.
    UnknownAgent,
    /// Two hosts have one identity; this one is to join anew.
    Cloned,
    /// The agent is not the one that its certificate names.
    WrongAgent,
    /// A person has to approve it first.
    NotApproved,
    /// The token is wrong, used or expired.
    BadToken,
    /// The hub is too busy, or about to stop; try again later.
    Busy,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

impl RefusalCode {
    /// Will asking again never help, until somebody does something about it?
    pub fn is_final(self) -> bool {
        match self {
            Self::AgentTooOld
            | Self::HubTooOld
            | Self::Revoked
            | Self::Expired
            | Self::NoCertificate
            | Self::UnknownAgent
            | Self::WrongAgent
            | Self::BadToken => true,
            // A copy is told apart only while the other one lives; people approve; hubs restart.
            Self::Cloned | Self::NotApproved | Self::Busy | Self::Other => false,
        }
    }
}

/// Why a hub says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what is wrong and what to do next.
    pub text: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    /// The text comes from the other side: it is kept on one line and short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text.chars().filter(|c| !c.is_control()).take(500).collect();
        f.write_str(&text)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Welcome(Welcome),
    Refused(Refusal),
}

/// The agent's part.
pub(crate) async fn introduce(io: &mut (impl Io + ?Sized), hello: &Hello) -> Result<Welcome, LinkError> {
    within("introduction", async {
        send(io, hello).await?;
        match receive(io, "welcome").await? {
            Answer::Welcome(welcome) => Ok(welcome),
            Answer::Refused(refusal) => Err(LinkError::Refused(refusal)),
        }
    })
    .await
}

/// The hub's first part.
pub(crate) async fn hear(io: &mut (impl Io + ?Sized)) -> Result<Hello, LinkError> {
    within("introduction", receive(io, "hello")).await
}

/// The hub's second part, if it is yes.
pub(crate) async fn welcome(io: &mut (impl Io + ?Sized), welcome: Welcome) -> Result<(), LinkError> {
    within("introduction", send(io, &Answer::Welcome(welcome))).await
}

/// The hub's second part, if it is no. Waits until the other side has read it and hung up, or the
/// answer could be lost with the connection.
pub(crate) async fn refuse(io: &mut (impl Io + ?Sized), refusal: Refusal) -> LinkError {
    let told = within("introduction", async {
        send(io, &Answer::Refused(refusal.clone())).await?;
        let closed = io.shutdown().await;
        closed.map_err(|source| LinkError::broken(source, WHILE))?;
        let mut rest = [0; 1024];
        while io.read(&mut rest).await.is_ok_and(|n_bytes| n_bytes > 0) {}
        Ok(())
    });
    drop(told.await);
    LinkError::Refused(refusal)
}

async fn send(io: &mut (impl Io + ?Sized), message: &impl Serialize) -> Result<(), LinkError> {
    let text = serde_json::to_vec(message).map_err(|_| LinkError::Message("introduction"))?;
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(LinkError::TooLong(MESSAGE_BYTES_MAX));
    }
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&text);
    let sent = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    sent.await.map_err(|source| LinkError::broken(source, WHILE))
}

async fn receive<T: DeserializeOwned>(
    io: &mut (impl Io + ?Sized),
    what: &'static str,
) -> Result<T, LinkError> {
    let received = async {
        let length = io.read_u32().await? as usize;
        if length > MESSAGE_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        io.read_exact(&mut bytes).await?;
        Ok(Some(bytes))
    };
    let bytes = received.await.map_err(|source: io::Error| LinkError::broken(source, WHILE))?;
    let bytes = bytes.ok_or(LinkError::TooLong(MESSAGE_BYTES_MAX))?;
    serde_json::from_slice(&bytes).map_err(|_| LinkError::Message(what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        let span = |min, max| Protocols { min, max };
        assert_eq!(span(1, 3).common(span(2, 5)), Ok(3));
        assert_eq!(span(2, 5).common(span(1, 3)), Ok(3));
        assert_eq!(span(1, 1).common(span(2, 2)), Err(RefusalCode::AgentTooOld));
        assert_eq!(span(3, 4).common(span(1, 2)), Err(RefusalCode::HubTooOld));
    }

    #[test]
    fn messages_of_later_versions_are_understood() {
        let text = r#"{"refused":{"code":"from_the_future","text":"no\nway","more":1}}"#;
        let Answer::Refused(refusal) = serde_json::from_str(text).unwrap() else { panic!("not refused") };
        assert_eq!(refusal.code, RefusalCode::Other);
        assert_eq!(refusal.to_string(), "noway");
        let hello = r#"{"protocols":{"min":1,"max":9},"program":"9","agent_id":"a","boot_id":"b","x":[]}"#;
        assert_eq!(serde_json::from_str::<Hello>(hello).unwrap().protocols.max, 9);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_hello(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let heard = runtime.block_on(async {
                let (mut one, mut other) = tokio::io::duplex(1024);
                one.write_all(&bytes).await.unwrap();
                drop(one);
                hear(&mut other).await
            });
            prop_assert!(heard.is_err());
        }
    }
}
