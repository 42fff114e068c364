//! Merged files: rows of sixteen series and an hour, written once into a fresh file and never
//! changed. Hours, days, and the rollups of days and months share the layout.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fieldpost_model::{Intervals, TimeMs, is_absent};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::codec::{
    CodecError, RowColumn, RowDecoder, checksum, decode_axis, decode_intervals, encode_axis,
    encode_intervals, encode_row,
};
use crate::dictionary::{Dictionary, DictionaryWriter, Entry};
use crate::folder::{beside, sync_folder};
use crate::{Samples, database};

/// Series in a row: few enough that one is cheap to read alone, many enough to share a head.
pub(crate) const GROUP_SIZE: u32 = 16;
/// A column with fewer numbers than this share of an axis, and with holes, has an axis of its own.
const AXIS_SHARE_MIN: usize = 2;
/// Holes that cost less than an axis of its own.
const N_HOLES_CHEAP: usize = 16;
/// The most axes that are looked through for one that fits.
const N_AXES_TRIED: usize = 64;

/// Which of a file's two sets of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Samples as they were taken.
    Raw,
    /// Rollups.
    Rollup,
}

impl Table {
    fn rows(self) -> &'static str {
        match self {
            Table::Raw => "rows",
            Table::Rollup => "minute_rows",
        }
    }

    fn axes(self) -> &'static str {
        match self {
            Table::Raw => "axes",
            Table::Rollup => "minute_axes",
        }
    }
}

/// The key of a group or an axis within an hour, or another slot of the file.
pub(crate) fn key(number: u32, slot: i64) -> i64 {
    i64::from(number) << 20 | slot
}

/// A column to be written: a part of a series, with its own instants.
pub(crate) struct Column {
    pub(crate) id: u32,
    pub(crate) part: u8,
    pub(crate) samples: Samples,
}

/// A merged file that is being written beside the place where it will be.
pub(crate) struct RowWriter {
    path: PathBuf,
    temporary: PathBuf,
    connection: Connection,
    dictionary: Dictionary,
    writer: DictionaryWriter,
    axes: HashMap<(bool, i64), Axes>,
}

/// The axes of a slot that were written so far.
#[derive(Default)]
struct Axes {
    /// How many were written before the first that is remembered.
    n_forgotten: usize,
    known: Vec<Vec<TimeMs>>,
}

impl RowWriter {
    /// Begins a fresh file that will be at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, include_str!("sql/rows.sql"))
    }

    /// Begins a fresh file with a schema that has these tables and more.
    pub(crate) fn create_with(path: &Path, schema: &str) -> Result<Self, StoreError> {
        let temporary = beside(path, ".tmp");
        let connection = database::open_fresh(&temporary, schema)?;
        connection.execute_batch("BEGIN").map_err(StoreError::sql("write", &temporary))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            connection,
            dictionary: Dictionary::default(),
            writer: DictionaryWriter::default(),
            axes: HashMap::new(),
        })
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(self).map_err(StoreError::sql("write", &self.temporary))
    }

    /// Takes in series of a source; answers the id here of each id there.
    pub(crate) fn adopt(&mut self, entries: Vec<Entry>) -> Result<HashMap<u32, u32>, StoreError> {
        self.run(|this| {
            let mut ids = HashMap::new();
            for entry in entries {
                let known = this.dictionary.entries().len();
                let there = entry.id;
                ids.insert(there, this.dictionary.adopt(entry));
                if let Some(new) = this.dictionary.entries().get(known) {
                    this.writer.put(&this.connection, new)?;
                }
            }
            Ok(ids)
        })
    }

    /// One more than the highest id.
    pub(crate) fn end_id(&self) -> u32 {
        self.dictionary.entries().iter().map(|entry| entry.id + 1).max().unwrap_or(0)
    }

    /// The file, for tables that are not rows.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Series that follow have instants of their own: what came before is not looked through.
    pub(crate) fn forget_axes(&mut self) {
        for axes in self.axes.values_mut() {
            axes.n_forgotten += axes.known.len();
            axes.known.clear();
        }
    }

    /// Writes the columns of one group of one slot.
    pub(crate) fn put(&mut self, table: Table, slot: i64, columns: Vec<Column>) -> Result<(), StoreError> {
        let Some(first) = columns.first() else { return Ok(()) };
        let group = first.id / GROUP_SIZE;
        self.run(|this| {
            let mut row = Vec::with_capacity(columns.len());
            for column in columns {
                row.push(this.on_axis(table, slot, &column)?);
            }
            this.put_blob(table.rows(), key(group, slot), &encode_row(&row))
        })
    }

    /// Finds an axis that has all instants of the column, or makes one.
    fn on_axis(&mut self, table: Table, slot: i64, column: &Column) -> rusqlite::Result<RowColumn> {
        let axes = self.axes.entry((table == Table::Raw, slot)).or_default();
        let found = axes.known.iter().take(N_AXES_TRIED).position(|axis| fits(axis, &column.samples));
        let position = found.unwrap_or(axes.known.len());
        let number = axes.n_forgotten + position;
        if found.is_none() {
            let times_ms: Vec<TimeMs> = column.samples.iter().map(|(time_ms, _)| *time_ms).collect();
            let blob = encode_axis(&times_ms);
            axes.known.push(times_ms);
            self.put_blob(table.axes(), key(number as u32, slot), &blob)?;
        }
        let axis = &self.axes[&(table == Table::Raw, slot)].known[position];
        let values = spread(axis, &column.samples);
        Ok(RowColumn { id: column.id, part: column.part, axis: number as u32, values })
    }

    fn put_blob(&self, table: &str, key: i64, blob: &[u8]) -> rusqlite::Result<()> {
        let sql = format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3)");
        self.connection.prepare_cached(&sql)?.execute(params![key, checksum(blob), blob])?;
        Ok(())
    }

    /// Notes what an hour was merged from.
    pub(crate) fn put_hour(&mut self, slot: i64, made_of: MadeOf) -> Result<(), StoreError> {
        self.run(|this| {
            let row = params![slot, made_of.seq_from, made_of.seq_to, made_of.n_samples];
            this.connection.execute("INSERT OR REPLACE INTO hours VALUES (?1, ?2, ?3, ?4)", row)
        })?;
        Ok(())
    }

    /// Notes the very numbers of the windows that an hour was merged from.
    pub(crate) fn put_numbers(&mut self, slot: i64, numbers: &Intervals) -> Result<(), StoreError> {
        self.run(|this| {
            let row = params![slot, encode_intervals(numbers)];
            this.connection.execute("INSERT OR REPLACE INTO numbers VALUES (?1, ?2)", row)
        })?;
        Ok(())
    }

    /// Copies all rows of a slot, as they are, from a file whose series have the same ids.
    pub(crate) fn copy(&mut self, source: &Connection, table: Table, slot: i64) -> Result<(), StoreError> {
        self.run(|this| {
            for name in [table.axes(), table.rows()] {
                let sql = format!("SELECT key, blob FROM {name} WHERE key & 1048575 = ?1");
                let mut statement = source.prepare(&sql)?;
                let mut rows = statement.query([slot])?;
                while let Some(row) = rows.next()? {
                    this.put_blob(name, row.get(0)?, row.get_ref(1)?.as_blob()?)?;
                }
            }
            Ok(())
        })
    }

    /// Makes the file durable under its name: from now on it counts.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        let Self { path, temporary, connection, .. } = self;
        connection.execute_batch("COMMIT").map_err(StoreError::sql("write", &temporary))?;
        connection.close().map_err(|(_, error)| StoreError::sql("close", &temporary)(error))?;
        let file = std::fs::File::open(&temporary).map_err(StoreError::io("open", &temporary))?;
        file.sync_all().map_err(StoreError::io("sync", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(StoreError::io("rename", &temporary))?;
        sync_folder(path.parent().unwrap_or(Path::new("/")))
    }
}

/// What an hour was merged from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MadeOf {
    pub(crate) seq_from: i64,
    pub(crate) seq_to: i64,
    pub(crate) n_samples: i64,
}

impl MadeOf {
    /// Nothing yet.
    pub(crate) const NOTHING: MadeOf = MadeOf { seq_from: i64::MAX, seq_to: 0, n_samples: 0 };

    /// Both together; samples are counted by whoever merges, for some may be the same.
    pub(crate) fn and(self, other: MadeOf) -> MadeOf {
        MadeOf {
            seq_from: self.seq_from.min(other.seq_from),
            seq_to: self.seq_to.max(other.seq_to),
            n_samples: self.n_samples,
        }
    }
}

/// Has the axis every instant of these samples, without wasting much on holes?
fn fits(axis: &[TimeMs], samples: &[(TimeMs, f64)]) -> bool {
    let mut times = samples.iter().map(|(time_ms, _)| *time_ms).peekable();
    let (mut n_holes, mut in_hole) = (0, false);
    for time_ms in axis {
        let hit = times.next_if_eq(time_ms).is_some();
        n_holes += usize::from(!hit && !in_hole);
        in_hole = !hit;
    }
    times.peek().is_none() && (n_holes <= N_HOLES_CHEAP || samples.len() >= axis.len() / AXIS_SHARE_MIN)
}

/// The samples at all instants of an axis, absent ones where there are none.
fn spread(axis: &[TimeMs], samples: &[(TimeMs, f64)]) -> Vec<f64> {
    let mut samples = samples.iter().peekable();
    let value = |time_ms: &TimeMs| {
        samples.next_if(|(at_ms, _)| at_ms == time_ms).map_or(fieldpost_model::ABSENT, |(_, value)| *value)
    };
    axis.iter().map(value).collect()
}

/// What the file says its slots were merged from.
pub(crate) fn read_hours(connection: &Connection, path: &Path) -> Result<Vec<(i64, MadeOf)>, StoreError> {
    let read = || {
        let mut statement = connection.prepare("SELECT hour, seq_from, seq_to, n_samples FROM hours")?;
        let rows = statement.query_map([], |row| {
            let made_of = MadeOf { seq_from: row.get(1)?, seq_to: row.get(2)?, n_samples: row.get(3)? };
            Ok((row.get(0)?, made_of))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(StoreError::sql("read", path))
}

/// The numbers of the windows that a slot of the file was merged from.
pub(crate) fn read_numbers(connection: &Connection, path: &Path, slot: i64) -> Result<Intervals, StoreError> {
    let sql = "SELECT ranges FROM numbers WHERE hour = ?1";
    let found = connection.query_row(sql, [slot], |row| row.get::<_, Vec<u8>>(0)).optional();
    let ranges = found.map_err(StoreError::sql("read", path))?;
    let numbers = ranges.map_or(Ok(Intervals::default()), |ranges| decode_intervals(&ranges));
    numbers.map_err(|source| StoreError::Blob { path: path.to_owned(), source })
}

/// Reads rows of a merged file, and remembers its axes.
pub(crate) struct RowReader<'a> {
    connection: &'a Connection,
    path: &'a Path,
    table: Table,
    axes: HashMap<i64, Option<Vec<TimeMs>>>,
    decoder: RowDecoder,
    /// Blobs that could not be read.
    pub(crate) n_damaged: u64,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path, table: Table) -> Self {
        Self { connection, path, table, axes: HashMap::new(), decoder: RowDecoder::default(), n_damaged: 0 }
    }

    /// Hands over those columns of a group and slot that are wanted by id.
    pub(crate) fn read(
        &mut self,
        group: u32,
        slot: i64,
        wanted: impl Fn(u32) -> bool,
        mut each: impl FnMut(u32, u8, &mut dyn Iterator<Item = (TimeMs, f64)>),
    ) -> Result<(), StoreError> {
        let columns = match self.blob(self.table.rows(), key(group, slot))? {
            None => return Ok(()),
            Some(blob) => blob.and_then(|blob| self.decoder.row(&blob, |id, _| wanted(id))),
        };
        let Ok(columns) = columns else {
            self.n_damaged += 1;
            return Ok(());
        };
        for column in columns {
            let axis_key = key(column.axis, slot);
            if !self.axes.contains_key(&axis_key) {
                let axis = self.blob(self.table.axes(), axis_key)?;
                let axis = axis.and_then(|blob| decode_axis(&blob.ok()?).ok());
                self.n_damaged += u64::from(axis.is_none());
                self.axes.insert(axis_key, axis);
            }
            let Some(axis) = &self.axes[&axis_key] else { continue };
            let samples = axis.iter().copied().zip(column.values);
            each(column.id, column.part, &mut samples.filter(|(_, value)| !is_absent(*value)));
        }
        Ok(())
    }

    fn blob(&self, table: &str, key: i64) -> Result<Option<Result<Vec<u8>, CodecError>>, StoreError> {
        blob_at(self.connection, self.path, table, key)
    }
}

fn blob_at(
    connection: &Connection,
    path: &Path,
    table: &str,
    key: i64,
) -> Result<Option<Result<Vec<u8>, CodecError>>, StoreError> {
    let sql = format!("SELECT crc, blob FROM {table} WHERE key = ?1");
    let read = || {
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row([key], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()
    };
    let found = read().map_err(StoreError::sql("read", path))?;
    Ok(found.map(
        |(crc, blob)| {
            if i64::from(checksum(&blob)) == crc { Ok(blob) } else { Err(CodecError::Checksum) }
        },
    ))
}

/// The blob of a group in a slot, by its key; none where it is damaged.
pub(crate) fn row_at(
    connection: &Connection,
    path: &Path,
    table: Table,
    key: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(blob_at(connection, path, table.rows(), key)?.and_then(Result::ok))
}

/// An axis by its key, unpacked; none where it is damaged.
pub(crate) fn axis_at(
    connection: &Connection,
    path: &Path,
    table: Table,
    key: i64,
) -> Result<Option<Vec<TimeMs>>, StoreError> {
    let blob = blob_at(connection, path, table.axes(), key)?;
    Ok(blob.and_then(|blob| decode_axis(&blob.ok()?).ok()))
}
