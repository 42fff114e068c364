//! `fieldpost culprit`: who used the machine in a span of time.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use fieldpost_model::{Culprits, Lives, Share, TableKind, TimeMs, format_bytes, format_span};
use fieldpost_store::Reader;
use serde::Serialize;

use super::{Global, data, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost culprit --from 03:10 --to 03:14
  fieldpost culprit --from 10m --json

Shares are parts of what all processes together used, CPU time and bytes of storage moved; memory is growth.";

/// Name who used CPU, memory and disks between two moments
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// From when: 03:10, 5m (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: TimeMs,
    /// Until when; now if it is not given
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
    /// At most so many of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
}

/// The answer.
#[derive(Serialize)]
struct Answer {
    /// The span that the stored tables cover.
    from_ms: TimeMs,
    to_ms: TimeMs,
    groups: Culprits,
    units: Culprits,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (from, to) = data::span(Some(args.from), args.to)?;
    let reader = data::reader(global)?;
    let processes = lives(&reader, TableKind::Processes, from, to)?;
    let units = lives(&reader, TableKind::Units, from, to)?;
    let Some((from_ms, to_ms)) = processes.covered() else {
        anyhow::bail!("no process table is stored between these moments; see: fieldpost events --from 1d");
    };
    let units = if units.covered().is_some() { &units } else { &processes };
    let units = Culprits::by_unit(&units.span());
    let answer = Answer { from_ms, to_ms, groups: Culprits::by_group(&processes.span()), units };
    if global.json {
        terminal::out(&serde_json::to_string(&answer)?)?;
    } else {
        terminal::out(&table(&answer, args.limit))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who lived in a span, and what they used.
fn lives(reader: &Reader, kind: TableKind, from: TimeMs, to: TimeMs) -> anyhow::Result<Lives> {
    let mut lives = Lives::new(kind);
    // What was so at the beginning: without it, the first seconds of the span would be lost.
    if let Some(before) = reader.table_at(kind, from)? {
        lives.add(before);
    }
    reader.scan_tables(kind, from, to, |tick| lives.add(tick))?;
    Ok(lives)
}

/// What is shown of one kind of use: its word, shares of groups and of units, and how an amount is written.
type Kind<'a> = (&'a str, &'a [Share], &'a [Share], &'a dyn Fn(f64) -> String);

fn table(answer: &Answer, limit: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["WHAT", "GROUP", "SHARE", "AMOUNT", "UNIT", "SHARE"]);
    let seconds = |amount: f64| format!("{amount:.1} s");
    let kinds: [Kind<'_>; 3] = [
        ("cpu", &answer.groups.cpu, &answer.units.cpu, &seconds),
        ("memory", &answer.groups.memory_growth, &answer.units.memory_growth, &format_bytes),
        ("io", &answer.groups.io, &answer.units.io, &format_bytes),
    ];
    for (what, groups, units, amount) in kinds {
        for position in 0..groups.len().max(units.len()).min(limit) {
            let name = |share: Option<&Share>| {
                share.map_or(String::new(), |share| terminal::printable(&share.name).into_owned())
            };
            let part = |share: Option<&Share>| {
                share.map_or(String::new(), |share| format!("{:.0} %", share.share * 100.0))
            };
            let (group, unit) = (groups.get(position), units.get(position));
            let first = if position == 0 { what } else { "" };
            let amount = group.map_or(String::new(), |share| amount(share.amount));
            table.add_row([first.to_owned(), name(group), part(group), amount, name(unit), part(unit)]);
        }
    }
    for column in [2, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let span = format_span(std::time::Duration::from_millis((answer.to_ms - answer.from_ms).max(0) as u64));
    let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\nfrom {span} of stored tables", text.join("\n"))
}
