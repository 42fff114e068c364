//! An intake file: the items of one hour as they came, of all agents, each one a row; in the same
//! file, and written in the same transaction, the numbers that it answers for.

use std::collections::HashMap;
use std::path::Path;

use fieldpost_model::{Intervals, Lost, Stream};
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::codec::CodecError;
use crate::database;
use crate::folder::{StoreFile, beside, sync_folder};
use crate::hub::batch::{CheckedItem, SEQ_BITS};
use crate::hub::ledger::{Ledger, Numbers, SourceId, SourceKey};
use crate::hub::scopes::Scope;

/// Bits of the key of a blob of definitions that are its number.
pub(crate) const BLOB_BITS: u32 = 24;
/// The log is copied into the file beyond this size.
const WAL_BYTES_COPIED: u64 = 4 << 20;
/// The log is emptied, not only copied, beyond this size.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// A larger file is not read whole before it is gone on with.
const CHECKED_BYTES_MAX: u64 = 1 << 30;

/// A part of the file: the items of a source whose ids have the same meaning.
struct Part {
    number: i64,
    /// Blobs of the scope that are in the file, counted as the scope counts them.
    n_blobs: usize,
    /// Number of the next blob of definitions in the file.
    next_blob: i64,
}

/// An open intake file, for writing.
pub(crate) struct Intake {
    pub(crate) file: StoreFile,
    connection: Connection,
    sources: HashMap<SourceId, i64>,
    parts: HashMap<(SourceId, Box<str>), Part>,
}

/// What goes into the file at once.
#[derive(Default)]
pub(crate) struct Share<'a> {
    pub(crate) items: Vec<&'a CheckedItem>,
    pub(crate) lost: Vec<(SourceId, &'a Lost, Intervals)>,
}

impl Intake {
    /// Makes the file, or goes on with one that is there.
    pub(crate) fn open(file: &StoreFile, ledger: &Ledger) -> Result<Self, StoreError> {
        let connection = database::open_writer(&file.path, include_str!("../sql/hub_intake.sql"))?;
        sync_folder(file.path.parent().unwrap_or(Path::new("/")))?;
        let file = file.clone();
        let mut intake = Self { file, connection, sources: HashMap::new(), parts: HashMap::new() };
        intake.recall(ledger).map_err(StoreError::sql("read", &intake.file.path))?;
        Ok(intake)
    }

    /// Reads what sources and parts the file has.
    fn recall(&mut self, ledger: &Ledger) -> rusqlite::Result<()> {
        let mut ids = HashMap::new();
        for (number, key) in read_sources(&self.connection)? {
            let id = ledger.source(&key);
            ids.insert(number, id);
            self.sources.insert(id, number);
        }
        let sql = "SELECT part, source, scope, \
                   (SELECT max(key) FROM definitions WHERE key >= part << 24 AND key < (part + 1) << 24) \
                   FROM parts";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, source): (i64, i64) = (row.get(0)?, row.get(1)?);
            let last_blob: Option<i64> = row.get(3)?;
            let next_blob = last_blob.map_or(0, |key| key - (number << BLOB_BITS) + 1);
            let Some(id) = ids.get(&source) else { continue };
            let scope: String = row.get(2)?;
            self.parts.insert((*id, scope.into()), Part { number, n_blobs: 0, next_blob });
        }
        Ok(())
    }

    /// Writes items, and the numbers that the file answers for from now on, in one transaction
    /// that is on the disk when this returns. Numbers that are here must not be given. After an
    /// error nobody knows what the connection believes: it has to be dropped.
    pub(crate) fn append(&mut self, share: &Share<'_>, ledger: &Ledger) -> Result<Numbers, StoreError> {
        self.write(share, ledger).map_err(StoreError::sql("write", &self.file.path))
    }

    fn write(&mut self, share: &Share<'_>, ledger: &Ledger) -> rusqlite::Result<Numbers> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut new = Numbers::new();
        for checked in &share.items {
            let part = self.part(checked, ledger)?;
            let item = &checked.item;
            let mut statement =
                self.connection.prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            let key = part << SEQ_BITS | item.seq as i64;
            let n_samples = item.n_samples as i64;
            statement.execute(params![key, item.from_ms, item.to_ms, n_samples, item.checksum, item.blob])?;
            new.entry(checked.scope.source).or_default().insert(item.seq, item.seq);
        }
        for (source, lost, numbers) in &share.lost {
            self.put_lost(*source, lost, numbers, ledger)?;
            new.entry(*source).or_default().union(numbers);
        }
        for (source, numbers) in &new {
            let number = self.source(*source, ledger)?;
            put_received(&self.connection, number, &ledger.of_file(&self.file.path, *source), numbers)?;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(new)
    }

    fn put_lost(
        &mut self,
        source: SourceId,
        lost: &Lost,
        numbers: &Intervals,
        ledger: &Ledger,
    ) -> rusqlite::Result<()> {
        let number = self.source(source, ledger)?;
        let mut statement = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO lost VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let n_samples = i64::try_from(lost.n_samples).unwrap_or(i64::MAX);
        for (first, last) in numbers.ranges() {
            let (first, last) = (*first as i64, *last as i64);
            let row = params![number, first, last, lost.from_ms, lost.to_ms, n_samples, lost.reason];
            statement.execute(row)?;
        }
        Ok(())
    }

    fn source(&mut self, id: SourceId, ledger: &Ledger) -> rusqlite::Result<i64> {
        if let Some(number) = self.sources.get(&id) {
            return Ok(*number);
        }
        let key = ledger.key(id).ok_or(rusqlite::Error::InvalidQuery)?;
        let row = params![key.agent_id, key.spool_id, key.stream.as_str()];
        let sql = "INSERT INTO sources (agent_id, spool_id, stream) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(row)?;
        let number = self.connection.last_insert_rowid();
        self.sources.insert(id, number);
        Ok(number)
    }

    /// The part of an item, with all that the item rests on in the file.
    fn part(&mut self, checked: &CheckedItem, ledger: &Ledger) -> rusqlite::Result<i64> {
        let scope = &*checked.scope;
        let source = self.source(scope.source, ledger)?;
        let key = (scope.source, scope.name.clone());
        if !self.parts.contains_key(&key) {
            let sql = "INSERT INTO parts (source, scope) VALUES (?1, ?2)";
            self.connection.prepare_cached(sql)?.execute(params![source, scope.name])?;
            let number = self.connection.last_insert_rowid();
            self.parts.insert(key.clone(), Part { number, n_blobs: 0, next_blob: 0 });
        }
        let Some(part) = self.parts.get_mut(&key) else { return Err(rusqlite::Error::InvalidQuery) };
        if part.n_blobs < checked.n_blobs {
            put_definitions(&self.connection, part, scope, checked.n_blobs)?;
        }
        Ok(part.number)
    }

    /// What descriptions of this scope need not be kept for this file any more.
    pub(crate) fn n_blobs(&self, scope: &Scope) -> usize {
        self.parts.get(&(scope.source, scope.name.clone())).map_or(0, |part| part.n_blobs)
    }

    /// Copies the log into the file when it is long; empties it when it is far too long.
    pub(crate) fn tend_log(&self) -> Result<(), StoreError> {
        let path = beside(&self.file.path, "-wal");
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if bytes > WAL_BYTES_COPIED {
            let done = database::checkpoint(&self.connection, bytes > WAL_BYTES_MAX);
            done.map_err(StoreError::sql("checkpoint", &self.file.path))?;
        }
        Ok(())
    }

    /// Empties the log and closes the file.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        database::checkpoint(&self.connection, true)
            .map_err(StoreError::sql("checkpoint", &self.file.path))?;
        self.connection.close().map_err(|(_, error)| StoreError::sql("close", &self.file.path)(error))
    }
}

fn put_definitions(
    connection: &Connection,
    part: &mut Part,
    scope: &Scope,
    n_blobs: usize,
) -> rusqlite::Result<()> {
    let (_, blobs) = scope.blobs(part.n_blobs, n_blobs);
    let mut statement = connection.prepare_cached("INSERT INTO definitions VALUES (?1, ?2)")?;
    for blob in blobs {
        statement.execute(params![part.number << BLOB_BITS | part.next_blob, &blob[..]])?;
        part.next_blob += 1;
    }
    part.n_blobs = n_blobs;
    Ok(())
}

/// Writes numbers beside those that are there; ranges that touch become one.
fn put_received(
    connection: &Connection,
    source: i64,
    before: &Intervals,
    more: &Intervals,
) -> rusqlite::Result<()> {
    let mut after = before.clone();
    after.union(more);
    let mut remove = connection.prepare_cached("DELETE FROM received WHERE source = ?1 AND first = ?2")?;
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO received VALUES (?1, ?2, ?3)")?;
    let is_in = |set: &Intervals, range: &(u64, u64)| set.ranges().binary_search(range).is_ok();
    for range in before.ranges().iter().filter(|range| !is_in(&after, range)) {
        remove.execute(params![source, range.0 as i64])?;
    }
    for range in after.ranges().iter().filter(|range| !is_in(before, range)) {
        insert.execute(params![source, range.0 as i64, range.1 as i64])?;
    }
    Ok(())
}

/// The sources of a file by their numbers there.
pub(crate) fn read_sources(connection: &Connection) -> rusqlite::Result<Vec<(i64, SourceKey)>> {
    let mut statement = connection.prepare("SELECT source, agent_id, spool_id, stream FROM sources")?;
    let mut rows = statement.query([])?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        let stream: String = row.get(3)?;
        // A stream that only a newer version knows is not read.
        if let Some(stream) = Stream::kept(&stream) {
            let key = SourceKey { agent_id: row.get(1)?, spool_id: row.get(2)?, stream };
            sources.push((row.get(0)?, key));
        }
    }
    Ok(sources)
}

/// The numbers that a file answers for.
pub(crate) fn read_received(connection: &Connection) -> rusqlite::Result<Vec<(SourceKey, Intervals)>> {
    let mut statement = connection.prepare("SELECT first, last FROM received WHERE source = ?1")?;
    let mut all = Vec::new();
    for (number, key) in read_sources(connection)? {
        let mut numbers = Intervals::default();
        let mut rows = statement.query([number])?;
        while let Some(row) = rows.next()? {
            let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
            numbers.insert(first.max(1) as u64, last.max(0) as u64);
        }
        all.push((key, numbers));
    }
    Ok(all)
}

/// Makes a file whole again that a process left open, before anybody else reads it: its log is
/// copied into it. Answers an error of damage where it is not whole.
pub(crate) fn recover(file: &StoreFile) -> Result<(), StoreError> {
    let connection = database::open_writer(&file.path, include_str!("../sql/hub_intake.sql"))?;
    let failed = || StoreError::sql("check", &file.path);
    if file.bytes() <= CHECKED_BYTES_MAX && !database::quick_check(&connection).map_err(failed())? {
        let source = CodecError::Malformed("SQLite finds its pages damaged");
        return Err(StoreError::Blob { path: file.path.clone(), source });
    }
    database::checkpoint(&connection, true).map_err(failed())?;
    connection.close().map_err(|(_, error)| failed()(error))
}

/// Hands over the descriptions of a part, in the order in which they came.
pub(crate) fn each_definition(
    connection: &Connection,
    part: i64,
    mut each: impl FnMut(&[u8]),
) -> rusqlite::Result<()> {
    let sql = "SELECT blob FROM definitions WHERE key >= ?1 AND key < ?2 ORDER BY key";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![part << BLOB_BITS, (part + 1) << BLOB_BITS])?;
    while let Some(row) = rows.next()? {
        each(row.get_ref(0)?.as_blob().unwrap_or_default());
    }
    Ok(())
}

/// The scope's descriptions are kept for files of later hours only where these need them.
pub(crate) fn are_kept(stream: Stream) -> bool {
    stream == Stream::Metrics
}
