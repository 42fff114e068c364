//! What is kept of the process and unit tables: whole tables at an interval of their own.

use std::collections::HashMap;

use fieldpost_model::{Entity, TableKind, TableTick, TimeMs};

/// Descriptions beyond twice the living that are carried before the dead are looked for.
const N_CARRIED_SLACK: usize = 64;

#[derive(Default)]
struct Pending {
    kept_ms: Option<TimeMs>,
    entities: HashMap<u64, Entity>,
}

/// Picks the tables that are kept. Descriptions of entities that came between two kept tables
/// are carried over to the next.
pub struct HistoryFeed {
    interval_ms: i64,
    kinds: HashMap<TableKind, Pending>,
    ready: Vec<TableTick>,
}

impl HistoryFeed {
    /// Keeps a table at this interval; none if it is 0.
    pub fn new(interval_ms: i64) -> Self {
        Self { interval_ms, kinds: HashMap::new(), ready: Vec::new() }
    }

    /// Changes the interval.
    pub fn set_interval(&mut self, interval_ms: i64) {
        self.interval_ms = interval_ms;
    }

    /// Shows it a table, every one there is; it is kept if it is due and `may_keep`.
    pub fn offer(&mut self, table: &TableTick, may_keep: bool) {
        let pending = self.kinds.entry(table.kind).or_default();
        pending.entities.extend(table.entities.iter().cloned());
        if pending.entities.len() > 2 * table.rows.len() + N_CARRIED_SLACK {
            let alive = |key: &u64| table.rows.binary_search_by_key(key, |row| row.key).is_ok();
            pending.entities.retain(|key, _| alive(key));
        }
        if self.interval_ms == 0 || !may_keep {
            return;
        }
        let slot = |time_ms: TimeMs| time_ms.div_euclid(self.interval_ms);
        if pending.kept_ms.is_some_and(|kept| slot(kept) == slot(table.time_ms)) {
            return;
        }
        pending.kept_ms = Some(table.time_ms);
        let alive = |key: &u64| table.rows.binary_search_by_key(key, |row| row.key).is_ok();
        let mut entities: Vec<_> = pending.entities.drain().filter(|(key, _)| alive(key)).collect();
        entities.sort_by_key(|(key, _)| *key);
        self.ready.push(TableTick { entities, ..table.clone() });
    }

    /// Takes what is ready for the store.
    pub fn take(&mut self) -> Vec<TableTick> {
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::EntityRow;

    use super::*;

    fn table(time_ms: TimeMs, new: &[u64], alive: &[u64]) -> TableTick {
        let entity = |key: u64| Entity {
            pid: key as u32,
            start_ms: 0,
            name: key.to_string(),
            command: String::new(),
            unit: String::new(),
            group: String::new(),
            uid: 0,
            parent: 0,
        };
        TableTick {
            kind: TableKind::Processes,
            time_ms,
            entities: new.iter().map(|key| (*key, entity(*key))).collect(),
            rows: alive.iter().map(|key| EntityRow { key: *key, values: [0; 8] }).collect(),
        }
    }

    #[test]
    fn entities_between_kept_tables_are_carried_over() {
        let mut feed = HistoryFeed::new(5_000);
        feed.offer(&table(4_700, &[1], &[1]), false);
        feed.offer(&table(5_000, &[2], &[1, 2]), true);
        feed.offer(&table(6_000, &[3, 4], &[1, 2, 3, 4]), true);
        feed.offer(&table(7_000, &[], &[1, 3]), true);
        feed.offer(&table(10_000, &[5], &[1, 3, 5]), true);
        let kept = feed.take();
        let keys: Vec<Vec<u64>> = kept.iter().map(|t| t.entities.iter().map(|(k, _)| *k).collect()).collect();
        assert_eq!(keys, [vec![1, 2], vec![3, 5]]);
        assert!(feed.take().is_empty());
    }
}
