//! `fieldpost culprit`: who used the machine in a span of time.

use std::process::ExitCode;

use super::Global;
use fieldpost_model::TimeMs;

use super::instant;
const EXAMPLES: &str = "\
Examples:
  fieldpost culprit --from 03:10 --to 03:14
  fieldpost culprit --from 10m --json";

/// Name who used CPU, memory and disks between two moments
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// From when: 03:10, 5m (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: TimeMs,
    /// Until when; now if it is not given
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
    /// At most so many of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no culprit yet")
}
