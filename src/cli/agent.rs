//! `fieldpost agent`: in the foreground, or as a daemon that is started, stopped and asked.

use std::process::ExitCode;

use super::{Global, exit};

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
    let _loaded = global.load()?;
    Err(exit::failure(exit::FAILED, "this build has no agent yet"))
}
