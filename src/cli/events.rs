//! `fieldpost events`: the log of the agent in the store.

use std::process::ExitCode;

use super::Global;
use fieldpost_model::TimeMs;

use super::instant;
const EXAMPLES: &str = "\
Examples:
  fieldpost events
  fieldpost events --from 1d --json";

/// Show what happened to the agent: starts, stops, gaps, stuck collectors
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// From when: 03:10, 1d (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: Option<TimeMs>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no events yet")
}
