//! The index of a merged file: which agents are in it, and which ids their series have there. An
//! agent is its id, never its name, so that it can be renamed without touching a file.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use fieldpost_model::Family;
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::codec::{CodecError, Cursor, checksum, put_signed, put_varint};
use crate::dictionary::{Entry, kind_code, kind_of, labels_blob, read_labels};
use crate::hub::shapes::{ShapeId, ShapeList, Shapes};
use crate::rows::GROUP_SIZE;

/// The most series of one agent in a file.
const N_SERIES_MAX: usize = 4 << 20;
/// Agents that have series in a merged file.
pub(crate) fn read_agents(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = connection.prepare("SELECT agent_id FROM members")?;
    let agents = statement.query_map([], |row| row.get(0))?;
    agents.collect()
}

/// The series of an agent in a merged file: their ids follow each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    first_id: u32,
    shapes: ShapeList,
}

impl Members {
    /// Ids with shapes; without those that cannot be read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, ShapeId)> {
        (self.first_id..).zip(self.shapes.iter()).filter_map(|(id, shape)| Some((id, (*shape)?)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.shapes.len()
    }
}

/// An agent's series in a merged file; none where the agent is not in it.
pub(crate) fn read_series(
    connection: &Connection,
    path: &Path,
    file_id: u128,
    agent_id: &str,
    shapes: &Shapes,
) -> Result<Members, StoreError> {
    let failed = || StoreError::sql("read", path);
    let sql = "SELECT first_id, crc, shapes FROM members WHERE agent_id = ?1";
    let read = || {
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_row([agent_id], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        });
        found.optional()
    };
    let Some((first_id, crc, blob)) = read().map_err(failed())? else { return Ok(Members::default()) };
    let good = i64::from(checksum(&blob)) == crc;
    let failed_blob = |source| StoreError::Blob { path: path.to_owned(), source };
    if !good {
        return Err(failed_blob(CodecError::Checksum));
    }
    let shapes = shapes.of_list(file_id, &blob, || {
        let numbers = decode_numbers(&blob).map_err(failed_blob)?;
        shapes.of_file(file_id, &numbers, |number| read_shape(connection, number)).map_err(failed())
    })?;
    Ok(Members { first_id, shapes })
}

/// A shape by its number in the file; none where it cannot be read.
fn read_shape(connection: &Connection, number: u32) -> rusqlite::Result<Option<Entry>> {
    let sql = "SELECT suffix, labels, name, kind, help FROM series \
               JOIN families ON families.id = series.family WHERE series.id = ?1";
    let found = connection.prepare_cached(sql)?.query_row([number], |row| {
        let labels = read_labels(row.get_ref(1)?.as_blob()?);
        let (name, help): (String, String) = (row.get(2)?, row.get(4)?);
        let family = Family { name: name.into(), help: help.into(), kind: kind_of(row.get(3)?) };
        let suffix = row.get(0)?;
        Ok(labels.ok().map(|labels| Entry { id: number, family, suffix, labels }))
    });
    found.optional().map(Option::flatten)
}

fn encode_numbers(numbers: &[u32]) -> Vec<u8> {
    let mut blob = Vec::new();
    put_varint(&mut blob, numbers.len() as u64);
    let mut expected = 0;
    for &number in numbers {
        put_signed(&mut blob, i64::from(number) - expected);
        expected = i64::from(number) + 1;
    }
    blob
}

fn decode_numbers(blob: &[u8]) -> Result<Vec<u32>, CodecError> {
    let mut cursor = Cursor::new(blob);
    let n_numbers = cursor.count(N_SERIES_MAX)?;
    let (mut numbers, mut expected) = (Vec::new(), 0_i64);
    for _ in 0..n_numbers {
        let number = expected.wrapping_add(cursor.signed()?);
        let number = u32::try_from(number).map_err(|_| CodecError::Malformed("shape out of range"))?;
        numbers.push(number);
        expected = i64::from(number) + 1;
    }
    Ok(numbers)
}

/// Writes the index of a merged file: shapes as they are first used, and agents.
#[derive(Default)]
pub(crate) struct IndexWriter {
    families: HashMap<(Box<str>, i64, Box<str>), i64>,
    written: BTreeSet<ShapeId>,
    next_id: u32,
}

impl IndexWriter {
    /// Writes an agent with its series; answers the id of the first, the others follow. Rows are
    /// of one agent each, for ids of the next begin with a group of their own.
    pub(crate) fn put(
        &mut self,
        connection: &Connection,
        agent_id: &str,
        series: &[ShapeId],
        shapes: &Shapes,
    ) -> rusqlite::Result<u32> {
        for id in series {
            if !self.written.contains(id) {
                let shape = shapes.shape(*id).ok_or(rusqlite::Error::InvalidQuery)?;
                self.put_shape(connection, *id, &shape)?;
                self.written.insert(*id);
            }
        }
        let first_id = self.next_id;
        let blob = encode_numbers(series);
        let mut statement = connection.prepare_cached("INSERT INTO members VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![agent_id, first_id, checksum(&blob), blob])?;
        let n_ids = (series.len() as u32).next_multiple_of(GROUP_SIZE);
        self.next_id = first_id.checked_add(n_ids).ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(first_id)
    }

    fn put_shape(&mut self, connection: &Connection, id: ShapeId, shape: &Entry) -> rusqlite::Result<()> {
        let family = &shape.family;
        let key = (family.name.clone(), kind_code(family.kind), family.help.clone());
        let n_families = self.families.len() as i64;
        let number = *self.families.entry(key).or_insert(n_families + 1);
        if number > n_families {
            let row = params![number, family.name, kind_code(family.kind), family.help];
            connection.prepare_cached("INSERT INTO families VALUES (?1, ?2, ?3, ?4)")?.execute(row)?;
        }
        let row = params![id, number, shape.suffix, labels_blob(&shape.labels)];
        connection.prepare_cached("INSERT INTO series VALUES (?1, ?2, ?3, ?4)")?.execute(row)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_of_shapes_come_back(numbers in proptest::collection::vec(any::<u32>(), 0..50)) {
            prop_assert_eq!(decode_numbers(&encode_numbers(&numbers)), Ok(numbers));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_numbers(&bytes);
        }
    }
}
