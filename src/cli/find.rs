//! Finds the running agent and asks it over its Unix socket.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::Global;
use super::exit;
use crate::agent::Status;
use crate::api::{Processes, Values};
use crate::http_client::LocalClient;

/// A running agent.
#[derive(Debug)]
pub struct RunningAgent {
    socket: PathBuf,
}

/// Why there is no agent behind a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nobody listens there.
    NoAgent,
    /// Somebody does, but not for this user.
    NotPermitted,
}

impl RunningAgent {
    /// Finds the agent, or names every place where it was looked for.
    pub fn find(global: &Global) -> anyhow::Result<Self> {
        // A client needs the config only to know where to look; what is wrong with it is not its concern.
        let sockets = global.sockets(&global.request()?.sound());
        let mut foreign = None;
        for socket in &sockets {
            match Self::at(socket) {
                Ok(agent) => return Ok(agent),
                Err(Absent::NotPermitted) => foreign = foreign.or(Some(socket)),
                Err(Absent::NoAgent) => {}
            }
        }
        if let Some(socket) = foreign {
            let text = format!("error: the agent at {} is not yours; try sudo", socket.display());
            return Err(exit::failure(exit::NOT_PERMITTED, text));
        }
        let places: Vec<_> = sockets.iter().map(|socket| socket.display().to_string()).collect();
        let places = places.join(", ");
        Err(exit::failure(
            exit::FAILED,
            format!("no agent found (looked in {places}); start one: fieldpost agent --start"),
        ))
    }

    /// The agent that listens at this socket.
    pub fn at(socket: &Path) -> Result<Self, Absent> {
        match UnixStream::connect(socket) {
            Ok(_) => Ok(Self { socket: socket.to_owned() }),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Absent::NotPermitted),
            Err(_) => Err(Absent::NoAgent),
        }
    }

    /// Its status.
    pub fn status(&self) -> anyhow::Result<Status> {
        self.get("/v1/status")
    }

    /// Its newest values.
    pub fn values(&self) -> anyhow::Result<Values> {
        self.get("/v1/values")
    }

    /// Its newest process table.
    pub fn processes(&self) -> anyhow::Result<Processes> {
        self.get("/v1/processes")
    }

    /// Asks for a JSON answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        match self.ask("GET", path)? {
            (200, body) => serde_json::from_slice(&body).context("the agent's answer is of another version"),
            (code, body) => bail!("the agent refused ({code}): {}", String::from_utf8_lossy(&body).trim()),
        }
    }

    /// Asks the agent to do something: the code and the JSON of its answer.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<(u16, T)> {
        let (code, body) = self.ask("POST", path)?;
        let answer = serde_json::from_slice(&body);
        Ok((code, answer.context("the agent's answer is of another version")?))
    }

    fn ask(&self, method: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let place = || format!("the agent at {} does not answer", self.socket.display());
        let runtime: Runtime = Builder::new_current_thread().enable_all().build().with_context(place)?;
        let client = LocalClient::new(&self.socket)?;
        runtime.block_on(client.ask(method, path)).with_context(place)
    }
}
