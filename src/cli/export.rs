//! `fieldpost export`: stored samples as text or CSV.

use std::process::ExitCode;

use super::Global;
use fieldpost_model::TimeMs;

use super::instant;
const EXAMPLES: &str = "\
Examples:
  fieldpost export --from 1h > last-hour.prom
  fieldpost export --from 03:00 --to 04:00 --match node_load1 --format csv";

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Prometheus text with timestamps.
    #[default]
    Text,
    /// One line a sample: time, series, value.
    Csv,
}

/// Write stored samples as Prometheus text with timestamps, or as CSV
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// From when: 03:10, 1h (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: Option<TimeMs>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
    /// Only series of this selector, such as node_load1 or {device="eth0"}; may be given again
    #[arg(long = "match", value_name = "SELECTOR")]
    pub matches: Vec<String>,
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no export yet")
}
