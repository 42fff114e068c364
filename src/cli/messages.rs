//! `fieldpost messages`: what runs had to say to people: warnings, errors, public messages.

use std::process::ExitCode;

use fieldpost_model::TimeMs;

use super::find::RunningAgent;
use super::run::ending;
use super::server::encoded;
use super::{Global, instant, terminal};
use crate::api::MessageList;

const EXAMPLES: &str = "\
Examples:
  fieldpost messages
  fieldpost messages --levels 7-9 --from 1d
  fieldpost messages --job backup --text refused
  fieldpost messages --run 8f3ac201 --limit 20";

/// List messages of runs by the level protocol: warnings, errors, results
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Of one run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Of runs of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Of runs of this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// With this text in them
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Said since: 03:10, 1h (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    from: Option<TimeMs>,
    /// Said until
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    to: Option<TimeMs>,
    /// Of these levels
    #[arg(long, value_name = "LEVELS", default_value = "3-9")]
    levels: String,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let mut path = format!("/v1/messages?levels={}&limit={}", encoded(&args.levels), args.limit);
    for (name, word) in
        [("run", &args.run), ("job", &args.job), ("domain", &args.domain), ("text", &args.text)]
    {
        if let Some(word) = word {
            path += &format!("&{name}={}", encoded(word));
        }
    }
    for (name, time) in [("from", args.from), ("to", args.to)] {
        if let Some(time) = time {
            path += &format!("&{name}={time}");
        }
    }
    let list: MessageList = RunningAgent::find(global)?.ask_for(&path)?;
    if global.json {
        terminal::out(&serde_json::to_string(&list)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for message in list.messages {
        let bytes = message.row.bytes();
        let text = String::from_utf8_lossy(&bytes);
        let job = if message.job.is_empty() { "-" } else { &message.job };
        let time = instant::show(message.row.time_ms);
        let text = terminal::printable(text.trim_end());
        terminal::out(&format!(
            "{time}  {:>2}  {}  {job:<14}  {text}",
            message.row.level,
            ending::short(&message.run)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
