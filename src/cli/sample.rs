//! `fieldpost sample`: one full pass in Prometheus text.

use std::process::ExitCode;

use super::Global;

const EXAMPLES: &str = "\
Examples:
  fieldpost sample
  fieldpost sample cpu meminfo
  fieldpost sample --set collectors.all=true
  fieldpost sample --set collectors.procfs=/host/proc --set collectors.sysfs=/host/sys";

/// Measure this machine once and print it in Prometheus text
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only these collectors
    #[arg(value_name = "COLLECTOR")]
    pub collectors: Vec<String>,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no sample yet")
}
