//! The one HTTP client. In this house it talks to the agent's Unix socket; whoever needs more
//! (sinks, webhooks) gets it from here too, so that deadlines and limits are set in one place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// The longest that connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The longest that a whole answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that is read, bytes.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// A client of one agent's Unix socket.
pub struct LocalClient {
    http: reqwest::Client,
}

impl LocalClient {
    /// Speaks to this socket. Nothing is sent yet.
    pub fn new(socket: &Path) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(ANSWER_DEADLINE)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http })
    }

    /// Asks for this path; the answer is JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (status, body) = self.send(self.http.get(format!("http://agent{path}"))).await?;
        if !status.is_success() {
            bail!("the agent refuses: {}", String::from_utf8_lossy(&body).trim());
        }
        serde_json::from_slice(&body).with_context(|| format!("the agent's answer to {path} cannot be read"))
    }

    /// Posts to this path without a body; the answer is JSON whatever the status.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (_, body) = self.send(self.http.post(format!("http://agent{path}"))).await?;
        serde_json::from_slice(&body).with_context(|| format!("the agent's answer to {path} cannot be read"))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(reqwest::StatusCode, Vec<u8>)> {
        let mut response = request.send().await.context("the agent does not answer")?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the agent's answer broke off")? {
            if body.len() + chunk.len() > ANSWER_LIMIT_BYTES {
                bail!("the agent's answer is larger than 64 MiB");
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}
