//! Whom a query is put to: the hub or the agent on this machine, a hub elsewhere, or an agent through one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::TimeMs;
use http::HeaderMap;
use tokio::runtime::Builder;

use super::{Args, Span};
use crate::cli::find::{Running, RunningAgent};
use crate::cli::{Global, exit};
use crate::http_client::{ClientTls, Credential, LocalClient, PageClient, fault_of_url, page_url};
use crate::hub;

/// The longest that an answer may take: as long as a hub works at it, and some more.
const DEADLINE: Duration = Duration::from_secs(130);
/// The largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The token for a hub elsewhere, where no file is named.
const TOKEN_VARIABLE: &str = "FIELDPOST_TOKEN";

/// Whom it is put to.
pub struct Door {
    at: At,
    /// What stands before the paths of Prometheus' API.
    prefix: String,
}

enum At {
    Socket(PathBuf),
    Url { url: String, token: Option<String>, ca: Option<Vec<u8>> },
}

impl Door {
    /// Finds it.
    pub fn find(args: &Args, global: &Global) -> anyhow::Result<Self> {
        let prefix = match &args.agent {
            Some(name) => format!("/api/v1/agents/{}/v1/prometheus", percent_encoded(name)),
            None => String::new(),
        };
        let at = match &args.hub {
            Some(url) => far(url, args)?,
            None => At::Socket(near(args, global)?),
        };
        Ok(Self { at, prefix })
    }

    /// The answer's body, whether it is one or a refusal.
    pub fn ask(&self, expr: &str, span: Option<&Span>, at_ms: Option<TimeMs>) -> anyhow::Result<Vec<u8>> {
        let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
        let mut parameters = vec![("query", expr.to_owned())];
        let path = match (span, at_ms) {
            (Some(span), _) => {
                parameters.push(("start", seconds(span.from_ms)));
                parameters.push(("end", seconds(span.to_ms)));
                parameters.push(("step", seconds(span.step_ms)));
                "/api/v1/query_range"
            }
            (None, at_ms) => {
                parameters.extend(at_ms.map(|at_ms| ("time", seconds(at_ms))));
                "/api/v1/query"
            }
        };
        let parameters = parameters.iter().map(|(name, value)| (*name, value.as_str()));
        let address = page_url("http", "localhost", path, parameters)?;
        let path = format!("{}{}", self.prefix, address.trim_start_matches("http://localhost"));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.get(&path))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        match &self.at {
            At::Socket(socket) => {
                let asked = LocalClient::with_deadline(socket, DEADLINE)?.ask("GET", path, None).await;
                Ok(asked.with_context(|| format!("{} does not answer", socket.display()))?.1)
            }
            At::Url { url, token, ca } => {
                let tls = ClientTls { ca: ca.clone(), ..ClientTls::default() };
                let client = PageClient::new(&tls, "")?;
                let credential = token.clone().map(Credential::Bearer);
                let address = format!("{}{path}", url.trim_end_matches('/'));
                let limits = (DEADLINE, ANSWER_BYTES_MAX);
                let asked = client.ask(&address, HeaderMap::new(), credential.as_ref(), limits).await;
                Ok(asked.with_context(|| format!("{url} does not answer"))?.1)
            }
        }
    }
}

fn far(url: &str, args: &Args) -> anyhow::Result<At> {
    if let Some(fault) = fault_of_url(url) {
        return Err(exit::failure(exit::USAGE, format!("error: --hub: {fault}")));
    }
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let token = match &args.token_file {
        Some(file) => Some(String::from_utf8_lossy(&read(file)?).trim().to_owned()),
        None => std::env::var(TOKEN_VARIABLE).ok(),
    };
    let ca = args.ca.as_deref().map(read).transpose()?;
    Ok(At::Url { url: url.to_owned(), token, ca })
}

/// The socket of the hub here; of the agent where there is none, unless another agent is meant.
fn near(args: &Args, global: &Global) -> anyhow::Result<PathBuf> {
    let hub = Running::<hub::Config>::find(global).map(|hub| hub.socket().to_owned());
    match (hub, &args.agent) {
        (Err(_), None) => {
            let nobody = "no hub and no agent found here; start one, or name one by --hub URL";
            let agent = RunningAgent::find(global).with_context(|| nobody)?;
            Ok(agent.socket().to_owned())
        }
        (hub, _) => hub,
    }
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
