//! Reading the record: the numbered items of a stream as they were sealed, what is needed to read
//! them, and an account of every number that is an item no more. Reads go through connections of
//! their own and never hold up the writer.

mod coding;
mod logs;
mod read;

use fieldpost_model::{Frame, Item, Seq, Stream, TimeMs};
use rusqlite::{Connection, OptionalExtension};

pub use crate::spool::{CursorStatus, OnStored, Record, SeqSpan, StreamStatus, Subscription};
pub(crate) use read::{merged_numbers, numbers_merged_into};

pub use coding::{
    Definition, EntityDefinition, Note, TableBlob, decode_definitions, decode_entities, decode_note,
    decode_table_blob, encode_definitions, encode_entities, encode_note, encode_table_blob,
};

pub use logs::{decode_logs, encode_logs};

use crate::spool::Place;
use crate::state::State;
use crate::store::Store;
use crate::{StoreError, database};

/// Which end of the asked numbers comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The smallest number first.
    Oldest,
    /// The largest number first.
    Newest,
}

/// What is asked of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Of which stream.
    pub stream: Stream,
    /// First number.
    pub from: Seq,
    /// Last number. Numbers that were not given yet are not answered.
    pub to: Seq,
    /// Which end comes first.
    pub order: Order,
    /// The answer ends with the frame with which it has as many bytes.
    pub max_bytes: usize,
    /// The answer ends with as many items.
    pub max_items: usize,
}

/// What the reader knows already; begins empty with each body of frames. Numbers of a scope only
/// rise, so that the next one says which have been told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The scope that was said last.
    pub scope: String,
    /// One more than the highest number of this scope that was defined.
    pub next_id: u32,
}

/// A part of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// To be said in this order.
    pub frames: Vec<Frame>,
    /// The numbers that are still to be answered; ask for them next.
    pub rest: Option<(Seq, Seq)>,
}

impl Store {
    /// Who this is, and which numbers there are.
    pub fn record(&self) -> Record {
        self.shared.spool.record()
    }

    /// Reads a part of the record. Each asked number that was ever given comes back exactly once,
    /// as an item or as lost; over `rest` all of them do. Memory holds `max_bytes` and one item.
    pub fn read_record(&self, ask: &Ask, known: &mut Known) -> Result<Part, StoreError> {
        read::Reading::new(&self.shared, ask, known).run()
    }

    /// One item; none where the number is no item (any more), or was never given.
    pub fn item(&self, stream: Stream, seq: Seq) -> Result<Option<Item>, StoreError> {
        read::one_item(&self.shared, stream, seq)
    }

    /// Calls back with the last number of a stream each time new items are on the disk, on the
    /// thread that wrote them: be quick there. Ends when the answer is dropped.
    pub fn on_stored(&self, listener: OnStored) -> Subscription {
        let id = self.shared.spool.listen(listener);
        Subscription { shared: std::sync::Arc::clone(&self.shared), id }
    }

    /// How far each hub is.
    pub fn cursors(&self) -> Vec<CursorStatus> {
        self.shared.spool.status(|stream, seq| self.instant(stream, seq).ok().flatten())
    }

    /// First instant of an item.
    fn instant(&self, stream: Stream, seq: Seq) -> Result<Option<TimeMs>, StoreError> {
        let (path, sql) = match self.shared.spool.locate(stream, (seq, seq), false) {
            Place::Nowhere(_) => return Ok(None),
            Place::File(file, _) if stream == Stream::Metrics => {
                (file.path, "SELECT from_ms FROM windows WHERE seq = ?1")
            }
            Place::File(file, _) => (file.path, "SELECT key >> 1 FROM blobs WHERE seq = ?1"),
            Place::Notes(_) => (
                State::path(&self.shared.folder),
                "SELECT time_ms FROM events WHERE seq = ?1 UNION ALL SELECT from_ms FROM gaps WHERE seq = ?1",
            ),
        };
        let connection: Connection = database::open_reader(&path)?;
        let found = connection.query_row(sql, [seq as i64], |row| row.get(0)).optional();
        found.map_err(StoreError::sql("read", &path))
    }
}
