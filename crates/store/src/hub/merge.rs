//! Merging at the hub: the closed intake files of an hour become one file of rows, the hours of a
//! past day one file of a day, one agent after the other, so that memory holds one agent's hour.
//! Each merge writes a fresh file; renaming it into place is its commit, and only then are its
//! sources removed. A merge that is cut off leaves its sources as they were.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use fieldpost_model::{Intervals, Stream};

use crate::calendar::DAY_HOURS;
use crate::folder::{FileKind, StoreFile};
use crate::hub::carry::Carrier;
use crate::hub::index::IndexWriter;
use crate::hub::ledger::SourceKey;
use crate::hub::shapes::{ShapeId, Shapes};
use crate::hub::source::{HourSpan, HubFile, agents_of};
use crate::merge::put_groups;
use crate::rows::{GROUP_SIZE, MadeOf, RowWriter};
use crate::{Samples, StoreError};

/// Samples that a merge holds in memory at once: 16 bytes each.
const N_SAMPLES_HELD: u64 = 1 << 20;
/// What a series of a merged hour is taken to have, for want of a better number.
const N_SAMPLES_AN_HOUR: u64 = 3_600;

/// What a merge came to.
pub(crate) struct Merged {
    /// The numbers that the new file answers for.
    pub(crate) numbers: Vec<(SourceKey, Intervals)>,
    /// Blobs that were damaged and left out.
    pub(crate) n_damaged: u64,
}

/// A merged file that is being written.
pub(crate) struct Output {
    pub(crate) rows: RowWriter,
    pub(crate) carrier: Carrier,
    index: IndexWriter,
    shapes: Arc<Shapes>,
    target: StoreFile,
}

impl Output {
    /// Begins a fresh file.
    pub(crate) fn create(target: &StoreFile, shapes: &Arc<Shapes>) -> Result<Self, StoreError> {
        let rows = RowWriter::create_with(&target.path, include_str!("../sql/hub_rows.sql"))?;
        let (carrier, index, shapes) = (Carrier::default(), IndexWriter::default(), Arc::clone(shapes));
        Ok(Self { rows, carrier, index, shapes, target: target.clone() })
    }

    /// Enters an agent with all series that the inputs have of it; answers their ids here.
    pub(crate) fn enter(
        &mut self,
        agent_id: &str,
        inputs: &[HubFile],
    ) -> Result<HashMap<ShapeId, u32>, StoreError> {
        self.rows.forget_axes();
        let mut series = BTreeSet::new();
        for input in inputs {
            input.each_shape(agent_id, |shape| _ = series.insert(shape))?;
        }
        let series: Vec<ShapeId> = series.into_iter().collect();
        let entered = self.index.put(self.rows.connection(), agent_id, &series, &self.shapes);
        let first_id = entered.map_err(StoreError::sql("write", &self.target.path))?;
        Ok(series.into_iter().zip(first_id..).collect())
    }

    /// Makes the file durable under its name; answers the numbers that it answers for.
    pub(crate) fn finish(mut self) -> Result<Vec<(SourceKey, Intervals)>, StoreError> {
        let numbers = self.carrier.finish(self.rows.connection());
        let numbers = numbers.map_err(StoreError::sql("write", &self.target.path))?;
        self.rows.finish()?;
        Ok(numbers)
    }
}

/// Opens files for a merge, those that win over others last.
pub(crate) fn open_all(files: &[StoreFile], shapes: &Arc<Shapes>) -> Result<Vec<HubFile>, StoreError> {
    let mut files = files.to_vec();
    files.sort_by_key(|file| (file.kind, file.hour, file.seq));
    files.into_iter().map(|file| HubFile::open(file, Arc::clone(shapes))).collect()
}

/// Merges files into the hour's or the day's own file; asks after each agent whether to go on.
/// Answers nothing where it was told not to: then nothing has changed.
pub(crate) fn merge(
    target: &StoreFile,
    files: &[StoreFile],
    go_on: impl Fn() -> bool,
) -> Result<Option<Merged>, StoreError> {
    let shapes = Arc::new(Shapes::default());
    let inputs = open_all(files, &shapes)?;
    let mut output = Output::create(target, &shapes)?;
    let hours = match target.kind {
        FileKind::Day => target.hour..target.hour + DAY_HOURS,
        _ => target.hour..target.hour + 1,
    };
    let (mut n_samples, mut n_damaged) = (BTreeMap::new(), 0);
    for agent_id in &agents_of(&inputs)? {
        if !go_on() {
            return Ok(None);
        }
        let ids = output.enter(agent_id, &inputs)?;
        for hour in hours.clone() {
            let of_agent = merge_agent(agent_id, hour, &ids, &inputs, &mut output.rows)?;
            *n_samples.entry(hour.rem_euclid(DAY_HOURS)).or_insert(0) += of_agent.0;
            n_damaged += of_agent.1;
        }
        shapes.forget_described();
    }
    for (slot, n_samples) in n_samples.into_iter().filter(|(_, n_samples)| *n_samples > 0) {
        output.rows.put_hour(slot, MadeOf { seq_from: 0, seq_to: 0, n_samples })?;
    }
    // Last, when it is known which items could not be read.
    for input in &inputs {
        output.carrier.take(output.rows.connection(), input, &Stream::KEPT)?;
    }
    let numbers = output.finish()?;
    Ok(Some(Merged { numbers, n_damaged }))
}

/// Merges one hour of one agent, a few groups at a time so that memory stays small. Answers how
/// many samples it has, and how many blobs were damaged.
fn merge_agent(
    agent_id: &str,
    hour: i64,
    ids: &HashMap<ShapeId, u32>,
    inputs: &[HubFile],
    rows: &mut RowWriter,
) -> Result<(i64, u64), StoreError> {
    let inputs: Vec<&HubFile> = inputs.iter().filter(|input| has_hour(&input.file, hour)).collect();
    let (mut n_samples, mut n_damaged) = (0, 0);
    for range in passes(agent_id, ids, &inputs)? {
        let mut found = HashMap::new();
        let mut n_damaged_now = 0;
        for input in &inputs {
            let mut wanted = |shape: ShapeId| ids.get(&shape).is_some_and(|id| range.contains(id));
            n_damaged_now += input.read(agent_id, &HourSpan::whole(hour), &mut wanted, &mut found)?;
        }
        n_damaged = n_damaged_now.max(n_damaged);
        let by_id: BTreeMap<u32, Samples> =
            found.into_iter().map(|(shape, samples)| (ids[&shape], samples)).collect();
        n_samples += put_groups(by_id, hour.rem_euclid(DAY_HOURS), rows)?;
    }
    Ok((n_samples, n_damaged))
}

fn has_hour(file: &StoreFile, hour: i64) -> bool {
    match file.kind {
        FileKind::Day => file.day() == hour.div_euclid(DAY_HOURS),
        _ => file.hour == hour,
    }
}

/// Ranges of ids whose samples fit into memory together.
fn passes(
    agent_id: &str,
    ids: &HashMap<ShapeId, u32>,
    inputs: &[&HubFile],
) -> Result<Vec<Range<u32>>, StoreError> {
    let (Some(first), Some(last)) = (ids.values().min(), ids.values().max()) else { return Ok(Vec::new()) };
    let mut n_expected = 0;
    for input in inputs {
        n_expected += match input.file.kind {
            FileKind::Hot => input.n_samples(agent_id)?,
            _ => input.series(agent_id)?.len() as u64 * N_SAMPLES_AN_HOUR,
        };
    }
    if n_expected == 0 {
        return Ok(Vec::new());
    }
    let n_groups = (last - first + 1).div_ceil(GROUP_SIZE);
    let n_passes = n_expected.div_ceil(N_SAMPLES_HELD).clamp(1, u64::from(n_groups)) as u32;
    let step = GROUP_SIZE * n_groups.div_ceil(n_passes);
    let begins = (*first..=*last).step_by(step as usize);
    Ok(begins.map(|begin| begin..begin.saturating_add(step)).collect())
}
