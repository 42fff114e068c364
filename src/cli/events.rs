//! `fieldpost events`: the agent's own log in the store: starts, stops, stuck collectors, gaps,
//! clock jumps.

use std::process::ExitCode;

use chrono::{DateTime, Local};
use fieldpost_model::{Event, TimeMs};

use super::{Global, data, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost events
  fieldpost events --from 1d --limit 20
  fieldpost events --from 03:00 --to 04:00 --json";

/// List what happened to the agent: starts, stops, stuck collectors, gaps, clock jumps
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// From when: 03:10, 1h (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: Option<TimeMs>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (from, to) = data::span(args.from, args.to)?;
    let events = data::reader(global)?.events(from, to, args.limit)?;
    if global.json {
        terminal::out(&serde_json::to_string(&events)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for event in &events {
        terminal::out(&line(event)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(event: &Event) -> anyhow::Result<String> {
    let time = DateTime::from_timestamp_millis(event.time_ms).unwrap_or_default().with_timezone(&Local);
    let kind = serde_json::to_value(event.kind)?;
    let kind = kind.as_str().unwrap_or_default();
    let subject = if event.subject.is_empty() { "-" } else { &event.subject };
    let (subject, text) = (terminal::printable(subject), terminal::printable(&event.text));
    Ok(format!("{}  {kind:<12}  {subject:<14}  {text}", time.format("%Y-%m-%d %H:%M:%S")))
}

#[cfg(test)]
mod tests {
    use fieldpost_model::EventKind;

    use super::*;

    #[test]
    fn mount_with_control_characters_is_shown_without_them() {
        let subject = "/mnt/\u{1b}[2J".to_owned();
        let event = Event { time_ms: 0, kind: EventKind::Stuck, subject, text: "a\nb".into() };
        assert!(line(&event).unwrap().ends_with("  stuck         /mnt/ [2J       a b"));
    }
}
