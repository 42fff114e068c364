//! `fieldpost check`: is the config sound, who gave each value, and what can the present user not serve?

use std::process::ExitCode;

use fieldpost_collectors::COLLECTORS;
use serde_json::json;

use super::{Global, global, terminal};
use crate::config::{Config, Loaded, Row, yaml};

const EXAMPLES: &str = "\
Examples:
  fieldpost check
  fieldpost check --config-dir ./cfg --set interval=5s
  fieldpost check --json";

/// Columns are at most so wide; a longer value pushes the next one aside.
const COLUMN_MAX: usize = 44;

/// Check the config, and show every value with who gave it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

/// Checks and shows it. A bad config is an error, which tells everything that is wrong.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let loaded = global.load()?;
    let unserved = unserved(&loaded.config, global::is_root());
    if global.json {
        terminal::out(&as_json(&loaded, &unserved)?)?;
    } else {
        terminal::out(&table(&loaded.rows()))?;
        for (collector, lacks) in &unserved {
            terminal::err(&format!("as this user: {collector} {lacks}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> String {
    let shown: Vec<_> = rows.iter().map(|row| (&row.key, yaml::show(&row.value), &row.origin)).collect();
    let width =
        |lengths: &mut dyn Iterator<Item = usize>| lengths.filter(|n| *n <= COLUMN_MAX).max().unwrap_or(0);
    let key_width = width(&mut shown.iter().map(|(key, ..)| key.chars().count()));
    let value_width = width(&mut shown.iter().map(|(_, value, _)| value.chars().count()));
    let line = |(key, value, origin): &(&String, String, _)| {
        format!("{key:<key_width$}  {value:<value_width$}  {origin}\n")
    };
    shown.iter().map(line).collect()
}

fn as_json(loaded: &Loaded, unserved: &[(&str, &str)]) -> anyhow::Result<String> {
    let values = loaded.rows().into_iter().map(|row| {
        let origin = row.origin.to_string();
        Ok(json!({ "key": row.key, "value": serde_json::to_value(&row.value)?, "origin": origin }))
    });
    let lacks = |(collector, text): &(&str, &str)| json!({ "collector": collector, "text": text });
    let object = json!({
        "files": loaded.files,
        "values": values.collect::<Result<Vec<_>, serde_json::Error>>()?,
        "not_served": unserved.iter().map(lacks).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&object)?)
}

/// What collectors cannot read without being root, or the capability that is named.
const NEED_ROOT: [(&str, &str); 5] = [
    ("process_table", "sees no IO and no open files of other users' processes (CAP_SYS_PTRACE)"),
    ("dmi", "sees no serial numbers (CAP_DAC_READ_SEARCH)"),
    ("rapl", "sees no energy counters (CAP_DAC_READ_SEARCH)"),
    ("slabinfo", "sees nothing (CAP_DAC_READ_SEARCH)"),
    ("btrfs", "sees no device errors (CAP_SYS_ADMIN)"),
];

fn unserved(config: &Config, is_root: bool) -> Vec<(&'static str, &'static str)> {
    let is_on =
        |name: &str| COLLECTORS.iter().any(|entry| entry.name == name && config.collectors.is_on(entry));
    NEED_ROOT.into_iter().filter(|(name, _)| !is_root && is_on(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_that_need_root_exist_and_are_told_only_where_they_are_on() {
        for (name, _) in NEED_ROOT {
            assert!(COLLECTORS.iter().any(|entry| entry.name == name), "{name}");
        }
        assert!(unserved(&Config::default(), true).is_empty());
        let told = unserved(&Config::default(), false);
        assert!(told.iter().any(|(name, _)| *name == "dmi"));
        assert!(!told.iter().any(|(name, _)| *name == "slabinfo"));
    }
}
