//! Whom commands about runs and jobs ask: the agent of this host, or a hub for all of its agents.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::find::{Running, RunningAgent};
use super::server::{HubAddress, Server, accepted, encoded};
use super::{Global, process_setup};
use crate::hub;

/// The longest that an answer may take, beside what it waits for by itself.
const DEADLINE: Duration = Duration::from_secs(40);

/// Whom to ask.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Whom {
    /// On this agent, through the hub
    #[arg(long, value_name = "NAME")]
    pub on: Option<String>,
    #[command(flatten)]
    hub: HubAddress,
}

impl Whom {
    /// Is this very host meant?
    pub fn is_here(&self) -> bool {
        self.on.is_none() && !self.hub.is_named()
    }
}

/// Whom it is put to.
pub struct JobDoor {
    server: Server,
    /// Is it a hub? Else the agent of this host.
    pub is_hub: bool,
    /// Of this agent, where a hub is asked.
    pub agent: Option<String>,
}

impl JobDoor {
    /// Finds it: the hub where one is named or needed, else the agent here, else the hub here.
    pub fn find(whom: &Whom, needs_hub: bool, global: &Global) -> anyhow::Result<Self> {
        let agent = whom.on.clone();
        if let Some(server) = whom.hub.server()? {
            return Ok(Self { server, is_hub: true, agent });
        }
        let hub = Running::<hub::Config>::find(global).map(|hub| Server::Socket(hub.socket().to_owned()));
        if needs_hub || agent.is_some() {
            let server = hub.context("no hub found here; name one by --hub URL")?;
            return Ok(Self { server, is_hub: true, agent });
        }
        match (RunningAgent::find(global), hub) {
            (Ok(found), _) => {
                Ok(Self { server: Server::Socket(found.socket().to_owned()), is_hub: false, agent })
            }
            (Err(_), Ok(server)) => Ok(Self { server, is_hub: true, agent }),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// The same, of no agent in particular: ids and targets say which.
    pub fn of_any(self) -> Self {
        Self { agent: None, ..self }
    }

    /// `/v1/info/os` as it is asked here: of the agent itself, or of one through its hub.
    pub fn of_agent<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        if self.is_hub { self.about_agent(&format!("/v1{path}")) } else { self.get(path, Duration::ZERO) }
    }

    /// What the hub itself answers about the agent that is meant.
    pub fn about_agent<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let agent = self.agent.as_ref();
        let agent = agent.context("say of which agent: --on NAME; see: fieldpost hub agents")?;
        self.get(&format!("/agents/{}{path}", encoded(agent)), Duration::ZERO)
    }

    /// What it is called in errors.
    fn face(&self) -> String {
        format!("the {} at {}", if self.is_hub { "hub" } else { "agent" }, self.server.place())
    }

    /// `/runs/1` as this one knows it; a hub is told of which agent.
    fn path(&self, path: &str) -> String {
        if !self.is_hub {
            return format!("/v1{path}");
        }
        match &self.agent {
            Some(agent) if ["/runs", "/jobs", "/results"].iter().any(|all| path.starts_with(all)) => {
                let mark = if path.contains('?') { '&' } else { '?' };
                format!("/api/v1{path}{mark}agent={}", encoded(agent))
            }
            _ => format!("/api/v1{path}"),
        }
    }

    /// Sends a request: the code and the body of the answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        json: Option<Vec<u8>>,
        patience: Duration,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let asked = self.server.ask(method, &self.path(path), json, patience + DEADLINE).await;
        asked.with_context(|| format!("{} does not answer", self.face()))
    }

    /// Asks for an answer and gives its bytes as they come.
    pub async fn follow(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.server.follow(&self.path(path), take).await
    }

    /// The JSON of an answer; what is refused is an error in its own words.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> anyhow::Result<T> {
        let answer = accepted(self.ask(method, path, body, patience).await?)?;
        serde_json::from_slice(&answer)
            .with_context(|| format!("the answer of {} is of another version", self.face()))
    }

    /// The same, for who has no runtime.
    pub fn get<T: DeserializeOwned>(&self, path: &str, patience: Duration) -> anyhow::Result<T> {
        process_setup::client_runtime()?.block_on(self.json("GET", path, None, patience))
    }

    /// Asks it to do something, and gives the JSON of its answer.
    pub fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        process_setup::client_runtime()?.block_on(self.json(method, path, Some(body), Duration::ZERO))
    }

    /// Asks it to do something that has no answer.
    pub fn tell(&self, method: &str, path: &str) -> anyhow::Result<()> {
        let asked = process_setup::client_runtime()?.block_on(self.ask(method, path, None, Duration::ZERO));
        accepted(asked?).map(drop)
    }
}
