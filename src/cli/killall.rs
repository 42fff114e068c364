//! `fieldpost killall`: ends everything that the agent runs, or all runs of one job.

use std::process::ExitCode;

use super::find::RunningAgent;
use super::{Global, exit, terminal};
use crate::api::KillAllRequest;
use crate::jobs::KilledAll;

const EXAMPLES: &str = "\
Examples:
  fieldpost killall
  fieldpost killall --job reindex
  fieldpost killall --signal KILL

Kept jobs come back after it; to have them stay away: fieldpost job disable NAME";

/// End all runs; those that wait are called off
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only runs of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Only send this signal, by name or number
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<String>,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let request = KillAllRequest { job: args.job.clone(), signal: args.signal.clone() };
    let done: KilledAll = RunningAgent::find(global)?.send("POST", "/v1/killall", &request)?;
    terminal::out(&if global.json { serde_json::to_string(&done)? } else { text(&done) })?;
    Ok(ExitCode::from(if done.failed > 0 { exit::FAILED } else { 0 }))
}

fn text(done: &KilledAll) -> String {
    let parts = [
        (done.asked, "asked to end"),
        (done.called_off, "called off"),
        (done.already, "ending or over already"),
        (done.failed, "could not be told"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if told.is_empty() { "nothing runs".to_owned() } else { told.join(", ") }
}
