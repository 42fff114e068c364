//! Many series, each whole: first which there are, then their samples, a few series at a time, on two
//! threads where that pays. Memory holds the series in hand, not all that is asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use fieldpost_model::{ABSENT, Selector, Stream, TimeMs, is_absent, is_ended};
use parking_lot::Mutex;

use crate::calendar::{DAY_HOURS, HOUR_MS};
use crate::codec::{RowDecoder, WindowReader};
use crate::folder::{FileKind, StoreFile};
use crate::hub::batch::HUB_SEQ_MAX;
use crate::hub::ledger::SourceKey;
use crate::hub::pool::Lent;
use crate::hub::reader::{HubReader, HubSeries, Question, stored_series};
use crate::hub::shapes::{Labels, ShapeId};
use crate::hub::source::{HourSpan, HubFile, whole};
use crate::rows::{GROUP_SIZE, Table, axis_at, key, row_at};
use crate::source::{hour_touches, is_raw, settle, skip_damage, touches};
use crate::{Samples, StoreError, heap};

/// Series that are read together, at most: two rows of merged files.
const N_TOGETHER_MAX: usize = 32;
/// Series times hours that are read together: at 1 s some 20 MiB.
const N_PIECES_TOGETHER: usize = 384;
/// Whoever has read so many samples gives back the memory that the C library keeps of them.
const N_SAMPLES_MUCH: u64 = 4_000_000;
/// From so many series times hours on a second thread pays.
const N_PIECES_FOR_TWO: usize = 64;
/// More threads than this read no faster, for others want the processor as well.
const N_THREADS_MAX: usize = 2;
/// Items of a stream that are read at once, before they are unpacked.
const N_ITEMS_TOGETHER: usize = 64;
/// Room that is made for a series at once, at most: 16 MiB.
const N_SAMPLES_AT_ONCE: usize = 1 << 20;
/// Instants that are kept unpacked for the next series: 16 MiB.
const N_INSTANTS_KEPT: usize = 2 << 20;

/// Asked how many samples more may be read: false ends the reading.
pub type Spend<'a> = &'a (dyn Fn(u64) -> bool + Sync);

/// Takes the samples of a series by its number; false ends the reading.
pub type TakeSamples<'a> = &'a (dyn Fn(usize, Samples) -> bool + Sync);

/// Series that were found, before their samples are read.
pub struct Harvest {
    files: Vec<Mutex<Lent>>,
    /// Places of the files of each hour, those that win over others last.
    hours: BTreeMap<i64, Vec<usize>>,
    span: (TimeMs, TimeMs),
    series: Vec<HubSeries>,
    found: Vec<Found>,
    agents: Vec<OfAgent>,
    axes: Mutex<Axes>,
}

/// Where a series is.
struct Found {
    agent: usize,
    /// Merged files by place, and the id there.
    merged: Vec<(usize, u32)>,
}

/// What is not merged yet, of one agent: windows of all its series, to be read once.
#[derive(Default)]
struct OfAgent {
    parts: Vec<HotPart>,
    samples: OnceLock<Mutex<HotSamples>>,
}

/// Samples by number of the series, each with the place of the file that has them.
type HotSamples = HashMap<usize, Vec<(usize, Samples)>>;

struct HotPart {
    file: usize,
    key: SourceKey,
    part: i64,
    /// Ids with the numbers of their series, by id.
    numbers: Vec<(u32, usize)>,
}

/// Instants by file, and key there.
#[derive(Default)]
struct Axes {
    known: HashMap<(usize, i64), Arc<Vec<TimeMs>>>,
    n_instants: usize,
}

impl HubReader {
    /// Finds every series that the selector accepts in files that touch `[from_ms, to_ms)`.
    pub fn find(&self, selector: &Selector, from_ms: TimeMs, to_ms: TimeMs) -> Result<Harvest, StoreError> {
        self.find_in(selector, (from_ms, to_ms), None)
    }

    /// The same, in what belongs to one hour.
    pub(crate) fn find_in(
        &self,
        selector: &Selector,
        (from_ms, to_ms): (TimeMs, TimeMs),
        only: Option<i64>,
    ) -> Result<Harvest, StoreError> {
        let shapes = self.shapes();
        let hours_of = |file: &StoreFile| {
            let all = match file.kind {
                FileKind::Day => file.day() * DAY_HOURS..(file.day() + 1) * DAY_HOURS,
                _ => file.hour..file.hour + 1,
            };
            all.filter(move |hour| {
                hour_touches(*hour, from_ms, to_ms) && only.is_none_or(|only| only == *hour)
            })
        };
        let is_wanted = |file: &StoreFile| {
            is_raw(file.kind) && touches(file, from_ms, to_ms) && hours_of(file).next().is_some()
        };
        let opened = self.open_files(&is_wanted, &shapes)?;
        let mut hours: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (place, file) in opened.iter().enumerate() {
            hours_of(&file.file).for_each(|hour| hours.entry(hour).or_default().push(place));
        }
        let mut finder = Finder::new(self.question(selector, &shapes));
        for (place, file) in opened.iter().enumerate() {
            let agents = skip_damage(&file.file.path, file.agents())?;
            for agent_id in agents.unwrap_or_default() {
                skip_damage(&file.file.path, finder.look(place, file, &agent_id))?;
            }
        }
        let Finder { series, found, agents, .. } = finder;
        let (files, axes) = (opened.into_iter().map(Mutex::new).collect(), Mutex::default());
        Ok(Harvest { files, hours, span: (from_ms, to_ms), series, found, agents, axes })
    }
}

/// Gives numbers to series, as they are found.
struct Finder<'a> {
    question: Question<'a>,
    numbers: HashMap<(usize, ShapeId), usize>,
    places: HashMap<String, usize>,
    series: Vec<HubSeries>,
    found: Vec<Found>,
    agents: Vec<OfAgent>,
}

impl<'a> Finder<'a> {
    fn new(question: Question<'a>) -> Self {
        let (numbers, places, series, found, agents) = Default::default();
        Self { question, numbers, places, series, found, agents }
    }

    /// Looks what a file has of an agent.
    fn look(&mut self, place: usize, file: &HubFile, agent_id: &str) -> Result<(), StoreError> {
        let Some(labels) = self.question.labels_of(agent_id) else { return Ok(()) };
        let set = self.question.accepts.set(&labels);
        let agent = *self.places.entry(agent_id.to_owned()).or_insert_with(|| {
            self.agents.push(OfAgent::default());
            self.agents.len() - 1
        });
        if file.file.kind != FileKind::Hot {
            for (id, shape) in file.series(agent_id)?.iter() {
                if self.question.accepts.shape(set, &labels, shape) {
                    let number = self.number(agent, agent_id, &labels, shape);
                    number.into_iter().for_each(|number| self.found[number].merged.push((place, id)));
                }
            }
            return Ok(());
        }
        for of in file.parts(agent_id, Stream::Metrics)? {
            for part in &of.parts {
                let mut ids: Vec<(u32, ShapeId)> = Vec::new();
                for described in file.described(part.number)? {
                    let accepts = &mut self.question.accepts;
                    ids.extend(described.iter().filter(|(_, shape)| accepts.shape(set, &labels, *shape)));
                }
                // What was said last counts.
                ids.reverse();
                ids.sort_by_key(|(id, _)| *id);
                ids.dedup_by_key(|(id, _)| *id);
                let numbers: Vec<(u32, usize)> = ids
                    .into_iter()
                    .filter_map(|(id, shape)| Some((id, self.number(agent, agent_id, &labels, shape)?)))
                    .collect();
                if !numbers.is_empty() {
                    let (key, part) = (of.key.clone(), part.number);
                    self.agents[agent].parts.push(HotPart { file: place, key, part, numbers });
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, agent: usize, agent_id: &str, labels: &Labels, shape: ShapeId) -> Option<usize> {
        if let Some(number) = self.numbers.get(&(agent, shape)) {
            return Some(*number);
        }
        let series = stored_series(labels, &*self.question.shapes.shape(shape)?, 0, 0);
        let number = self.series.len();
        self.series.push(HubSeries { agent_id: agent_id.to_owned(), series });
        self.found.push(Found { agent, merged: Vec::new() });
        self.numbers.insert((agent, shape), number);
        Some(number)
    }
}

impl Harvest {
    /// The series, by number. Some may turn out to have no samples in the span.
    pub fn series(&self) -> &[HubSeries] {
        &self.series
    }

    /// Reads the samples of each series and hands them over whole, by rising time, in any order of series
    /// and from two threads at once. `ABSENT` says that the series ended then.
    pub fn read(&self, spend: Spend<'_>, take: TakeSamples<'_>) -> Result<(), StoreError> {
        let mut order: Vec<usize> = (0..self.found.len()).collect();
        order.sort_by_key(|number| (self.found[*number].agent, self.found[*number].merged.last().copied()));
        let is_much = order.len() * self.hours.len() >= N_PIECES_FOR_TWO && order.len() > 1;
        let n_processors = std::thread::available_parallelism().map_or(1, usize::from);
        let n_threads = if is_much { n_processors.min(N_THREADS_MAX) } else { 1 };
        let n_together = (N_PIECES_TOGETHER / self.hours.len().max(1)).clamp(4, N_TOGETHER_MAX);
        let n_together = order.len().div_ceil(2 * n_threads).clamp(1, n_together);
        let batches: Vec<&[usize]> = order.chunks(n_together).collect();
        let (next, ended, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let n_read = AtomicU64::new(0);
        let take = |number: usize, samples: Samples| {
            n_read.fetch_add(samples.len() as u64, Ordering::Relaxed);
            take(number, samples)
        };
        let work = || {
            let mut decoder = RowDecoder::default();
            while !ended.load(Ordering::Relaxed)
                && let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let goes_on = self.batch(batch, &mut decoder, (spend, &take)).unwrap_or_else(|error| {
                    failure.lock().get_or_insert(error);
                    false
                });
                ended.fetch_or(!goes_on, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..n_threads {
                // Where there is no thread to be had, this one does it all.
                let _ = std::thread::Builder::new().name("harvest".into()).spawn_scoped(scope, work);
            }
            work();
        });
        if n_read.load(Ordering::Relaxed) > N_SAMPLES_MUCH {
            heap::give_back();
        }
        failure.into_inner().map_or(Ok(()), Err)
    }

    /// Reads some series hour by hour; answers whether to go on.
    fn batch(
        &self,
        batch: &[usize],
        decoder: &mut RowDecoder,
        (spend, take): (Spend<'_>, TakeSamples<'_>),
    ) -> Result<bool, StoreError> {
        let mut ids: HashMap<usize, Vec<(u32, usize)>> = HashMap::new();
        let mut hot: Vec<Vec<(usize, Samples)>> = Vec::with_capacity(batch.len());
        for (place, number) in batch.iter().enumerate() {
            let found = &self.found[*number];
            found.merged.iter().for_each(|(file, id)| ids.entry(*file).or_default().push((*id, place)));
            hot.push(self.hot_of(found.agent, *number, spend)?);
        }
        ids.values_mut().for_each(|ids| ids.sort_unstable());
        let mut samples: Vec<Samples> = vec![Vec::new(); batch.len()];
        for (hour, files) in &self.hours {
            for file in files {
                for (samples, hot) in samples.iter_mut().zip(&mut hot) {
                    let of_file = hot.iter_mut().filter(|(of, _)| of == file);
                    of_file.for_each(|(_, hot)| samples.append(hot));
                }
                let Some(ids) = ids.get(file) else { continue };
                let slot = hour.rem_euclid(DAY_HOURS);
                if !self.read_rows(*file, slot, ids, (spend, decoder), &mut samples)? {
                    return Ok(false);
                }
            }
        }
        for (number, mut samples) in batch.iter().zip(samples) {
            settle(&mut samples);
            if !samples.is_empty() && !take(*number, samples) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds what the rows of one slot of a merged file have of these ids.
    fn read_rows(
        &self,
        file: usize,
        slot: i64,
        ids: &[(u32, usize)],
        (spend, decoder): (Spend<'_>, &mut RowDecoder),
        samples: &mut [Samples],
    ) -> Result<bool, StoreError> {
        let place_of = |id: u32| ids.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| ids[at].1);
        for group in ids.chunk_by(|a, b| a.0 / GROUP_SIZE == b.0 / GROUP_SIZE) {
            let row_key = key(group[0].0 / GROUP_SIZE, slot);
            let Some(blob) =
                self.blob(file, |file| row_at(&file.connection, &file.file.path, Table::Raw, row_key))?
            else {
                continue;
            };
            let mut goes_on = Ok(true);
            let is_wanted = |id, _| place_of(id).is_some();
            // What cannot be unpacked is left out.
            let _ = decoder.columns(&blob, is_wanted, |column, values| {
                let Some(place) = place_of(column.id).filter(|_| matches!(goes_on, Ok(true))) else { return };
                goes_on = self.axis(file, key(column.axis, slot)).map(|axis| {
                    let n_before = samples[place].len();
                    if let Some(axis) = &axis {
                        if samples[place].capacity() == 0 {
                            samples[place].reserve(self.expected(axis));
                        }
                        self.add(&mut samples[place], axis, values);
                    }
                    spend((samples[place].len() - n_before) as u64)
                });
            });
            if !goes_on? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many samples a series has if it goes on as it did at these instants, which most do; so many at most
    /// as are made room for at once.
    fn expected(&self, times_ms: &[TimeMs]) -> usize {
        let [first, .., last] = times_ms else { return 0 };
        let (asked_ms, told_ms) =
            (i128::from(self.span.1) - i128::from(self.span.0), i128::from(last - first));
        let span_ms = asked_ms.clamp(0, self.hours.len() as i128 * i128::from(HOUR_MS));
        let n = span_ms * (times_ms.len() as i128 - 1) / told_ms.max(1) + 1;
        usize::try_from(n).unwrap_or(usize::MAX).min(N_SAMPLES_AT_ONCE)
    }

    /// Adds what lies in the span.
    fn add(&self, samples: &mut Samples, times_ms: &[TimeMs], values: &[f64]) {
        let from = times_ms.partition_point(|time_ms| *time_ms < self.span.0);
        let to = times_ms.partition_point(|time_ms| *time_ms < self.span.1).min(values.len());
        if from >= to {
            return;
        }
        samples.reserve(to - from);
        for (time_ms, value) in times_ms[from..to].iter().zip(&values[from..to]) {
            if !value.is_nan() {
                samples.push((*time_ms, *value));
            } else if !is_absent(*value) {
                samples.push((*time_ms, if is_ended(*value) { ABSENT } else { *value }));
            }
        }
    }

    /// Reads from a file what is there; damage is left out.
    fn blob<T>(
        &self,
        file: usize,
        read: impl FnOnce(&HubFile) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let file = self.files[file].lock();
        Ok(skip_damage(&file.file.path, read(&file))?.flatten())
    }

    /// The instants of a column; many series share them.
    fn axis(&self, file: usize, key: i64) -> Result<Option<Arc<Vec<TimeMs>>>, StoreError> {
        if let Some(axis) = self.axes.lock().known.get(&(file, key)) {
            return Ok(Some(Arc::clone(axis)));
        }
        let axis = self.blob(file, |file| axis_at(&file.connection, &file.file.path, Table::Raw, key))?;
        let Some(axis) = axis.map(Arc::new) else { return Ok(None) };
        let mut axes = self.axes.lock();
        if axes.n_instants + axis.len() <= N_INSTANTS_KEPT {
            axes.n_instants += axis.len();
            axes.known.insert((file, key), Arc::clone(&axis));
        }
        Ok(Some(axis))
    }

    /// What is not merged yet of a series, by file.
    fn hot_of(
        &self,
        agent: usize,
        number: usize,
        spend: Spend<'_>,
    ) -> Result<Vec<(usize, Samples)>, StoreError> {
        let agent = &self.agents[agent];
        if agent.parts.is_empty() {
            return Ok(Vec::new());
        }
        let mut failure = None;
        let samples = agent.samples.get_or_init(|| {
            let mut samples = HotSamples::new();
            for part in &agent.parts {
                let path = self.files[part.file].lock().file.path.clone();
                let read = skip_damage(&path, self.read_part(part, spend, &mut samples));
                failure = failure.take().or(read.err());
            }
            Mutex::new(samples)
        });
        failure.map_or(Ok(()), Err)?;
        Ok(samples.lock().remove(&number).unwrap_or_default())
    }

    /// Adds the samples of the windows of a part, in the order in which they came.
    fn read_part(&self, part: &HotPart, spend: Spend<'_>, all: &mut HotSamples) -> Result<(), StoreError> {
        let number_of = |id: u32| {
            let at = part.numbers.binary_search_by_key(&id, |(id, _)| *id).ok()?;
            Some(part.numbers[at].1)
        };
        let mut windows = WindowReader::default();
        let mut from = 0;
        loop {
            let items = {
                let file = self.files[part.file].lock();
                let (from_ms, to_ms) = self.span;
                let span = HourSpan { hour: file.file.hour, from_ms, to_ms };
                file.items_from(part.part, from..=HUB_SEQ_MAX, &span, N_ITEMS_TOGETHER)?
            };
            for item in &items {
                let read = |blob| windows.read(blob, |id| number_of(id).is_some()).ok();
                let Some(groups) = whole(item).and_then(read) else {
                    self.files[part.file].lock().note_damaged(&part.key, item.seq);
                    continue;
                };
                for group in groups {
                    for (position, id) in group.ids.iter().enumerate() {
                        let Some(number) = number_of(*id) else { continue };
                        let of_series = all.entry(number).or_default();
                        if of_series.last().is_none_or(|(file, _)| *file != part.file) {
                            of_series.push((part.file, Vec::new()));
                        }
                        let Some((_, samples)) = of_series.last_mut() else { continue };
                        let n_before = samples.len();
                        self.add(samples, &group.times_ms, group.column(position));
                        if !spend((samples.len() - n_before) as u64) {
                            return Ok(());
                        }
                    }
                }
            }
            match items.last() {
                Some(last) if items.len() == N_ITEMS_TOGETHER => from = last.seq + 1,
                _ => return Ok(()),
            }
        }
    }
}
