//! `fieldpost invite`: lets one hub take this agent in by dialling it, where the agent must not
//! dial out. Prints a word for `fieldpost hub poll add -`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fieldpost_link::AgentAddress;
use fieldpost_model::{Period, RemoteJobs, format_span};
use serde_json::json;

use super::find::RunningAgent;
use super::join::{allowed, host_name};
use super::{Global, exit, instant, terminal};
use crate::agent::Invitations;
use crate::config::Config;

/// The longest that an invitation is good: what is good for longer is a password.
const TTL_MAX: Duration = Duration::from_secs(30 * 86_400);

const EXAMPLES: &str = "\
Examples:
  sudo fieldpost invite
  sudo fieldpost invite --address web1.example:7702 --ttl 8h
  sudo fieldpost invite | ssh hub fieldpost hub poll add - --interval 300s

The agent has to listen: api.listen in agent.yaml. Whoever has the word may take the agent in, once.";

/// Invite a hub to dial this agent: prints a word for `fieldpost hub poll add -`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How long it is good
    #[arg(long, default_value = "1h", value_name = "SPAN")]
    ttl: Period,
    /// The name of this host at the hub; its host name if not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The jobs that the hub may have run here: off, named (those of this host's jobs.d) or any
    #[arg(long, value_name = "WHICH", default_value_t)]
    allow_jobs: RemoteJobs,
    /// Where the hub reaches this agent, the best first; as api.listen has it if not given
    #[arg(long = "address", value_name = "HOST:PORT")]
    addresses: Vec<AgentAddress>,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config: Config = global.load()?.config;
    let Some(configured) = config.api.listen else {
        let text = "error: this agent does not listen, so that no hub can dial it\n  \
                    set api.listen in agent.yaml, such as 0.0.0.0:7702, and restart the agent";
        return Err(exit::failure(exit::CONFIG, text));
    };
    allowed(config.remote_jobs, args.allow_jobs)?;
    let ttl = args.ttl.0;
    anyhow::ensure!(!ttl.is_zero() && ttl <= TTL_MAX, "--ttl must be more than 0 and at most 30d");
    let running = RunningAgent::find(global).ok();
    let bound = running.as_ref().and_then(|agent| agent.status().ok()).and_then(|status| status.listen);
    let addresses = match args.addresses.is_empty() {
        true => vec![address_of(bound.unwrap_or(configured), &host_name())?],
        false => args.addresses.clone(),
    };
    let data = &config.store.path;
    let now_ms = instant::parse_now("now").map_err(anyhow::Error::msg)?;
    let expires_ms = now_ms + ttl.as_millis() as i64;
    let name = args.name.clone().unwrap_or_else(host_name);
    let agent_id = crate::agent::agent_id(data)?;
    let granted = (name.as_str(), args.allow_jobs);
    let word = Invitations::of(data).make(addresses.clone(), granted, &agent_id, (now_ms, expires_ms))?;
    tell(&word.to_word()?, &addresses, (expires_ms, ttl), global)?;
    let told = running.is_some_and(|agent| agent.tell("POST", "/v1/hubs/refresh", None).is_ok());
    if !told {
        terminal::err("the agent does not run, or is not yours; a hub can come once it has started");
    }
    Ok(ExitCode::SUCCESS)
}

/// The address that hubs dial. Where the agent listens on all addresses, its host's name has to do.
fn address_of(listen: SocketAddr, host: &str) -> anyhow::Result<AgentAddress> {
    let advice = "say where the hub reaches this agent: --address HOST:PORT";
    anyhow::ensure!(
        listen.port() != 0,
        "api.listen takes any free port, so start the agent first; or {advice}"
    );
    let text =
        if listen.ip().is_unspecified() { format!("{host}:{}", listen.port()) } else { listen.to_string() };
    text.parse().context(advice)
}

fn tell(
    word: &str,
    addresses: &[AgentAddress],
    (expires_ms, ttl): (i64, Duration),
    global: &Global,
) -> anyhow::Result<()> {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if global.json {
        let object = json!({ "invitation": word, "addresses": addresses, "expires_ms": expires_ms });
        return Ok(terminal::out(&serde_json::to_string_pretty(&object)?)?);
    }
    terminal::out(word)?;
    let (until, span) = (instant::show(expires_ms), format_span(ttl));
    terminal::err(&format!("one hub, until {until} ({span}), which dials {}", addresses.join(" or ")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_the_one_that_is_listened_on_or_the_hosts_name() {
        let shown = |listen: &str| address_of(listen.parse().unwrap(), "web1").map(|found| found.to_string());
        assert_eq!(shown("10.0.0.5:7702").unwrap(), "10.0.0.5:7702");
        assert_eq!(shown("0.0.0.0:7702").unwrap(), "web1:7702");
        assert_eq!(shown("[::]:7702").unwrap(), "web1:7702");
        assert!(shown("127.0.0.1:0").unwrap_err().to_string().contains("--address"));
    }
}
