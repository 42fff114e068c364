//! The one HTTP client. In this house it talks to the agent's Unix socket; whoever needs more
//! (sinks, webhooks) gets it from here too, so that deadlines and limits are set in one place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;

/// The longest that connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The longest that a whole answer may take; a reload may take a few seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that is read, bytes; a table of 30 000 processes is smaller.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client of one agent's Unix socket.
pub struct LocalClient {
    http: reqwest::Client,
}

impl LocalClient {
    /// Speaks to this socket. Nothing is sent yet.
    pub fn new(socket: &Path) -> anyhow::Result<Self> {
        Self::with_deadline(socket, ANSWER_DEADLINE)
    }

    /// The same for what may take longer.
    pub fn with_deadline(socket: &Path, deadline: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(deadline)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http })
    }

    /// Sends a request, with JSON in it or without a body: the code and the body of the answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let method = Method::from_bytes(method.as_bytes()).context("no such method")?;
        let mut request = self.http.request(method, format!("http://localhost{path}"));
        if let Some(json) = json {
            request = request.header("content-type", "application/json").body(json);
        }
        let mut answer = request.send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.context("the answer broke off")? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                bail!("the answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status().as_u16(), body))
    }
}
