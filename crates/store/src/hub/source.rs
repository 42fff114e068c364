//! One file of the hub's store as a reader sees it: which agents it has, which of their series are
//! wanted, and their samples.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use fieldpost_model::{Intervals, Item, Stream, TimeMs, is_absent};
use rusqlite::{Connection, params};

use crate::codec::{WindowReader, checksum};
use crate::folder::{FileKind, StoreFile};
use crate::hub::batch::{HUB_SEQ_MAX, SEQ_BITS};
use crate::hub::index::{self, Members};
use crate::hub::intake::BLOB_BITS;
use crate::hub::ledger::SourceKey;
use crate::hub::shapes::{Described, ShapeId, Shapes};
use crate::rollup::{Rollup, read_rollups};
use crate::rows::{GROUP_SIZE, RowReader, Table, read_hours};
use crate::source::open_file;
use crate::{Samples, StoreError};

/// A part of an intake file: items whose ids have the same meaning.
pub(crate) struct Part {
    pub(crate) number: i64,
    pub(crate) scope: String,
}

/// Parts of one agent's stream.
pub(crate) struct PartsOf {
    pub(crate) key: SourceKey,
    pub(crate) parts: Vec<Part>,
}

/// An hour, and the span of it that matters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HourSpan {
    pub(crate) hour: i64,
    pub(crate) from_ms: TimeMs,
    pub(crate) to_ms: TimeMs,
}

impl HourSpan {
    /// All that the files of the hour have.
    pub(crate) fn whole(hour: i64) -> Self {
        Self { hour, from_ms: TimeMs::MIN, to_ms: TimeMs::MAX }
    }
}

/// An opened file, for one question or one merge.
pub(crate) struct HubFile {
    pub(crate) file: StoreFile,
    pub(crate) connection: Connection,
    id: u128,
    shapes: Arc<Shapes>,
    damaged: RefCell<HashMap<SourceKey, Intervals>>,
    windows: RefCell<WindowReader>,
}

impl HubFile {
    /// Opens a file.
    pub(crate) fn open(file: StoreFile, shapes: Arc<Shapes>) -> Result<Self, StoreError> {
        let connection = open_file(&file)?;
        let id = read_id(&connection).map_err(StoreError::sql("read", &file.path))?;
        let (damaged, windows) = Default::default();
        Ok(Self { connection, id, shapes, file, damaged, windows })
    }

    /// The same file, for another question.
    pub(crate) fn lent(mut self, file: StoreFile, shapes: &Arc<Shapes>) -> Self {
        (self.file, self.shapes) = (file, Arc::clone(shapes));
        self
    }

    fn sql(&self) -> impl FnOnce(rusqlite::Error) -> StoreError {
        StoreError::sql("read", &self.file.path)
    }

    /// Agents with samples here, by id.
    pub(crate) fn agents(&self) -> Result<BTreeSet<String>, StoreError> {
        let read = match self.file.kind {
            FileKind::Hot => read_hot_agents(&self.connection),
            _ => index::read_agents(&self.connection),
        };
        read.map_err(self.sql())
    }

    /// Parts of an agent's stream, under whatever spool.
    pub(crate) fn parts(&self, agent_id: &str, stream: Stream) -> Result<Vec<PartsOf>, StoreError> {
        let all = read_parts(&self.connection, Some(agent_id)).map_err(self.sql())?;
        Ok(all.into_iter().filter(|parts| parts.key.stream == stream).collect())
    }

    /// Every part of the file.
    pub(crate) fn all_parts(&self) -> Result<Vec<PartsOf>, StoreError> {
        read_parts(&self.connection, None).map_err(self.sql())
    }

    /// What the ids of a part mean; what cannot be read is left out.
    pub(crate) fn described(&self, part: i64) -> Result<Vec<Described>, StoreError> {
        let keys = || {
            let sql = "SELECT key FROM definitions WHERE key >= ?1 AND key < ?2 ORDER BY key";
            let mut statement = self.connection.prepare_cached(sql)?;
            let span = params![part << BLOB_BITS, (part + 1) << BLOB_BITS];
            let keys = statement.query_map(span, |row| row.get::<_, i64>(0))?;
            keys.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut all = Vec::new();
        for key in keys().map_err(self.sql())? {
            let blob = || {
                let sql = "SELECT blob FROM definitions WHERE key = ?1";
                self.connection.prepare_cached(sql)?.query_row([key], |row| row.get::<_, Vec<u8>>(0))
            };
            all.extend(self.shapes.described(self.id, key, blob).map_err(self.sql())?.ok());
        }
        Ok(all)
    }

    /// Hands over the shapes of an agent's series here, some more than once.
    pub(crate) fn each_shape(&self, agent_id: &str, mut each: impl FnMut(ShapeId)) -> Result<(), StoreError> {
        for part in self.parts(agent_id, Stream::Metrics)?.iter().flat_map(|parts| &parts.parts) {
            for described in self.described(part.number)? {
                described.iter().for_each(|(_, shape)| each(*shape));
            }
        }
        self.series(agent_id)?.iter().for_each(|(_, shape)| each(shape));
        Ok(())
    }

    /// Hands over the samples of an agent's series in an hour, as far as their shapes are wanted,
    /// in the order in which they came. Answers how many blobs could not be read.
    pub(crate) fn read(
        &self,
        agent_id: &str,
        span: &HourSpan,
        wanted: &mut dyn FnMut(ShapeId) -> bool,
        found: &mut HashMap<ShapeId, Samples>,
    ) -> Result<u64, StoreError> {
        let hour = span.hour;
        match self.file.kind {
            FileKind::Hot if self.file.hour == hour => self.read_windows(agent_id, span, wanted, found),
            FileKind::Hour if self.file.hour != hour => Ok(0),
            FileKind::Hour | FileKind::Day => {
                self.read_rows(agent_id, hour.rem_euclid(crate::calendar::DAY_HOURS), wanted, found)
            }
            _ => Ok(0),
        }
    }

    fn read_windows(
        &self,
        agent_id: &str,
        span: &HourSpan,
        wanted: &mut dyn FnMut(ShapeId) -> bool,
        found: &mut HashMap<ShapeId, Samples>,
    ) -> Result<u64, StoreError> {
        let mut n_damaged = 0;
        let parts = self.parts(agent_id, Stream::Metrics)?;
        for (key, part) in parts.iter().flat_map(|parts| parts.parts.iter().map(|part| (&parts.key, part))) {
            // Each window is asked about all of its ids: a short list in order is faster than a table.
            let mut ids: Vec<(u32, ShapeId)> = Vec::new();
            for described in self.described(part.number)? {
                ids.extend(described.iter().filter(|(_, shape)| wanted(*shape)));
            }
            // What was said last counts.
            ids.reverse();
            ids.sort_by_key(|(id, _)| *id);
            ids.dedup_by_key(|(id, _)| *id);
            if ids.is_empty() {
                continue;
            }
            let shape_of = |id: u32| ids.binary_search_by_key(&id, |(known, _)| *known).map(|at| ids[at].1);
            let mut windows = self.windows.borrow_mut();
            self.each_item(part.number, 0..=HUB_SEQ_MAX, span, |item| {
                let read = |blob| windows.read(blob, |id| shape_of(id).is_ok()).ok();
                let Some(groups) = whole(&item).and_then(read) else {
                    n_damaged += 1;
                    self.note_damaged(key, item.seq);
                    return;
                };
                for group in groups {
                    for (position, id) in group.ids.iter().enumerate() {
                        let Ok(shape) = shape_of(*id) else { continue };
                        let samples =
                            group.times_ms.iter().copied().zip(group.column(position).iter().copied());
                        let present = samples.filter(|(_, value)| !is_absent(*value));
                        found.entry(shape).or_default().extend(present);
                    }
                }
            })?;
        }
        Ok(n_damaged)
    }

    fn read_rows(
        &self,
        agent_id: &str,
        slot: i64,
        wanted: &mut dyn FnMut(ShapeId) -> bool,
        found: &mut HashMap<ShapeId, Samples>,
    ) -> Result<u64, StoreError> {
        let ids: HashMap<u32, ShapeId> =
            self.series(agent_id)?.iter().filter(|(_, shape)| wanted(*shape)).collect();
        let groups: BTreeSet<u32> = ids.keys().map(|id| id / GROUP_SIZE).collect();
        let mut reader = RowReader::new(&self.connection, &self.file.path, Table::Raw);
        for group in groups {
            reader.read(
                group,
                slot,
                |id| ids.contains_key(&id),
                |id, _, samples| found.entry(ids[&id]).or_default().extend(samples),
            )?;
        }
        Ok(reader.n_damaged)
    }

    /// Hands over the rollups of an agent's series, as far as their shapes are wanted: to minutes,
    /// or to hours in the file of a month.
    pub(crate) fn read_rollups(
        &self,
        agent_id: &str,
        wanted: &mut dyn FnMut(ShapeId) -> bool,
        found: &mut HashMap<ShapeId, Vec<Rollup>>,
    ) -> Result<(), StoreError> {
        let ids: HashMap<u32, ShapeId> =
            self.series(agent_id)?.iter().filter(|(_, shape)| wanted(*shape)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for (slot, _) in read_hours(&self.connection, &self.file.path)? {
            // Ids stay as they are: the groups of this agent alone are looked through.
            let same = ids.keys().map(|id| (*id, *id)).collect();
            for (id, rollups) in read_rollups(&self.connection, &self.file, slot, &same)? {
                found.entry(ids[&id]).or_default().extend(rollups);
            }
        }
        Ok(())
    }

    /// Ids of an agent's series with their shapes; of merged files.
    pub(crate) fn series(&self, agent_id: &str) -> Result<Members, StoreError> {
        match self.file.kind {
            FileKind::Hot => Ok(Members::default()),
            _ => index::read_series(&self.connection, &self.file.path, self.id, agent_id, &self.shapes),
        }
    }

    /// Hands over the items of a part within a range of numbers that touch a span, by rising
    /// number, unchecked.
    pub(crate) fn each_item(
        &self,
        part: i64,
        numbers: RangeInclusive<u64>,
        span: &HourSpan,
        each: impl FnMut(Item),
    ) -> Result<(), StoreError> {
        self.query_items(part, &numbers, span, -1, each).map_err(self.sql())
    }

    /// The first so many of these items.
    pub(crate) fn items_from(
        &self,
        part: i64,
        numbers: RangeInclusive<u64>,
        span: &HourSpan,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let read = self.query_items(part, &numbers, span, limit as i64, |item| items.push(item));
        read.map_err(self.sql())?;
        Ok(items)
    }

    fn query_items(
        &self,
        part: i64,
        numbers: &RangeInclusive<u64>,
        span: &HourSpan,
        limit: i64,
        mut each: impl FnMut(Item),
    ) -> rusqlite::Result<()> {
        let sql = "SELECT key, from_ms, to_ms, n_samples, crc, blob FROM items \
                   WHERE key >= ?1 AND key <= ?2 AND to_ms >= ?3 AND from_ms < ?4 ORDER BY key LIMIT ?5";
        let mut statement = self.connection.prepare_cached(sql)?;
        let key = |seq: &u64| part << SEQ_BITS | (*seq).min(HUB_SEQ_MAX) as i64;
        let (first, last) = (key(numbers.start()), key(numbers.end()));
        let mut rows = statement.query(params![first, last, span.from_ms, span.to_ms, limit])?;
        while let Some(row) = rows.next()? {
            each(Item {
                seq: row.get::<_, i64>(0)? as u64 & HUB_SEQ_MAX,
                from_ms: row.get(1)?,
                to_ms: row.get(2)?,
                n_samples: row.get::<_, i64>(3)?.max(0) as u64,
                checksum: row.get::<_, i64>(4)? as u32,
                blob: row.get(5)?,
            });
        }
        Ok(())
    }

    /// This item cannot be read: whoever writes a new file does not answer for its number.
    pub(crate) fn note_damaged(&self, key: &SourceKey, seq: u64) {
        self.damaged.borrow_mut().entry(key.clone()).or_default().insert(seq, seq);
    }

    /// Numbers of a source whose items were found damaged so far.
    pub(crate) fn damaged(&self, key: &SourceKey) -> Intervals {
        self.damaged.borrow().get(key).cloned().unwrap_or_default()
    }

    /// Numbers and spans of the items of a part, by rising number.
    pub(crate) fn spans(&self, part: i64) -> Result<Vec<(u64, TimeMs, TimeMs)>, StoreError> {
        let sql = "SELECT key, from_ms, to_ms FROM items WHERE key >= ?1 AND key < ?2 ORDER BY key";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let range = params![part << SEQ_BITS, (part + 1) << SEQ_BITS];
            let spans = statement.query_map(range, |row| {
                Ok((row.get::<_, i64>(0)? as u64 & HUB_SEQ_MAX, row.get(1)?, row.get(2)?))
            })?;
            spans.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.sql())
    }

    /// How many samples an agent has in its items here.
    pub(crate) fn n_samples(&self, agent_id: &str) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(n_samples), 0) FROM items WHERE key >= ?1 AND key < ?2";
        let of_part = |part: &Part| {
            let range = params![part.number << SEQ_BITS, (part.number + 1) << SEQ_BITS];
            self.connection.prepare_cached(sql)?.query_row(range, |row| row.get::<_, i64>(0))
        };
        let parts = self.parts(agent_id, Stream::Metrics)?;
        let sums =
            parts.iter().flat_map(|parts| &parts.parts).map(of_part).collect::<rusqlite::Result<Vec<_>>>();
        Ok(sums.map_err(self.sql())?.into_iter().sum::<i64>().max(0) as u64)
    }
}

/// The blob of an item that is as it was sealed.
pub(crate) fn whole(item: &Item) -> Option<&[u8]> {
    (checksum(&item.blob) == item.checksum).then_some(&item.blob)
}

fn read_id(connection: &Connection) -> rusqlite::Result<u128> {
    let sql = "SELECT value FROM meta WHERE key = 'file_id'";
    let id: Vec<u8> = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(id.iter().fold(0, |id, byte| id << 8 | u128::from(*byte)))
}

fn read_hot_agents(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = connection.prepare("SELECT agent_id FROM sources WHERE stream = ?1")?;
    let agents = statement.query_map([Stream::Metrics.as_str()], |row| row.get(0))?;
    agents.collect()
}

/// Parts by their sources: of one agent, or all.
fn read_parts(connection: &Connection, agent_id: Option<&str>) -> rusqlite::Result<Vec<PartsOf>> {
    // Two statements, for the index on agents is used only where one is named for sure.
    let of = if agent_id.is_some() { "WHERE agent_id = ?1" } else { "WHERE ?1 IS NULL" };
    let sql = format!(
        "SELECT agent_id, spool_id, stream, part, scope FROM sources \
         JOIN parts ON parts.source = sources.source {of} ORDER BY sources.source, part"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([agent_id])?;
    let mut all: Vec<PartsOf> = Vec::new();
    while let Some(row) = rows.next()? {
        // A stream that only a newer version knows is not read.
        let Some(stream) = Stream::kept(&row.get::<_, String>(2)?) else { continue };
        let key = SourceKey { agent_id: row.get(0)?, spool_id: row.get(1)?, stream };
        let part = Part { number: row.get(3)?, scope: row.get(4)? };
        match all.last_mut() {
            Some(last) if last.key == key => last.parts.push(part),
            _ => all.push(PartsOf { key, parts: vec![part] }),
        }
    }
    Ok(all)
}

/// Agents with samples in any of these files.
pub(crate) fn agents_of<'a>(
    files: impl IntoIterator<Item = &'a HubFile>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut agents = BTreeSet::new();
    for file in files {
        agents.extend(file.agents()?);
    }
    Ok(agents)
}
