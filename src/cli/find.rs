//! Finds the running agent or hub and asks it over its Unix socket.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::Global;
use super::exit;
use super::server::accepted;
use crate::agent::Status;
use crate::api::Processes;
use crate::config::{Config, Root};
use crate::http_client::LocalClient;

/// A running process of the face that this is the config of.
#[derive(Debug)]
pub struct Running<R> {
    socket: PathBuf,
    face: PhantomData<R>,
}

/// A running agent.
pub type RunningAgent = Running<Config>;

/// Why there is nothing behind a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nobody listens there.
    Nobody,
    /// Somebody does, but not for this user.
    NotPermitted,
}

impl<R: Root> Running<R> {
    /// Finds it, or names every place where it was looked for.
    pub fn find(global: &Global) -> anyhow::Result<Self> {
        // A client needs the config only to know where to look; what is wrong with it is not its concern.
        let sockets = global.sockets(&global.request()?.sound::<R>());
        let mut foreign = None;
        for socket in &sockets {
            match Self::at(socket) {
                Ok(running) => return Ok(running),
                Err(Absent::NotPermitted) => foreign = foreign.or(Some(socket)),
                Err(Absent::Nobody) => {}
            }
        }
        let face = R::NAMES.face;
        if let Some(socket) = foreign {
            let text = format!("error: the {face} at {} is not yours; try sudo", socket.display());
            return Err(exit::failure(exit::NOT_PERMITTED, text));
        }
        let places: Vec<_> = sockets.iter().map(|socket| socket.display().to_string()).collect();
        let places = places.join(", ");
        Err(exit::failure(
            exit::FAILED,
            format!("no {face} found (looked in {places}); start one: fieldpost {face} --start"),
        ))
    }

    /// What listens at this socket.
    pub fn at(socket: &Path) -> Result<Self, Absent> {
        match UnixStream::connect(socket) {
            Ok(_) => Ok(Self { socket: socket.to_owned(), face: PhantomData }),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Absent::NotPermitted),
            Err(_) => Err(Absent::Nobody),
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a JSON answer. What it refuses is an error in its own words.
    pub fn ask_for<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = accepted(self.ask("GET", path)?)?;
        let face = R::NAMES.face;
        serde_json::from_slice(&answer).with_context(|| format!("the {face}'s answer is of another version"))
    }

    /// Asks for a JSON answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let face = R::NAMES.face;
        match self.ask("GET", path)? {
            (200, body) => serde_json::from_slice(&body)
                .with_context(|| format!("the {face}'s answer is of another version")),
            (code, body) => bail!("the {face} refused ({code}): {}", String::from_utf8_lossy(&body).trim()),
        }
    }

    /// Asks it to do something, and gives the JSON of its answer. What it refuses is an error in
    /// its own words.
    pub fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let answer = self.tell(method, path, Some(serde_json::to_vec(body)?))?;
        let face = R::NAMES.face;
        serde_json::from_slice(&answer).with_context(|| format!("the {face}'s answer is of another version"))
    }

    /// Asks it to do something, and gives what it answers.
    pub fn tell(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
        accepted(self.ask_with(method, path, body)?)
    }

    /// Asks it to do something that may take long, and gives the JSON of its answer.
    pub fn send_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> anyhow::Result<T> {
        let face = R::NAMES.face;
        let client = LocalClient::with_deadline(&self.socket, patience)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(client.ask("POST", path, Some(serde_json::to_vec(body)?)));
        let answer = accepted(asked.with_context(|| format!("the {face} does not answer"))?)?;
        serde_json::from_slice(&answer).with_context(|| format!("the {face}'s answer is of another version"))
    }

    /// Asks it to do something: the code and the JSON of its answer.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<(u16, T)> {
        let (code, body) = self.ask("POST", path)?;
        let answer = serde_json::from_slice(&body);
        Ok((code, answer.with_context(|| format!("the {}'s answer is of another version", R::NAMES.face))?))
    }

    fn ask(&self, method: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.ask_with(method, path, None)
    }

    fn ask_with(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<(u16, Vec<u8>)> {
        let place = || format!("the {} at {} does not answer", R::NAMES.face, self.socket.display());
        let runtime: Runtime = Builder::new_current_thread().enable_all().build().with_context(place)?;
        let client = LocalClient::new(&self.socket)?;
        runtime.block_on(client.ask(method, path, body)).with_context(place)
    }
}

impl RunningAgent {
    /// Its status.
    pub fn status(&self) -> anyhow::Result<Status> {
        self.get("/v1/status")
    }

    /// Its newest process table.
    pub fn processes(&self) -> anyhow::Result<Processes> {
        self.get("/v1/processes")
    }
}
