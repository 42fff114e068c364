//! `fieldpost agent`: in the foreground, or as a daemon that is started, stopped and asked.

mod control;
mod work;

use std::process::ExitCode;

use super::{Global, exit};
use crate::daemon;

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
#[group(skip)]
pub struct Args {
    /// Start it as a daemon; returns once it is ready
    #[arg(long, group = "action")]
    start: bool,
    /// Stop it, and wait for its clean end
    #[arg(long, group = "action")]
    stop: bool,
    /// Stop it if it runs, and start it
    #[arg(long, group = "action")]
    restart: bool,
    /// Say whether it runs
    #[arg(long, group = "action")]
    status: bool,
    /// Have it load its config anew, and say what came of it
    #[arg(long, group = "action")]
    reload: bool,
    /// With --stop and --restart: kill it if it does not end within 10 s
    #[arg(long)]
    force: bool,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    if args.force && !args.stop && !args.restart {
        let text = "error: --force goes with --stop or --restart only\n\nFor more information, try '--help'.";
        return Err(exit::failure(exit::USAGE, text));
    }
    if args.start || args.restart {
        // Nothing has been opened yet; the daemon is to inherit nothing.
        daemon::close_inherited();
    }
    match args {
        Args { start: true, .. } => control::start(global),
        Args { stop: true, .. } => control::stop(global, args.force),
        Args { restart: true, .. } => control::restart(global, args.force),
        Args { status: true, .. } => control::status(global),
        Args { reload: true, .. } => control::reload(global),
        _ => work::in_foreground(global),
    }
}
