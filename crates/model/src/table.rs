//! Tables: the whole process table and the table of units (cgroups) at one instant, as they are
//! kept in the history. An entity is described once; a row has its numbers at a tick.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::TimeMs;

/// Clock ticks in a second of CPU time as /proc shows it: the kernel's USER_HZ, the same on every
/// architecture that Rust has a Linux target for, whatever the kernel's own rate is.
pub const USER_HZ: u32 = 100;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// One row per process.
    Processes,
    /// One row per cgroup.
    Units,
}

impl TableKind {
    /// The names of a row's numbers, in order. All are cumulative where the name ends in
    /// `_total`; `_bytes`, `_microseconds` and `_ticks` are units (a tick is 1/CLK_TCK s).
    /// The totals of a process include those of its children that were too short-lived to have
    /// rows of their own, so that the rows together hold all that was used. `state` is the letter
    /// of /proc/PID/stat as a number.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            TableKind::Processes => &[
                "cpu_ticks_total",
                "rss_bytes",
                "swap_bytes",
                "threads",
                "read_bytes_total",
                "written_bytes_total",
                "open_files",
                "state",
            ],
            TableKind::Units => &[
                "cpu_microseconds_total",
                "memory_bytes",
                "read_bytes_total",
                "written_bytes_total",
                "cpu_some_microseconds_total",
                "memory_some_microseconds_total",
                "io_some_microseconds_total",
                "processes",
            ],
        }
    }
}

/// What does not change about a process or unit while it lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// Process id; 0 for a unit.
    pub pid: u32,
    /// When it began, milliseconds since 1970; with the pid, a process' identity.
    pub start_ms: TimeMs,
    /// Executable name of a process; last part of a cgroup's path.
    pub name: String,
    /// Command line of a process; whole path of a cgroup.
    pub command: String,
    /// Unit or cgroup that a process belongs to; empty for units.
    pub unit: String,
    /// Group under which a process is published; empty for units.
    pub group: String,
    /// Effective user id.
    pub uid: u32,
    /// Parent's process id; 0 for a unit.
    pub parent: u32,
}

/// The numbers of one entity at one instant, in the order of `TableKind::columns`.
/// A number that could not be read is -1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityRow {
    /// Key within the collector's life: the same number as long as the entity lives, never reused.
    pub key: u64,
    /// The numbers.
    pub values: [i64; 8],
}

/// A whole table at one instant.
#[derive(Debug, Clone)]
pub struct TableTick {
    /// Which table.
    pub kind: TableKind,
    /// When.
    pub time_ms: TimeMs,
    /// Entities that are new or described anew since the last pass, with their keys. Who keeps
    /// fewer ticks than there are passes has to take these of every pass all the same.
    pub entities: Vec<(u64, Entity)>,
    /// All rows, by rising key. An entity without a row is gone.
    pub rows: Vec<EntityRow>,
}

/// A process for people: what `fieldpost processes` and `top` show, from a live look or from
/// two rows of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// When it began.
    pub start_ms: TimeMs,
    /// Effective user id.
    pub uid: u32,
    /// Executable name.
    pub name: String,
    /// Command line.
    pub command: String,
    /// Unit or cgroup.
    pub unit: String,
    /// Published group.
    pub group: String,
    /// State letter as in /proc/PID/stat.
    pub state: char,
    /// Share of one core since the look before, 1.0 = one core busy; none at the first look.
    pub cpu_cores: Option<f64>,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Swapped memory, bytes.
    pub swap_bytes: Option<u64>,
    /// Threads.
    pub threads: u32,
    /// Open descriptors, where this user may see them.
    pub open_files: Option<u32>,
    /// Bytes read per second since the look before.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written per second since the look before.
    pub written_bytes_per_second: Option<f64>,
}

impl ProcessRow {
    /// One process for people, from its newest numbers and those `seconds` before.
    pub fn new(entity: &Entity, now: &[i64; 8], before: Option<&[i64; 8]>, seconds: f64) -> Self {
        let rate = |column: usize| {
            let before = before?[column];
            (before >= 0 && now[column] >= before).then(|| (now[column] - before) as f64 / seconds)
        };
        Self {
            pid: entity.pid,
            parent: entity.parent,
            start_ms: entity.start_ms,
            uid: entity.uid,
            name: entity.name.clone(),
            command: entity.command.clone(),
            unit: entity.unit.clone(),
            group: entity.group.clone(),
            state: u8::try_from(now[7]).map_or('?', char::from),
            cpu_cores: rate(0).map(|ticks| ticks / f64::from(USER_HZ)),
            rss_bytes: now[1].max(0) as u64,
            swap_bytes: u64::try_from(now[2]).ok(),
            threads: now[3].max(0) as u32,
            open_files: u32::try_from(now[6]).ok(),
            read_bytes_per_second: rate(4),
            written_bytes_per_second: rate(5),
        }
    }

    /// All processes of a table whose rows all have their entity beside them, in the same order;
    /// rates are against the table before.
    pub fn of_table(table: &TableTick, before: Option<&TableTick>) -> Vec<Self> {
        let seconds = before.map_or(0.0, |before| (table.time_ms - before.time_ms) as f64 / 1_000.0);
        let who = |entity: &Entity| (entity.pid, entity.start_ms);
        let mut earlier = HashMap::new();
        if let Some(before) = before.filter(|_| seconds > 0.0) {
            for ((_, entity), row) in before.entities.iter().zip(&before.rows) {
                earlier.insert(who(entity), row.values);
            }
        }
        let rows = table.entities.iter().zip(&table.rows);
        rows.map(|((_, entity), row)| Self::new(entity, &row.values, earlier.get(&who(entity)), seconds))
            .collect()
    }
}

/// A unit (cgroup) for people, from two rows of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitRow {
    /// Last part of its path.
    pub name: String,
    /// Its whole path.
    pub path: String,
    /// When it began; 0 where nobody knows.
    pub start_ms: TimeMs,
    /// Share of one core since the table before, 1.0 = one core busy; none where it is not known.
    pub cpu_cores: Option<f64>,
    /// Memory, page cache included, bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes read per second since the table before.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written per second since the table before.
    pub written_bytes_per_second: Option<f64>,
    /// Share of time in which some task of it waited for a processor (PSI).
    pub cpu_waiting: Option<f64>,
    /// The same for memory.
    pub memory_waiting: Option<f64>,
    /// The same for disks.
    pub io_waiting: Option<f64>,
    /// Processes in it.
    pub processes: Option<u64>,
}

impl UnitRow {
    fn new(entity: &Entity, now: &[i64; 8], before: Option<&[i64; 8]>, seconds: f64) -> Self {
        let rate = |column: usize| {
            let before = before?[column];
            (before >= 0 && now[column] >= before).then(|| (now[column] - before) as f64 / seconds)
        };
        let seconds_per_second = |column: usize| rate(column).map(|microseconds| microseconds / 1e6);
        Self {
            name: entity.name.clone(),
            path: entity.command.clone(),
            start_ms: entity.start_ms,
            cpu_cores: seconds_per_second(0),
            memory_bytes: u64::try_from(now[1]).ok(),
            read_bytes_per_second: rate(2),
            written_bytes_per_second: rate(3),
            cpu_waiting: seconds_per_second(4),
            memory_waiting: seconds_per_second(5),
            io_waiting: seconds_per_second(6),
            processes: u64::try_from(now[7]).ok(),
        }
    }

    /// All units of a table whose rows all have their entity beside them, in the same order; rates
    /// are against the table before.
    pub fn of_table(table: &TableTick, before: Option<&TableTick>) -> Vec<Self> {
        let seconds = before.map_or(0.0, |before| (table.time_ms - before.time_ms) as f64 / 1_000.0);
        let mut earlier = HashMap::new();
        if let Some(before) = before.filter(|_| seconds > 0.0) {
            for ((_, entity), row) in before.entities.iter().zip(&before.rows) {
                earlier.insert(entity.command.as_str(), &row.values);
            }
        }
        let rows = table.entities.iter().zip(&table.rows);
        rows.map(|((_, entity), row)| {
            Self::new(entity, &row.values, earlier.get(entity.command.as_str()).copied(), seconds)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(time_ms: TimeMs, values: [i64; 8]) -> TableTick {
        let entity = Entity {
            pid: 0,
            start_ms: 0,
            name: "a.service".into(),
            command: "/system.slice/a.service".into(),
            unit: String::new(),
            group: String::new(),
            uid: 0,
            parent: 0,
        };
        let rows = vec![EntityRow { key: 7, values }];
        TableTick { kind: TableKind::Units, time_ms, entities: vec![(7, entity)], rows }
    }

    #[test]
    fn units_have_rates_against_the_table_before_and_nothing_where_nothing_is_known() {
        let before = table(0, [1_000_000, 5, 100, -1, 0, 0, 0, 3]);
        let now = table(10_000, [6_000_000, 9, 1_100, -1, 2_000_000, 0, 0, -1]);
        let [unit] = &UnitRow::of_table(&now, Some(&before))[..] else { panic!("one unit") };
        assert_eq!((unit.cpu_cores, unit.memory_bytes), (Some(0.5), Some(9)));
        assert_eq!((unit.read_bytes_per_second, unit.written_bytes_per_second), (Some(100.0), None));
        assert_eq!((unit.cpu_waiting, unit.processes), (Some(0.2), None));
        let [first] = &UnitRow::of_table(&now, None)[..] else { panic!("one unit") };
        assert_eq!((first.cpu_cores, first.memory_bytes), (None, Some(9)));
    }
}
