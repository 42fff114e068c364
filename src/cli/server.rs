//! Whom a command puts its requests to: a socket of this machine, or a hub elsewhere by its address,
//! with what that takes: token and certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::exit;
use crate::api::Problem;
use crate::http_client::{HubClient, LocalClient, fault_of_url};

/// The token for a hub elsewhere, where no file is named.
const TOKEN_VARIABLE: &str = "FIELDPOST_TOKEN";

/// A hub elsewhere.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HubAddress {
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

/// Who answers.
pub enum Server {
    /// A program of this machine, by its socket.
    Socket(PathBuf),
    /// A hub elsewhere.
    Hub(String, Box<HubClient>),
}

impl HubAddress {
    /// Is one named?
    pub fn is_named(&self) -> bool {
        self.hub.is_some()
    }

    /// The hub, where one is named. Nothing is sent yet.
    pub fn server(&self) -> anyhow::Result<Option<Server>> {
        let Some(url) = &self.hub else { return Ok(None) };
        if let Some(fault) = fault_of_url(url) {
            return Err(exit::failure(exit::USAGE, format!("error: --hub: {fault}")));
        }
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let token = match &self.token_file {
            Some(file) => Some(String::from_utf8_lossy(&read(file)?).trim().to_owned()),
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        let ca = self.ca.as_deref().map(read).transpose()?;
        Ok(Some(Server::Hub(url.clone(), Box::new(HubClient::new(url, token, ca.as_deref())?))))
    }
}

impl Server {
    /// Sends a request, with JSON in it or without a body: the code and the body of the answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        json: Option<Vec<u8>>,
        deadline: Duration,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        match self {
            Self::Socket(socket) => {
                LocalClient::with_deadline(socket, deadline)?.ask(method, path, json).await
            }
            Self::Hub(_, client) => client.ask(method, path, json, deadline).await,
        }
    }

    /// Asks for an answer and gives its bytes as they come.
    pub async fn follow(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Socket(socket) => LocalClient::without_deadline(socket)?.follow(path, take).await,
            Self::Hub(_, client) => client.follow(path, take).await,
        }
    }

    /// Where it is: the socket, or the address.
    pub fn place(&self) -> String {
        match self {
            Self::Socket(socket) => socket.display().to_string(),
            Self::Hub(url, _) => url.clone(),
        }
    }
}

/// The answer, if it is none that refuses; else an error in the words of whoever refused.
pub fn accepted((code, answer): (u16, Vec<u8>)) -> anyhow::Result<Vec<u8>> {
    if (200..300).contains(&code) {
        return Ok(answer);
    }
    match serde_json::from_slice::<Problem>(&answer) {
        Ok(problem) => bail!("{}", problem.detail),
        Err(_) => bail!("refused ({code}): {}", String::from_utf8_lossy(&answer).trim()),
    }
}

/// Text as it stands in a path or a parameter (RFC 3986, section 2.1).
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte);
    let encode = |byte: u8| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
