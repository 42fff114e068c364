//! `fieldpost hub token`: join strings, by which hosts come in.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use fieldpost_model::hub_state::JoinToken;
use fieldpost_model::{Period, format_span};

use super::RunningHub;
use crate::api::{TokenMade, TokenRequest};
use crate::cli::{Global, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub token create
  fieldpost hub token create --role web --role db --ttl 8h --uses 20
  fieldpost hub token list
  fieldpost hub token revoke 3c9a71d05f1ce09a

Paste the string into `fieldpost join -` on the host. Whoever has it may join; it is shown once.";

/// Make, list and revoke join strings
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a join string
    Create(Create),
    /// List those that are kept
    List,
    /// End one
    Revoke {
        /// Its id, as the list has it
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// How long it is good
    #[arg(long, default_value = "1h", value_name = "SPAN")]
    ttl: Period,
    /// How many hosts may come by it
    #[arg(long, default_value_t = 1, value_name = "N")]
    uses: u32,
    /// Role of those hosts; may be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Label of those hosts; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_and_value)]
    labels: Vec<(String, String)>,
    /// Hosts wait until somebody approves them
    #[arg(long)]
    needs_approval: bool,
}

/// Reads `site=berlin`.
pub fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as site=berlin".to_owned()),
    }
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    match &args.action {
        Action::Create(wish) => create(&hub, wish, global)?,
        Action::List => list(&hub, global)?,
        Action::Revoke { id } => {
            hub.tell("DELETE", &format!("/api/v1/tokens/{id}"), None)?;
            terminal::out(&format!("revoked {id}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn create(hub: &RunningHub, wish: &Create, global: &Global) -> anyhow::Result<()> {
    let request = TokenRequest {
        ttl_seconds: wish.ttl.0.as_secs(),
        uses: wish.uses,
        roles: wish.roles.iter().cloned().collect::<BTreeSet<_>>(),
        labels: wish.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        needs_approval: wish.needs_approval,
    };
    let made: TokenMade = hub.send("POST", "/api/v1/tokens", &request)?;
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(&made)?)?);
    }
    terminal::out(&made.join_string)?;
    let hosts = if made.uses == 1 { "one host".to_owned() } else { format!("{} hosts", made.uses) };
    let roles = match made.roles.is_empty() {
        true => "no roles".to_owned(),
        false => format!("roles: {}", made.roles.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    let (until, span) = (instant::show(made.expires_ms), format_span(wish.ttl.0));
    terminal::err(&format!("{hosts}, until {until} ({span}), {roles}"));
    Ok(())
}

fn list(hub: &RunningHub, global: &Global) -> anyhow::Result<()> {
    let tokens: Vec<JoinToken> = hub.get("/api/v1/tokens")?;
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(&tokens)?)?);
    }
    let now_ms = instant::parse_now("now").map_err(anyhow::Error::msg)?;
    let mut table = crate::cli::plain_table(["ID", "STATE", "USED", "ENDS", "ROLES", "MADE BY"]);
    for token in &tokens {
        let state = match token {
            JoinToken { revoked_ms: Some(_), .. } => "revoked",
            token if token.expires_ms <= now_ms => "expired",
            token if token.uses >= token.uses_max => "used up",
            _ => "good",
        };
        let left = Duration::from_millis((token.expires_ms - now_ms).max(0) as u64);
        let ends = if state == "good" { format!("in {}", format_span(left)) } else { "-".to_owned() };
        let roles = token.roles.iter().cloned().collect::<Vec<_>>().join(" ");
        table.add_row([
            token.id.clone(),
            state.to_owned(),
            format!("{} of {}", token.uses, token.uses_max),
            ends,
            terminal::printable(&roles).into_owned(),
            terminal::printable(&token.created_by).into_owned(),
        ]);
    }
    Ok(terminal::out(&crate::cli::table_text(&table))?)
}
