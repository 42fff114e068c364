//! Cursors in `state.db`, and the errands by which other threads have them changed: only the
//! writer thread writes that file.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use rusqlite::{Connection, params};

use super::{Cursor, Spool};
use crate::StoreError;
use crate::codec::{decode_intervals, encode_intervals};
use crate::queue::Queue;
use crate::state::State;

/// How long an errand may take: a disk that does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be done with `state.db` on the writer thread.
pub(crate) type ErrandWork = Box<dyn FnOnce(&mut State) -> Result<(), StoreError> + Send>;

/// Work for the writer thread, and whom to tell how it went.
pub(crate) struct Errand {
    work: ErrandWork,
    answer: SyncSender<Result<(), StoreError>>,
}

impl Errand {
    /// Does the work; answers whether the file has to be opened anew after it. Who asked may have
    /// lost patience, which is no trouble.
    pub(crate) fn run(self, state: Result<&mut State, StoreError>) -> bool {
        let outcome = state.and_then(self.work);
        let failed = matches!(outcome, Err(StoreError::Sql { .. } | StoreError::Io { .. }));
        let _ = self.answer.try_send(outcome);
        failed
    }
}

impl Queue {
    /// Has work done on the writer thread, and waits for it.
    pub(crate) fn run_errand(&self, work: ErrandWork) -> Result<(), StoreError> {
        let (answer, answered) = sync_channel(1);
        if !self.push_errand(Errand { work, answer }) {
            return Err(StoreError::Closed);
        }
        // A sender that is gone without a word went down with the writer thread.
        answered.recv_timeout(PATIENCE).map_err(|_| StoreError::Closed)?
    }
}

/// What `state.db` keeps of the spool.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) spool_id: String,
    pub(crate) cursors: BTreeMap<String, Cursor>,
}

impl Kept {
    /// Has a hub acknowledged what this store never numbered? Then the store was rolled back.
    pub(crate) fn is_ahead_of(&self, spool: &Spool) -> bool {
        let mut acked = self.cursors.values().flat_map(|cursor| &cursor.acked);
        acked.any(|(stream, acked)| acked.last() > Some(spool.last(*stream)))
    }
}

impl State {
    /// Reads the identity of the spool and all cursors.
    pub(crate) fn spool(&self) -> Result<Kept, StoreError> {
        let spool_id = self.identity("spool_id")?;
        let cursors = self.run("read", read_cursors)?;
        Ok(Kept { spool_id, cursors })
    }

    pub(crate) fn add_cursor(&mut self, hub: &str, since_ms: TimeMs) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO cursors VALUES (?1, ?2)";
        self.run("write", |connection| connection.execute(sql, params![hub, since_ms]))?;
        Ok(())
    }

    pub(crate) fn remove_cursor(&mut self, hub: &str) -> Result<(), StoreError> {
        self.run("write", |connection| {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute("DELETE FROM cursors WHERE hub = ?1", [hub])?;
            transaction.execute("DELETE FROM acked WHERE hub = ?1", [hub])?;
            transaction.commit()
        })
    }

    pub(crate) fn set_acked(
        &mut self,
        hub: &str,
        stream: Stream,
        acked: &Intervals,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO acked VALUES (?1, ?2, ?3)";
        let row = params![hub, stream.as_str(), encode_intervals(acked)];
        self.run("write", |connection| connection.prepare_cached(sql)?.execute(row))?;
        self.tend_log()
    }

    /// Begins a new spool: a fresh identity, and cursors that have acknowledged nothing.
    pub(crate) fn renew_spool(&mut self) -> Result<(), StoreError> {
        self.run("write", |connection| {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute("UPDATE meta SET value = randomblob(8) WHERE key = 'spool_id'", [])?;
            transaction.execute("DELETE FROM acked", [])?;
            transaction.commit()
        })
    }

    /// Keeps the identity that somebody else gave this agent, if it is one.
    pub(crate) fn set_agent_id(&mut self, agent_id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE meta SET value = unhex(?1) WHERE key = 'agent_id' AND length(unhex(?1)) = 16
             AND value IS NOT unhex(?1)";
        self.run("write", |connection| connection.execute(sql, [agent_id]))?;
        Ok(())
    }
}

fn read_cursors(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Cursor>> {
    let mut cursors = BTreeMap::new();
    let mut statement = connection.prepare("SELECT hub, since_ms FROM cursors")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        let (hub, since_ms): (String, TimeMs) = row?;
        cursors.insert(hub, Cursor { since_ms, ..Cursor::default() });
    }
    let mut statement = connection.prepare("SELECT hub, stream, ranges FROM acked")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    for row in rows {
        let (hub, stream, ranges) = row?;
        // What cannot be read was not acknowledged: it is sent again, and known there already.
        let read = (Stream::from_str(&stream), decode_intervals(&ranges));
        if let (Some(cursor), (Ok(stream), Ok(acked))) = (cursors.get_mut(&hub), read) {
            cursor.acked.insert(stream, acked);
        }
    }
    Ok(cursors)
}

impl Spool {
    pub(crate) fn add_cursor(&self, hub: &str, since_ms: TimeMs) {
        let fresh = Cursor { since_ms, ..Cursor::default() };
        self.inner.lock().cursors.entry(hub.to_owned()).or_insert(fresh);
    }

    pub(crate) fn remove_cursor(&self, hub: &str) {
        self.inner.lock().cursors.remove(hub);
    }

    /// What a hub will have acknowledged with these: what is no item any more is left out, so
    /// that the set stays as small as the hot files are few.
    pub(crate) fn acknowledged(
        &self,
        hub: &str,
        spool_id: &str,
        stream: Stream,
        more: &Intervals,
    ) -> Result<Intervals, StoreError> {
        let inner = self.inner.lock();
        if inner.spool_id != spool_id {
            let present = inner.spool_id.clone();
            return Err(StoreError::OtherSpool { asked: spool_id.to_owned(), present });
        }
        let span = inner.span(stream);
        if more.last() > Some(span.last) {
            let asked = more.last().unwrap_or(0);
            return Err(StoreError::Ahead { stream, asked, last: span.last });
        }
        let cursor = inner.cursors.get(hub).ok_or_else(|| StoreError::UnknownHub(hub.to_owned()))?;
        let mut acked = cursor.acked.get(&stream).cloned().unwrap_or_default();
        acked.union(more);
        let mut kept = Intervals::default();
        let owed = acked.ranges().iter().filter(|(_, to)| *to >= span.first);
        owed.for_each(|(from, to)| kept.insert(*from, *to));
        // The last number stands for how far the hub was, should this store ever be rolled back.
        acked.last().into_iter().for_each(|last| kept.insert(last, last));
        Ok(kept)
    }

    pub(crate) fn set_acked(&self, hub: &str, stream: Stream, acked: Intervals) {
        if let Some(cursor) = self.inner.lock().cursors.get_mut(hub) {
            cursor.acked.insert(stream, acked);
        }
    }

    /// The hubs, and when each was enrolled.
    pub(crate) fn hubs(&self) -> Vec<(String, TimeMs)> {
        let inner = self.inner.lock();
        inner.cursors.iter().map(|(hub, cursor)| (hub.clone(), cursor.since_ms)).collect()
    }

    /// Another spool began, with these numbers of events and gaps.
    pub(crate) fn renew(&self, spool_id: String, notes: (Seq, Seq)) {
        let mut inner = self.inner.lock();
        inner.spool_id = spool_id;
        inner.notes = notes;
        inner.last.insert(Stream::Events, notes.1);
        for cursor in inner.cursors.values_mut() {
            cursor.acked.clear();
            cursor.oldest.clear();
        }
    }
}
