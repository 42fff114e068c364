//! Lives: who had rows in the tables of a span, and with which numbers each began and ended in it,
//! over restarts of the agent and however often a pid is used again.

use std::collections::HashMap;

use crate::{Entity, Life, Span, TableKind, TableTick, TimeMs};

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

/// The first and last row of everyone in a span, gathered from tables in the order of time.
pub struct Lives {
    kind: TableKind,
    covered: Option<(TimeMs, TimeMs)>,
    parts: Vec<Part>,
    latest: HashMap<Who, usize>,
    /// By the agent's own keys, as described last.
    entities: HashMap<u64, Entity>,
}

impl Lives {
    /// Nobody yet.
    pub fn new(kind: TableKind) -> Self {
        Self { kind, covered: None, parts: Vec::new(), latest: HashMap::new(), entities: HashMap::new() }
    }

    /// The instants of the first and the last table; none if there was no table.
    pub fn covered(&self) -> Option<(TimeMs, TimeMs)> {
        self.covered
    }

    /// Takes the next table.
    pub fn add(&mut self, tick: TableTick) {
        self.entities.extend(tick.entities);
        let is_first = self.covered.is_none();
        self.covered = Some((self.covered.map_or(tick.time_ms, |(from, _)| from), tick.time_ms));
        for row in tick.rows {
            let Some(entity) = self.entities.get(&row.key) else { continue };
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

    /// What they used between the first table and the last.
    pub fn span(&self) -> Span<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Culprits, EntityRow, Share};

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

    fn tables(kind: TableKind, ticks: &[(TimeMs, u64, Entity, i64, i64)]) -> Lives {
        let mut tables = Lives::new(kind);
        for (time_ms, key, entity, cpu, memory) in ticks {
            let rows = vec![EntityRow { key: *key, values: [*cpu, *memory, 0, 1, 0, 0, 0, 0] }];
            let entities_of_tick = vec![(*key, entity.clone())];
            tables.add(TableTick { kind, time_ms: *time_ms, entities: entities_of_tick, rows });
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
