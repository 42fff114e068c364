//! The tables of processes and units on disk: one file a day, in it every entity once and chains
//! of blobs that hold what changed. A chain begins anew every few minutes, so that no moment is
//! far from a beginning.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use fieldpost_model::{Entity, EntityRow, Seq, TableKind, TableTick, TimeMs};
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::calendar::{DAY_HOURS, DAY_MS};
use crate::codec::{Rows, checksum, decode_table, encode_table};
use crate::database;
use crate::folder::{self, FileKind, StoreFile, beside};
use crate::record::EntityDefinition;

/// A chain is no longer than this: reading a moment decodes at most so much before it.
pub(crate) const CHAIN_MS_MAX: i64 = 300_000;
/// Chains that are remembered while reading.
const N_CHAINS_KEPT: usize = 4;
/// The log is copied into the file beyond this size.
const WAL_BYTES_COPIED: u64 = 1 << 20;

/// What the writer knows of an entity that has a row.
struct Live {
    entity: Entity,
    /// Its id in the present file, once it has one.
    id: Option<u32>,
}

struct Chain {
    key: i64,
    last_key: i64,
    rows: Rows,
}

struct Open {
    file: StoreFile,
    connection: Connection,
    next_id: u32,
}

/// Told which numbers the new blobs of a file have, once they are on the disk.
pub(crate) type Stored<'a> = &'a mut dyn FnMut(&StoreFile, Seq, Seq);

/// The writer's side of the tables.
pub(crate) struct TableWriter {
    open: Option<Open>,
    next_seq: Seq,
    live: HashMap<(TableKind, u64), Live>,
    chains: HashMap<TableKind, Chain>,
}

impl TableWriter {
    /// Gives blobs numbers from this one on.
    pub(crate) fn new(next_seq: Seq) -> Self {
        Self { open: None, next_seq, live: HashMap::new(), chains: HashMap::new() }
    }

    /// The number of the next blob.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// Is this the file that is being written?
    pub(crate) fn has_open(&self, file: &StoreFile) -> bool {
        self.open.as_ref().is_some_and(|open| open.file == *file)
    }

    /// Writes ticks, those of a day in one transaction, on the disk when this returns. After an
    /// error the same ticks may be given again.
    pub(crate) fn append(
        &mut self,
        folder: &Path,
        ticks: &[TableTick],
        stored: Stored<'_>,
    ) -> Result<(), StoreError> {
        for same_day in ticks.chunk_by(|a, b| a.time_ms.div_euclid(DAY_MS) == b.time_ms.div_euclid(DAY_MS)) {
            let outcome = self.append_day(folder, same_day, stored);
            if outcome.is_err() {
                self.forget_file();
            }
            outcome?;
        }
        Ok(())
    }

    fn append_day(
        &mut self,
        folder: &Path,
        ticks: &[TableTick],
        stored: Stored<'_>,
    ) -> Result<(), StoreError> {
        let day = ticks[0].time_ms.div_euclid(DAY_MS);
        let file = StoreFile::new(folder, FileKind::Tables, day * DAY_HOURS, 0);
        if self.open.as_ref().is_some_and(|open| open.file != file) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(open(&file)?);
            folder::sync_folder(folder)?;
        }
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let written = self.write(&mut open, ticks).map_err(StoreError::sql("write", &file.path));
        if let Ok(n_blobs @ 1..) = written {
            stored(&file, self.next_seq, self.next_seq + n_blobs - 1);
            self.next_seq += n_blobs;
        }
        let tended = written.and_then(|_| tend_log(&open));
        self.open = Some(open);
        tended
    }

    /// Answers how many blobs there are more.
    fn write(&mut self, open: &mut Open, ticks: &[TableTick]) -> rusqlite::Result<u64> {
        let transaction = open.connection.unchecked_transaction()?;
        let mut n_blobs = 0;
        for kind in [TableKind::Processes, TableKind::Units] {
            let mut packed = Vec::new();
            for tick in ticks.iter().filter(|tick| tick.kind == kind) {
                packed.push((tick.time_ms, self.rows(&transaction, &mut open.next_id, tick)?));
            }
            if !packed.is_empty() {
                self.write_blob(&transaction, self.next_seq + n_blobs, kind, packed)?;
                n_blobs += 1;
            }
        }
        transaction.commit()?;
        Ok(n_blobs)
    }

    /// A tick's rows under the ids of this file; new entities are written.
    fn rows(
        &mut self,
        connection: &Connection,
        next_id: &mut u32,
        tick: &TableTick,
    ) -> rusqlite::Result<Rows> {
        for (key, entity) in &tick.entities {
            self.live.insert((tick.kind, *key), Live { entity: entity.clone(), id: None });
        }
        let mut rows = Rows::new();
        for row in &tick.rows {
            let live = self.live.entry((tick.kind, row.key));
            let live = live.or_insert_with(|| Live { entity: undescribed(), id: None });
            let id = match live.id {
                Some(id) => id,
                None => {
                    put_entity(connection, *next_id, tick.kind, &live.entity)?;
                    *next_id += 1;
                    *live.id.insert(*next_id - 1)
                }
            };
            rows.insert(id, row.values);
        }
        let present: HashSet<u64> = tick.rows.iter().map(|row| row.key).collect();
        self.live.retain(|(kind, key), _| *kind != tick.kind || present.contains(key));
        Ok(rows)
    }

    fn write_blob(
        &mut self,
        connection: &Connection,
        seq: Seq,
        kind: TableKind,
        ticks: Vec<(TimeMs, Rows)>,
    ) -> rusqlite::Result<()> {
        let n_rows = ticks.iter().map(|(_, rows)| rows.len() as i64).sum::<i64>();
        let to_ms = ticks.iter().map(|(time_ms, _)| *time_ms).max().unwrap_or(0) + 1;
        let key = ticks[0].0 << 1 | kind_code(kind);
        let going_on = self
            .chains
            .get(&kind)
            .is_some_and(|chain| key > chain.last_key && ticks[0].0 - (chain.key >> 1) < CHAIN_MS_MAX);
        if !going_on {
            self.chains.insert(kind, Chain { key, last_key: key, rows: Rows::new() });
        }
        let Some(chain) = self.chains.get_mut(&kind) else { return Ok(()) };
        chain.last_key = key;
        let blob = encode_table(&mut chain.rows, ticks);
        let mut statement =
            connection.prepare_cached("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        statement.execute(params![key, chain.key, seq as i64, to_ms, n_rows, checksum(&blob), blob])?;
        Ok(())
    }

    /// Forgets the file and every id in it: the next tick begins anew.
    fn forget_file(&mut self) {
        self.open = None;
        self.chains.clear();
        self.live.values_mut().for_each(|live| live.id = None);
    }

    /// Empties the log and closes the file.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        let open = self.open.take();
        self.forget_file();
        let Some(Open { file, connection, .. }) = open else { return Ok(()) };
        database::checkpoint(&connection, true).map_err(StoreError::sql("checkpoint", &file.path))?;
        connection.close().map_err(|(_, error)| StoreError::sql("close", &file.path)(error))
    }
}

fn open(file: &StoreFile) -> Result<Open, StoreError> {
    let connection = database::open_writer(&file.path, include_str!("sql/tables.sql"))?;
    let sql = "SELECT coalesce(max(id), -1) + 1 FROM entities";
    let next_id = connection.query_row(sql, [], |row| row.get(0));
    let next_id = next_id.map_err(StoreError::sql("read", &file.path))?;
    Ok(Open { file: file.clone(), connection, next_id })
}

fn tend_log(open: &Open) -> Result<(), StoreError> {
    let bytes = std::fs::metadata(beside(&open.file.path, "-wal")).map_or(0, |metadata| metadata.len());
    if bytes > WAL_BYTES_COPIED {
        let done = database::checkpoint(&open.connection, bytes > 16 * WAL_BYTES_COPIED);
        done.map_err(StoreError::sql("checkpoint", &open.file.path))?;
    }
    Ok(())
}

/// Stands for an entity that nobody described.
pub(crate) fn undescribed() -> Entity {
    Entity {
        pid: 0,
        start_ms: 0,
        name: "unknown".into(),
        command: String::new(),
        unit: String::new(),
        group: String::new(),
        uid: 0,
        parent: 0,
    }
}

fn put_entity(connection: &Connection, id: u32, kind: TableKind, entity: &Entity) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entities VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    connection.prepare_cached(sql)?.execute(params![
        id,
        kind_code(kind),
        entity.pid,
        entity.start_ms,
        entity.name,
        entity.command,
        entity.unit,
        entity.group,
        entity.uid,
        entity.parent
    ])?;
    Ok(())
}

fn kind_code(kind: TableKind) -> i64 {
    match kind {
        TableKind::Processes => 0,
        TableKind::Units => 1,
    }
}

/// Reads one table from the files of some days, tick by tick.
pub(crate) struct TableScan<'a> {
    pub(crate) kind: TableKind,
    pub(crate) from_ms: TimeMs,
    pub(crate) to_ms: TimeMs,
    pub(crate) each: &'a mut dyn FnMut(TableTick),
    described: HashMap<u64, Entity>,
}

impl<'a> TableScan<'a> {
    pub(crate) fn new(
        kind: TableKind,
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: &'a mut dyn FnMut(TableTick),
    ) -> Self {
        Self { kind, from_ms, to_ms, each, described: HashMap::new() }
    }

    /// Hands over the ticks of one day's file; answers how many blobs were damaged.
    pub(crate) fn read(&mut self, connection: &Connection, path: &Path) -> Result<u64, StoreError> {
        self.read_file(connection).map_err(StoreError::sql("read", path))
    }

    fn read_file(&mut self, connection: &Connection) -> rusqlite::Result<u64> {
        let mut entities = HashMap::new();
        let mut statement = connection.prepare(
            "SELECT chain, crc, blob FROM blobs WHERE key >= ?1 AND key < ?2 AND key & 1 = ?3 ORDER BY key",
        )?;
        let first_key = self.from_ms.saturating_sub(2 * CHAIN_MS_MAX).max(0) << 1;
        let end_key = self.to_ms.clamp(0, crate::calendar::TIME_MS_MAX) << 1;
        let mut rows = statement.query(params![first_key, end_key, kind_code(self.kind)])?;
        // Chains overlap where the clock went back; two of them are as many as do.
        let (mut chains, mut n_damaged) = (BTreeMap::<i64, Option<Rows>>::new(), 0);
        while let Some(row) = rows.next()? {
            let row_chain: i64 = row.get(0)?;
            let crc: i64 = row.get(1)?;
            let blob = row.get_ref(2)?.as_blob().unwrap_or_default();
            // A chain that begins before what was asked for ends before it, too.
            if row_chain < first_key {
                continue;
            }
            if chains.len() == N_CHAINS_KEPT && !chains.contains_key(&row_chain) {
                chains.pop_first();
            }
            let table = chains.entry(row_chain).or_insert_with(|| Some(Rows::new()));
            let good = i64::from(checksum(blob)) == crc;
            let whole = match table {
                Some(rows) => {
                    let mut described = |id| entity_of(connection, id, &mut entities).cloned();
                    good && self.hand_over(rows, blob, &mut described)?
                }
                None => true,
            };
            if !whole {
                n_damaged += 1;
                *table = None;
            }
        }
        Ok(n_damaged)
    }

    /// Hands over the ticks of a blob, and leaves `table` as the last one has it. Answers whether
    /// the blob could be read.
    pub(crate) fn hand_over(
        &mut self,
        table: &mut Rows,
        blob: &[u8],
        entity: &mut dyn FnMut(u32) -> rusqlite::Result<Entity>,
    ) -> rusqlite::Result<bool> {
        let mut ticks = Vec::new();
        let span = self.from_ms..self.to_ms;
        let decoded = decode_table(table, blob, |time_ms, rows| {
            if span.contains(&time_ms) {
                ticks.push((time_ms, rows.clone()));
            }
        });
        for (time_ms, rows) in ticks {
            let mut tick = TableTick { kind: self.kind, time_ms, entities: Vec::new(), rows: Vec::new() };
            for (id, values) in rows {
                let entity = entity(id)?;
                let key = key_of(&entity);
                if self.described.get(&key) != Some(&entity) {
                    self.described.insert(key, entity.clone());
                    tick.entities.push((key, entity));
                }
                tick.rows.push(EntityRow { key, values });
            }
            tick.rows.sort_by_key(|row| row.key);
            (self.each)(tick);
        }
        Ok(decoded.is_ok())
    }
}

fn entity_of<'a>(
    connection: &Connection,
    id: u32,
    known: &'a mut HashMap<u32, Entity>,
) -> rusqlite::Result<&'a Entity> {
    match known.entry(id) {
        std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
        std::collections::hash_map::Entry::Vacant(entry) => Ok(entry.insert(read_entity(connection, id)?)),
    }
}

fn read_entity(connection: &Connection, id: u32) -> rusqlite::Result<Entity> {
    let sql = "SELECT pid, start_ms, name, command, unit, grp, uid, parent FROM entities WHERE id = ?1";
    let found = connection.prepare_cached(sql)?.query_row([id], entity_from);
    match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(undescribed()),
        outcome => outcome,
    }
}

fn entity_from(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entity> {
    Ok(Entity {
        pid: row.get(0)?,
        start_ms: row.get(1)?,
        name: row.get(2)?,
        command: row.get(3)?,
        unit: row.get(4)?,
        group: row.get(5)?,
        uid: row.get(6)?,
        parent: row.get(7)?,
    })
}

/// The first `limit` entities of a file from this number on.
pub(crate) fn read_entities(
    connection: &Connection,
    first_id: u32,
    limit: usize,
) -> rusqlite::Result<Vec<EntityDefinition>> {
    let sql = "SELECT pid, start_ms, name, command, unit, grp, uid, parent, id, kind FROM entities
         WHERE id >= ?1 ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![first_id, limit as i64], |row| {
        let kind = if row.get::<_, i64>(9)? == 0 { TableKind::Processes } else { TableKind::Units };
        Ok(EntityDefinition { id: row.get(8)?, kind, entity: entity_from(row)? })
    })?;
    rows.collect()
}

/// The same number for the same process or unit in every file.
fn key_of(entity: &Entity) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entity.pid, entity.start_ms).hash(&mut hasher);
    if entity.pid == 0 {
        entity.command.hash(&mut hasher);
    }
    hasher.finish()
}
