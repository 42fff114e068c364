//! `fieldpost agent`: in the foreground, or as a daemon that is started, stopped and asked.

use std::process::ExitCode;

use super::serve::{Plan, serve};
use super::{Global, foreground};
use crate::telemetry::{Log, LogSink, is_journal};

const EXAMPLES: &str = "\
Examples:
  fieldpost agent                          (foreground, for systemd and containers)
  fieldpost agent --start
  fieldpost agent --status
  fieldpost agent --stop --force
  fieldpost agent --set store.path=./data --set metrics.listen=127.0.0.1:0";

/// Run the agent: in the foreground, or as a daemon with --start
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "action", multiple = false, args = ["start", "stop", "restart", "status", "reload"])]
pub struct Args {
    /// Start it as a daemon; returns once it is ready
    #[arg(long)]
    start: bool,
    /// Stop it, and wait for its clean end
    #[arg(long)]
    stop: bool,
    /// Stop it if it runs, and start it
    #[arg(long)]
    restart: bool,
    /// Say whether it runs
    #[arg(long)]
    status: bool,
    /// Have it load its config anew, and say what came of it
    #[arg(long)]
    reload: bool,
    /// With --stop and --restart: kill it if it does not end within 10 s
    #[arg(long, conflicts_with_all = ["start", "status", "reload"])]
    force: bool,
}

/// Does what was asked for.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    run_in_foreground(global)
}

fn run_in_foreground(global: &Global) -> anyhow::Result<ExitCode> {
    let request = global.request()?;
    let loaded = request.load()?;
    let journal = is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    let log = Log::start(&loaded.config.log, LogSink::Stderr { journal })?;
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let config_name = if files.is_empty() { "defaults".to_owned() } else { files.join(" ") };
    let stopped = serve(Plan { request, loaded, log, config_name }, foreground::tell_started)?;
    foreground::tell_stopped(&stopped);
    Ok(ExitCode::SUCCESS)
}
