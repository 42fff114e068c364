//! Who is meant by a target at this moment, and why others are not.

use fieldpost_model::RemoteJobs;
use fieldpost_model::hub_state::{AgentRecord, Mode, StateResult, Status, Target};
use serde::{Deserialize, Serialize};

use super::{Hub, LinkState};

/// Who would get an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Matches {
    /// Those that match, by name: each of them with fan-out, else any one.
    pub matches: Vec<Match>,
    /// The others, and why.
    pub others: Vec<Misfit>,
}

/// An agent that matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Its id.
    pub agent_id: String,
    /// Its name.
    pub agent: String,
    /// What the hub sees of its link.
    pub link: LinkState,
    /// Why an order would wait; empty: it would be delivered at once.
    pub waits: String,
}

/// One that does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misfit {
    /// Its name.
    pub agent: String,
    /// Why.
    pub reason: String,
}

/// Why this agent gets nothing that needs these jobs, though it is meant; none: it does.
pub(super) fn bars(agent: &AgentRecord, needs: RemoteJobs) -> Option<String> {
    if agent.revoked_ms.is_some() {
        return Some("was revoked".to_owned());
    }
    if !agent.approved {
        return Some("waits for approval".to_owned());
    }
    let allowed: RemoteJobs = agent.allow_jobs.parse().unwrap_or_default();
    match allowed {
        RemoteJobs::Off => Some(
            "admits no jobs from outside (remote_jobs: off); its owner decides, in agent.yaml".to_owned(),
        ),
        RemoteJobs::Named if needs > allowed => {
            Some("admits only the jobs of its own jobs.d (remote_jobs: named)".to_owned())
        }
        _ => None,
    }
}

/// Why nothing is delivered to this agent at this moment, as people have said; none: it may be.
pub(super) fn rests(agent: &AgentRecord) -> Option<String> {
    let status = &agent.status;
    (status.status != Status::Online)
        .then(|| format!("it is in status {}: {}", status.status, status.comment))
}

impl Hub {
    /// Who matches, for something that needs these jobs.
    pub fn matches(&self, target: &Target, needs: RemoteJobs) -> StateResult<Matches> {
        let mut found = Matches::default();
        for agent in self.state.agents()? {
            match target.misfit(&agent).or_else(|| bars(&agent, needs)) {
                Some(reason) => found.others.push(Misfit { agent: agent.name, reason }),
                None => {
                    let (link, waits) = self.waits(&agent);
                    let (agent_id, agent) = (agent.id, agent.name);
                    found.matches.push(Match { agent_id, agent, link, waits });
                }
            }
        }
        Ok(found)
    }

    /// What is seen of an agent's link, and why an order for it would wait.
    pub(super) fn waits(&self, agent: &AgentRecord) -> (LinkState, String) {
        let (late_after, now_ms) = (self.options.late_after, self.now_ms());
        let link = self.links.state(&agent.id, agent.last_seen_ms, late_after, now_ms);
        let by_status = rests(agent);
        let visited = matches!(agent.mode, Mode::Poll { interval_seconds: 1.., .. });
        let by_link = match link {
            LinkState::Up { .. } => None,
            LinkState::Late { .. } => Some("it does not answer at this moment".to_owned()),
            _ if visited => Some("it is visited now and then".to_owned()),
            LinkState::Never => Some("it was never here".to_owned()),
            LinkState::Down { .. } | LinkState::Between { .. } => Some("it is not linked".to_owned()),
        };
        (link, by_status.or(by_link).unwrap_or_default())
    }
}

/// Why nobody matches, in few words: each reason once, with how many it holds of.
pub(super) fn reasons(others: &[Misfit]) -> String {
    let mut counted: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for other in others {
        counted.entry(&other.reason).or_default().push(&other.agent);
    }
    let told = counted.iter().take(8).map(|(reason, agents)| match agents[..] {
        [one] => format!("{one} {reason}"),
        _ => format!("{} agents, such as {}: {reason}", agents.len(), agents[0]),
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "this hub has no agents".to_owned() } else { told.join("; ") }
}
