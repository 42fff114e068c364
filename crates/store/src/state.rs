//! `state.db`: who this agent is, whether it ended cleanly, its events, what was lost, and what
//! each hub has acknowledged (see `spool`).

use std::path::{Path, PathBuf};

use fieldpost_model::{Event, EventKind, Lost, Seq, Stream, TimeMs};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::folder::beside;
use crate::{StoreError, database};

/// Events, gaps and notes of lost items beyond this number go, oldest first.
const N_ROWS_MAX: i64 = 100_000;
/// The log is copied into the file beyond this size.
const WAL_BYTES_COPIED: u64 = 256 << 10;

/// Why samples are not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The disk was full or too slow, and memory holds only the newest.
    Overload,
    /// The data folder reached its quota.
    Quota,
    /// They reached the age at which they are no longer kept.
    Age,
    /// The agent ended without sealing its open window.
    Unclean,
    /// A damaged file was put aside.
    Damage,
    /// They claimed a time before 1970 or after 9999.
    Clock,
}

impl GapReason {
    const ALL: [(GapReason, &'static str); 6] = [
        (GapReason::Overload, "overload"),
        (GapReason::Quota, "quota"),
        (GapReason::Age, "age"),
        (GapReason::Unclean, "unclean"),
        (GapReason::Damage, "damage"),
        (GapReason::Clock, "clock"),
    ];

    /// The word in the file and for people.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, word)| word)
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(reason, _)| *reason)
    }
}

/// Samples that are not in the store, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First instant of what is missing.
    pub from_ms: TimeMs,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// How many samples; 0 where nobody can know.
    pub n_samples: u64,
    /// Why.
    pub reason: GapReason,
}

/// What `state.db` said when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) new: bool,
    pub(crate) clean: bool,
}

/// The open `state.db`.
pub(crate) struct State {
    connection: Connection,
    path: PathBuf,
}

impl State {
    /// Where it is.
    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join("state.db")
    }

    /// Opens or makes it, and marks the store as open.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Found), StoreError> {
        let path = Self::path(folder);
        let new = !path.exists();
        let connection = database::open_writer(&path, include_str!("sql/state.sql"))?;
        let mut state = Self { connection, path };
        let clean = state.integer("clean")? != Some(0);
        if !state.run("check", database::quick_check)? {
            let source = crate::codec::CodecError::Malformed("SQLite finds its pages damaged");
            return Err(StoreError::Blob { path: state.path, source });
        }
        state.set("clean", 0)?;
        Ok((state, Found { new, clean }))
    }

    /// Runs a statement or a transaction on it.
    pub(crate) fn run<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.connection).map_err(StoreError::sql(action, &self.path))
    }

    /// A number kept under this key.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, StoreError> {
        self.run("read", |connection| {
            let sql = "SELECT value FROM meta WHERE key = ?1";
            connection.query_row(sql, [key], |row| row.get(0)).optional()
        })
    }

    /// A random identity kept under this key, in hexadecimal.
    pub(crate) fn identity(&self, key: &str) -> Result<String, StoreError> {
        self.run("read", |connection| {
            connection.query_row("SELECT lower(hex(value)) FROM meta WHERE key = ?1", [key], |row| row.get(0))
        })
    }

    /// Keeps a number under this key.
    pub(crate) fn set(&mut self, key: &str, value: i64) -> Result<(), StoreError> {
        self.run("write", |connection| {
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![key, value])
        })?;
        Ok(())
    }

    /// Writes events, gaps and lost items in one transaction.
    pub(crate) fn add(
        &mut self,
        events: &[Event],
        gaps: &[Gap],
        losses: &[(Stream, Lost)],
    ) -> Result<(), StoreError> {
        self.run("write", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut seqs = last_note(&transaction)? + 1..;
            for (event, seq) in events.iter().zip(&mut seqs) {
                let kind = event_word(event.kind);
                let sql =
                    "INSERT INTO events (seq, time_ms, kind, subject, text) VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = params![seq, event.time_ms, kind, event.subject, event.text];
                transaction.execute(sql, row)?;
            }
            for (gap, seq) in gaps.iter().zip(&mut seqs) {
                let sql =
                    "INSERT INTO gaps (seq, from_ms, to_ms, n_samples, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = params![seq, gap.from_ms, gap.to_ms, whole(gap.n_samples), gap.reason.as_str()];
                transaction.execute(sql, row)?;
            }
            losses.iter().try_for_each(|(stream, lost)| put_lost(&transaction, *stream, lost))?;
            transaction.commit()
        })?;
        self.tend_log()
    }

    /// The first number of an event or gap that is still there, and the last that was given.
    pub(crate) fn notes(&self) -> Result<(Seq, Seq), StoreError> {
        self.run("read", |connection| {
            let last = last_note(connection)?;
            let sql = "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM events UNION ALL SELECT min(seq) FROM gaps)";
            let first: Option<i64> = connection.query_row(sql, [], |row| row.get(0))?;
            Ok((first.unwrap_or(last + 1) as Seq, last as Seq))
        })
    }

    /// Copies the log into the file when it is long.
    pub(crate) fn tend_log(&self) -> Result<(), StoreError> {
        let bytes = std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |metadata| metadata.len());
        if bytes < WAL_BYTES_COPIED {
            return Ok(());
        }
        self.run("checkpoint", |connection| database::checkpoint(connection, false))
    }

    /// Removes events that are older than this, and events and gaps beyond their number.
    pub(crate) fn trim(&mut self, before_ms: TimeMs) -> Result<(), StoreError> {
        self.run("write", |connection| {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute("DELETE FROM events WHERE time_ms < ?1", [before_ms])?;
            for (table, key) in [("events", "seq"), ("gaps", "seq"), ("lost", "id")] {
                let sql = format!("DELETE FROM {table} WHERE {key} <= (SELECT max({key}) FROM {table}) - ?1");
                transaction.execute(&sql, [N_ROWS_MAX])?;
            }
            transaction.commit()
        })
    }

    /// Empties the log, so that it does not grow.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.run("checkpoint", |connection| database::checkpoint(connection, true))
    }

    /// Marks the store as cleanly closed and closes the file.
    pub(crate) fn close(mut self) -> Result<(), StoreError> {
        self.set("clean", 1)?;
        self.checkpoint()?;
        self.connection.close().map_err(|(_, error)| StoreError::sql("close", &self.path)(error))
    }
}

/// The last number that was given to an event or a gap, whether it is still there or not.
fn last_note(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name IN ('events', 'gaps')";
    connection.query_row(sql, [], |row| row.get(0))
}

fn put_lost(connection: &Connection, stream: Stream, lost: &Lost) -> rusqlite::Result<()> {
    let sql = "INSERT INTO lost (stream, seq_from, seq_to, from_ms, to_ms, n_samples, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        stream.as_str(),
        whole(lost.from),
        whole(lost.to),
        lost.from_ms,
        lost.to_ms,
        whole(lost.n_samples),
        lost.reason
    ])?;
    Ok(())
}

/// A number as SQLite can keep it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The event of this number.
pub(crate) fn read_event(connection: &Connection, seq: Seq) -> rusqlite::Result<Option<Event>> {
    let sql = "SELECT time_ms, kind, subject, text FROM events WHERE seq = ?1";
    let found = connection.prepare_cached(sql)?.query_row([whole(seq)], |row| {
        let kind = parse_event_word(&row.get::<_, String>(1)?).unwrap_or(EventKind::Store);
        Ok(Event { time_ms: row.get(0)?, kind, subject: row.get(2)?, text: row.get(3)? })
    });
    found.optional()
}

/// The gap of this number.
pub(crate) fn read_gap(connection: &Connection, seq: Seq) -> rusqlite::Result<Option<Gap>> {
    let sql = "SELECT from_ms, to_ms, n_samples, reason FROM gaps WHERE seq = ?1";
    let found = connection.prepare_cached(sql)?.query_row([whole(seq)], |row| {
        let reason = GapReason::parse(&row.get::<_, String>(3)?).unwrap_or(GapReason::Damage);
        let n_samples = row.get::<_, i64>(2)?.max(0) as u64;
        Ok(Gap { from_ms: row.get(0)?, to_ms: row.get(1)?, n_samples, reason })
    });
    found.optional()
}

/// Events of `[from_ms, to_ms)`, the newest `limit` of them, oldest first.
pub(crate) fn read_events(
    connection: &Connection,
    from_ms: TimeMs,
    to_ms: TimeMs,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let mut statement = connection.prepare(
        "SELECT time_ms, kind, subject, text FROM events
         WHERE time_ms >= ?1 AND time_ms < ?2 ORDER BY seq DESC LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![from_ms, to_ms, limit], |row| {
        let kind: String = row.get(1)?;
        Ok(parse_event_word(&kind).map(|kind| (row.get(0), kind, row.get(2), row.get(3))))
    })?;
    let mut events = Vec::new();
    // A kind that only a newer version knows is left out.
    for (time_ms, kind, subject, text) in rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        events.push(Event { time_ms: time_ms?, kind, subject: subject?, text: text? });
    }
    events.reverse();
    Ok(events)
}

/// Gaps that touch `[from_ms, to_ms)`, in the order in which they were noted.
pub(crate) fn read_gaps(
    connection: &Connection,
    from_ms: TimeMs,
    to_ms: TimeMs,
) -> rusqlite::Result<Vec<Gap>> {
    let mut statement = connection.prepare(
        "SELECT from_ms, to_ms, n_samples, reason FROM gaps WHERE to_ms > ?1 AND from_ms < ?2 ORDER BY seq",
    )?;
    let rows = statement.query_map(params![from_ms, to_ms], |row| {
        let word: String = row.get(3)?;
        let n_samples = row.get::<_, i64>(2)?.max(0) as u64;
        let (from_ms, to_ms) = (row.get(0)?, row.get(1)?);
        Ok(GapReason::parse(&word).map(|reason| Gap { from_ms, to_ms, n_samples, reason }))
    })?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

const EVENT_WORDS: [(EventKind, &str); 10] = [
    (EventKind::Start, "start"),
    (EventKind::Stop, "stop"),
    (EventKind::UncleanStop, "unclean_stop"),
    (EventKind::Reload, "reload"),
    (EventKind::Stuck, "stuck"),
    (EventKind::Recovered, "recovered"),
    (EventKind::Gap, "gap"),
    (EventKind::ClockJump, "clock_jump"),
    (EventKind::Store, "store"),
    (EventKind::Quarantine, "quarantine"),
];

pub(crate) fn event_word(kind: EventKind) -> &'static str {
    EVENT_WORDS.iter().find(|(known, _)| *known == kind).map_or("store", |(_, word)| word)
}

pub(crate) fn parse_event_word(word: &str) -> Option<EventKind> {
    EVENT_WORDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind)
}
