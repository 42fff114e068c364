//! `fieldpost processes`: the process table, now or at any stored instant.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::bail;
use comfy_table::{CellAlignment, Table, presets};
use fieldpost_collectors::Config;
use fieldpost_collectors::facts::{self, User};
use fieldpost_model::{ProcessRow, TableKind, TimeMs};

use super::find::RunningAgent;
use super::job_door::{JobDoor, Whom};
use super::top::{Sort, size, weight};
use super::{Global, data, instant, terminal};
use crate::api::Processes;

const EXAMPLES: &str = "\
Examples:
  fieldpost processes
  fieldpost processes --sort rss --name postgres
  fieldpost processes --at 03:12 --json
  fieldpost processes --on web-1 --sort cpu --limit 10

Without --at a running agent is asked; with it the store is read, agent running or not. With --on the hub
asks the agent, or reads its own record of that moment.";

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
    #[command(flatten)]
    pub whom: Whom,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (mut rows, users) = match (args.at, args.whom.is_here()) {
        (Some(at_ms), true) => (at(global, at_ms)?, users()),
        (None, true) => (RunningAgent::find(global)?.processes()?.processes, users()),
        (at_ms, false) => through_the_hub(args, at_ms, global)?,
    };
    if let Some(name) = &args.name {
        rows.retain(|row| row.name.contains(name.as_str()) || row.command.contains(name.as_str()));
    }
    rows.sort_by(|a, b| weight(b, args.sort).total_cmp(&weight(a, args.sort)).then(a.pid.cmp(&b.pid)));
    if args.limit > 0 {
        rows.truncate(args.limit);
    }
    if global.json {
        terminal::out(&serde_json::to_string(&rows)?)?;
    } else {
        terminal::out(&table(&rows, &users))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of users by their numbers, as far as this machine knows them.
pub fn users() -> HashMap<u32, String> {
    let users = facts::users(&Config::default().roots());
    users.into_iter().map(|user| (user.uid, user.name)).collect()
}

/// Names of the users of an agent's host, if it can tell them: else numbers are shown.
pub fn users_of(door: &JobDoor) -> HashMap<u32, String> {
    let users: Vec<User> = door.of_agent("/info/users").unwrap_or_default();
    users.into_iter().map(|user| (user.uid, user.name)).collect()
}

/// Of another host: its table of this moment from the agent itself, an older one from the hub's record.
fn through_the_hub(
    args: &Args,
    at_ms: Option<TimeMs>,
    global: &Global,
) -> anyhow::Result<(Vec<ProcessRow>, HashMap<u32, String>)> {
    let door = JobDoor::find(&args.whom, true, global)?;
    let rows = match at_ms {
        None => door.of_agent::<Processes>("/processes")?.processes,
        Some(at_ms) => match door.about_agent::<Processes>(&format!("/processes?at={at_ms}"))? {
            Processes { time_ms: 0, .. } => bail!("the hub has no process table of this moment"),
            Processes { processes, .. } => processes,
        },
    };
    Ok((rows, users_of(&door)))
}

/// The table that is stored for this instant, with rates against the one before.
fn at(global: &Global, at_ms: TimeMs) -> anyhow::Result<Vec<ProcessRow>> {
    let reader = data::reader(global)?;
    let Some(table) = reader.table_at(TableKind::Processes, at_ms)? else {
        bail!("no process table is stored for this moment; see: fieldpost events --from 1d");
    };
    let before = reader.table_at(TableKind::Processes, table.time_ms - 1)?;
    Ok(ProcessRow::of_table(&table, before.as_ref()))
}

fn table(rows: &[ProcessRow], users: &HashMap<u32, String>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
        .set_header(["PID", "USER", "CPU%", "RSS", "READ/s", "WRITE/s", "THR", "FD", "S", "UNIT", "COMMAND"]);
    let rate = |rate: Option<f64>| rate.map_or("-".into(), size);
    for row in rows {
        table.add_row([
            row.pid.to_string(),
            users.get(&row.uid).cloned().unwrap_or_else(|| row.uid.to_string()),
            row.cpu_cores.map_or("-".into(), |cores| format!("{:.1}", cores * 100.0)),
            size(row.rss_bytes as f64),
            rate(row.read_bytes_per_second),
            rate(row.written_bytes_per_second),
            row.threads.to_string(),
            row.open_files.map_or("-".into(), |n| n.to_string()),
            row.state.to_string(),
            if row.unit.is_empty() { "-".into() } else { terminal::printable(&row.unit).into_owned() },
            shown_command(row),
        ]);
    }
    for column in [0, 2, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The command line on one line; kernel threads have none and are shown by name.
fn shown_command(row: &ProcessRow) -> String {
    if row.command.is_empty() {
        return format!("[{}]", terminal::printable(&row.name));
    }
    terminal::printable(&row.command).into_owned()
}
