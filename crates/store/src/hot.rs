//! The hot file: sealed windows of one hour as they came, each one a row.

use std::path::Path;

use fieldpost_model::{TimeMs, Window};
use rusqlite::{Connection, params};

use crate::codec::{checksum, encode_window};
use crate::database;
use crate::dictionary::{Dictionary, DictionaryWriter, read_entries};
use crate::folder::{StoreFile, beside, sync_folder};
use crate::spool::{note_seqs, read_lineage};
use crate::writer::chain;
use crate::{Durability, StoreError};

/// The log is emptied, not only copied, beyond this size.
const WAL_BYTES_MAX: u64 = 16 << 20;
/// The log is copied into the file beyond this size: seldom enough that a page that changes
/// with each window is written once for many.
const WAL_BYTES_COPIED: u64 = 1 << 20;

/// The hot file that is written now.
pub(crate) struct Hot {
    pub(crate) file: StoreFile,
    pub(crate) dictionary: Dictionary,
    /// Files of one lineage give no number of a series two meanings.
    lineage: String,
    connection: Connection,
    writer: DictionaryWriter,
}

impl Hot {
    /// Makes the file of an hour. With a `lineage` it goes on with the numbers of the file before
    /// it, all of whose series are in the dictionary.
    pub(crate) fn create(
        file: &StoreFile,
        durability: Durability,
        dictionary: Dictionary,
        lineage: Option<String>,
    ) -> Result<Self, StoreError> {
        let file = file.clone();
        let connection = open(&file, durability)?;
        let own = read_lineage(&connection).map_err(StoreError::sql("read", &file.path))?;
        let writer = DictionaryWriter::default();
        let mut hot = Self { file, dictionary, lineage: lineage.unwrap_or(own), connection, writer };
        hot.seed().map_err(StoreError::sql("write", &hot.file.path))?;
        sync_folder(hot.file.path.parent().unwrap_or(Path::new("/")))?;
        Ok(hot)
    }

    fn seed(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute("UPDATE meta SET value = ?1 WHERE key = 'lineage'", [&self.lineage])?;
        for entry in self.dictionary.entries() {
            self.writer.put(&transaction, entry)?;
        }
        transaction.commit()
    }

    /// Goes on with a file that was left behind. `check` reads it whole first: an hour of windows
    /// takes milliseconds.
    pub(crate) fn reopen(file: StoreFile, durability: Durability, check: bool) -> Result<Self, StoreError> {
        let failed = || StoreError::sql("check", &file.path);
        let connection = open(&file, durability)?;
        if check && !database::quick_check(&connection).map_err(failed())? {
            return Err(StoreError::Blob {
                path: file.path,
                source: crate::codec::CodecError::Malformed("SQLite finds its pages damaged"),
            });
        }
        let mut dictionary = Dictionary::default();
        dictionary.absorb(read_entries(&connection, &file.path)?);
        let writer = DictionaryWriter::resume(&connection).map_err(failed())?;
        let lineage = read_lineage(&connection).map_err(failed())?;
        Ok(Self { file, dictionary, lineage, connection, writer })
    }

    /// Begins another lineage: numbers may have been given that are forgotten, and will be given
    /// anew.
    pub(crate) fn begin_lineage(&mut self) -> Result<(), StoreError> {
        let sql = "UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'lineage'";
        let renewed = self.connection.execute(sql, []).and_then(|_| read_lineage(&self.connection));
        self.lineage = renewed.map_err(StoreError::sql("write", &self.file.path))?;
        Ok(())
    }

    /// Writes windows with rising numbers in one transaction, on the disk when this returns.
    pub(crate) fn append<'a>(
        &mut self,
        first_seq: i64,
        windows: impl Iterator<Item = &'a Window>,
    ) -> Result<(), StoreError> {
        let appended = self.append_rows(first_seq, windows);
        appended.map_err(StoreError::sql("write", &self.file.path))
    }

    fn append_rows<'a>(
        &mut self,
        first_seq: i64,
        windows: impl Iterator<Item = &'a Window>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for (window, seq) in windows.zip(first_seq..) {
            let ids = ids_of(window, &mut self.dictionary, |entry| self.writer.put(&transaction, entry))?;
            let columns = window.groups.iter().zip(&ids);
            let blob = encode_window(columns.map(|(g, ids)| (&g.times_ms[..], &ids[..], &g.values[..])));
            let (from_ms, to_ms) = bounds(window);
            let mut statement =
                transaction.prepare_cached("INSERT INTO windows VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            let n_samples = window.n_samples() as i64;
            statement.execute(params![seq, from_ms, to_ms, n_samples, checksum(&blob), blob])?;
        }
        transaction.commit()
    }

    /// Copies the log into the file when it is long; empties it when it is far too long.
    pub(crate) fn tend_log(&self) -> Result<(), StoreError> {
        let bytes = self.wal_bytes();
        if bytes > WAL_BYTES_COPIED {
            let done = database::checkpoint(&self.connection, bytes > WAL_BYTES_MAX);
            done.map_err(StoreError::sql("checkpoint", &self.file.path))?;
        }
        Ok(())
    }

    /// Bytes of the log.
    pub(crate) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(beside(&self.file.path, "-wal")).map_or(0, |metadata| metadata.len())
    }

    /// Empties the log and closes the file; answers what the next one goes on with.
    pub(crate) fn close(self) -> Result<Ancestor, StoreError> {
        // On a full disk it is not written down: then the file is looked through when it is asked.
        let noted = note_seqs(&self.connection).map_err(StoreError::sql("write", &self.file.path));
        noted.unwrap_or_else(|error| tracing::debug!(error = chain(&error), "its numbers are not noted"));
        database::checkpoint(&self.connection, true)
            .map_err(StoreError::sql("checkpoint", &self.file.path))?;
        self.connection.close().map_err(|(_, error)| StoreError::sql("close", &self.file.path)(error))?;
        Ok(Ancestor { day: self.file.day(), lineage: self.lineage, dictionary: self.dictionary })
    }
}

/// A hot file that was closed cleanly, for the next one of its day to go on with its numbers.
pub(crate) struct Ancestor {
    pub(crate) day: i64,
    pub(crate) lineage: String,
    pub(crate) dictionary: Dictionary,
}

fn open(file: &StoreFile, durability: Durability) -> Result<Connection, StoreError> {
    let connection = database::open_writer(&file.path, include_str!("sql/hot.sql"))?;
    if durability == Durability::Relaxed {
        let relaxed = connection.execute_batch("PRAGMA synchronous = NORMAL");
        relaxed.map_err(StoreError::sql("open", &file.path))?;
    }
    Ok(connection)
}

/// The ids of each group's columns; series without one are given one and written.
fn ids_of(
    window: &Window,
    dictionary: &mut Dictionary,
    mut put: impl FnMut(&crate::dictionary::Entry) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<Vec<u32>>> {
    let mut all = Vec::with_capacity(window.groups.len());
    for group in &window.groups {
        let mut ids = Vec::with_capacity(group.series.len());
        for series in &group.series {
            let (id, new) = dictionary.id(series);
            if let Some(entry) = new {
                put(entry)?;
            }
            ids.push(id);
        }
        all.push(ids);
    }
    Ok(all)
}

/// The window's span, widened to all of its samples.
fn bounds(window: &Window) -> (TimeMs, TimeMs) {
    let times = || window.groups.iter().flat_map(|group| &group.times_ms).copied();
    let first = times().min().unwrap_or(window.from_ms).min(window.from_ms);
    let last = times().max().map_or(window.to_ms, |time_ms| time_ms.saturating_add(1));
    (first, last.max(window.to_ms))
}
