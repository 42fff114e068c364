//! Agents as people see them: what the state knows, what the links show, what the store holds.

use std::time::Duration;

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{AgentRecord, Labels, Mode, Roles, StateResult, Status};
use fieldpost_store::hub::{Coverage as Known, Stretch};
use serde::{Deserialize, Serialize};

use super::{Hub, LinkState};

/// The span of which the list shows the coverage.
const COVERAGE_SPAN_MS: i64 = 24 * 3_600_000;
/// What was sampled since then may still be on its way: a window of ten seconds is sealed first.
const ON_THE_WAY_MS: i64 = 20_000;
/// A coverage is looked up anew when it is older.
const COVERAGE_AGE_MS: i64 = 30_000;

/// One agent of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What people say about it.
    pub status: Status,
    /// Why.
    pub comment: String,
    /// What the hub sees of its link.
    pub link: LinkState,
    /// Who dials.
    pub mode: Mode,
    /// Age of its newest stored sample, milliseconds; none if there is none.
    pub lag_ms: Option<i64>,
    /// First instant after its newest stored sample.
    pub newest_ms: Option<TimeMs>,
    /// What the store has of the last day.
    pub coverage: Coverage,
    /// Its roles.
    pub roles: Roles,
    /// Its labels.
    pub labels: Labels,
    /// The version that it runs.
    pub version: String,
    /// What jobs its owner lets this hub have run there: off, named, any, as the agent says.
    pub allow_jobs: String,
    /// When it was last heard of.
    pub last_seen_ms: Option<TimeMs>,
    /// Does it wait for somebody to let it in?
    pub waits_for_approval: bool,
    /// Was its trust ended?
    pub revoked: bool,
}

/// How much of a span the store has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The part that is there, of what there can be; 0 to 1.
    pub share: f64,
    /// How much there can be at most: the agent may be younger than the span. Milliseconds.
    pub of_ms: i64,
}

impl Hub {
    /// All agents that belong on the list, by name. Those not heard of for long are left out;
    /// their data stay.
    pub fn agents(&self) -> StateResult<Vec<AgentView>> {
        Ok(self.agents_after(None, usize::MAX)?.0)
    }

    /// At most `limit` agents of the list whose names come after this one, and whether there are
    /// more.
    pub fn agents_after(&self, after: Option<&str>, limit: usize) -> StateResult<(Vec<AgentView>, bool)> {
        let now_ms = self.now_ms();
        let kept_ms = now_ms - self.options.forget_after.as_millis() as i64;
        let newest = self.store.newest_ms();
        let records = self.state.agents()?;
        // In the order of the list, in which case does not count.
        let after = after.map(str::to_lowercase);
        let mut listed = records.iter().filter(|agent| {
            let last = agent.last_seen_ms.unwrap_or(agent.enrolled_ms).max(agent.status.since_ms);
            let is_kept = last >= kept_ms || self.links.get(&agent.id).is_some();
            is_kept && after.as_ref().is_none_or(|after| agent.name.to_lowercase() > *after)
        });
        let view = |agent: &AgentRecord| self.view(agent, newest.get(&agent.id).copied(), now_ms);
        let page = listed.by_ref().take(limit).map(view).collect();
        Ok((page, listed.next().is_some()))
    }

    /// One agent, by id or name, however long ago it was heard of.
    pub fn agent(&self, id_or_name: &str) -> StateResult<Option<AgentView>> {
        let now_ms = self.now_ms();
        let record = self.state.agent(id_or_name)?;
        Ok(record.map(|agent| self.view(&agent, self.store.newest_ms().get(&agent.id).copied(), now_ms)))
    }

    fn view(&self, agent: &AgentRecord, newest_ms: Option<TimeMs>, now_ms: TimeMs) -> AgentView {
        let late_after = self.options.late_after;
        // A window ends when it was to end, even if it was sealed before.
        let newest_ms = newest_ms.map(|newest_ms| newest_ms.min(now_ms));
        let link = self.links.state(&agent.id, agent.last_seen_ms, late_after, now_ms);
        let link = between_visits(link, &agent.mode, late_after, now_ms);
        AgentView {
            id: agent.id.clone(),
            name: agent.name.clone(),
            status: agent.status.status,
            comment: agent.status.comment.clone(),
            link,
            mode: agent.mode.clone(),
            lag_ms: newest_ms.map(|newest_ms| now_ms - newest_ms),
            newest_ms,
            coverage: self.coverage(&agent.id, now_ms),
            roles: agent.roles.clone(),
            labels: agent.labels.clone(),
            version: agent.version.clone(),
            allow_jobs: agent.allow_jobs.clone(),
            last_seen_ms: agent.last_seen_ms,
            waits_for_approval: !agent.approved,
            revoked: agent.revoked_ms.is_some(),
        }
    }

    /// Of the last day, or of the time since the agent's first sample if that is less; up to what
    /// cannot have arrived yet. Looked up anew every half minute.
    fn coverage(&self, agent_id: &str, now_ms: TimeMs) -> Coverage {
        if let Some((at_ms, coverage)) = self.coverages.lock().get(agent_id).copied()
            && (0..COVERAGE_AGE_MS).contains(&(now_ms - at_ms))
        {
            return coverage;
        }
        let to_ms = now_ms - ON_THE_WAY_MS;
        let stretches = self.reader.coverage(agent_id, to_ms - COVERAGE_SPAN_MS, to_ms);
        let coverage = stretches.map_or_else(
            |error| {
                tracing::warn!(agent_id, %error, "the coverage of this agent cannot be told");
                Coverage { share: 0.0, of_ms: 0 }
            },
            |stretches| share(&stretches),
        );
        self.coverages.lock().insert(agent_id.to_owned(), (now_ms, coverage));
        coverage
    }
}

/// An agent that is dialled now and then is not down as long as its next visit is not overdue.
fn between_visits(link: LinkState, mode: &Mode, late_after: Duration, now_ms: TimeMs) -> LinkState {
    match (link, mode) {
        (LinkState::Down { since_ms }, Mode::Poll { interval_seconds: seconds @ 1.., .. }) => {
            let patience = Duration::from_secs(*seconds).saturating_add(late_after);
            let is_due = (now_ms - since_ms) as u128 <= patience.as_millis();
            if is_due { LinkState::Between { since_ms } } else { link }
        }
        _ => link,
    }
}

/// What is whole, from the first sample on.
fn share(stretches: &[Stretch]) -> Coverage {
    let is_whole = |stretch: &&Stretch| stretch.coverage == Known::Whole;
    let Some(first) = stretches.iter().find(is_whole) else { return Coverage { share: 0.0, of_ms: 0 } };
    let of_ms = stretches.last().map_or(0, |last| last.to_ms - first.from_ms);
    let whole_ms: i64 =
        stretches.iter().filter(is_whole).map(|stretch| stretch.to_ms - stretch.from_ms).sum();
    Coverage { share: whole_ms as f64 / of_ms.max(1) as f64, of_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polled_agent_is_down_only_when_its_visit_is_overdue() {
        let poll = |interval_seconds| Mode::Poll { address: "a:1".into(), interval_seconds };
        let down = LinkState::Down { since_ms: 1_000 };
        let state = |mode: &Mode, now_ms| between_visits(down, mode, Duration::from_secs(30), now_ms);
        assert_eq!(state(&poll(300), 331_000), LinkState::Between { since_ms: 1_000 });
        assert_eq!(state(&poll(300), 331_001), down);
        assert_eq!(state(&poll(0), 2_000), down);
        assert_eq!(state(&Mode::Push, 2_000), down);
    }

    #[test]
    fn share_counts_from_the_first_sample() {
        let stretch = |from_ms, to_ms, coverage| Stretch { from_ms, to_ms, coverage };
        let stretches =
            [stretch(0, 50, Known::Missing), stretch(50, 80, Known::Whole), stretch(80, 150, Known::Unknown)];
        assert_eq!(share(&stretches), Coverage { share: 0.3, of_ms: 100 });
        assert_eq!(share(&stretches[..1]), Coverage { share: 0.0, of_ms: 0 });
    }
}
