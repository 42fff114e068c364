//! `fieldpost hub api-token`: tokens by which programs ask the hub or hand in measurements.

use std::process::ExitCode;

use fieldpost_model::Period;
use fieldpost_model::hub_state::Scope;

use super::RunningHub;
use crate::api::{ApiTokenMade, ApiTokenRequest, ApiTokenView};
use crate::cli::{Global, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub api-token create grafana --scope viewer
  fieldpost hub api-token create prometheus --scope ingest --ttl 365d
  fieldpost hub api-token list
  fieldpost hub api-token revoke 3c9a71d05f1ce09a

The token is shown once. Send it as: Authorization: Bearer TOKEN";

/// Make, list and revoke API tokens
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make an API token
    Create {
        /// What you call it
        name: String,
        /// What it is good for: viewer, operator, admin, or ingest (hands in, reads nothing)
        #[arg(long, default_value = "viewer", value_name = "SCOPE")]
        scope: Scope,
        /// How long it is good; without it until it is revoked
        #[arg(long, value_name = "SPAN")]
        ttl: Option<Period>,
        /// User whose it is: it never does more than they may
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
    },
    /// List those that are kept
    List,
    /// End one
    Revoke {
        /// Its id, as the list has it
        id: String,
    },
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    match &args.action {
        Action::Create { name, scope, ttl, owner } => {
            let request = ApiTokenRequest {
                name: name.clone(),
                scope: scope.as_str().to_owned(),
                owner: owner.clone(),
                ttl_seconds: ttl.map(|ttl| ttl.0.as_secs()),
            };
            created(&hub.send("POST", "/api/v1/api-tokens", &request)?, global)?;
        }
        Action::List => list(&hub.get::<Vec<ApiTokenView>>("/api/v1/api-tokens")?, global)?,
        Action::Revoke { id } => {
            hub.tell("DELETE", &format!("/api/v1/api-tokens/{id}"), None)?;
            terminal::out(&format!("revoked {id}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn created(made: &ApiTokenMade, global: &Global) -> anyhow::Result<()> {
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(made)?)?);
    }
    terminal::out(&made.secret)?;
    let until = made
        .token
        .expires_ms
        .map_or("until it is revoked".into(), |ms| format!("until {}", instant::show(ms)));
    terminal::err(&format!(
        "scope {}, {until}, id {}; it is not shown again",
        made.token.scope, made.token.id
    ));
    Ok(())
}

fn list(tokens: &[ApiTokenView], global: &Global) -> anyhow::Result<()> {
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(tokens)?)?);
    }
    let now_ms = instant::parse_now("now").map_err(anyhow::Error::msg)?;
    let mut table =
        terminal::table(["ID", "NAME", "SCOPE", "STATE", "ENDS", "OWNER", "LAST USED", "MADE BY"]);
    for token in tokens {
        let state = match token {
            ApiTokenView { revoked_ms: Some(_), .. } => "revoked",
            ApiTokenView { expires_ms: Some(expires_ms), .. } if *expires_ms <= now_ms => "expired",
            _ => "good",
        };
        let shown = |ms: Option<i64>| ms.map_or("-".to_owned(), instant::show);
        table.add_row([
            token.id.clone(),
            terminal::printable(&token.name).into_owned(),
            token.scope.clone(),
            state.to_owned(),
            token.expires_ms.map_or("never".to_owned(), instant::show),
            token.owner.clone().unwrap_or_else(|| "the hub".to_owned()),
            shown(token.last_used_ms),
            terminal::printable(&token.created_by).into_owned(),
        ]);
    }
    Ok(terminal::out(&terminal::table_text(&table))?)
}
