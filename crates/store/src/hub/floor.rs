//! `progress.db`: the floor under the progress. Before a file is let go, its numbers are raised
//! into the floor, so that what was here and aged is not asked for again.

use std::path::{Path, PathBuf};

use fieldpost_model::{Intervals, Stream};
use rusqlite::{Connection, params};

use crate::hub::ledger::SourceKey;
use crate::{StoreError, database};

/// The open `progress.db`.
pub(crate) struct Floor {
    connection: Connection,
    path: PathBuf,
}

impl Floor {
    /// Where it is.
    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join("progress.db")
    }

    /// Opens or makes it.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = Self::path(folder);
        let connection = database::open_writer(&path, include_str!("../sql/hub_progress.sql"))?;
        Ok(Self { connection, path })
    }

    /// All numbers under the floor.
    pub(crate) fn read(&self) -> Result<Vec<(SourceKey, Intervals)>, StoreError> {
        read(&self.connection, None).map_err(StoreError::sql("read", &self.path))
    }

    /// Puts these numbers in the place of those that were there; on the disk when this returns.
    pub(crate) fn write<'a>(
        &mut self,
        floors: impl Iterator<Item = (&'a SourceKey, &'a Intervals)>,
    ) -> Result<(), StoreError> {
        write(&self.connection, floors).map_err(StoreError::sql("write", &self.path))?;
        database::checkpoint(&self.connection, true).map_err(StoreError::sql("checkpoint", &self.path))
    }
}

/// The floors of an agent's stream, by spool.
pub(crate) fn read_of(
    path: &Path,
    agent_id: &str,
    stream: Stream,
) -> Result<Vec<(String, Intervals)>, StoreError> {
    let connection = database::open_reader(path)?;
    let all = read(&connection, Some(agent_id)).map_err(StoreError::sql("read", path))?;
    let of_stream = all.into_iter().filter(|(key, _)| key.stream == stream);
    Ok(of_stream.map(|(key, numbers)| (key.spool_id, numbers)).collect())
}

fn read(connection: &Connection, agent_id: Option<&str>) -> rusqlite::Result<Vec<(SourceKey, Intervals)>> {
    let sql = "SELECT agent_id, spool_id, stream, first, last FROM floor \
               WHERE ?1 IS NULL OR agent_id = ?1 ORDER BY 1, 2, 3, 4";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([agent_id])?;
    let mut all: Vec<(SourceKey, Intervals)> = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(stream) = Stream::kept(&row.get::<_, String>(2)?) else { continue };
        let key = SourceKey { agent_id: row.get(0)?, spool_id: row.get(1)?, stream };
        if all.last().is_none_or(|(last, _)| *last != key) {
            all.push((key, Intervals::default()));
        }
        let (first, last): (i64, i64) = (row.get(3)?, row.get(4)?);
        if let Some((_, numbers)) = all.last_mut() {
            numbers.insert(first.max(1) as u64, last.max(0) as u64);
        }
    }
    Ok(all)
}

fn write<'a>(
    connection: &Connection,
    floors: impl Iterator<Item = (&'a SourceKey, &'a Intervals)>,
) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for (SourceKey { agent_id, spool_id, stream }, numbers) in floors {
        let stream = stream.as_str();
        let sql = "DELETE FROM floor WHERE agent_id = ?1 AND spool_id = ?2 AND stream = ?3";
        transaction.prepare_cached(sql)?.execute(params![agent_id, spool_id, stream])?;
        let mut insert = transaction.prepare_cached("INSERT INTO floor VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (first, last) in numbers.ranges() {
            insert.execute(params![agent_id, spool_id, stream, *first as i64, *last as i64])?;
        }
    }
    transaction.commit()
}
