//! `fieldpost info`: what this machine is.

use std::process::ExitCode;

use fieldpost_collectors::facts;
use serde_json::Value;

use super::job_door::{JobDoor, Whom};
use super::{Global, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost info os
  fieldpost info disk --json
  fieldpost info mem --on web-1";

/// What may be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Kernel, distribution, uptime.
    Os,
    /// Processors.
    Cpu,
    /// Memory and swap.
    Mem,
    /// Disks.
    Disk,
    /// Network interfaces.
    Nic,
}

impl Subject {
    /// As agents know it.
    fn word(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Cpu => "cpu",
            Self::Mem => "mem",
            Self::Disk => "disk",
            Self::Nic => "nic",
        }
    }
}

/// Show what this machine is, or through the hub another one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// About what
    #[arg(value_enum)]
    pub subject: Subject,
    #[command(flatten)]
    pub whom: Whom,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let facts = match args.whom.is_here() {
        true => here(args.subject, global)?,
        false => {
            let door = JobDoor::find(&args.whom, true, global)?;
            door.of_agent(&format!("/info/{}", args.subject.word()))?
        }
    };
    let text = if global.json { facts.to_string() } else { shown(&facts) };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Of this machine, whether or not an agent runs here.
fn here(subject: Subject, global: &Global) -> anyhow::Result<Value> {
    let roots = global.load()?.config.collectors.roots();
    Ok(match subject {
        Subject::Os => serde_json::to_value(facts::os(&roots))?,
        Subject::Cpu => serde_json::to_value(facts::cpu(&roots))?,
        Subject::Mem => serde_json::to_value(facts::memory(&roots))?,
        Subject::Disk => serde_json::to_value(facts::disks(&roots))?,
        Subject::Nic => serde_json::to_value(facts::nics(&roots))?,
    })
}

/// One fact a line; things of which there are several stand in blocks.
fn shown(facts: &Value) -> String {
    match facts {
        Value::Array(things) if things.is_empty() => "none".into(),
        Value::Array(things) => things.iter().map(shown).collect::<Vec<_>>().join("\n\n"),
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            let line = |(name, value): (&String, &Value)| format!("{name:<width$}  {}", fact(name, value));
            fields.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        value => value.to_string(),
    }
}

/// A fact for people: sizes and instants by the unit that its name ends in.
fn fact(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => terminal::printable(text).into_owned(),
        Value::Array(values) => values.iter().map(|value| fact("", value)).collect::<Vec<_>>().join(", "),
        Value::Number(number) if name.ends_with("_bytes") => {
            fieldpost_model::format_bytes(number.as_f64().unwrap_or(0.0))
        }
        Value::Number(number) if name.ends_with("_ms") => {
            let time = number.as_i64().and_then(chrono::DateTime::from_timestamp_millis);
            time.map_or_else(|| "-".into(), |time| time.with_timezone(&chrono::Local).to_rfc3339())
        }
        value => value.to_string(),
    }
}
