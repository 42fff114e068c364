//! `fieldpost leave`: this host's agent is a hub's no longer.

use std::process::ExitCode;

use anyhow::bail;

use super::find::RunningAgent;
use super::{Global, terminal};
use crate::agent::{Hubs, Membership};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  sudo fieldpost leave
  sudo fieldpost leave 5f1ce09a        (the beginning of the hub's id, if there are several)

What the hub has it keeps; at the hub the agent goes with: fieldpost hub agents forget NAME";

/// Leave a hub: its link ends, and the key made for it is removed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The beginning of the hub's id; needed if there are several
    hub: Option<String>,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config: Config = global.load()?.config;
    let hubs = Hubs::of(&config.store.path);
    let left = chosen(hubs.load()?, args.hub.as_deref())?;
    hubs.remove(&left.hub_id)?;
    let refreshed = RunningAgent::find(global).and_then(|agent| agent.tell("POST", "/v1/hubs/refresh", None));
    if refreshed.is_err() {
        terminal::err("the agent does not run, or is not yours; it knows when it starts");
    }
    let hub = match left.urls.first() {
        Some(url) => format!("{url} ({})", left.hub_id),
        None => format!("hub {}", left.hub_id),
    };
    terminal::out(&format!("left {hub}; its key is removed"))?;
    Ok(ExitCode::SUCCESS)
}

fn chosen(all: Vec<Membership>, hub: Option<&str>) -> anyhow::Result<Membership> {
    let fits = |membership: &Membership| hub.is_none_or(|begin| membership.hub_id.starts_with(begin));
    let ids: Vec<String> = all.iter().map(|membership| membership.hub_id.clone()).collect();
    let mut fitting: Vec<Membership> = all.into_iter().filter(fits).collect();
    match (fitting.pop(), fitting.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => bail!("this agent belongs to several hubs; say which: {}", ids.join(", ")),
        (None, _) if ids.is_empty() => bail!("this agent belongs to no hub"),
        (None, _) => bail!("no hub of this agent has such an id; there are: {}", ids.join(", ")),
    }
}
