//! The store as a queue towards its hubs: which numbered items are in which file, and what each
//! hub has acknowledged. Kept in memory beside the files, for it is asked at every merge, at every
//! look of a hub and at every window.

mod cursors;
mod open;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use crate::StoreError;
use crate::codec::{decode_intervals, encode_intervals};
use crate::folder::{FileKind, StoreFile};
use crate::state::State;

pub(crate) use cursors::{Errand, Kept};
pub(crate) use open::{examine, index, open, read_lineage, say_new};

/// Told of the last number of a stream when new items are on the disk.
pub type OnStored = Arc<dyn Fn(Stream, Seq) + Send + Sync>;

/// What an agent has of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Random identity of the agent, in hexadecimal.
    pub agent_id: String,
    /// Random identity of the numbering: under another one the same number is another item.
    pub spool_id: String,
    /// The numbers of each stream.
    pub streams: BTreeMap<Stream, SeqSpan>,
}

/// Numbers of a stream. What lies before the first is no item any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SeqSpan {
    /// The first that is there as an item; one more than the last where there is none.
    pub first: Seq,
    /// The last that was given; 0 where none was.
    pub last: Seq,
}

/// How far a hub is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorStatus {
    /// The hub.
    pub hub: String,
    /// When it was enrolled.
    pub since_ms: TimeMs,
    /// How far it is in each stream.
    pub streams: BTreeMap<Stream, StreamStatus>,
}

/// How far a hub is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStatus {
    /// Up to this number nothing is owed to it.
    pub whole_up_to: Seq,
    /// Items that it has not acknowledged.
    pub lag_items: u64,
    /// First instant of the oldest of them.
    pub oldest_unacked_ms: Option<TimeMs>,
}

/// A hub's acknowledgements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    pub(crate) since_ms: TimeMs,
    pub(crate) acked: HashMap<Stream, Intervals>,
    /// First instant of the item of this number, for it takes a look into a file.
    oldest: HashMap<Stream, (Seq, TimeMs)>,
}

/// Where the next of some asked numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this file.
    File(StoreFile, (Seq, Seq)),
    /// In `state.db`, but for those that were let go by age.
    Notes((Seq, Seq)),
    /// Nowhere as items.
    Nowhere((Seq, Seq)),
}

#[derive(Default)]
struct Inner {
    agent_id: String,
    spool_id: String,
    /// Hot files and tables, with the numbers in them.
    files: Vec<(StoreFile, Intervals)>,
    notes: (Seq, Seq),
    last: HashMap<Stream, Seq>,
    cursors: BTreeMap<String, Cursor>,
    /// Numbers of windows that were merged, once somebody asked.
    merged: Option<Arc<Intervals>>,
    /// How often they changed.
    n_merges: u64,
}

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Spool {
    inner: Mutex<Inner>,
    listeners: Mutex<(u64, BTreeMap<u64, OnStored>)>,
}

/// Ends the calls of a listener when it is dropped.
#[must_use = "the listener is forgotten when this is dropped"]
pub struct Subscription {
    pub(crate) shared: Arc<crate::shared::Shared>,
    pub(crate) id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.spool.listeners.lock().1.remove(&self.id);
    }
}

/// The stream whose items such a file holds as they were sealed.
pub(crate) fn stream_of(kind: FileKind) -> Option<Stream> {
    match kind {
        FileKind::Hot => Some(Stream::Metrics),
        FileKind::Tables => Some(Stream::Processes),
        _ => None,
    }
}

impl Inner {
    fn files_of(&self, stream: Stream) -> impl Iterator<Item = &(StoreFile, Intervals)> {
        self.files.iter().filter(move |(file, _)| stream_of(file.kind) == Some(stream))
    }

    /// The ranges of items that are there.
    fn ranges(&self, stream: Stream) -> impl Iterator<Item = (Seq, Seq)> {
        let (first, last) = self.notes;
        let notes = (stream == Stream::Events && first <= last).then_some((first, last));
        self.files_of(stream).flat_map(|(_, seqs)| seqs.ranges().iter().copied()).chain(notes)
    }

    fn span(&self, stream: Stream) -> SeqSpan {
        let last = self.last.get(&stream).copied().unwrap_or(0);
        let first = self.ranges(stream).map(|(first, _)| first).min();
        SeqSpan { first: first.unwrap_or(last + 1), last }
    }

    fn raise(&mut self, stream: Stream, seq: Seq) {
        let last = self.last.entry(stream).or_default();
        *last = seq.max(*last);
    }

    /// Items that a hub has not acknowledged: the first of them, and how many.
    fn owed(&self, stream: Stream, cursor: &Cursor) -> (Option<Seq>, u64) {
        let nothing = Intervals::default();
        let acked = cursor.acked.get(&stream).unwrap_or(&nothing);
        let (mut first, mut count) = (None::<Seq>, 0);
        for (from, to) in self.ranges(stream) {
            let missing = acked.missing(from, to);
            count += missing.len();
            let begin = missing.ranges().first().map(|(begin, _)| *begin);
            first = first.into_iter().chain(begin).min();
        }
        (first, count)
    }
}

impl Spool {
    /// Takes in what `state.db` keeps.
    pub(crate) fn begin(&self, agent_id: String, kept: Kept) {
        let mut inner = self.inner.lock();
        inner.agent_id = agent_id;
        inner.spool_id = kept.spool_id;
        inner.cursors = kept.cursors;
    }

    pub(crate) fn spool_id(&self) -> String {
        self.inner.lock().spool_id.clone()
    }

    pub(crate) fn record(&self) -> Record {
        let inner = self.inner.lock();
        let streams = Stream::ALL.into_iter().map(|stream| (stream, inner.span(stream))).collect();
        Record { agent_id: inner.agent_id.clone(), spool_id: inner.spool_id.clone(), streams }
    }

    /// The last number that was given.
    pub(crate) fn last(&self, stream: Stream) -> Seq {
        self.inner.lock().last.get(&stream).copied().unwrap_or(0)
    }

    /// All numbers up to this one are taken.
    pub(crate) fn skip_to(&self, stream: Stream, seq: Seq) {
        self.inner.lock().raise(stream, seq);
    }

    /// The file holds these and no others.
    pub(crate) fn put(&self, file: &StoreFile, seqs: Intervals) {
        let mut inner = self.inner.lock();
        inner.files.retain(|(other, _)| other != file);
        if let (Some(stream), Some(last)) = (stream_of(file.kind), seqs.last()) {
            inner.raise(stream, last);
            inner.files.push((file.clone(), seqs));
        }
    }

    /// New items of a file are on the disk.
    pub(crate) fn stored(&self, file: &StoreFile, from: Seq, to: Seq) {
        let Some(stream) = stream_of(file.kind) else { return };
        let mut inner = self.inner.lock();
        inner.raise(stream, to);
        match inner.files.iter_mut().rev().find(|(other, _)| other == file) {
            Some((_, seqs)) => seqs.insert(from, to),
            None => inner.files.push((file.clone(), Intervals::of(from, to))),
        }
        drop(inner);
        self.tell(stream, to);
    }

    /// Events and gaps are there from the first number on, and the last that was given.
    pub(crate) fn noted(&self, (first, last): (Seq, Seq)) {
        let mut inner = self.inner.lock();
        let new = last > inner.notes.1;
        inner.notes = (first, last);
        inner.raise(Stream::Events, last);
        drop(inner);
        if new {
            self.tell(Stream::Events, last);
        }
    }

    /// The file is no more.
    pub(crate) fn remove(&self, file: &StoreFile) {
        self.inner.lock().files.retain(|(other, _)| other != file);
    }

    /// What was merged is to be looked up anew.
    pub(crate) fn merged_anew(&self) {
        self.merged_away([]);
    }

    /// These files are no more: what was in them was merged, or let go. Whoever does not find a
    /// number in a file any more finds it among the merged ones.
    pub(crate) fn merged_away<'a>(&self, files: impl IntoIterator<Item = &'a StoreFile>) {
        let mut inner = self.inner.lock();
        for file in files {
            inner.files.retain(|(other, _)| other != file);
        }
        inner.merged = None;
        inner.n_merges += 1;
    }

    /// The numbers of all windows that were merged.
    pub(crate) fn merged(
        &self,
        read: impl FnOnce() -> Result<Intervals, StoreError>,
    ) -> Result<Arc<Intervals>, StoreError> {
        let n_merges = match &*self.inner.lock() {
            Inner { merged: Some(merged), .. } => return Ok(Arc::clone(merged)),
            inner => inner.n_merges,
        };
        let merged = Arc::new(read()?);
        let mut inner = self.inner.lock();
        // What was read while files were merged is right for who asked, not for the next one.
        if inner.n_merges == n_merges {
            inner.merged = Some(Arc::clone(&merged));
        }
        Ok(merged)
    }

    /// The numbers of a file's items, where they are known.
    pub(crate) fn seqs_of(&self, file: &StoreFile) -> Option<Intervals> {
        let inner = self.inner.lock();
        inner.files.iter().find(|(other, _)| other == file).map(|(_, seqs)| seqs.clone())
    }

    /// Where the first numbers of `from..=to` are, or the last.
    pub(crate) fn locate(&self, stream: Stream, (from, to): (Seq, Seq), newest: bool) -> Place {
        let inner = self.inner.lock();
        let edge = if newest { to } else { from };
        let clip = |(first, last): (Seq, Seq)| (first.max(from), last.min(to));
        let (first, last) = inner.notes;
        if stream == Stream::Events && (first..=last).contains(&edge) {
            return Place::Notes(clip((first, last)));
        }
        for (file, seqs) in inner.files_of(stream) {
            if let Some(range) = seqs.ranges().iter().find(|(first, last)| (*first..=*last).contains(&edge)) {
                return Place::File(file.clone(), clip(*range));
            }
        }
        let run = if newest {
            let before = inner.ranges(stream).map(|(_, last)| last).filter(|last| *last < edge).max();
            (before.map_or(from, |last| from.max(last + 1)), to)
        } else {
            let after = inner.ranges(stream).map(|(first, _)| first).filter(|first| *first > edge).min();
            (from, after.map_or(to, |first| to.min(first - 1)))
        };
        Place::Nowhere(run)
    }

    pub(crate) fn has_cursors(&self) -> bool {
        !self.inner.lock().cursors.is_empty()
    }

    /// Is an item of this file still owed to a hub?
    pub(crate) fn is_owed(&self, file: &StoreFile) -> bool {
        let inner = self.inner.lock();
        let Some(stream) = stream_of(file.kind) else { return false };
        let Some((_, seqs)) = inner.files.iter().find(|(other, _)| other == file) else { return false };
        let has = |cursor: &Cursor, (from, to): &(Seq, Seq)| {
            cursor.acked.get(&stream).is_some_and(|acked| acked.missing(*from, *to).is_empty())
        };
        inner.cursors.values().any(|cursor| seqs.ranges().iter().any(|range| !has(cursor, range)))
    }

    /// How far each hub is. `instant` looks up the first instant of an item.
    pub(crate) fn status(&self, instant: impl Fn(Stream, Seq) -> Option<TimeMs>) -> Vec<CursorStatus> {
        let mut all = Vec::new();
        let mut unknown = Vec::new();
        let inner = self.inner.lock();
        for (hub, cursor) in &inner.cursors {
            let mut streams = BTreeMap::new();
            for stream in Stream::ALL {
                let (first, lag_items) = inner.owed(stream, cursor);
                let whole_up_to = first.map_or(inner.span(stream).last, |first| first - 1);
                let known = cursor.oldest.get(&stream).filter(|(seq, _)| Some(*seq) == first);
                let oldest_unacked_ms = known.map(|(_, time_ms)| *time_ms);
                if let (Some(first), None) = (first, known) {
                    unknown.push((hub.clone(), stream, first));
                }
                streams.insert(stream, StreamStatus { whole_up_to, lag_items, oldest_unacked_ms });
            }
            all.push(CursorStatus { hub: hub.clone(), since_ms: cursor.since_ms, streams });
        }
        drop(inner);
        for (hub, stream, seq) in unknown {
            let Some(time_ms) = instant(stream, seq) else { continue };
            if let Some(cursor) = self.inner.lock().cursors.get_mut(&hub) {
                cursor.oldest.insert(stream, (seq, time_ms));
            }
            let status = all.iter_mut().find(|status| status.hub == hub);
            if let Some(status) = status.and_then(|status| status.streams.get_mut(&stream)) {
                status.oldest_unacked_ms = Some(time_ms);
            }
        }
        all
    }

    pub(crate) fn listen(&self, listener: OnStored) -> u64 {
        let mut listeners = self.listeners.lock();
        listeners.0 += 1;
        let id = listeners.0;
        listeners.1.insert(id, listener);
        id
    }

    /// Calls the listeners with no lock held: they may ask for what they are told of.
    fn tell(&self, stream: Stream, last: Seq) {
        let listeners: Vec<OnStored> = self.listeners.lock().1.values().cloned().collect();
        listeners.iter().for_each(|listener| listener(stream, last));
    }
}

/// Numbers of the items in a file. A hot file that was closed cleanly has them written down, so
/// that a start after days of outage does not read all of them.
pub(crate) fn read_seqs(connection: &Connection, file: &StoreFile) -> Result<Intervals, StoreError> {
    let read = || match file.kind {
        FileKind::Hot => match read_noted_seqs(connection)? {
            Some(seqs) => Ok(seqs),
            None => scan_seqs(connection, "SELECT seq FROM windows ORDER BY seq"),
        },
        FileKind::Tables => scan_seqs(connection, "SELECT seq FROM blobs ORDER BY seq"),
        _ => Ok(Intervals::default()),
    };
    read().map_err(StoreError::sql("read", &file.path))
}

/// Writes the numbers of a hot file's windows down, before it is closed.
pub(crate) fn note_seqs(connection: &Connection) -> rusqlite::Result<()> {
    let seqs = scan_seqs(connection, "SELECT seq FROM windows ORDER BY seq")?;
    let sql = "INSERT OR REPLACE INTO meta VALUES ('seqs', ?1)";
    connection.execute(sql, [encode_intervals(&seqs)]).map(|_| ())
}

/// What was written down, unless the file has grown since.
fn read_noted_seqs(connection: &Connection) -> rusqlite::Result<Option<Intervals>> {
    let sql = "SELECT value FROM meta WHERE key = 'seqs'";
    let noted: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    let last: Option<i64> = connection.query_row("SELECT max(seq) FROM windows", [], |row| row.get(0))?;
    let seqs = noted.and_then(|noted| decode_intervals(&noted).ok());
    Ok(seqs.filter(|seqs| seqs.last() == last.map(|last| last.max(0) as Seq)))
}

fn scan_seqs(connection: &Connection, sql: &str) -> rusqlite::Result<Intervals> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(row.get::<_, i64>(0)?.max(0) as Seq))?;
    rows.collect()
}

impl State {
    /// The first number that may be given: one more than any of before.
    pub(crate) fn next(&self, key: &str) -> Result<Seq, StoreError> {
        Ok(self.integer(key)?.unwrap_or(1).max(1) as Seq)
    }
}
