//! `fieldpost culprit`: who used the machine in a span of time.

use std::collections::HashMap;
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use fieldpost_model::{
    Culprits, Entity, Life, Share, Span, TableKind, TableTick, TimeMs, format_bytes, format_span,
};
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
    let processes = Tables::read(&reader, TableKind::Processes, from, to)?;
    let units = Tables::read(&reader, TableKind::Units, from, to)?;
    let Some((from_ms, to_ms)) = processes.covered else {
        anyhow::bail!("no process table is stored between these moments; see: fieldpost events --from 1d");
    };
    let units = if units.covered.is_some() {
        Culprits::by_unit(&units.span())
    } else {
        Culprits::by_unit(&processes.span())
    };
    let answer = Answer { from_ms, to_ms, groups: Culprits::by_group(&processes.span()), units };
    if global.json {
        terminal::out(&serde_json::to_string(&answer)?)?;
    } else {
        terminal::out(&table(&answer, args.limit))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a process or unit is found by over restarts of the agent, which count keys anew: the pid
/// or the path.
type Who = (u32, String);

/// The kernel's idea of when it booted moves with the clock, and every start of a process with it.
const START_DRIFT_MS_MAX: i64 = 2_000;

struct Part {
    entity: Entity,
    first: [i64; 8],
    last: [i64; 8],
    previous: [i64; 8],
    last_ms: TimeMs,
}

impl Part {
    fn new(entity: Entity, row: [i64; 8], time_ms: TimeMs) -> Self {
        Self { entity, first: row, last: row, previous: row, last_ms: time_ms }
    }

    /// One that was not there yet when the span began: what it has, it got since. The table says
    /// so better than the start, which is known to a second only.
    fn newborn(entity: Entity, row: [i64; 8], time_ms: TimeMs) -> Self {
        Self { first: row.map(|value| value.min(0)), ..Self::new(entity, row, time_ms) }
    }

    /// Is this the same process or unit? A unit that the agent found at its own start has no
    /// start; a process that was there has always the same.
    fn goes_on_as(&self, entity: &Entity) -> bool {
        match entity.pid {
            0 => entity.start_ms == 0 || entity.start_ms == self.entity.start_ms,
            _ => entity.start_ms.abs_diff(self.entity.start_ms) <= START_DRIFT_MS_MAX as u64,
        }
    }

    /// Takes a later row. What only grows is added up step by step: after a restart the agent
    /// counts anew what it had charged for children.
    fn add(&mut self, kind: TableKind, row: [i64; 8], time_ms: TimeMs) {
        for (at, column) in kind.columns().iter().enumerate() {
            let (now, before) = (row[at], self.previous[at]);
            if now < 0 {
                continue;
            }
            if before < 0 {
                (self.first[at], self.last[at]) = (now, now);
            } else if column.ends_with("_total") {
                self.last[at] = self.last[at].saturating_add((now - before).max(0));
            } else {
                self.last[at] = now;
            }
            self.previous[at] = now;
        }
        self.last_ms = time_ms;
    }
}

/// The first and last row of everyone in a span.
struct Tables {
    kind: TableKind,
    covered: Option<(TimeMs, TimeMs)>,
    parts: Vec<Part>,
    latest: HashMap<Who, usize>,
}

impl Tables {
    fn new(kind: TableKind) -> Self {
        Self { kind, covered: None, parts: Vec::new(), latest: HashMap::new() }
    }

    fn read(reader: &Reader, kind: TableKind, from: TimeMs, to: TimeMs) -> anyhow::Result<Self> {
        let mut tables = Self::new(kind);
        let mut entities: HashMap<u64, Entity> = HashMap::new();
        // What was so at the beginning: without it, the first seconds of the span would be lost.
        if let Some(before) = reader.table_at(kind, from)? {
            tables.add(before, &mut entities);
        }
        reader.scan_tables(kind, from, to, |tick| tables.add(tick, &mut entities))?;
        Ok(tables)
    }

    fn add(&mut self, tick: TableTick, entities: &mut HashMap<u64, Entity>) {
        entities.extend(tick.entities);
        let is_first = self.covered.is_none();
        self.covered = Some((self.covered.map_or(tick.time_ms, |(from, _)| from), tick.time_ms));
        for row in tick.rows {
            let Some(entity) = entities.get(&row.key) else { continue };
            let path = if entity.pid == 0 { entity.command.clone() } else { String::new() };
            let latest = self.latest.entry((entity.pid, path)).or_insert(usize::MAX);
            match self.parts.get_mut(*latest).filter(|part| part.goes_on_as(entity)) {
                Some(part) => part.add(self.kind, row.values, tick.time_ms),
                None => {
                    *latest = self.parts.len();
                    let is_newborn = !is_first && entity.pid != 0;
                    let part = if is_newborn { Part::newborn } else { Part::new };
                    self.parts.push(part(entity.clone(), row.values, tick.time_ms));
                }
            }
        }
    }

    fn span(&self) -> Span<'_> {
        let (from_ms, to_ms) = self.covered.unwrap_or_default();
        let lives = self.parts.iter().map(|part| Life {
            entity: &part.entity,
            first: &part.first,
            last: &part.last,
            ended: part.last_ms < to_ms,
        });
        let lives = lives.collect();
        Span { kind: self.kind, from_ms, lives }
    }
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

#[cfg(test)]
mod tests {
    use fieldpost_model::EntityRow;

    use super::*;

    fn entity(pid: u32, start_ms: TimeMs, command: &str) -> Entity {
        Entity {
            pid,
            start_ms,
            name: command.into(),
            command: command.into(),
            unit: String::new(),
            group: command.into(),
            uid: 0,
            parent: 0,
        }
    }

    fn tables(kind: TableKind, ticks: &[(TimeMs, u64, Entity, i64, i64)]) -> Tables {
        let (mut tables, mut entities) = (Tables::new(kind), HashMap::new());
        for (time_ms, key, entity, cpu, memory) in ticks {
            let rows = vec![EntityRow { key: *key, values: [*cpu, *memory, 0, 1, 0, 0, 0, 0] }];
            let entities_of_tick = vec![(*key, entity.clone())];
            tables
                .add(TableTick { kind, time_ms: *time_ms, entities: entities_of_tick, rows }, &mut entities);
        }
        tables
    }

    #[test]
    fn process_that_outlives_the_agent_is_charged_on_both_sides() {
        let (before, after) = (entity(7, 1_000, "x"), entity(7, 2_000, "x"));
        let tables = tables(
            TableKind::Processes,
            &[
                (10_000, 1, before.clone(), 500, 10),
                (15_000, 1, before, 700, 20),
                (30_000, 9, after.clone(), 200, 30),
                (35_000, 9, after, 300, 40),
            ],
        );
        let culprits = Culprits::by_group(&tables.span());
        assert_eq!(culprits.cpu.iter().map(|share| share.amount).collect::<Vec<_>>(), [3.0]);
        assert_eq!(culprits.memory_growth.iter().map(|share| share.amount).collect::<Vec<_>>(), [30.0]);
    }

    /// The start of the second seems to lie before the span, for it is rounded to a second.
    #[test]
    fn process_that_the_first_table_did_not_have_starts_from_nothing() {
        let (old, new) = (entity(7, 1_000, "old"), entity(8, 9_500, "new"));
        let tables = tables(
            TableKind::Processes,
            &[(10_000, 1, old, 500, 10), (11_000, 2, new.clone(), 100, 90), (12_000, 2, new, 200, 90)],
        );
        let culprits = Culprits::by_group(&tables.span());
        let named =
            |shares: &[Share]| shares.iter().map(|share| (share.name.clone(), share.amount)).collect();
        let (cpu, memory): (Vec<_>, Vec<_>) = (named(&culprits.cpu), named(&culprits.memory_growth));
        assert_eq!((cpu, memory), (vec![("new".to_owned(), 2.0)], vec![("new".to_owned(), 90.0)]));
    }

    #[test]
    fn unit_found_at_the_start_of_the_next_agent_is_the_same() {
        let (before, after) = (entity(0, 5_000, "/a"), entity(0, 0, "/a"));
        let tables = tables(
            TableKind::Units,
            &[(10_000, 1, before, 1_000_000, 10), (30_000, 2, after, 3_000_000, 15)],
        );
        assert_eq!(Culprits::by_unit(&tables.span()).cpu[0].amount, 2.0);
    }

    #[test]
    fn pid_that_is_used_again_is_another_process() {
        let tables = tables(
            TableKind::Processes,
            &[(10_000, 1, entity(7, 0, "a"), 100, 10), (60_000, 2, entity(7, 50_000, "b"), 400, 10)],
        );
        let culprits = Culprits::by_group(&tables.span());
        assert_eq!((culprits.cpu[0].name.as_str(), culprits.cpu[0].amount), ("b", 4.0));
        assert_eq!(culprits.cpu.len(), 1);
    }
}
