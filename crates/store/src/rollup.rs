//! Rollups: what remains of a series when its samples are gone, by the minute and by the hour.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fieldpost_model::{TimeMs, is_absent, is_ended};
use rusqlite::Connection;

use crate::calendar::HOUR_MS;
use crate::codec::Scale;
use crate::dictionary::read_entries;
use crate::folder::StoreFile;
use crate::rows::{Column, GROUP_SIZE, MadeOf, RowReader, RowWriter, Table, read_hours};
use crate::source::open_file;
use crate::{Samples, StoreError};

/// Milliseconds of the finer rollup.
pub(crate) const MINUTE_MS: i64 = 60_000;

/// What a span has of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    /// First instant of the span.
    pub from_ms: TimeMs,
    /// The smallest sample.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All added up.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
    /// The last.
    pub last: f64,
}

impl Rollup {
    /// Takes in a later part of the same span.
    fn absorb(&mut self, later: &Rollup) {
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum += later.sum;
        self.count += later.count;
        self.last = later.last;
    }
}

/// Rolls samples of rising time up into spans of this length.
pub(crate) fn of_samples(samples: &[(TimeMs, f64)], span_ms: i64) -> Vec<Rollup> {
    let same_span = |a: &(TimeMs, f64), b: &(TimeMs, f64)| a.0.div_euclid(span_ms) == b.0.div_euclid(span_ms);
    samples.chunk_by(same_span).filter_map(|chunk| of_span(chunk, span_ms)).collect()
}

/// None where nothing but the end of the series is in the span.
fn of_span(chunk: &[(TimeMs, f64)], span_ms: i64) -> Option<Rollup> {
    let measured = |value: &f64| !is_absent(*value) && !is_ended(*value);
    let values: Vec<f64> = chunk.iter().map(|(_, value)| *value).filter(measured).collect();
    let last = *values.last()?;
    Some(Rollup {
        from_ms: chunk[0].0.div_euclid(span_ms) * span_ms,
        min: values.iter().copied().fold(f64::NAN, f64::min),
        max: values.iter().copied().fold(f64::NAN, f64::max),
        sum: sum(&values),
        count: values.len() as u64,
        last,
    })
}

/// Decimals are added as whole numbers: the sum is exact, and packs as well as they do.
fn sum(values: &[f64]) -> f64 {
    let mut whole = Vec::new();
    let exact = Scale::find(values, &mut whole).and_then(|scale| {
        let total = whole.iter().try_fold(0_i64, |total, number| total.checked_add(*number))?;
        Some(scale.float(total))
    });
    exact.unwrap_or_else(|| values.iter().sum())
}

/// Rolls finer rollups, by rising time, up into longer spans.
pub(crate) fn coarser(fine: &[Rollup], span_ms: i64) -> Vec<Rollup> {
    let mut coarse: Vec<Rollup> = Vec::new();
    for rollup in fine {
        let from_ms = rollup.from_ms.div_euclid(span_ms) * span_ms;
        match coarse.last_mut() {
            Some(last) if last.from_ms == from_ms => last.absorb(rollup),
            _ => coarse.push(Rollup { from_ms, ..*rollup }),
        }
    }
    coarse
}

/// The five parts of a series' rollups as columns of a row.
pub(crate) fn columns(id: u32, rollups: &[Rollup]) -> impl Iterator<Item = Column> + '_ {
    let parts: [fn(&Rollup) -> f64; 5] = [|r| r.min, |r| r.max, |r| r.sum, |r| r.count as f64, |r| r.last];
    parts.into_iter().zip(1..).map(move |(part, number)| {
        let samples: Samples = rollups.iter().map(|rollup| (rollup.from_ms, part(rollup))).collect();
        Column { id, part: number, samples }
    })
}

/// Puts the rollups of a file of samples beside those of the same day that were kept before.
pub(crate) fn keep_minutes(file: &StoreFile, minutes: &StoreFile) -> Result<(), StoreError> {
    let mut output = RowWriter::create(&minutes.path)?;
    for source in [minutes, file] {
        if !source.path.exists() {
            continue;
        }
        let connection = open_file(source)?;
        let ids = output.adopt(read_entries(&connection, &source.path)?)?;
        for (slot, made_of) in read_hours(&connection, &source.path)? {
            copy_rollups(&connection, source, slot, &ids, &mut output)?;
            output.put_hour(slot, made_of)?;
        }
    }
    output.finish()
}

/// Rolls a day's minutes up to hours, into the file of its month: a slot there is a day.
pub(crate) fn keep_hours(minutes: &StoreFile, hours: &StoreFile) -> Result<(), StoreError> {
    let mut output = RowWriter::create(&hours.path)?;
    if hours.path.exists() {
        let connection = open_file(hours)?;
        let ids = output.adopt(read_entries(&connection, &hours.path)?)?;
        for (slot, made_of) in read_hours(&connection, &hours.path)? {
            copy_rollups(&connection, hours, slot, &ids, &mut output)?;
            output.put_hour(slot, made_of)?;
        }
    }
    let connection = open_file(minutes)?;
    let ids = output.adopt(read_entries(&connection, &minutes.path)?)?;
    let day = minutes.day() - hours.day();
    let mut all: BTreeMap<u32, Vec<Rollup>> = BTreeMap::new();
    let mut sum = MadeOf::NOTHING;
    for (slot, made_of) in read_hours(&connection, &minutes.path)? {
        for (id, rollups) in read_rollups(&connection, minutes, slot, &ids)? {
            all.entry(id).or_default().extend(coarser(&rollups, HOUR_MS));
        }
        sum = sum.and(made_of);
    }
    put_rollups(all, day, &mut output)?;
    output.put_hour(day, sum)?;
    output.finish()
}

fn copy_rollups(
    connection: &Connection,
    source: &StoreFile,
    slot: i64,
    ids: &HashMap<u32, u32>,
    output: &mut RowWriter,
) -> Result<(), StoreError> {
    put_rollups(read_rollups(connection, source, slot, ids)?, slot, output)
}

/// The rollups of one slot of a file, by the ids that the series have elsewhere.
pub(crate) fn read_rollups(
    connection: &Connection,
    source: &StoreFile,
    slot: i64,
    ids: &HashMap<u32, u32>,
) -> Result<BTreeMap<u32, Vec<Rollup>>, StoreError> {
    let mut reader = RowReader::new(connection, &source.path, Table::Rollup);
    let mut parts: BTreeMap<u32, Parts> = BTreeMap::new();
    let groups: BTreeSet<u32> = ids.keys().map(|id| id / GROUP_SIZE).collect();
    for group in groups {
        reader.read(
            group,
            slot,
            |_| true,
            |id, part, samples| {
                if let Some(here) = ids.get(&id) {
                    parts.entry(*here).or_default().add(part, samples);
                }
            },
        )?;
    }
    Ok(parts.into_iter().map(|(id, parts)| (id, parts.rollups())).collect())
}

pub(crate) fn put_rollups(
    all: BTreeMap<u32, Vec<Rollup>>,
    slot: i64,
    output: &mut RowWriter,
) -> Result<(), StoreError> {
    let mut group: Vec<Column> = Vec::new();
    for (id, rollups) in all {
        if group.first().is_some_and(|first| first.id / GROUP_SIZE != id / GROUP_SIZE) {
            output.put(Table::Rollup, slot, std::mem::take(&mut group))?;
        }
        group.extend(columns(id, &rollups));
    }
    output.put(Table::Rollup, slot, group)
}

/// Puts the parts of a series together again.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: [Samples; 5],
}

impl Parts {
    /// Takes in a column as it was read.
    pub(crate) fn add(&mut self, part: u8, samples: &mut dyn Iterator<Item = (TimeMs, f64)>) {
        if let Some(known) = usize::from(part).checked_sub(1).and_then(|part| self.parts.get_mut(part)) {
            known.extend(samples);
        }
    }

    /// The rollups; a span that lacks a part is left out.
    pub(crate) fn rollups(self) -> Vec<Rollup> {
        let [min, max, sum, count, last] = self.parts;
        let all = min.into_iter().zip(max).zip(sum).zip(count).zip(last);
        all.map(|(((((from_ms, min), (_, max)), (_, sum)), (_, count)), (_, last))| Rollup {
            from_ms,
            min,
            max,
            sum,
            count: count as u64,
            last,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_rolled_up_by_their_span() {
        let samples: Samples = (0..90).map(|n| (n * 1000, n as f64 / 10.0)).collect();
        let rollups = of_samples(&samples, MINUTE_MS);
        let first = Rollup { from_ms: 0, min: 0.0, max: 5.9, sum: 177.0, count: 60, last: 5.9 };
        assert_eq!((rollups.len(), rollups[0], rollups[1].from_ms), (2, first, 60_000));
        let hour = coarser(&rollups, 3_600_000);
        assert_eq!((hour.len(), hour[0].count, hour[0].max, hour[0].last), (1, 90, 8.9, 8.9));
    }

    #[test]
    fn parts_come_together_again() {
        let samples: Samples = (0..300).map(|n| (n * 1000, (n * n) as f64)).collect();
        let rollups = of_samples(&samples, MINUTE_MS);
        let mut parts = Parts::default();
        for column in columns(7, &rollups) {
            parts.add(column.part, &mut column.samples.into_iter());
        }
        assert_eq!(parts.rollups(), rollups);
    }
}
