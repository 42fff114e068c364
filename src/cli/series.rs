//! `fieldpost series`: the series in the store.

use std::process::ExitCode;

use fieldpost_model::{Selector, TimeMs};
use fieldpost_store::StoredSeries;
use serde_json::json;

use super::data::{self, AnyOf};
use super::{Global, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost series
  fieldpost series --match '{__name__=~\"node_disk_.*\"}'
  fieldpost series --match 'node_cpu_seconds_total{mode=\"idle\"}' --from 1h --json";

/// List stored series
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only series of this selector, such as node_load1 or {device="eth0"}; may be given again
    #[arg(long = "match", value_name = "SELECTOR")]
    pub matches: Vec<String>,
    /// Only series with samples since: 03:10, 1h (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: Option<TimeMs>,
    /// Only series with samples before
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let wanted = AnyOf::parse(&args.matches)?;
    let (from, to) = data::span(args.from, args.to)?;
    let mut series = data::reader(global)?.series(&Selector::default(), from, to)?;
    series.retain(|series| wanted.accepts(series));
    if global.json {
        let list: Vec<_> = series.iter().map(as_json).collect();
        terminal::out(&serde_json::to_string(&list)?)?;
    } else {
        let lines: Vec<_> = series.iter().map(|series| terminal::printable(&series.text)).collect();
        if !lines.is_empty() {
            terminal::out(&lines.join("\n"))?;
        }
        terminal::err(&format!("{} series", series.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(series: &StoredSeries) -> serde_json::Value {
    let labels: serde_json::Map<_, _> =
        series.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "name": series.name,
        "labels": labels,
        "kind": series.kind,
        "help": series.help,
        "first_ms": series.first_ms,
        "last_ms": series.last_ms,
    })
}
