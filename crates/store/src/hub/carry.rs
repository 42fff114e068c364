//! What a merge carries over beside rows: which numbers a file answers for, what is lost, what
//! the windows covered, and the items of the streams that are not merged.

use std::collections::{BTreeMap, HashMap, HashSet};

use fieldpost_model::{Intervals, Stream, TimeMs};
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::codec::checksum;
use crate::folder::FileKind;
use crate::hub::batch::{HUB_SEQ_MAX, SEQ_BITS};
use crate::hub::intake::{BLOB_BITS, read_received, read_sources};
use crate::hub::ledger::SourceKey;
use crate::hub::source::HubFile;
use crate::source::is_raw;

/// A run of windows: numbers that follow one another, and time without a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) from_ms: TimeMs,
    pub(crate) to_ms: TimeMs,
}

/// Joins runs that go on from one another. The order of the answer is that of the numbers.
pub(crate) fn join(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable_by_key(|run| (run.first, run.last));
    let mut joined: Vec<Run> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if run.first <= last.last.saturating_add(1) && run.from_ms <= last.to_ms => {
                last.last = last.last.max(run.last);
                last.from_ms = last.from_ms.min(run.from_ms);
                last.to_ms = last.to_ms.max(run.to_ms);
            }
            _ => joined.push(run),
        }
    }
    joined
}

/// A part of the file that is written.
struct OutPart {
    number: i64,
    next_blob: i64,
    blobs: HashSet<(u32, usize)>,
}

/// Carries over what is no row.
#[derive(Default)]
pub(crate) struct Carrier {
    sources: HashMap<SourceKey, i64>,
    received: BTreeMap<SourceKey, Intervals>,
    runs: HashMap<SourceKey, Vec<Run>>,
    parts: HashMap<(i64, String), OutPart>,
}

impl Carrier {
    /// Takes over what an input has of these streams.
    pub(crate) fn take(
        &mut self,
        output: &Connection,
        input: &HubFile,
        streams: &[Stream],
    ) -> Result<(), StoreError> {
        let failed = || StoreError::sql("carry over", &input.file.path);
        for (number, key) in read_sources(&input.connection).map_err(failed())? {
            if streams.contains(&key.stream) {
                let source = self.source(output, &key).map_err(failed())?;
                copy_lost(&input.connection, number, output, source).map_err(failed())?;
                self.take_runs(input, number, &key)?;
            }
        }
        for parts in input.all_parts()?.iter().filter(|parts| streams.contains(&parts.key.stream)) {
            if parts.key.stream != Stream::Metrics {
                for part in &parts.parts {
                    self.take_part(output, input, &parts.key, part.number, &part.scope).map_err(failed())?;
                }
            }
        }
        self.take_received(input)
    }

    /// The numbers of an input, but for those whose items cannot be read: the agent is asked again.
    fn take_received(&mut self, input: &HubFile) -> Result<(), StoreError> {
        if is_raw(input.file.kind) {
            let received = read_received(&input.connection);
            for (key, numbers) in received.map_err(StoreError::sql("read", &input.file.path))? {
                let damaged = input.damaged(&key);
                let all = self.received.entry(key).or_default();
                for (from, to) in numbers.ranges() {
                    all.union(&damaged.missing(*from, *to));
                }
            }
        }
        Ok(())
    }

    fn source(&mut self, output: &Connection, key: &SourceKey) -> rusqlite::Result<i64> {
        if let Some(number) = self.sources.get(key) {
            return Ok(*number);
        }
        let sql = "INSERT INTO sources (agent_id, spool_id, stream) VALUES (?1, ?2, ?3)";
        let row = params![key.agent_id, key.spool_id, key.stream.as_str()];
        output.prepare_cached(sql)?.execute(row)?;
        let number = output.last_insert_rowid();
        self.sources.insert(key.clone(), number);
        Ok(number)
    }

    /// What the windows of a source covered, which are no items any more after this.
    fn take_runs(&mut self, input: &HubFile, number: i64, key: &SourceKey) -> Result<(), StoreError> {
        if key.stream != Stream::Metrics {
            return Ok(());
        }
        let runs = runs_of(input, number, key)?;
        self.runs.entry(key.clone()).or_default().extend(runs);
        Ok(())
    }

    fn take_part(
        &mut self,
        output: &Connection,
        input: &HubFile,
        key: &SourceKey,
        number: i64,
        scope: &str,
    ) -> rusqlite::Result<()> {
        let source = self.source(output, key)?;
        let place = (source, scope.to_owned());
        if !self.parts.contains_key(&place) {
            let sql = "INSERT INTO parts (source, scope) VALUES (?1, ?2)";
            output.prepare_cached(sql)?.execute(params![source, scope])?;
            let part = OutPart { number: output.last_insert_rowid(), next_blob: 0, blobs: HashSet::new() };
            self.parts.insert(place.clone(), part);
        }
        let Some(part) = self.parts.get_mut(&place) else { return Ok(()) };
        copy_definitions(&input.connection, number, output, part)?;
        for seq in copy_items(&input.connection, number, output, part.number)? {
            input.note_damaged(key, seq);
        }
        Ok(())
    }

    /// The file that is written answers for no numbers: the floor does.
    pub(crate) fn forget_received(&mut self) {
        self.received.clear();
    }

    /// Writes what was gathered; answers the numbers that the file answers for.
    pub(crate) fn finish(&mut self, output: &Connection) -> rusqlite::Result<Vec<(SourceKey, Intervals)>> {
        let received = std::mem::take(&mut self.received);
        for (key, numbers) in &received {
            let source = self.source(output, key)?;
            let mut insert = output.prepare_cached("INSERT INTO received VALUES (?1, ?2, ?3)")?;
            for (first, last) in numbers.ranges() {
                insert.execute(params![source, *first as i64, *last as i64])?;
            }
        }
        for (key, runs) in std::mem::take(&mut self.runs) {
            let source = self.source(output, &key)?;
            let sql = "INSERT OR REPLACE INTO spans VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = output.prepare_cached(sql)?;
            for run in join(runs) {
                insert.execute(params![source, run.first as i64, run.last as i64, run.from_ms, run.to_ms])?;
            }
        }
        Ok(received.into_iter().collect())
    }
}

/// What the windows of a source cover in a file, where the source has this number.
pub(crate) fn runs_of(input: &HubFile, number: i64, key: &SourceKey) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    if input.file.kind == FileKind::Hot {
        let damaged = input.damaged(key);
        let parts = input.parts(&key.agent_id, key.stream)?;
        for parts in parts.iter().filter(|parts| parts.key == *key) {
            for part in &parts.parts {
                let spans = input.spans(part.number)?.into_iter().filter(|span| !damaged.contains(span.0));
                runs.extend(spans.map(|(seq, from_ms, to_ms)| Run { first: seq, last: seq, from_ms, to_ms }));
            }
        }
    } else {
        let read = || {
            let sql = "SELECT first, last, from_ms, to_ms FROM spans WHERE source = ?1";
            let mut statement = input.connection.prepare_cached(sql)?;
            let rows = statement.query_map([number], |row| {
                let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok(Run { first: first as u64, last: last as u64, from_ms: row.get(2)?, to_ms: row.get(3)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        runs = read().map_err(StoreError::sql("read", &input.file.path))?;
    }
    Ok(join(runs))
}

fn copy_lost(from: &Connection, number: i64, to: &Connection, source: i64) -> rusqlite::Result<()> {
    let sql = "SELECT first, last, from_ms, to_ms, n_samples, reason FROM lost WHERE source = ?1";
    let mut statement = from.prepare_cached(sql)?;
    let mut rows = statement.query([number])?;
    let mut insert = to.prepare_cached("INSERT OR REPLACE INTO lost VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    while let Some(row) = rows.next()? {
        let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (from_ms, to_ms): (TimeMs, TimeMs) = (row.get(2)?, row.get(3)?);
        let (n_samples, reason): (i64, String) = (row.get(4)?, row.get(5)?);
        insert.execute(params![source, first, last, from_ms, to_ms, n_samples, reason])?;
    }
    Ok(())
}

/// Copies descriptions that the part does not have yet.
fn copy_definitions(
    from: &Connection,
    number: i64,
    to: &Connection,
    part: &mut OutPart,
) -> rusqlite::Result<()> {
    let sql = "SELECT blob FROM definitions WHERE key >= ?1 AND key < ?2 ORDER BY key";
    let mut statement = from.prepare_cached(sql)?;
    let mut rows = statement.query(params![number << BLOB_BITS, (number + 1) << BLOB_BITS])?;
    let mut insert = to.prepare_cached("INSERT INTO definitions VALUES (?1, ?2)")?;
    while let Some(row) = rows.next()? {
        let blob = row.get_ref(0)?.as_blob().unwrap_or_default();
        if part.blobs.insert((checksum(blob), blob.len())) {
            insert.execute(params![part.number << BLOB_BITS | part.next_blob, blob])?;
            part.next_blob += 1;
        }
    }
    Ok(())
}

/// Copies items that are as they were sealed; answers the numbers of the others.
fn copy_items(from: &Connection, number: i64, to: &Connection, part: i64) -> rusqlite::Result<Vec<u64>> {
    let mut damaged = Vec::new();
    let sql = "SELECT key, from_ms, to_ms, n_samples, crc, blob FROM items \
               WHERE key >= ?1 AND key < ?2 ORDER BY key";
    let mut statement = from.prepare_cached(sql)?;
    let mut rows = statement.query(params![number << SEQ_BITS, (number + 1) << SEQ_BITS])?;
    let mut insert = to.prepare_cached("INSERT OR IGNORE INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)? & HUB_SEQ_MAX as i64;
        let key = part << SEQ_BITS | seq;
        let (from_ms, to_ms): (TimeMs, TimeMs) = (row.get(1)?, row.get(2)?);
        let (n_samples, crc): (i64, i64) = (row.get(3)?, row.get(4)?);
        let blob = row.get_ref(5)?.as_blob().unwrap_or_default();
        if i64::from(checksum(blob)) == crc {
            insert.execute(params![key, from_ms, to_ms, n_samples, crc, blob])?;
        } else {
            damaged.push(seq as u64);
        }
    }
    Ok(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_follow_one_another_are_one_run() {
        let window = |seq: u64, from_ms: TimeMs| Run { first: seq, last: seq, from_ms, to_ms: from_ms + 10 };
        let runs =
            vec![window(3, 30), window(1, 10), window(2, 20), window(5, 50), window(6, 90), window(2, 20)];
        let joined = join(runs);
        let expected = [
            Run { first: 1, last: 3, from_ms: 10, to_ms: 40 },
            Run { first: 5, last: 5, from_ms: 50, to_ms: 60 },
            Run { first: 6, last: 6, from_ms: 90, to_ms: 100 },
        ];
        assert_eq!(joined, expected);
    }
}
