//! `fieldpost top`: a live view of this machine.

use std::process::ExitCode;

use super::{Global, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost top
  fieldpost top | cat        (one page, without colours)
  ssh host fieldpost top";

/// Watch this machine live, full screen; q quits
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub interval: u16,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no top yet")
}
