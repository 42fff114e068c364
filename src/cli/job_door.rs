//! Whom commands about runs and jobs ask: the agent of this host, or a hub for all of its agents.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::find::{Running, RunningAgent};
use super::run::encoded;
use super::{Global, exit, process_setup};
use crate::api::Problem;
use crate::http_client::{HubClient, LocalClient, fault_of_url};
use crate::hub;

/// The longest that an answer may take, beside what it waits for by itself.
const DEADLINE: Duration = Duration::from_secs(40);
/// The token for a hub elsewhere, where no file is named.
const TOKEN_VARIABLE: &str = "FIELDPOST_TOKEN";

/// Whom to ask.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Whom {
    /// On this agent, through the hub
    #[arg(long, value_name = "NAME")]
    pub on: Option<String>,
    /// Ask the hub at this address
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The file with the API token for --hub; without it the variable FIELDPOST_TOKEN
    #[arg(long, value_name = "FILE", requires = "hub")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for --hub, and no others
    #[arg(long, value_name = "FILE", requires = "hub")]
    ca: Option<PathBuf>,
}

impl Whom {
    /// Is this very host meant?
    pub fn is_here(&self) -> bool {
        self.on.is_none() && self.hub.is_none()
    }
}

enum At {
    Socket(PathBuf),
    Url(String, Box<HubClient>),
}

/// Whom it is put to.
pub struct JobDoor {
    at: At,
    /// Is it a hub? Else the agent of this host.
    pub is_hub: bool,
    /// Of this agent, where a hub is asked.
    pub agent: Option<String>,
}

impl JobDoor {
    /// Finds it: the hub where one is named or needed, else the agent here, else the hub here.
    pub fn find(whom: &Whom, needs_hub: bool, global: &Global) -> anyhow::Result<Self> {
        let agent = whom.on.clone();
        if let Some(url) = &whom.hub {
            return Ok(Self { at: far(url, whom)?, is_hub: true, agent });
        }
        if !needs_hub && agent.is_none() {
            match RunningAgent::find(global) {
                Ok(found) => {
                    return Ok(Self { at: At::Socket(found.socket().to_owned()), is_hub: false, agent });
                }
                Err(error) => match Running::<hub::Config>::find(global) {
                    Ok(hub) => {
                        return Ok(Self { at: At::Socket(hub.socket().to_owned()), is_hub: true, agent });
                    }
                    Err(_) => return Err(error),
                },
            }
        }
        let hub = Running::<hub::Config>::find(global);
        let hub = hub.context("no hub found here; name one by --hub URL")?;
        Ok(Self { at: At::Socket(hub.socket().to_owned()), is_hub: true, agent })
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
        match &self.at {
            At::Url(url, _) => format!("the hub at {url}"),
            At::Socket(socket) => {
                format!("the {} at {}", if self.is_hub { "hub" } else { "agent" }, socket.display())
            }
        }
    }

    /// `/runs/1` as this one knows it; a hub is told of which agent.
    fn path(&self, path: &str) -> String {
        if !self.is_hub {
            return format!("/v1{path}");
        }
        match &self.agent {
            Some(agent) if path.starts_with("/runs") || path.starts_with("/jobs") => {
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
        let (path, deadline) = (self.path(path), patience + DEADLINE);
        let asked = match &self.at {
            At::Socket(socket) => {
                LocalClient::with_deadline(socket, deadline)?.ask(method, &path, json).await
            }
            At::Url(_, client) => client.ask(method, &path, json, deadline).await,
        };
        asked.with_context(|| format!("{} does not answer", self.face()))
    }

    /// Asks for an answer and gives its bytes as they come.
    pub async fn follow(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.path(path);
        match &self.at {
            At::Socket(socket) => LocalClient::without_deadline(socket)?.follow(&path, take).await,
            At::Url(_, client) => client.follow(&path, take).await,
        }
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

/// The answer, if it is none that refuses.
fn accepted((code, answer): (u16, Vec<u8>)) -> anyhow::Result<Vec<u8>> {
    if (200..300).contains(&code) {
        return Ok(answer);
    }
    match serde_json::from_slice::<Problem>(&answer) {
        Ok(problem) => bail!("{}", problem.detail),
        Err(_) => bail!("refused ({code}): {}", String::from_utf8_lossy(&answer).trim()),
    }
}

fn far(url: &str, whom: &Whom) -> anyhow::Result<At> {
    if let Some(fault) = fault_of_url(url) {
        return Err(exit::failure(exit::USAGE, format!("error: --hub: {fault}")));
    }
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let token = match &whom.token_file {
        Some(file) => Some(String::from_utf8_lossy(&read(file)?).trim().to_owned()),
        None => std::env::var(TOKEN_VARIABLE).ok(),
    };
    let ca = whom.ca.as_deref().map(read).transpose()?;
    Ok(At::Url(url.to_owned(), Box::new(HubClient::new(url, token, ca.as_deref())?)))
}
