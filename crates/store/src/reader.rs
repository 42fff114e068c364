//! Reading a store, in the process that writes it or in any other, while it is written.
//! Every question opens the files it needs, looks, and closes them: no reader holds a log back.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use fieldpost_model::{EntityRow, Event, Kind, Selector, TableKind, TableTick, TimeMs};
use rusqlite::Connection;

use crate::calendar::HOUR_MS;
use crate::dictionary::Entry;
use crate::folder::{self, FileKind, StoreFile};
use crate::rollup::{self, MINUTE_MS, Rollup};
use crate::source::{
    Piece, Source, accepted_by, hot_span, hour_touches, is_raw, settle, skip_damage, touches,
};
use crate::state::{self, Gap, State};
use crate::tables::TableScan;
use crate::thinned::{ThinSpan, thin_spans};
use crate::{StoreError, database};

/// How many times a question is asked anew when files are merged away under it.
const N_ATTEMPTS: usize = 5;
/// An older tick says nothing about a moment.
const TABLE_AGE_MS_MAX: i64 = 600_000;

/// A series that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSeries {
    /// Its own name, suffix included.
    pub name: String,
    /// Name of its family.
    pub family: String,
    /// What its numbers mean.
    pub kind: Kind,
    /// One sentence for people.
    pub help: String,
    /// Names and values of its labels, in the order in which they are shown.
    pub labels: Vec<(String, String)>,
    /// `name{label="value"}`: what tells it from every other series.
    pub text: String,
    /// First instant with a sample within the span that was asked for.
    pub first_ms: TimeMs,
    /// Last instant with a sample within it.
    pub last_ms: TimeMs,
}

/// Takes a series and a piece of its samples.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&StoredSeries, &[(TimeMs, f64)]);

/// A store at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overview {
    /// First instant of what is stored and first after it.
    pub data_span: Option<(TimeMs, TimeMs)>,
    /// Files of windows, rows and tables.
    pub n_files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes of windows that are not merged yet.
    pub bytes_hot: u64,
    /// Bytes of merged samples.
    pub bytes_merged: u64,
    /// Bytes of the tables of processes and units.
    pub bytes_tables: u64,
    /// Bytes of rollups whose samples are gone.
    pub bytes_rollups: u64,
}

/// Samples of one series, by rising time.
pub type Samples = Vec<(TimeMs, f64)>;

/// A store, for reading.
#[derive(Debug, Clone)]
pub struct Reader {
    folder: PathBuf,
}

impl Reader {
    /// Finds the store in this folder. Nothing is kept open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        database::check_version()?;
        if !State::path(path).exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Ok(Self { folder: path.to_owned() })
    }

    /// First instant of what is stored and first after it; to the hour where it is merged.
    pub fn data_span(&self) -> Result<Option<(TimeMs, TimeMs)>, StoreError> {
        let mut span: Option<(TimeMs, TimeMs)> = None;
        for file in folder::list(&self.folder)?.iter().filter(|file| is_raw(file.kind)) {
            let of_file = match file.kind {
                FileKind::Hot => match hot_span(file) {
                    Err(error) if error.is_vanished() || error.is_damage() || error.is_unmade() => None,
                    read => read?,
                },
                _ => Some((file.begin_ms(), file.end_ms())),
            };
            if let Some((from_ms, to_ms)) = of_file {
                let (first_ms, end_ms) = span.unwrap_or((from_ms, to_ms));
                span = Some((first_ms.min(from_ms), end_ms.max(to_ms)));
            }
        }
        Ok(span)
    }

    /// Series with samples in `[from_ms, to_ms)`, by text.
    pub fn series(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Vec<StoredSeries>, StoreError> {
        let mut found: BTreeMap<String, StoredSeries> = BTreeMap::new();
        self.scan(selector, from_ms, to_ms, |series, _| match found.get_mut(&series.text) {
            Some(known) => {
                known.first_ms = known.first_ms.min(series.first_ms);
                known.last_ms = known.last_ms.max(series.last_ms);
            }
            None => {
                found.insert(series.text.clone(), series.clone());
            }
        })?;
        Ok(found.into_values().collect())
    }

    /// Samples of one series in `[from_ms, to_ms)`, by rising time, one an instant.
    pub fn samples(
        &self,
        series: &StoredSeries,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, StoreError> {
        let mut all = Vec::new();
        self.scan_where(&|entry: &Entry| entry.text() == series.text, from_ms, to_ms, &mut |_, samples| {
            all.extend_from_slice(samples);
        })?;
        settle(&mut all);
        Ok(all)
    }

    /// Hands over the samples in `[from_ms, to_ms)` of every series that the selector accepts,
    /// an hour at a time, the hours in their order: memory holds one hour of what is selected.
    pub fn scan(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
        mut each: impl FnMut(&StoredSeries, &[(TimeMs, f64)]),
    ) -> Result<(), StoreError> {
        self.scan_where(&|entry: &Entry| accepted_by(selector, entry), from_ms, to_ms, &mut each)
    }

    /// The same, as long as the caller says between two hours that it shall go on.
    pub fn scan_while(
        &self,
        selector: &Selector,
        span: (TimeMs, TimeMs),
        goes_on: &dyn Fn() -> bool,
        mut each: impl FnMut(&StoredSeries, &[(TimeMs, f64)]),
    ) -> Result<(), StoreError> {
        self.scan_where_while(&|entry: &Entry| accepted_by(selector, entry), span, goes_on, &mut each)
    }

    /// Hands over every series that the selector accepts and that a file has which touches
    /// `[from_ms, to_ms)`: to the hour, or to the day or month once it is merged. Samples are not
    /// looked at; a series may come more than once.
    pub fn named(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: &mut dyn FnMut(&StoredSeries),
    ) -> Result<(), StoreError> {
        for file in folder::list(&self.folder)? {
            if file.kind == FileKind::Tables || file.begin_ms() >= to_ms || file.end_ms() <= from_ms {
                continue;
            }
            match Source::open(file.clone()) {
                // It was merged or let go meanwhile: what it became is listed after it.
                Err(error) if error.is_vanished() => {}
                opened => {
                    if let Some(source) = skip_damage(&file.path, opened)? {
                        source.named(&|entry: &Entry| accepted_by(selector, entry), each);
                    }
                }
            }
        }
        Ok(())
    }

    fn scan_where(
        &self,
        accepts: &dyn Fn(&Entry) -> bool,
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: Each<'_>,
    ) -> Result<(), StoreError> {
        self.scan_where_while(accepts, (from_ms, to_ms), &|| true, each)
    }

    fn scan_where_while(
        &self,
        accepts: &dyn Fn(&Entry) -> bool,
        (from_ms, to_ms): (TimeMs, TimeMs),
        goes_on: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<(), StoreError> {
        let files = folder::list(&self.folder)?;
        let touching = files.iter().filter(|file| is_raw(file.kind) && touches(file, from_ms, to_ms));
        let mut days: Vec<i64> = touching.map(StoreFile::day).collect();
        days.dedup();
        for day in days.into_iter().take_while(|_| goes_on()) {
            let opened = self.open_day(day, from_ms, to_ms)?;
            let hours = day * 24..day * 24 + 24;
            let hours = hours.filter(|hour| hour_touches(*hour, from_ms, to_ms));
            for hour in hours.take_while(|_| goes_on()) {
                let mut piece = Piece { accepts, from_ms, to_ms, found: BTreeMap::new() };
                for source in &opened {
                    skip_damage(&source.file.path, source.read_hour(hour, &mut piece))?;
                }
                piece.hand_over(each);
            }
        }
        Ok(())
    }

    /// Opens all files of a day, those that win over others last. What is open stays readable
    /// when it is removed; what vanished before it was opened makes us look anew.
    fn open_day(&self, day: i64, from_ms: TimeMs, to_ms: TimeMs) -> Result<Vec<Source>, StoreError> {
        for _ in 0..N_ATTEMPTS {
            let files = folder::list(&self.folder)?;
            let mut files: Vec<_> = files
                .into_iter()
                .filter(|file| file.day() == day && is_raw(file.kind) && touches(file, from_ms, to_ms))
                .collect();
            files.sort_by_key(|file| (file.kind, file.seq));
            let mut sources = Vec::new();
            let opened = files.into_iter().try_for_each(|file| {
                let path = file.path.clone();
                match Source::open(file) {
                    Err(error) if error.is_vanished() => return Err(error),
                    source => sources.extend(skip_damage(&path, source)?),
                }
                Ok(())
            });
            match opened {
                Err(error) if StoreError::is_vanished(&error) => {}
                outcome => return outcome.map(|()| sources),
            }
        }
        Err(StoreError::Moving)
    }

    /// Rollups to spans of `span_ms` (a multiple of a minute) of every series that the selector
    /// accepts, in `[from_ms, to_ms)`. Samples that are gone are answered from what was kept of
    /// them; where only hours were kept, shorter spans than an hour are not answered.
    pub fn rollup(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
        span_ms: i64,
    ) -> Result<Vec<(StoredSeries, Vec<Rollup>)>, StoreError> {
        // Hot files first: what is merged meanwhile is found among the rows then.
        let mut hot = RollupAnswer::default();
        self.rollup_hot(selector, from_ms, to_ms, &mut hot)?;
        let mut all = RollupAnswer::default();
        for file in folder::list(&self.folder)? {
            let finest = match file.kind {
                FileKind::Minutes | FileKind::Day | FileKind::Hour => MINUTE_MS,
                FileKind::Hours => HOUR_MS,
                FileKind::Hot | FileKind::Tables => continue,
            };
            if span_ms % finest == 0 && touches(&file, from_ms, to_ms) {
                let read =
                    Source::open(file.clone()).and_then(|source| source.read_rollups(selector, &mut all));
                match read {
                    // It was merged or let go meanwhile: what it became is listed after it.
                    Err(error) if error.is_vanished() => {}
                    read => _ = skip_damage(&file.path, read)?,
                }
            }
        }
        for (series, rollups) in hot.found.into_values() {
            all.add(&series, rollups.values().copied());
        }
        Ok(all.finish(from_ms, to_ms, span_ms))
    }

    /// What is not merged yet is rolled up on the way.
    fn rollup_hot(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
        all: &mut RollupAnswer,
    ) -> Result<(), StoreError> {
        let files = folder::list(&self.folder)?;
        let hot = files.iter().filter(|file| file.kind == FileKind::Hot && touches(file, from_ms, to_ms));
        let Some(first_ms) = hot.map(StoreFile::begin_ms).min() else { return Ok(()) };
        let floor = |time_ms: i64| time_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let end_ms = floor(to_ms.saturating_add(MINUTE_MS - 1));
        self.scan(selector, first_ms.max(floor(from_ms)), end_ms, |series, samples| {
            all.add(series, rollup::of_samples(samples, MINUTE_MS));
        })
    }

    /// The spans within `[from_ms, to_ms)` of which there are rollups and no samples, by time.
    pub fn thin_spans(&self, from_ms: TimeMs, to_ms: TimeMs) -> Result<Vec<ThinSpan>, StoreError> {
        Ok(thin_spans(&folder::list(&self.folder)?, from_ms, to_ms))
    }

    /// The store at a glance: how much of what there is.
    pub fn overview(&self) -> Result<Overview, StoreError> {
        let mut overview = Overview { data_span: self.data_span()?, ..Overview::default() };
        for file in folder::list(&self.folder)? {
            let bytes = file.bytes();
            overview.n_files += 1;
            overview.bytes += bytes;
            match file.kind {
                FileKind::Hot => overview.bytes_hot += bytes,
                FileKind::Hour | FileKind::Day => overview.bytes_merged += bytes,
                FileKind::Tables => overview.bytes_tables += bytes,
                FileKind::Minutes | FileKind::Hours => overview.bytes_rollups += bytes,
            }
        }
        Ok(overview)
    }

    /// Hands over the ticks of a table in `[from_ms, to_ms)`. An entity is described in the first
    /// tick that shows it; its key is the same in every answer. Answers how many blobs were
    /// damaged and left out.
    pub fn scan_tables(
        &self,
        kind: TableKind,
        from_ms: TimeMs,
        to_ms: TimeMs,
        mut each: impl FnMut(TableTick),
    ) -> Result<u64, StoreError> {
        let mut scan = TableScan::new(kind, from_ms, to_ms, &mut each);
        let mut n_damaged = 0;
        for file in folder::list(&self.folder)? {
            let wanted = file.kind == FileKind::Tables && file.end_ms() > from_ms && file.begin_ms() < to_ms;
            if wanted {
                match database::open_reader(&file.path) {
                    // Retention removed it meanwhile.
                    Err(error) if error.is_vanished() => {}
                    opened => {
                        let read = opened.and_then(|connection| scan.read(&connection, &file.path));
                        n_damaged += skip_damage(&file.path, read)?.unwrap_or(1);
                    }
                }
            }
        }
        Ok(n_damaged)
    }

    /// The ticks of a table in `[from_ms, to_ms)`, whole, in memory.
    pub fn tables(
        &self,
        kind: TableKind,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Vec<TableTick>, StoreError> {
        let mut ticks = Vec::new();
        self.scan_tables(kind, from_ms, to_ms, |tick| ticks.push(tick))?;
        Ok(ticks)
    }

    /// The last tick of a table at or before an instant, at most ten minutes old, with all of its
    /// entities described.
    pub fn table_at(&self, kind: TableKind, at_ms: TimeMs) -> Result<Option<TableTick>, StoreError> {
        let mut entities = HashMap::new();
        let mut last = None;
        let from_ms = at_ms.saturating_sub(TABLE_AGE_MS_MAX);
        self.scan_tables(kind, from_ms, at_ms.saturating_add(1), |mut tick| {
            entities.extend(tick.entities.drain(..));
            last = Some(tick);
        })?;
        Ok(last.map(|mut tick| {
            let described = |row: &EntityRow| Some((row.key, entities.remove(&row.key)?));
            tick.entities = tick.rows.iter().filter_map(described).collect();
            tick
        }))
    }

    /// Events in `[from_ms, to_ms)`: the newest `limit` of them, oldest first.
    pub fn events(&self, from_ms: TimeMs, to_ms: TimeMs, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.ask_state(|connection| state::read_events(connection, from_ms, to_ms, limit))
    }

    /// Spans that touch `[from_ms, to_ms)` of which samples are missing.
    pub fn gaps(&self, from_ms: TimeMs, to_ms: TimeMs) -> Result<Vec<Gap>, StoreError> {
        self.ask_state(|connection| state::read_gaps(connection, from_ms, to_ms))
    }

    fn ask_state<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let path = State::path(&self.folder);
        let connection = database::open_reader(&path)?;
        ask(&connection).map_err(StoreError::sql("read", &path))
    }
}
/// Rollups as they are found, by series and instant; what comes later wins.
#[derive(Default)]
pub(crate) struct RollupAnswer {
    found: BTreeMap<String, (StoredSeries, BTreeMap<TimeMs, Rollup>)>,
}

impl RollupAnswer {
    pub(crate) fn add(&mut self, series: &StoredSeries, rollups: impl IntoIterator<Item = Rollup>) {
        let entry =
            self.found.entry(series.text.clone()).or_insert_with(|| (series.clone(), BTreeMap::new()));
        entry.1.extend(rollups.into_iter().map(|rollup| (rollup.from_ms, rollup)));
    }

    fn finish(self, from_ms: TimeMs, to_ms: TimeMs, span_ms: i64) -> Vec<(StoredSeries, Vec<Rollup>)> {
        let mut answer = Vec::new();
        for (mut series, rollups) in self.found.into_values() {
            let span = rollups.range(from_ms.div_euclid(span_ms) * span_ms..).map(|(_, rollup)| *rollup);
            let span: Vec<Rollup> = span.take_while(|rollup| rollup.from_ms < to_ms).collect();
            let spans = rollup::coarser(&span, span_ms);
            if let (Some(first), Some(last)) = (spans.first(), spans.last()) {
                (series.first_ms, series.last_ms) = (first.from_ms, last.from_ms);
                answer.push((series, spans));
            }
        }
        answer
    }
}
