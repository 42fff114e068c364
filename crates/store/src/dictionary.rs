//! The series of a file: small numbers for long names. Numbers are given once a day, so that
//! blobs of one hour can be put beside those of another without being encoded anew.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fieldpost_model::{Family, Kind, Series, series_text};
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::codec::{CodecError, Cursor, put_text, put_varint};

/// The most labels that a stored series may have.
const N_LABELS_MAX: usize = 1_000;

/// What a series' number means: the series as a file, or a frame of the record, describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The number, in the file or scope in which it is said.
    pub id: u32,
    /// Name, kind and help of its family.
    pub family: Family,
    /// What its own name has after the family's.
    pub suffix: String,
    /// Names and values of its labels, in the order in which they are shown.
    pub labels: Vec<(String, String)>,
}

impl Entry {
    fn of(id: u32, series: &Series) -> Self {
        let owned = |(name, value): &(Box<str>, Box<str>)| (name.to_string(), value.to_string());
        Self {
            id,
            family: (*series.family).clone(),
            suffix: series.suffix.to_string(),
            labels: series.labels.iter().map(owned).collect(),
        }
    }

    /// `name{label="value"}`: what makes it the same series in another file.
    pub fn text(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        series_text(&self.family.name, &self.suffix, &labels)
    }
}

/// All series of a day, by name and by number, as the writer knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    entries: Vec<Entry>,
    by_text: HashMap<Box<str>, u32>,
    by_serial: HashMap<u64, u32>,
    ids: HashSet<u32>,
    next_id: u32,
}

impl Dictionary {
    /// Adds what another file of the same day says; names known already keep their numbers, and
    /// a number that has another name here is left out: that series is given a new one.
    pub(crate) fn absorb(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let text = entry.text();
            if self.by_text.contains_key(text.as_str()) || self.ids.contains(&entry.id) {
                continue;
            }
            self.push(text.into(), entry);
        }
    }

    /// Adds what another file says above all numbers that are known here, so that whoever was
    /// told these has only to be told of higher ones.
    pub(crate) fn absorb_above(&mut self, mut entries: Vec<Entry>) {
        let next_id = self.next_id;
        entries.retain(|entry| entry.id >= next_id);
        self.absorb(entries);
    }

    fn push(&mut self, text: Box<str>, entry: Entry) {
        self.next_id = self.next_id.max(entry.id.saturating_add(1));
        self.ids.insert(entry.id);
        self.by_text.insert(text, entry.id);
        self.entries.push(entry);
    }

    /// The number of a series; a new one is given where it has none.
    pub(crate) fn id(&mut self, series: &Series) -> (u32, Option<&Entry>) {
        if let Some(&id) = self.by_serial.get(&series.serial) {
            return (id, None);
        }
        if let Some(&id) = self.by_text.get(&series.text) {
            self.by_serial.insert(series.serial, id);
            return (id, None);
        }
        let id = self.next_id;
        self.by_serial.insert(series.serial, id);
        self.push(series.text.clone(), Entry::of(id, series));
        (id, self.entries.last())
    }

    /// The number under which this name is known.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// Takes in a series of another file under its own number if that is free here.
    pub(crate) fn adopt(&mut self, mut entry: Entry) -> u32 {
        let text = entry.text();
        if let Some(id) = self.find(&text) {
            return id;
        }
        let id = if self.ids.contains(&entry.id) { self.next_id } else { entry.id };
        entry.id = id;
        self.push(text.into(), entry);
        id
    }

    /// All of them.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Writes series into a file that is being written, giving families numbers of their own.
#[derive(Debug, Default)]
pub(crate) struct DictionaryWriter {
    families: HashMap<Box<str>, (i64, Family)>,
}

impl DictionaryWriter {
    /// Continues a file that holds these already.
    pub(crate) fn resume(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT id, name, kind, help FROM families")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, family_of(row, 1)?)))?;
        let mut families = HashMap::new();
        for row in rows {
            let (id, family) = row?;
            families.insert(family.name.clone(), (id, family));
        }
        Ok(Self { families })
    }

    /// Writes one series.
    pub(crate) fn put(&mut self, connection: &Connection, entry: &Entry) -> rusqlite::Result<()> {
        let family = self.family(connection, &entry.family)?;
        let mut statement = connection
            .prepare_cached("INSERT INTO series (id, family, suffix, labels) VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![entry.id, family, entry.suffix, labels_blob(&entry.labels)])?;
        Ok(())
    }

    fn family(&mut self, connection: &Connection, family: &Family) -> rusqlite::Result<i64> {
        let known = self.families.get(&family.name);
        let id = known.map_or(self.families.len() as i64 + 1, |(id, _)| *id);
        if known.is_none_or(|(_, known)| known != family) {
            let mut statement =
                connection.prepare_cached("INSERT OR REPLACE INTO families VALUES (?1, ?2, ?3, ?4)")?;
            statement.execute(params![id, family.name, kind_code(family.kind), family.help])?;
            self.families.insert(family.name.clone(), (id, family.clone()));
        }
        Ok(id)
    }
}

/// All series that a file describes.
pub(crate) fn read_entries(connection: &Connection, path: &Path) -> Result<Vec<Entry>, StoreError> {
    read_entries_from(connection, path, 0, usize::MAX)
}

/// The first `limit` series that a file describes from this number on, by number.
pub(crate) fn read_entries_from(
    connection: &Connection,
    path: &Path,
    first_id: u32,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let failed = || StoreError::sql("read the series of", path);
    let mut statement = connection.prepare(include_str!("sql/read_series.sql")).map_err(failed())?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![first_id, limit]).map_err(failed())?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next().map_err(failed())? {
        let blob = row.get_ref(2).map_err(failed())?.as_blob();
        let blob = blob.map_err(|error| StoreError::sql("read the series of", path)(error.into()))?;
        let labels =
            read_labels(blob).map_err(|source| StoreError::Blob { path: path.to_owned(), source })?;
        entries.push(Entry {
            id: row.get(0).map_err(failed())?,
            suffix: row.get(1).map_err(failed())?,
            labels,
            family: family_of(row, 3).map_err(failed())?,
        });
    }
    Ok(entries)
}

fn family_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Family> {
    let name: String = row.get(first)?;
    let help: String = row.get(first + 2)?;
    Ok(Family { name: name.into(), help: help.into(), kind: kind_of(row.get(first + 1)?) })
}

pub(crate) fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Untyped => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 4,
    }
}

pub(crate) fn kind_of(code: i64) -> Kind {
    match code {
        1 => Kind::Counter,
        2 => Kind::Gauge,
        3 => Kind::Histogram,
        4 => Kind::Summary,
        _ => Kind::Untyped,
    }
}

pub(crate) fn labels_blob(labels: &[(String, String)]) -> Vec<u8> {
    let mut blob = Vec::new();
    put_labels(&mut blob, labels);
    blob
}

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &[(String, String)]) {
    put_varint(out, labels.len() as u64);
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
    }
}

pub(crate) fn read_labels(blob: &[u8]) -> Result<Vec<(String, String)>, CodecError> {
    take_labels(&mut Cursor::new(blob))
}

pub(crate) fn take_labels(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, CodecError> {
    let n_labels = cursor.count(N_LABELS_MAX)?;
    (0..n_labels).map(|_| Ok((cursor.text()?, cursor.text()?))).collect()
}
