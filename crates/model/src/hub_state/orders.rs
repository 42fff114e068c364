//! Orders: runs that people want through the hub, for whom they are meant, and what became of each
//! until the agent had it. From then on the run itself tells, by the agent's own record.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AgentRecord, HubStateError, Labels, Roles};
use crate::job::Job;
use crate::{RemoteJobs, TimeMs};

/// Any agent at all, where a role is asked for.
pub const ANY_ROLE: &str = "*";
/// The longest that an order may wait for its agent.
pub const ORDER_LIFE_MS_MAX: i64 = 90 * 86_400_000;

/// For whom something is meant: one agent by its name; or agents that hold all of these roles and
/// labels, any one of them or (fan-out) each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Target {
    /// Name or id of the one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Roles that it must hold, all of them; `*` is held by every agent.
    #[serde(skip_serializing_if = "Roles::is_empty")]
    pub roles: Roles,
    /// Labels that it must have, all of them.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Each that matches, instead of any one.
    #[serde(skip_serializing_if = "is_false")]
    pub fanout: bool,
}

fn is_false(word: &bool) -> bool {
    !word
}

impl Target {
    /// This agent.
    pub fn agent(name: &str) -> Self {
        Self { agent: Some(name.to_owned()), ..Self::default() }
    }

    /// What is wrong with it, for people.
    pub fn fault(&self) -> Option<&'static str> {
        match (&self.agent, self.roles.is_empty() && self.labels.is_empty()) {
            (Some(_), false) => {
                Some("names an agent and roles or labels; name the agent, or what it must hold, not both")
            }
            (Some(name), true) if name.is_empty() => Some("names an agent with an empty name"),
            (Some(_), true) if self.fanout => Some("fans out to one agent; fan-out needs a role"),
            (None, true) if self.fanout => {
                Some("fans out without a role; name one that the agents hold, or * for all agents")
            }
            (None, true) => Some("names nobody; name an agent, or a role (* for any one agent)"),
            _ if self.roles.is_empty() && self.fanout => {
                Some("fans out by labels alone; name a role as well, or * for all agents")
            }
            _ => None,
        }
    }

    /// Why this agent is not meant; none: it is.
    pub fn misfit(&self, agent: &AgentRecord) -> Option<String> {
        if let Some(name) = &self.agent {
            let is_it = agent.id == *name || agent.name.eq_ignore_ascii_case(name);
            return (!is_it).then(|| format!("is not {name}"));
        }
        let lacks = |role: &&String| *role != ANY_ROLE && !agent.roles.contains(*role);
        let roles: Vec<&str> = self.roles.iter().filter(lacks).map(String::as_str).collect();
        if !roles.is_empty() {
            return Some(format!("has not the role {}", roles.join(", ")));
        }
        self.labels.iter().find_map(|(name, value)| match agent.labels.get(name) {
            None => Some(format!("has no label {name}")),
            Some(own) if own != value => Some(format!("has {name}={own}, not {value}")),
            Some(_) => None,
        })
    }
}

/// As people write it: `agent web-1`, `any one agent with role web`, `all agents with role *, site=a`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(agent) = &self.agent {
            return write!(f, "agent {agent}");
        }
        f.write_str(if self.fanout { "all agents with" } else { "any one agent with" })?;
        let roles = self.roles.iter().map(|role| format!("role {role}"));
        let labels = self.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> = roles.chain(labels).collect();
        write!(f, " {}", words.join(", "))
    }
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ordered {
    /// A run of this job.
    Job(Box<Job>),
    /// A run of what the host's owner has defined under this name.
    Named {
        /// The name.
        name: String,
        /// What it reads on its standard input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin: Option<String>,
        /// Values of its parameters.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
    },
}

impl Ordered {
    /// What the owner of a host must admit for it.
    pub fn needs(&self) -> RemoteJobs {
        match self {
            Self::Job(_) => RemoteJobs::Any,
            Self::Named { .. } => RemoteJobs::Named,
        }
    }

    /// The job's name, empty if it has none.
    pub fn name(&self) -> &str {
        match self {
            Self::Job(job) => &job.name,
            Self::Named { name, .. } => name,
        }
    }

    /// As far as it is known here: of what a host's owner has defined only the name is.
    pub fn job(&self) -> Job {
        match self {
            Self::Job(job) => (**job).clone(),
            Self::Named { name, .. } => Job { name: name.clone(), ..Job::default() },
        }
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It is here, and nowhere else.
    Waiting,
    /// It was sent to its agent, and may have arrived.
    Sent,
    /// The agent has it on its disk.
    Delivered,
    /// The agent does not take it.
    Refused,
    /// It was called off before it was sent.
    Cancelled,
    /// Nobody took it in time.
    Expired,
}

impl OrderState {
    const ALL: [Self; 6] =
        [Self::Waiting, Self::Sent, Self::Delivered, Self::Refused, Self::Cancelled, Self::Expired];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Has the hub nothing more to do about it?
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Waiting | Self::Sent)
    }
}

impl FromStr for OrderState {
    type Err = HubStateError;

    fn from_str(word: &str) -> Result<Self, HubStateError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| HubStateError::invalid("state of an order", "it is none of the known words"))
    }
}

/// An order for one run: of one agent, once it is known which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The id that the run has, or is to have.
    pub id: String,
    /// What was ordered together has the same.
    pub batch: String,
    /// The id of its agent; none while any one that matches may take it.
    pub agent: Option<String>,
    /// For whom it is meant.
    pub target: Target,
    /// What is to run.
    pub ordered: Ordered,
    /// Values of secret variables, sealed with a key that is not in here; empty if there are none.
    #[serde(skip)]
    pub sealed: Vec<u8>,
    /// Who wants it.
    pub by: String,
    /// When they said so.
    pub created_ms: TimeMs,
    /// It is not begun after this instant.
    pub expires_ms: TimeMs,
    /// Where it stands.
    pub state: OrderState,
    /// Why.
    pub reason: String,
    /// Since when.
    pub changed_ms: TimeMs,
    /// Somebody wants the end of what was sent: who, to be told to the agent.
    pub killed_by: Option<String>,
}

/// A job that is defined at the hub, and for whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HubJob {
    /// The definition; its name is what it goes by.
    pub job: Job,
    /// Who runs it.
    pub target: Target,
    /// Was it disabled by somebody?
    #[serde(default)]
    pub paused: bool,
    /// The id of the agent that was chosen where any one may run it.
    #[serde(default)]
    pub chosen: Option<String>,
    /// Who defined it.
    #[serde(default)]
    pub by: String,
    /// When it was last changed.
    #[serde(default)]
    pub changed_ms: TimeMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(agent: Option<&str>, roles: &[&str], labels: &[(&str, &str)], fanout: bool) -> Target {
        Target {
            agent: agent.map(str::to_owned),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            fanout,
        }
    }

    #[test]
    fn target_names_an_agent_or_what_agents_hold() {
        let fault = |target: Target| target.fault().unwrap_or("sound");
        assert_eq!(fault(target(Some("a"), &[], &[], false)), "sound");
        assert_eq!(fault(target(None, &["web"], &[("site", "a")], false)), "sound");
        assert_eq!(fault(target(None, &["*"], &[], true)), "sound");
        assert_eq!(fault(target(None, &[], &[("site", "a")], false)), "sound");
        assert!(fault(target(Some("a"), &["web"], &[], false)).contains("not both"));
        assert!(fault(target(Some("a"), &[], &[], true)).contains("fan-out needs a role"));
        assert!(fault(target(None, &[], &[], true)).contains("without a role"));
        assert!(fault(target(None, &[], &[("site", "a")], true)).contains("labels alone"));
        assert!(fault(target(None, &[], &[], false)).contains("names nobody"));
    }

    #[test]
    fn target_says_what_it_is_for() {
        let text = |target: Target| target.to_string();
        assert_eq!(text(Target::agent("web-1")), "agent web-1");
        assert_eq!(text(target(None, &["*"], &[], false)), "any one agent with role *");
        assert_eq!(
            text(target(None, &["db", "web"], &[("site", "a")], true)),
            "all agents with role db, role web, site=a"
        );
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in OrderState::ALL {
            assert_eq!(state.as_str().parse::<OrderState>().unwrap(), state);
        }
        assert!("gone".parse::<OrderState>().is_err());
    }
}
