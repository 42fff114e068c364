//! `fieldpost series`: the series in the store.

use std::process::ExitCode;

use super::Global;

const EXAMPLES: &str = "\
Examples:
  fieldpost series
  fieldpost series --match 'node_disk_.*'
  fieldpost series --match 'node_cpu_seconds_total{mode=\"idle\"}' --json";

/// List stored series
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only series of this selector, such as node_load1 or {device="eth0"}
    #[arg(long = "match", value_name = "SELECTOR")]
    pub matches: Vec<String>,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no series yet")
}
