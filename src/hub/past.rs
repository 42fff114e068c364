//! The past of an agent's processes, and what it noted of itself, out of the hub's own record: for
//! that the agent need not be reached, nor exist any more.

use std::collections::HashMap;

use fieldpost_model::{
    Culprits, Entity, Event, EventKind, Lives, ProcessRow, TableKind, TableTick, TimeMs, UnitRow,
};
use fieldpost_store::record::Note;
use serde::Serialize;

use super::Hub;

/// A table counts for no longer than this after it was taken.
const TABLE_AGE_MS_MAX: i64 = 30_000;

/// Who used a host in a span of time.
#[derive(Debug, Clone, Serialize)]
pub struct Blame {
    /// The span that the stored tables cover.
    pub from_ms: TimeMs,
    /// Its end.
    pub to_ms: TimeMs,
    /// Shares of groups of processes.
    pub groups: Culprits,
    /// Shares of units.
    pub units: Culprits,
}

/// The processes of a host at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct PastProcesses {
    /// When the table was taken; 0 if there is none of that moment.
    pub time_ms: TimeMs,
    /// Every process.
    pub processes: Vec<ProcessRow>,
}

/// The units of a host at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct PastUnits {
    /// When the table was taken; 0 if there is none of that moment.
    pub time_ms: TimeMs,
    /// Every unit.
    pub units: Vec<UnitRow>,
}

/// The newest table of a moment, and the one before it.
type Moment = Option<(TableTick, Option<TableTick>)>;

impl Hub {
    /// Who used an agent's host (by id) between two instants; none where no table is stored. May
    /// wait for the disk.
    pub fn blame(&self, agent_id: &str, from_ms: TimeMs, to_ms: TimeMs) -> anyhow::Result<Option<Blame>> {
        let processes = self.lives(agent_id, TableKind::Processes, from_ms, to_ms)?;
        let Some((from_ms, to_ms)) = processes.covered() else { return Ok(None) };
        let units = self.lives(agent_id, TableKind::Units, from_ms, to_ms + 1)?;
        let units = if units.covered().is_some() { &units } else { &processes };
        let units = Culprits::by_unit(&units.span());
        Ok(Some(Blame { from_ms, to_ms, groups: Culprits::by_group(&processes.span()), units }))
    }

    /// Who lived in a span, from the last table before it on: else its first seconds would be lost.
    fn lives(
        &self,
        agent_id: &str,
        kind: TableKind,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> anyhow::Result<Lives> {
        let mut lives = Lives::new(kind);
        let mut before: Option<TableTick> = None;
        let mut entities: HashMap<u64, Entity> = HashMap::new();
        self.reader.scan_tables(
            agent_id,
            kind,
            from_ms.saturating_sub(TABLE_AGE_MS_MAX),
            to_ms,
            |mut tick| {
                if tick.time_ms > from_ms {
                    if let Some(before) = before.take() {
                        lives.add(TableTick { entities: entities.drain().collect(), ..before });
                    }
                    lives.add(tick);
                } else {
                    entities.extend(tick.entities.drain(..));
                    before = Some(tick);
                }
            },
        )?;
        Ok(lives)
    }

    /// The processes of an agent's host (by id) as they were then. May wait for the disk.
    pub fn processes_at(&self, agent_id: &str, at_ms: TimeMs) -> anyhow::Result<PastProcesses> {
        let found = self.table_at(agent_id, TableKind::Processes, at_ms)?;
        Ok(found.map_or(PastProcesses { time_ms: 0, processes: Vec::new() }, |(table, before)| {
            let processes = ProcessRow::of_table(&table, before.as_ref());
            PastProcesses { time_ms: table.time_ms, processes }
        }))
    }

    /// The units of an agent's host (by id) as they were then. May wait for the disk.
    pub fn units_at(&self, agent_id: &str, at_ms: TimeMs) -> anyhow::Result<PastUnits> {
        let found = self.table_at(agent_id, TableKind::Units, at_ms)?;
        Ok(found.map_or(PastUnits { time_ms: 0, units: Vec::new() }, |(table, before)| PastUnits {
            time_ms: table.time_ms,
            units: UnitRow::of_table(&table, before.as_ref()),
        }))
    }

    fn table_at(&self, agent_id: &str, kind: TableKind, at_ms: TimeMs) -> anyhow::Result<Moment> {
        let mut entities: HashMap<u64, Entity> = HashMap::new();
        let (mut before, mut table): (Option<TableTick>, Option<TableTick>) = (None, None);
        let from_ms = at_ms.saturating_sub(TABLE_AGE_MS_MAX);
        self.reader.scan_tables(agent_id, kind, from_ms, at_ms.saturating_add(1), |mut tick| {
            entities.extend(tick.entities.drain(..));
            before = table.replace(tick);
        })?;
        let described = |tick: TableTick| {
            let of_row = |row: &_| entity_of(&entities, row);
            let (entities, rows) = tick.rows.iter().filter_map(of_row).unzip();
            TableTick { entities, rows, ..tick }
        };
        Ok(table.map(described).map(|table| (table, before.map(described))))
    }

    /// What an agent (by id) noted in a span: the newest `limit`, oldest first. May wait for the disk.
    pub fn noted(
        &self,
        agent_id: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
        limit: usize,
    ) -> anyhow::Result<Vec<Event>> {
        let notes = self.reader.notes(agent_id, from_ms, to_ms, limit)?;
        Ok(notes.into_iter().map(event_of).collect())
    }
}

/// A row and whose it is.
type Described = ((u64, Entity), fieldpost_model::EntityRow);

fn entity_of(entities: &HashMap<u64, Entity>, row: &fieldpost_model::EntityRow) -> Option<Described> {
    Some(((row.key, entities.get(&row.key)?.clone()), row.clone()))
}

/// A note as an event.
pub(super) fn event_of(note: Note) -> Event {
    match note {
        Note::Event(event) => event,
        Note::Gap(gap) => Event {
            time_ms: gap.from_ms,
            kind: EventKind::Gap,
            subject: String::new(),
            text: format!("samples are missing until {}", gap.to_ms),
        },
    }
}
