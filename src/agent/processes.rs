//! The newest process table, with rates against the one before: what `top` and
//! `fieldpost processes` show of a running agent.

use std::collections::HashMap;

use fieldpost_model::{Entity, EntityRow, ProcessRow, TableTick, TimeMs};

/// The newest table and the one before.
#[derive(Default)]
pub struct ProcessTable {
    entities: HashMap<u64, Entity>,
    time_ms: TimeMs,
    rows: Vec<EntityRow>,
    before_ms: TimeMs,
    before: Vec<EntityRow>,
}

impl ProcessTable {
    /// Takes a newer table.
    pub fn update(&mut self, table: &TableTick) {
        self.entities.extend(table.entities.iter().cloned());
        std::mem::swap(&mut self.before, &mut self.rows);
        self.before_ms = self.time_ms;
        self.rows.clone_from(&table.rows);
        self.time_ms = table.time_ms;
        if self.entities.len() > 2 * self.rows.len() + 64 {
            let rows = &self.rows;
            self.entities.retain(|key, _| rows.binary_search_by_key(key, |row| row.key).is_ok());
        }
    }

    /// When the newest table was taken; 0 if there is none yet.
    pub fn time_ms(&self) -> TimeMs {
        self.time_ms
    }

    /// All processes of the newest table.
    pub fn rows(&self) -> Vec<ProcessRow> {
        let seconds = (self.time_ms - self.before_ms) as f64 / 1_000.0;
        let row = |row: &EntityRow| {
            let entity = self.entities.get(&row.key)?;
            let before = self.before.binary_search_by_key(&row.key, |other| other.key).ok();
            let before = before.map(|position| &self.before[position].values);
            Some(ProcessRow::new(entity, &row.values, before.filter(|_| seconds > 0.0), seconds))
        };
        self.rows.iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::TableKind;

    use super::*;

    #[test]
    fn rates_are_against_the_table_before() {
        let entity = Entity {
            pid: 7,
            start_ms: 0,
            name: "x".into(),
            command: String::new(),
            unit: String::new(),
            group: String::new(),
            uid: 0,
            parent: 1,
        };
        let tick = |time_ms, cpu, entities| TableTick {
            kind: TableKind::Processes,
            time_ms,
            entities,
            rows: vec![EntityRow { key: 1, values: [cpu, 4096, -1, 2, 0, 0, 3, i64::from(b'R')] }],
        };
        let mut table = ProcessTable::default();
        table.update(&tick(1_000, 100, vec![(1, entity)]));
        table.update(&tick(3_000, 200, vec![]));
        let rows = table.rows();
        assert_eq!(rows[0].cpu_cores, Some(0.5));
        assert_eq!(rows[0].state, 'R');
        assert_eq!(rows[0].swap_bytes, None);
    }
}
