//! Whom a query is put to: the hub or the agent on this machine, a hub elsewhere, or an agent through one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::TimeMs;

use super::{Args, Span};
use crate::cli::find::{Running, RunningAgent};
use crate::cli::server::{Server, encoded};
use crate::cli::{Global, process_setup};
use crate::http_client::page_url;
use crate::hub;

/// The longest that an answer may take: as long as a hub works at it, and some more.
const DEADLINE: Duration = Duration::from_secs(130);

/// Whom it is put to.
pub struct Door {
    server: Server,
    /// What stands before the paths of Prometheus' API.
    prefix: String,
}

impl Door {
    /// Finds it.
    pub fn find(args: &Args, global: &Global) -> anyhow::Result<Self> {
        let prefix = match &args.agent {
            Some(name) => format!("/api/v1/agents/{}/v1/prometheus", encoded(name)),
            None => String::new(),
        };
        let server = match args.hub.server()? {
            Some(hub) => hub,
            None => Server::Socket(near(args, global)?),
        };
        Ok(Self { server, prefix })
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
        let asked = process_setup::client_runtime()?.block_on(self.server.ask("GET", &path, None, DEADLINE));
        Ok(asked.with_context(|| format!("{} does not answer", self.server.place()))?.1)
    }
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
