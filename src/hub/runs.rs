//! The runs of all agents, as the hub knows them: drawn over each link as they change, and asked for by
//! people. What is known of an agent that is not there is what it said last.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use fieldpost_link::Received;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{
    KnownGap, KnownRun, RunCursor, RunGap, RunNews, RunPlace, RunStart, RunVersion, RunWish, RunsFault,
};
use fieldpost_model::hub_state::{Act, HubStateError, OrderState};
use fieldpost_model::job::Run;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::deliver::{blocking, deliver, deliver_all};
use super::orders::OrderFault;
use super::reception::Visit;
use super::{Hub, Link, LinkState};

/// The longest line of changes: a run, or all tasks of a host.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Gaps that are told, the newest.
const N_GAPS_MAX: usize = 1_000;
/// Runs that are written together.
const N_TOGETHER_MAX: usize = 100;
/// An agent that says nothing for this long is asked anew.
const SILENCE: Duration = Duration::from_secs(30);
/// Pause before an agent is asked anew.
const PAUSE: Duration = Duration::from_secs(2);
/// Agents of another version know no changes: it is asked again after so long.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(600);

/// Brings orders and draws runs for as long as the link stands.
pub(super) async fn look_after(hub: Arc<Hub>, link: Arc<Link>, visit: Visit) -> Infallible {
    if visit == Visit::Drain {
        return std::future::pending().await;
    }
    let delivering = deliver(Arc::clone(&hub), Arc::clone(&link));
    let drawing = async {
        loop {
            let pause = match draw(&hub, &link, true).await {
                Ok(true) => PAUSE,
                Ok(false) => UNKNOWN_PAUSE,
                Err(error) => {
                    tracing::debug!(agent = link.agent_id, "its runs are asked for again: {error:#}");
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        never = delivering => never,
        never = drawing => never,
    }
}

/// The same on a visit: once, and what came of it as far as it is known then.
pub(super) async fn visit(hub: &Arc<Hub>, link: &Arc<Link>) -> anyhow::Result<()> {
    super::standing::agree(hub, link, None).await?;
    deliver_all(hub, link).await?;
    super::jobs::tell(hub, link, None).await?;
    draw(hub, link, false).await.map(drop)
}

/// Takes changes until the answer ends; `false`: this agent knows none.
async fn draw(hub: &Arc<Hub>, link: &Arc<Link>, follow: bool) -> anyhow::Result<bool> {
    let agent_id = link.agent_id.clone();
    let RunCursor { spool, version } = blocking(hub, move |hub| Ok(hub.runs.cursor(&agent_id)?)).await?;
    let path = format!("/v1/runs/changes?spool={spool}&after={version}&follow={follow}");
    let asked = tokio::time::timeout(SILENCE, link.get(&path)).await;
    let answer = asked.context("the agent does not answer")??;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(false);
    }
    ensure!(answer.status().is_success(), "the agent answers {}", answer.status());
    let mut lines = Lines { body: answer.into_body(), buffer: BytesMut::new() };
    let Some(RunNews::From(RunStart { mut cursor, gap })) = lines.next().await? else {
        bail!("it does not say where it begins")
    };
    let (agent_id, at) = (link.agent_id.clone(), cursor.clone());
    blocking(hub, move |hub| {
        // Under another numbering the place is written before there is anything behind it: what is
        // forgotten from now on is missed.
        if at.spool != spool {
            hub.runs.take(&agent_id, &at, &[])?;
        }
        Ok(hub.runs.take_gap(&agent_id, &at, gap.as_ref(), hub.now_ms())?)
    })
    .await?;
    let mut runs: Vec<(RunVersion, Run)> = Vec::new();
    while let Some(news) = lines.next().await? {
        link.heard(hub.now_ms());
        match news {
            RunNews::Run { version, run } => {
                cursor.version = cursor.version.max(version);
                runs.push((version, *run));
            }
            RunNews::Tasks(tasks) => {
                let agent_id = link.agent_id.clone();
                blocking(hub, move |hub| Ok(hub.runs.take_tasks(&agent_id, &tasks, hub.now_ms())?)).await?;
            }
            RunNews::From(_) | RunNews::Nothing => {}
        }
        if !runs.is_empty() && (runs.len() >= N_TOGETHER_MAX || !lines.has_more()) {
            let (agent_id, cursor, runs) = (link.agent_id.clone(), cursor.clone(), std::mem::take(&mut runs));
            let is_some_over = runs.iter().any(|(_, run)| run.state.is_final());
            blocking(hub, move |hub| Ok(hub.runs.take(&agent_id, &cursor, &runs)?)).await?;
            hub.runs_changed.send_modify(|number| *number += 1);
            if is_some_over {
                hub.tell_of_results();
            }
        }
    }
    Ok(true)
}

/// Lines of JSON, as they come.
struct Lines {
    body: Received,
    buffer: BytesMut,
}

impl Lines {
    fn has_more(&self) -> bool {
        self.buffer.contains(&b'\n')
    }

    async fn next(&mut self) -> anyhow::Result<Option<RunNews>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(Some(serde_json::from_slice(&line).context("a change cannot be read")?));
            }
            ensure!(self.buffer.len() <= LINE_BYTES_MAX, "a line is longer than {LINE_BYTES_MAX} bytes");
            let came = tokio::time::timeout(SILENCE, self.body.chunk()).await;
            match came.context("the agent has gone silent")?? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// A run as the hub tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Name of its agent; none while any one may take it, or if the agent was forgotten.
    pub agent: Option<String>,
    /// Its id; none while any one may take it.
    pub agent_id: Option<String>,
    /// What was ordered together has the same; empty for what no hub ordered.
    pub batch: String,
    /// Has its agent told of it? If not, it is an order that waits, or was never taken.
    pub delivered: bool,
    /// Since when nothing is known of it, for it is not over and its agent is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since_ms: Option<TimeMs>,
    /// The run.
    #[serde(flatten)]
    pub run: Run,
}

/// Runs that an agent had forgotten before the hub had drawn them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapView {
    /// Name of the agent, or its id if it was forgotten.
    pub agent: String,
    /// So many runs.
    pub n_runs: u64,
    /// Did the hub know some of them?
    pub at_most: bool,
    /// When the first of them was accepted.
    pub from_ms: TimeMs,
    /// When the last of them ended.
    pub to_ms: TimeMs,
    /// When the hub was told.
    pub noted_ms: TimeMs,
}

/// Why something was not done with a run.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// There is none of this id, or more than one.
    #[error("there is no run {0}, or more than one; see: fieldpost runs, and name the agent with it")]
    Unknown(String),
    /// There is no such agent.
    #[error("there is no agent `{0}`; see: fieldpost hub agents")]
    NoAgent(String),
    /// The state refuses.
    #[error(transparent)]
    State(#[from] HubStateError),
    /// The runs cannot be read.
    #[error(transparent)]
    Runs(#[from] RunsFault),
    /// An order could not be changed.
    #[error(transparent)]
    Order(#[from] OrderFault),
}

/// What came of a wish to end a run, as far as the hub alone can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It had not been sent, and is called off.
    CalledOff,
    /// It may be on its way: the agent is told as soon as it can be.
    Noted,
    /// The agent has it, and is to be asked.
    AskAgent,
}

/// What names and links are needed for many views.
#[derive(Default)]
struct Seen(HashMap<String, (Option<String>, Option<TimeMs>)>);

impl Hub {
    /// The run of this id, or of enough of its beginning or end; of this agent, if one is named.
    pub fn known_run(&self, part: &str, agent: Option<&str>) -> Result<KnownRun, RunFault> {
        let agent_id = agent.map(|name| {
            let found = self.state.agent(name)?;
            found.map(|agent| agent.id).ok_or_else(|| RunFault::NoAgent(name.to_owned()))
        });
        let mut found = self.runs.find(part, agent_id.transpose()?.as_deref())?;
        // Of one that was ordered here the agent is known: another one cannot pass for it.
        if found.len() > 1
            && let Some(order) = self.state.order(part)?
        {
            found = self.runs.find(part, order.agent.as_deref())?;
        }
        match found.len() {
            1 => found.pop().ok_or_else(|| RunFault::Unknown(part.to_owned())),
            _ => Err(RunFault::Unknown(part.to_owned())),
        }
    }

    /// Runs, newest first, and where to go on.
    pub fn run_views(&self, wish: &RunWish) -> Result<(Vec<RunView>, Option<RunPlace>), RunFault> {
        let page = self.runs.runs(wish)?;
        let mut seen = Seen::default();
        let views = page.runs.into_iter().map(|known| self.view_with(known, &mut seen));
        Ok((views.collect::<Result<_, _>>()?, page.next))
    }

    /// What is missing of the runs of these agents (by id; none named: of all) since an instant.
    pub fn run_gaps(&self, agents: &[String], since_ms: TimeMs) -> Result<Vec<GapView>, RunFault> {
        let mut seen = Seen::default();
        let views = self.runs.gaps(agents, since_ms, N_GAPS_MAX)?.into_iter().map(|known| {
            let KnownGap { agent_id, gap, noted_ms } = known;
            let (name, _) = self.seen(&agent_id, &mut seen)?;
            let RunGap { n_runs, at_most, from_ms, to_ms, .. } = gap;
            Ok(GapView { agent: name.unwrap_or(agent_id), n_runs, at_most, from_ms, to_ms, noted_ms })
        });
        views.collect()
    }

    /// A run, with what the hub sees of its agent.
    pub fn run_view(&self, known: KnownRun) -> Result<RunView, RunFault> {
        self.view_with(known, &mut Seen::default())
    }

    fn view_with(&self, known: KnownRun, seen: &mut Seen) -> Result<RunView, RunFault> {
        let KnownRun { agent_id, batch, version, run } = known;
        let (agent, gone_since_ms) = self.seen(&agent_id, seen)?;
        let is_unknown = version > 0 && !run.state.is_final();
        Ok(RunView {
            agent,
            agent_id: Some(agent_id).filter(|id| !id.is_empty()),
            batch,
            delivered: version > 0,
            unknown_since_ms: gone_since_ms.filter(|_| is_unknown),
            run,
        })
    }

    fn seen(&self, agent_id: &str, seen: &mut Seen) -> Result<(Option<String>, Option<TimeMs>), RunFault> {
        if let Some(seen) = seen.0.get(agent_id) {
            return Ok(seen.clone());
        }
        let new = self.look_at_agent(agent_id)?;
        seen.0.insert(agent_id.to_owned(), new.clone());
        Ok(new)
    }

    /// Its name, and since when it is gone.
    fn look_at_agent(&self, agent_id: &str) -> Result<(Option<String>, Option<TimeMs>), RunFault> {
        let Some(agent) = self.state.agent(agent_id)? else { return Ok((None, None)) };
        let (late_after, now_ms) = (self.options.late_after, self.now_ms());
        let gone_since_ms = match self.links.state(&agent.id, agent.last_seen_ms, late_after, now_ms) {
            LinkState::Down { since_ms } | LinkState::Late { since_ms } => Some(since_ms),
            _ => None,
        };
        Ok((Some(agent.name), gone_since_ms))
    }

    /// Waits until a run is over, or so long; answers how it stands then.
    pub async fn wait_for_run(
        self: &Arc<Self>,
        id: &str,
        agent: Option<&str>,
        patience: Duration,
    ) -> Result<KnownRun, RunFault> {
        let end = tokio::time::Instant::now() + patience;
        let mut changed = self.runs_changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (hub, id, agent) = (Arc::clone(self), id.to_owned(), agent.map(str::to_owned));
            let read = tokio::task::spawn_blocking(move || hub.known_run(&id, agent.as_deref())).await;
            let run = read.map_err(RunsFault::new)??;
            if run.run.state.is_final() || tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                return Ok(run);
            }
        }
    }

    /// Forgets a run that is over, and the order that never came to an agent. Waits for the disk.
    pub fn forget_run(&self, act: &Act, known: &KnownRun) -> Result<(), RunFault> {
        if known.version == 0 {
            self.state.remove_order(act, &known.run.id)?;
        }
        self.runs.forget_run(&known.agent_id, &known.run.id)?;
        self.runs_changed.send_modify(|number| *number += 1);
        Ok(())
    }

    /// Ends what the hub itself can end of a run: an order that was not sent. Waits for the disk.
    pub fn end_order(&self, act: &Act, known: &KnownRun) -> Result<Ending, RunFault> {
        if known.version > 0 {
            return Ok(Ending::AskAgent);
        }
        let id = &known.run.id;
        let Some(order) = self.state.order(id)? else { return Ok(Ending::AskAgent) };
        let reason = format!("called off by {}", act.actor);
        if self.settle(act, id, OrderState::Cancelled, &reason)? {
            return Ok(Ending::CalledOff);
        }
        let sent = self.state.order(id)?.unwrap_or(order);
        match sent.state {
            OrderState::Sent => {
                self.state.wish_order_killed(act, id, Some(&act.actor.to_string()))?;
                if let Some(agent_id) = &sent.agent {
                    self.tell_of_orders(agent_id);
                }
                Ok(Ending::Noted)
            }
            _ => Ok(Ending::AskAgent),
        }
    }
}
