//! What all runs that go on use at this moment: asked of the agents that have some, side by side, and
//! told alike to all who want to know within a second. Nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{LiveRun, LiveRuns, RunWish};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::deliver::blocking;
use super::{Hub, Link};
use crate::http_client::page_url;

/// An answer counts for so long: all who ask meanwhile are given it.
const FRESH: Duration = Duration::from_secs(1);
/// The longest that an agent may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Agents that are asked at a time.
const N_ASKED_MAX: usize = 32;
/// Runs that are told.
const N_TOLD_MAX: usize = 5_000;
/// Different questions whose answers are kept.
const N_KEPT_MAX: usize = 16;

/// Which runs: none named means any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveWish {
    /// Of this agent, by its id.
    pub agent_id: Option<String>,
    /// Of this domain.
    pub domain: Option<String>,
    /// Of this job.
    pub job: Option<String>,
}

/// All runs that go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetRuns {
    /// The hub's time.
    pub now_ms: TimeMs,
    /// The runs, those that use most of the processors first.
    pub runs: Vec<FleetRun>,
    /// So many more go on and are left out.
    pub n_left_out: usize,
    /// Agents that have runs that go on, as far as is known, and do not tell of them, and why.
    pub silent: Vec<SilentAgent>,
}

/// A run of one agent that goes on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetRun {
    /// The agent's name.
    pub agent: String,
    /// What it uses.
    #[serde(flatten)]
    pub run: LiveRun,
}

/// An agent that does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentAgent {
    /// Its name.
    pub agent: String,
    /// Runs of it that went on when it was last heard of.
    pub n_runs: usize,
    /// Why.
    pub reason: String,
}

type Answer = Arc<tokio::sync::Mutex<Option<(Instant, Arc<FleetRuns>)>>>;

/// The newest answers.
#[derive(Default)]
pub(super) struct KeptAnswers(parking_lot::Mutex<BTreeMap<LiveWish, Answer>>);

impl KeptAnswers {
    /// Where the answer to this question is, or will be.
    fn of(&self, wish: &LiveWish) -> Answer {
        let mut kept = self.0.lock();
        if kept.len() >= N_KEPT_MAX && !kept.contains_key(wish) {
            // Who asks holds theirs; all others can be asked again.
            kept.retain(|_, answer| Arc::strong_count(answer) > 1);
        }
        Arc::clone(kept.entry(wish.clone()).or_default())
    }
}

/// An agent that has runs that go on.
struct Busy {
    agent_id: String,
    name: String,
    n_runs: usize,
}

impl Hub {
    /// What runs use at this moment, no more than a second old.
    pub async fn live_runs(self: &Arc<Self>, wish: &LiveWish) -> anyhow::Result<Arc<FleetRuns>> {
        let kept = self.kept_answers.of(wish);
        // Who comes while somebody asks waits for that answer.
        let mut answer = kept.lock().await;
        if let Some((asked, runs)) = &*answer
            && asked.elapsed() < FRESH
        {
            return Ok(Arc::clone(runs));
        }
        let begun = Instant::now();
        let runs = Arc::new(self.ask_for_live_runs(wish).await?);
        *answer = Some((begun.max(Instant::now() - FRESH / 2), Arc::clone(&runs)));
        Ok(runs)
    }

    async fn ask_for_live_runs(self: &Arc<Self>, wish: &LiveWish) -> anyhow::Result<FleetRuns> {
        let wanted = wish.clone();
        let busy = blocking(self, move |hub| hub.busy_agents(&wanted)).await?;
        let path = path(wish)?;
        let mut all = FleetRuns { now_ms: self.now_ms(), ..FleetRuns::default() };
        let (mut asked, mut busy) = (JoinSet::new(), busy.into_iter());
        loop {
            for one in busy.by_ref().take(N_ASKED_MAX - asked.len()) {
                let (link, path) = (self.links.get(&one.agent_id), path.clone());
                asked.spawn(async move { (one, ask(link, &path).await) });
            }
            let Some(told) = asked.join_next().await else { break };
            let (Busy { name, n_runs, .. }, told) = told?;
            match told {
                Ok(told) => {
                    all.n_left_out += told.n_left_out;
                    all.runs.extend(told.runs.into_iter().map(|run| FleetRun { agent: name.clone(), run }));
                }
                Err(error) => {
                    all.silent.push(SilentAgent { agent: name, n_runs, reason: format!("{error:#}") });
                }
            }
        }
        all.silent.sort_by(|a, b| a.agent.cmp(&b.agent));
        all.runs.sort_by(|a, b| {
            let cores = |run: &FleetRun| run.run.cpu_cores.unwrap_or(0.0);
            cores(b).total_cmp(&cores(a)).then_with(|| (&a.agent, &a.run.id).cmp(&(&b.agent, &b.run.id)))
        });
        all.n_left_out += all.runs.len().saturating_sub(N_TOLD_MAX);
        all.runs.truncate(N_TOLD_MAX);
        Ok(all)
    }

    /// The agents that have such runs, as far as they have told.
    fn busy_agents(&self, wish: &LiveWish) -> anyhow::Result<Vec<Busy>> {
        let wanted = RunWish {
            agents: wish.agent_id.iter().cloned().collect(),
            job: wish.job.clone(),
            domain: wish.domain.clone(),
            going_on: true,
            ..RunWish::default()
        };
        let mut busy = Vec::new();
        for (agent_id, n_runs) in self.runs.n_runs(&wanted, true)? {
            // Runs of one that was forgotten are nobody's to tell.
            let Some(name) = self.state.agent_name(&agent_id)? else { continue };
            busy.push(Busy { agent_id, name, n_runs });
        }
        Ok(busy)
    }
}

fn path(wish: &LiveWish) -> anyhow::Result<String> {
    let parameters = [("domain", &wish.domain), ("job", &wish.job)];
    let parameters = parameters.into_iter().filter_map(|(name, word)| Some((name, word.as_deref()?)));
    let url = page_url("http", "agent", "/v1/runs/live", parameters)?;
    Ok(url.trim_start_matches("http://agent").to_owned())
}

async fn ask(link: Option<Arc<Link>>, path: &str) -> anyhow::Result<LiveRuns> {
    let link = link.context("it is not linked")?;
    timeout(DEADLINE, link.get_json(path)).await.context("it does not answer in time")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_of_some_questions_and_not_of_any_number() {
        let kept = KeptAnswers::default();
        let wish = |n: usize| LiveWish { job: Some(n.to_string()), ..LiveWish::default() };
        let held = kept.of(&wish(0));
        for n in 1..3 * N_KEPT_MAX {
            kept.of(&wish(n));
        }
        assert!(kept.0.lock().len() <= N_KEPT_MAX);
        assert!(Arc::ptr_eq(&held, &kept.of(&wish(0))), "an answer that somebody waits for stays");
        let wish = LiveWish { domain: Some("a&b".into()), ..wish(1) };
        assert_eq!(path(&wish).unwrap(), "/v1/runs/live?domain=a%26b&job=1");
    }
}
