//! `fieldpost processes`: the process table, now or at any stored instant.

use std::process::ExitCode;

use super::Global;
use fieldpost_model::TimeMs;

use super::instant;
const EXAMPLES: &str = "\
Examples:
  fieldpost processes
  fieldpost processes --sort rss --name postgres
  fieldpost processes --at 03:12 --json";

/// What the list is sorted by, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Sort {
    /// Processor time.
    #[default]
    Cpu,
    /// Resident memory.
    Rss,
    /// Bytes read and written.
    Io,
}

/// List processes, now or at a past moment
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Sort by this, largest first
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only processes whose name or command holds this text
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// As they were then: 03:12, 5m (ago), 2026-11-21 03:12
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub at: Option<TimeMs>,
    /// At most so many; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: usize,
}

/// Names of users by their numbers, as far as this machine knows them.
pub fn users() -> std::collections::HashMap<u32, String> {
    std::collections::HashMap::new()
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no processes yet")
}
