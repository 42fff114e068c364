//! Merging: the closed hot files of an hour become one file of rows, the hours of a past day one
//! file of a day. Each merge writes a fresh file; renaming it into place is its commit, and only
//! then are its sources removed. A merge that is cut off leaves its sources as they were.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use fieldpost_model::Intervals;
use rusqlite::Connection;

use crate::calendar::DAY_HOURS;
use crate::dictionary::read_entries;
use crate::folder::{FileKind, StoreFile};
use crate::rollup::{self, MINUTE_MS};
use crate::rows::{Column, GROUP_SIZE, MadeOf, RowReader, RowWriter, Table, read_hours, read_numbers};
use crate::source::{each_window, open_file, settle};
use crate::spool::read_seqs;
use crate::{Samples, StoreError};

/// Samples that a merge holds in memory at once: 16 bytes each.
const N_SAMPLES_HELD: u64 = 128 << 10;

/// A file that is merged, with the ids that its series have in the file that is written.
struct Input {
    file: StoreFile,
    connection: Connection,
    ids: HashMap<u32, u32>,
}

impl Input {
    fn open(file: &StoreFile, output: &mut RowWriter) -> Result<Self, StoreError> {
        let connection = open_file(file)?;
        let ids = output.adopt(read_entries(&connection, &file.path)?)?;
        Ok(Self { file: file.clone(), connection, ids })
    }

    /// Have its series the same ids there and here?
    fn same_ids(&self) -> bool {
        self.ids.iter().all(|(there, here)| there == here)
    }

    fn made_of(&self, slot: i64) -> Result<MadeOf, StoreError> {
        if self.file.kind != FileKind::Hot {
            let hours = read_hours(&self.connection, &self.file.path)?;
            let found = hours.into_iter().find(|(hour, _)| *hour == slot);
            return Ok(found.map_or(MadeOf::NOTHING, |(_, made_of)| made_of));
        }
        let sql =
            "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), coalesce(sum(n_samples), 0) FROM windows";
        let read = self.connection.query_row(sql, [], |row| {
            Ok(MadeOf { seq_from: row.get(0)?, seq_to: row.get(1)?, n_samples: row.get(2)? })
        });
        read.map_err(StoreError::sql("read", &self.file.path))
    }

    /// The numbers of the windows that its samples of an hour came in.
    fn numbers(&self, slot: i64) -> Result<Intervals, StoreError> {
        match self.file.kind {
            FileKind::Hot => read_seqs(&self.connection, &self.file),
            _ => read_numbers(&self.connection, &self.file.path, slot),
        }
    }

    /// Adds its samples of an hour and of a range of ids; answers how many blobs were damaged.
    fn collect(
        &self,
        slot: i64,
        range: std::ops::Range<u32>,
        found: &mut BTreeMap<u32, Samples>,
    ) -> Result<u64, StoreError> {
        let wanted: HashMap<u32, u32> = self
            .ids
            .iter()
            .filter(|(_, here)| range.contains(here))
            .map(|(there, here)| (*there, *here))
            .collect();
        if self.file.kind == FileKind::Hot {
            self.collect_windows(&wanted, found)
        } else {
            self.collect_rows(slot, &wanted, found)
        }
    }

    fn collect_windows(
        &self,
        wanted: &HashMap<u32, u32>,
        found: &mut BTreeMap<u32, Samples>,
    ) -> Result<u64, StoreError> {
        let mut n_damaged = 0;
        each_window(&self.connection, &self.file.path, i64::MIN, i64::MAX, |groups| {
            n_damaged += u64::from(groups.is_err());
            for group in groups.unwrap_or_default() {
                for (position, id) in group.ids.iter().enumerate() {
                    if let Some(here) = wanted.get(id) {
                        let samples =
                            group.times_ms.iter().copied().zip(group.column(position).iter().copied());
                        let present = samples.filter(|(_, value)| !fieldpost_model::is_absent(*value));
                        found.entry(*here).or_default().extend(present);
                    }
                }
            }
        })?;
        Ok(n_damaged)
    }

    fn collect_rows(
        &self,
        slot: i64,
        wanted: &HashMap<u32, u32>,
        found: &mut BTreeMap<u32, Samples>,
    ) -> Result<u64, StoreError> {
        let mut reader = RowReader::new(&self.connection, &self.file.path, Table::Raw);
        let mut groups: Vec<u32> = wanted.keys().map(|id| id / GROUP_SIZE).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            reader.read(
                group,
                slot,
                |id| wanted.contains_key(&id),
                |id, _, samples| {
                    found.entry(wanted[&id]).or_default().extend(samples);
                },
            )?;
        }
        Ok(reader.n_damaged)
    }
}

/// Merges these files of one hour, those that win over others last, into the hour's file.
/// Answers how many blobs were damaged and left out.
pub(crate) fn merge_hour(folder: &Path, hour: i64, files: &[StoreFile]) -> Result<u64, StoreError> {
    let target = StoreFile::new(folder, FileKind::Hour, hour, 0);
    let mut output = RowWriter::create(&target.path)?;
    let inputs: Result<Vec<_>, _> = files.iter().map(|file| Input::open(file, &mut output)).collect();
    let inputs = inputs?;
    let n_damaged = merge_rows(&inputs.iter().collect::<Vec<_>>(), hour.rem_euclid(DAY_HOURS), &mut output)?;
    output.finish()?;
    drop(inputs);
    remove_sources(files, &target)?;
    Ok(n_damaged)
}

/// Puts the hours of a day together, with what an earlier merge of that day left. Rows are
/// copied; only an hour that came in two parts is encoded anew.
pub(crate) fn merge_day(folder: &Path, day: i64, files: &[StoreFile]) -> Result<u64, StoreError> {
    let target = StoreFile::new(folder, FileKind::Day, day * DAY_HOURS, 0);
    let mut output = RowWriter::create(&target.path)?;
    let inputs: Result<Vec<_>, _> = files.iter().map(|file| Input::open(file, &mut output)).collect();
    let inputs = inputs?;
    let mut n_damaged = 0;
    for slot in 0..DAY_HOURS {
        let mut with_hour = Vec::new();
        for input in &inputs {
            let made_of = input.made_of(slot)?;
            if made_of != MadeOf::NOTHING {
                with_hour.push((input, made_of));
            }
        }
        match with_hour[..] {
            [] => {}
            [(input, made_of)] if input.same_ids() => {
                output.copy(&input.connection, Table::Raw, slot)?;
                output.copy(&input.connection, Table::Rollup, slot)?;
                output.put_hour(slot, made_of)?;
                output.put_numbers(slot, &input.numbers(slot)?)?;
            }
            _ => {
                let inputs: Vec<_> = with_hour.iter().map(|(input, _)| *input).collect();
                n_damaged += merge_rows(&inputs, slot, &mut output)?;
            }
        }
    }
    output.finish()?;
    drop(inputs);
    remove_sources(files, &target)?;
    Ok(n_damaged)
}

fn remove_sources(files: &[StoreFile], target: &StoreFile) -> Result<(), StoreError> {
    files.iter().filter(|file| *file != target).try_for_each(StoreFile::remove)
}

/// Merges one hour of the inputs, a few groups at a time so that memory stays small.
fn merge_rows(inputs: &[&Input], slot: i64, output: &mut RowWriter) -> Result<u64, StoreError> {
    let mut made_of = MadeOf::NOTHING;
    let mut numbers = Intervals::default();
    let mut n_expected = 0;
    for input in inputs {
        let part = input.made_of(slot)?;
        numbers.union(&input.numbers(slot)?);
        n_expected += part.n_samples.max(0) as u64;
        made_of = made_of.and(part);
    }
    let end_id = output.end_id();
    let n_passes = n_expected.div_ceil(N_SAMPLES_HELD).max(1);
    let n_groups = u64::from(end_id.div_ceil(GROUP_SIZE));
    let step = GROUP_SIZE * n_groups.div_ceil(n_passes).max(1) as u32;
    let mut n_damaged = 0;
    let mut first_id = 0;
    while first_id < end_id {
        let range = first_id..first_id.saturating_add(step);
        first_id = range.end;
        let mut found = BTreeMap::new();
        let mut n_damaged_now = 0;
        for input in inputs {
            n_damaged_now += input.collect(slot, range.clone(), &mut found)?;
        }
        n_damaged = n_damaged.max(n_damaged_now);
        made_of.n_samples += put_groups(found, slot, output)?;
    }
    output.put_hour(slot, made_of)?;
    output.put_numbers(slot, &numbers)?;
    Ok(n_damaged)
}

/// Writes samples and their rollups by groups; answers how many samples.
pub(crate) fn put_groups(
    found: BTreeMap<u32, Samples>,
    slot: i64,
    output: &mut RowWriter,
) -> Result<i64, StoreError> {
    let mut n_samples = 0;
    let mut columns: Vec<Column> = Vec::new();
    for (id, mut samples) in found {
        settle(&mut samples);
        n_samples += samples.len() as i64;
        if columns.first().is_some_and(|first| first.id / GROUP_SIZE != id / GROUP_SIZE) {
            put_group(std::mem::take(&mut columns), slot, output)?;
        }
        if !samples.is_empty() {
            columns.push(Column { id, part: 0, samples });
        }
    }
    put_group(columns, slot, output)?;
    Ok(n_samples)
}

fn put_group(columns: Vec<Column>, slot: i64, output: &mut RowWriter) -> Result<(), StoreError> {
    let mut rollups = Vec::new();
    for column in &columns {
        rollups.extend(rollup::columns(column.id, &rollup::of_samples(&column.samples, MINUTE_MS)));
    }
    output.put(Table::Raw, slot, columns)?;
    output.put(Table::Rollup, slot, rollups)
}
