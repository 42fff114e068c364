//! What outlives an agent's samples at the hub: the minutes of a day, the hours of its month, and
//! the notes of its events with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fieldpost_model::{Stream, TimeMs};

use crate::StoreError;
use crate::calendar::{DAY_HOURS, HOUR_MS, civil, day_of};
use crate::folder::{FileKind, StoreFile};
use crate::hub::merge::{Output, open_all};
use crate::hub::shapes::Shapes;
use crate::hub::source::{HubFile, agents_of};
use crate::rollup::{Rollup, coarser, put_rollups, read_rollups};
use crate::rows::{MadeOf, read_hours};

/// Puts the minutes of a file of samples beside those of the same day that were kept before.
pub(crate) fn keep_minutes(folder: &std::path::Path, file: &StoreFile) -> Result<(), StoreError> {
    let minutes = StoreFile::new(folder, FileKind::Minutes, file.day() * DAY_HOURS, 0);
    keep(file, &minutes, &|_, slot| slot, None)
}

/// Rolls a day's minutes up to hours, into the file of its month: a slot there is a day.
pub(crate) fn keep_hours(folder: &std::path::Path, minutes: &StoreFile) -> Result<(), StoreError> {
    let (year, month, _) = civil(minutes.day());
    let first = day_of(year, month, 1);
    let hours = StoreFile::new(folder, FileKind::Hours, first * DAY_HOURS, 0);
    let day = minutes.day() - first;
    keep(minutes, &hours, &|file, slot| if file.kind == FileKind::Hours { slot } else { day }, Some(HOUR_MS))
}

/// Slots of a file, as those of the file that is written.
type Slots<'a> = &'a dyn Fn(&StoreFile, i64) -> i64;

fn keep(
    file: &StoreFile,
    target: &StoreFile,
    slot_of: Slots<'_>,
    span_ms: Option<i64>,
) -> Result<(), StoreError> {
    let shapes = Arc::new(Shapes::default());
    let files: Vec<StoreFile> =
        [target, file].into_iter().filter(|file| file.path.exists()).cloned().collect();
    let mut inputs = open_all(&files, &shapes)?;
    // What was kept before comes first: what is newer wins.
    inputs.sort_by_key(|input| input.file != *target);
    let mut output = Output::create(target, &shapes)?;
    let mut slots: BTreeMap<i64, i64> = BTreeMap::new();
    for input in &inputs {
        output.carrier.take(output.rows.connection(), input, &[Stream::Events])?;
        for (slot, made_of) in read_hours(&input.connection, &input.file.path)? {
            *slots.entry(slot_of(&input.file, slot)).or_insert(0) += made_of.n_samples;
        }
    }
    output.carrier.forget_received();
    for agent_id in &agents_of(&inputs)? {
        keep_agent(agent_id, &inputs, &mut output, slot_of, span_ms)?;
    }
    for (slot, n_samples) in slots {
        output.rows.put_hour(slot, MadeOf { seq_from: 0, seq_to: 0, n_samples })?;
    }
    output.finish().map(|_| ())
}

fn keep_agent(
    agent_id: &str,
    inputs: &[HubFile],
    output: &mut Output,
    slot_of: Slots<'_>,
    span_ms: Option<i64>,
) -> Result<(), StoreError> {
    let here = output.enter(agent_id, inputs)?;
    let mut all: BTreeMap<i64, BTreeMap<u32, BTreeMap<TimeMs, Rollup>>> = BTreeMap::new();
    for input in inputs {
        let members = input.series(agent_id)?;
        let ids: HashMap<u32, u32> =
            members.iter().filter_map(|(id, shape)| Some((id, *here.get(&shape)?))).collect();
        for (slot, _) in read_hours(&input.connection, &input.file.path)? {
            let there = all.entry(slot_of(&input.file, slot)).or_default();
            for (id, rollups) in read_rollups(&input.connection, &input.file, slot, &ids)? {
                let rollups = match span_ms.filter(|_| input.file.kind != FileKind::Hours) {
                    Some(span_ms) => coarser(&rollups, span_ms),
                    None => rollups,
                };
                there.entry(id).or_default().extend(rollups.into_iter().map(|r| (r.from_ms, r)));
            }
        }
    }
    for (slot, by_id) in all {
        let by_id = by_id.into_iter().map(|(id, rollups)| (id, rollups.into_values().collect()));
        put_rollups(by_id.collect(), slot, &mut output.rows)?;
    }
    Ok(())
}
