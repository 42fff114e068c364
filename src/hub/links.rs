//! The links that are up: at most one for each agent, which of its incarnations it belongs to, and
//! what the hub sees of agents whose link is down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use fieldpost_link::{Client, LinkError, Received, empty, full};
use fieldpost_model::TimeMs;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// What agents are called on their links; there is nobody else there.
const AGENT: &str = "agent";
/// The largest JSON that an agent may answer with.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// As much of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// What the hub sees of an agent's link. STATUS, which people set, is another thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LinkState {
    /// There is a link, and data comes.
    Up {
        /// Since when.
        since_ms: TimeMs,
    },
    /// There is a link, but nothing came over it for longer than it should.
    Late {
        /// When something last came.
        since_ms: TimeMs,
    },
    /// There is none.
    Down {
        /// Since when.
        since_ms: TimeMs,
    },
    /// There is none, for the hub dials this agent now and then; the last visit went well.
    Between {
        /// When the agent was last heard of.
        since_ms: TimeMs,
    },
    /// There never was one.
    Never,
}

/// One live link.
pub struct Link {
    /// The agent's id.
    pub agent_id: String,
    /// Changes with each boot of the host that holds it.
    pub boot_id: String,
    /// When it came up.
    pub since_ms: TimeMs,
    /// The way to ask the agent.
    pub client: Client,
    /// Ends the link.
    pub cancel: CancellationToken,
    /// Told when there may be an order for it.
    pub orders: tokio::sync::Notify,
    heard_ms: AtomicI64,
}

impl Link {
    /// A link that has just come up.
    pub fn new(came: &fieldpost_link::Link, now_ms: TimeMs) -> Self {
        Self {
            agent_id: came.peer.id.clone(),
            boot_id: came.hello.boot_id.clone(),
            since_ms: now_ms,
            client: came.client.clone(),
            cancel: CancellationToken::new(),
            orders: tokio::sync::Notify::new(),
            heard_ms: AtomicI64::new(now_ms),
        }
    }

    /// Something came over it.
    pub fn heard(&self, now_ms: TimeMs) {
        self.heard_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// When something last came.
    pub fn heard_ms(&self) -> TimeMs {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// Asks the agent for something.
    pub async fn get(&self, path: &str) -> Result<Response<Received>, LinkError> {
        let request = Request::get(path).header(HOST, AGENT).body(empty());
        self.client.request(request.map_err(|_| LinkError::Message("request"))?).await
    }

    /// Asks for JSON.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        understood(self.get(path).await?).await
    }

    /// Tells the agent something, and gets JSON.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        understood(self.post(path, body).await?).await
    }

    /// Tells the agent something.
    pub async fn tell(&self, path: &str, body: &impl Serialize) -> anyhow::Result<()> {
        let answer = self.post(path, body).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer).await) }
    }

    /// Has the agent forget something, and gets whatever it answers.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Response<Received>> {
        let request = Request::delete(path).header(HOST, AGENT);
        Ok(self.client.request(request.body(empty())?).await?)
    }

    /// Tells the agent something, and gets whatever it answers.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Response<Received>> {
        let request = Request::post(path).header(HOST, AGENT).header(CONTENT_TYPE, "application/json");
        Ok(self.client.request(request.body(full(serde_json::to_vec(body)?))?).await?)
    }
}

async fn understood<T: DeserializeOwned>(answer: Response<Received>) -> anyhow::Result<T> {
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    Ok(answer.into_body().json(ANSWER_BYTES_MAX).await?)
}

/// What the agent says about why it does not.
async fn refused(answer: Response<Received>) -> anyhow::Error {
    let status = answer.status();
    let text = answer.into_body().collect(REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let text: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).take(300).collect();
    anyhow!("the agent answers {status}: {text}")
}

/// All live links, by agent.
#[derive(Default)]
pub struct Links {
    live: Mutex<HashMap<String, Arc<Link>>>,
}

impl Links {
    /// Takes a link. One that the same agent holds already is ended: the agent has come back
    /// before its old link was seen to be dead.
    pub fn attach(&self, link: Link) -> Arc<Link> {
        let link = Arc::new(link);
        let held = self.live.lock().insert(link.agent_id.clone(), Arc::clone(&link));
        if let Some(held) = held {
            held.cancel.cancel();
        }
        link
    }

    /// Forgets a link that has ended, unless another has taken its place.
    pub fn detach(&self, link: &Arc<Link>) {
        let mut live = self.live.lock();
        if live.get(&link.agent_id).is_some_and(|held| Arc::ptr_eq(held, link)) {
            live.remove(&link.agent_id);
        }
    }

    /// The link of an agent.
    pub fn get(&self, agent_id: &str) -> Option<Arc<Link>> {
        self.live.lock().get(agent_id).cloned()
    }

    /// Ends an agent's link: it was revoked.
    pub fn cut(&self, agent_id: &str) {
        if let Some(link) = self.live.lock().remove(agent_id) {
            link.cancel.cancel();
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.live.lock().values().cloned().collect()
    }

    /// What is seen of an agent that was last heard of at `last_seen_ms`, if ever.
    pub fn state(
        &self,
        agent_id: &str,
        last_seen_ms: Option<TimeMs>,
        late_after: Duration,
        now_ms: TimeMs,
    ) -> LinkState {
        let Some(link) = self.get(agent_id) else {
            return last_seen_ms.map_or(LinkState::Never, |since_ms| LinkState::Down { since_ms });
        };
        let heard_ms = link.heard_ms();
        let silent = Duration::from_millis(now_ms.saturating_sub(heard_ms).max(0) as u64);
        if silent > late_after {
            LinkState::Late { since_ms: heard_ms }
        } else {
            LinkState::Up { since_ms: link.since_ms }
        }
    }
}
