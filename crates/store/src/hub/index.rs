//! The index of a merged file: which agents are in it, and which ids their series have there. An
//! agent is its id, never its name, so that it can be renamed without touching a file.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rusqlite::{Connection, params};

use crate::StoreError;
use crate::codec::{CodecError, Cursor, checksum, put_signed, put_varint};
use crate::dictionary::{Entry, kind_code, labels_blob, read_entries};
use crate::hub::shapes::{Described, ShapeId, Shapes};
use crate::rows::GROUP_SIZE;

/// The most series of one agent in a file.
const N_SERIES_MAX: usize = 4 << 20;
/// Under this key a reader remembers the shapes of a whole file.
const KEY_OF_FILE: i64 = -1;

/// The agents of a merged file.
#[derive(Default)]
pub(crate) struct Members {
    agents: BTreeSet<String>,
    /// Numbers of shapes in the file, with those of the reader.
    shapes: Described,
}

impl Members {
    /// Reads which agents a merged file has, and which shapes.
    pub(crate) fn read(
        connection: &Connection,
        path: &Path,
        file_id: u128,
        shapes: &Shapes,
    ) -> Result<Self, StoreError> {
        let failed = || StoreError::sql("read", path);
        let read = || {
            let mut statement = connection.prepare("SELECT agent_id FROM members")?;
            let agents = statement.query_map([], |row| row.get(0))?;
            agents.collect::<rusqlite::Result<BTreeSet<String>>>()
        };
        let agents = read().map_err(failed())?;
        let known = shapes.remembered(file_id, KEY_OF_FILE);
        let described = match known {
            Some(described) => described,
            None => {
                let of = |entry: Entry| (entry.id, shapes.id(entry));
                let all = read_entries(connection, path)?.into_iter().map(of).collect();
                shapes.remember(file_id, KEY_OF_FILE, all)
            }
        };
        Ok(Self { agents, shapes: described })
    }

    /// Their ids.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &str> {
        self.agents.iter().map(String::as_str)
    }

    /// Ids of an agent's series with their shapes; none where the agent is not in the file.
    pub(crate) fn series(
        &self,
        connection: &Connection,
        path: &Path,
        agent_id: &str,
    ) -> Result<Vec<(u32, ShapeId)>, StoreError> {
        if !self.agents.contains(agent_id) {
            return Ok(Vec::new());
        }
        let sql = "SELECT first_id, crc, shapes FROM members WHERE agent_id = ?1";
        let read = || {
            connection.prepare_cached(sql)?.query_row([agent_id], |row| {
                Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
            })
        };
        let (first_id, crc, blob) = read().map_err(StoreError::sql("read", path))?;
        let good = i64::from(checksum(&blob)) == crc;
        let numbers = if good { decode_numbers(&blob) } else { Err(CodecError::Checksum) };
        let numbers = numbers.map_err(|source| StoreError::Blob { path: path.to_owned(), source })?;
        let known = |number: u32| {
            let position = self.shapes.binary_search_by_key(&number, |(there, _)| *there).ok()?;
            Some(self.shapes[position].1)
        };
        let ids = (first_id..).zip(numbers);
        Ok(ids.filter_map(|(id, number)| Some((id, known(number)?))).collect())
    }
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
