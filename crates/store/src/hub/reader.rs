//! Reading a hub's store, in the process that writes it or in any other, while it is written.
//! Every question opens the files it needs, looks, and closes them. Whose a series is is said by
//! labels that the caller gives for each agent at the time of the question.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldpost_model::{Item, Selector, Seq, Stream, TimeMs, series_text};
use parking_lot::Mutex;

use crate::calendar::HOUR_MS;
use crate::database;
use crate::dictionary::Entry;
use crate::folder::{self, FileKind, StoreFile};
use crate::hub::floor::Floor;
use crate::hub::ledger::SourceKey;
use crate::hub::pool::{Lent, Pool};
use crate::hub::shapes::{Accepts, Labels, Shapes, all_labels};
use crate::hub::source::{HourSpan, HubFile, whole};
use crate::rollup::{self, MINUTE_MS, Rollup};
use crate::source::{is_raw, skip_damage, touches};
use crate::thinned::{ThinSpan, thin_spans};
use crate::{Samples, StoreError, StoredSeries};

/// How many times a question is asked anew when files are merged away under it.
const N_ATTEMPTS: usize = 5;

/// The labels that say whose a series is, by the id of the agent: `instance` at least. They win
/// over labels of the same name that the agent itself gave, which go by `exported_` and theirs. None
/// at all: series have the labels that were given with them, as those that others push.
pub type AgentLabels = Arc<dyn Fn(&str) -> Vec<(String, String)> + Send + Sync>;

/// A series of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct HubSeries {
    /// Whose it is.
    pub agent_id: String,
    /// What it is, with all labels.
    pub series: StoredSeries,
}

/// A hub's store, for reading.
#[derive(Clone)]
pub struct HubReader {
    folder: PathBuf,
    labels: AgentLabels,
    shapes: Arc<Mutex<Arc<Shapes>>>,
    pool: Arc<Pool>,
}

impl HubReader {
    /// Finds the store in this folder. Merged files stay open, and what series are called is remembered, from
    /// one question to the next; see `forget_idle`.
    pub fn open(path: &Path, labels: AgentLabels) -> Result<Self, StoreError> {
        database::check_version()?;
        if !Floor::path(path).exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Ok(Self { folder: path.to_owned(), labels, shapes: Arc::default(), pool: Arc::default() })
    }

    /// Closes files that nobody has asked for since this was last called. Whoever keeps a reader calls it now
    /// and then, for a removed file takes up its room as long as it is open.
    pub fn forget_idle(&self) {
        self.pool.forget_idle();
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The shapes of one question: begun anew when they have grown too many.
    pub(crate) fn shapes(&self) -> Arc<Shapes> {
        let mut shapes = self.shapes.lock();
        if shapes.is_full() {
            *shapes = Arc::default();
        }
        Arc::clone(&shapes)
    }

    /// Series with samples in `[from_ms, to_ms)`, by agent and text.
    pub fn series(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Vec<HubSeries>, StoreError> {
        let all = self.read(selector, (from_ms, to_ms), |_| ())?;
        Ok(all.into_iter().map(|(series, ())| series).collect())
    }

    /// Samples in `[from_ms, to_ms)` of every series that the selector accepts, by agent and text,
    /// each by rising time. `ABSENT` says that the series ended then.
    pub fn samples(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Vec<(HubSeries, Samples)>, StoreError> {
        self.read(selector, (from_ms, to_ms), |samples| samples)
    }

    /// What `make` makes of the samples of each series, by agent and text. It is called from two
    /// threads at once.
    pub fn read<T: Send>(
        &self,
        selector: &Selector,
        (from_ms, to_ms): (TimeMs, TimeMs),
        make: impl Fn(Samples) -> T + Sync,
    ) -> Result<Vec<(HubSeries, T)>, StoreError> {
        let harvest = self.find(selector, from_ms, to_ms)?;
        let found = Mutex::new(Vec::new());
        harvest.read(&|_| true, &|number, samples| {
            let mut series = harvest.series()[number].clone();
            if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
                (series.series.first_ms, series.series.last_ms) = (first.0, last.0);
            }
            let made = make(samples);
            found.lock().push((series, made));
            true
        })?;
        let mut found = found.into_inner();
        found.sort_by_cached_key(|(series, _)| (series.agent_id.clone(), series.series.text.clone()));
        Ok(found)
    }

    /// Hands over every series, once, that the selector accepts and that a file has which touches
    /// `[from_ms, to_ms)`: to the hour, or to the day or month once it is merged. Samples are not
    /// looked at.
    pub fn named(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: &mut dyn FnMut(&StoredSeries),
    ) -> Result<(), StoreError> {
        let shapes = self.shapes();
        let mut question = self.question(selector, &shapes);
        let touches = |file: &StoreFile| {
            file.kind != FileKind::Tables && file.begin_ms() < to_ms && file.end_ms() > from_ms
        };
        let files = self.open_files(&touches, &shapes)?;
        let mut seen: Vec<bool> = Vec::new();
        for agent_id in readable_agents(&files)? {
            let Some(labels) = question.labels_of(&agent_id) else { continue };
            let set = question.accepts.set(&labels);
            let mut found = Vec::new();
            for file in &files {
                let read = file.each_shape(&agent_id, |shape| {
                    let place = shape as usize;
                    if seen.len() <= place {
                        seen.resize(place + 1, false);
                    }
                    if !std::mem::replace(&mut seen[place], true) {
                        found.push(shape);
                    }
                });
                skip_damage(&file.file.path, read)?;
            }
            for shape in found {
                seen[shape as usize] = false;
                if question.accepts.shape(set, &labels, shape) {
                    shapes.shape(shape).iter().for_each(|shape| each(&stored_series(&labels, shape, 0, 0)));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn question<'a>(&'a self, selector: &'a Selector, shapes: &'a Arc<Shapes>) -> Question<'a> {
        let (accepts, known_labels) = (Accepts::new(selector, Arc::clone(shapes)), HashMap::new());
        Question { accepts, labels: &self.labels, known_labels, shapes }
    }

    /// Opens files, those that win over others last.
    pub(crate) fn open_files(
        &self,
        wanted: &dyn Fn(&StoreFile) -> bool,
        shapes: &Arc<Shapes>,
    ) -> Result<Vec<Lent>, StoreError> {
        for _ in 0..N_ATTEMPTS {
            let mut files = folder::list(&self.folder)?;
            files.retain(|file| wanted(file));
            files.sort_by_key(|file| (file.kind, file.hour, file.seq));
            let mut opened = Vec::new();
            let outcome = files.into_iter().try_for_each(|file| {
                let path = file.path.clone();
                match self.pool.lend(file, shapes) {
                    Err(error) if error.is_vanished() => return Err(error),
                    file => opened.extend(skip_damage(&path, file)?),
                }
                Ok(())
            });
            match outcome {
                Err(error) if StoreError::is_vanished(&error) => {}
                outcome => return outcome.map(|()| opened),
            }
        }
        Err(StoreError::Moving)
    }

    /// Rollups to spans of `span_ms` (a multiple of a minute) of every series that the selector
    /// accepts, in `[from_ms, to_ms)`, by agent and text. Samples that are gone are answered from
    /// what was kept of them; where only hours were kept, shorter spans are not answered.
    pub fn rollup(
        &self,
        selector: &Selector,
        from_ms: TimeMs,
        to_ms: TimeMs,
        span_ms: i64,
    ) -> Result<Vec<(HubSeries, Vec<Rollup>)>, StoreError> {
        let shapes = self.shapes();
        let mut question = self.question(selector, &shapes);
        let mut answer = RollupAnswer::default();
        let kept = |file: &StoreFile| match file.kind {
            FileKind::Minutes | FileKind::Day | FileKind::Hour => span_ms % MINUTE_MS == 0,
            FileKind::Hours => span_ms % HOUR_MS == 0,
            FileKind::Hot | FileKind::Tables => false,
        };
        // Intake first: what is merged meanwhile is found among the rows then.
        let floor = |time_ms: i64| time_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let whole_minutes = (floor(from_ms), floor(to_ms.saturating_add(MINUTE_MS - 1)));
        let fresh = self.rollup_intake(selector, whole_minutes)?;
        for file in self.open_files(&|file| kept(file) && touches(file, from_ms, to_ms), &shapes)? {
            let read = question.rollups(&file, &mut answer);
            skip_damage(&file.file.path, read)?;
        }
        answer.extend(fresh);
        Ok(answer.finish(from_ms, to_ms, span_ms))
    }

    /// Hours that are not merged, or not whole, are rolled up on the way.
    fn rollup_intake(
        &self,
        selector: &Selector,
        (from_ms, to_ms): (TimeMs, TimeMs),
    ) -> Result<RollupAnswer, StoreError> {
        let answer = Mutex::new(RollupAnswer::default());
        let files = folder::list(&self.folder)?;
        let hot = files.iter().filter(|file| file.kind == FileKind::Hot && touches(file, from_ms, to_ms));
        let hours: BTreeSet<i64> = hot.map(|file| file.hour).collect();
        for hour in hours {
            let harvest = self.find_in(selector, (from_ms, to_ms), Some(hour))?;
            harvest.read(&|_| true, &|number, samples| {
                let rollups = rollup::of_samples(&samples, MINUTE_MS);
                answer.lock().add(&harvest.series()[number], rollups);
                true
            })?;
        }
        Ok(answer.into_inner())
    }

    /// The spans within `[from_ms, to_ms)` of which there are rollups and no samples, by time.
    pub fn thin_spans(&self, from_ms: TimeMs, to_ms: TimeMs) -> Result<Vec<ThinSpan>, StoreError> {
        Ok(thin_spans(&folder::list(&self.folder)?, from_ms, to_ms))
    }

    /// Agents that have anything in files that touch `[from_ms, to_ms)`.
    pub fn agents(&self, from_ms: TimeMs, to_ms: TimeMs) -> Result<BTreeSet<String>, StoreError> {
        let shapes = self.shapes();
        let opened = self.open_files(&|file| is_raw(file.kind) && touches(file, from_ms, to_ms), &shapes)?;
        readable_agents(&opened)
    }

    /// Hands over the items of a stream that are still kept as they were sealed, by file and
    /// number, each with the scope of its ids: those of the last hours, and of streams other than
    /// metrics all. Damaged ones are left out.
    pub fn items(
        &self,
        agent_id: &str,
        stream: Stream,
        numbers: std::ops::RangeInclusive<Seq>,
        mut each: impl FnMut(&SourceOf<'_>, Item),
    ) -> Result<(), StoreError> {
        for file in self.open_files(&|file| is_raw(file.kind), &self.shapes())? {
            for parts in file.parts(agent_id, stream)? {
                for part in &parts.parts {
                    let SourceKey { spool_id, .. } = &parts.key;
                    let of = SourceOf { spool_id, scope: &part.scope };
                    let span = HourSpan::whole(file.file.hour);
                    let read = file.each_item(part.number, numbers.clone(), &span, |item| {
                        if whole(&item).is_some() {
                            each(&of, item);
                        }
                    });
                    skip_damage(&file.file.path, read)?;
                }
            }
        }
        Ok(())
    }
}

/// Under which spool an item came, and in which scope its ids mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceOf<'a> {
    /// The spool.
    pub spool_id: &'a str,
    /// The scope.
    pub scope: &'a str,
}

/// Agents with samples in any of these files; damaged ones are left out.
fn readable_agents<'a>(files: impl IntoIterator<Item = &'a Lent>) -> Result<BTreeSet<String>, StoreError> {
    let mut agents = BTreeSet::new();
    for file in files {
        agents.extend(skip_damage(&file.file.path, file.agents())?.unwrap_or_default());
    }
    Ok(agents)
}

/// A question under way.
pub(crate) struct Question<'a> {
    pub(crate) accepts: Accepts<'a>,
    labels: &'a AgentLabels,
    /// None where no series of the agent can be wanted.
    known_labels: HashMap<String, Option<Arc<Labels>>>,
    pub(crate) shapes: &'a Arc<Shapes>,
}

impl Question<'_> {
    fn rollups(&mut self, file: &HubFile, answer: &mut RollupAnswer) -> Result<(), StoreError> {
        for agent_id in file.agents()? {
            let Some(labels) = self.labels_of(&agent_id) else { continue };
            let mut found = HashMap::new();
            let set = self.accepts.set(&labels);
            let mut wanted = |shape| self.accepts.shape(set, &labels, shape);
            file.read_rollups(&agent_id, &mut wanted, &mut found)?;
            for (shape, rollups) in found {
                let Some(shape) = self.shapes.shape(shape) else { continue };
                let series = stored_series(&labels, &shape, 0, 0);
                answer.add(&HubSeries { agent_id: agent_id.clone(), series }, rollups);
            }
        }
        Ok(())
    }

    pub(crate) fn labels_of(&mut self, agent_id: &str) -> Option<Arc<Labels>> {
        if let Some(known) = self.known_labels.get(agent_id) {
            return known.clone();
        }
        let labels = Arc::new((self.labels)(agent_id));
        let wanted = self.accepts.agent(&labels).then_some(labels);
        self.known_labels.insert(agent_id.to_owned(), wanted.clone());
        wanted
    }
}

/// Rollups as they are found, by agent, series and instant; what comes later wins.
#[derive(Default)]
struct RollupAnswer {
    found: BTreeMap<(String, String), (HubSeries, BTreeMap<TimeMs, Rollup>)>,
}

impl RollupAnswer {
    fn add(&mut self, series: &HubSeries, rollups: Vec<Rollup>) {
        let key = (series.agent_id.clone(), series.series.text.clone());
        let (_, all) = self.found.entry(key).or_insert_with(|| (series.clone(), BTreeMap::new()));
        all.extend(rollups.into_iter().map(|rollup| (rollup.from_ms, rollup)));
    }

    fn extend(&mut self, newer: Self) {
        for (series, rollups) in newer.found.into_values() {
            self.add(&series, rollups.into_values().collect());
        }
    }

    fn finish(self, from_ms: TimeMs, to_ms: TimeMs, span_ms: i64) -> Vec<(HubSeries, Vec<Rollup>)> {
        let mut answer = Vec::new();
        for (mut series, rollups) in self.found.into_values() {
            let span = rollups.range(from_ms.div_euclid(span_ms) * span_ms..).map(|(_, rollup)| *rollup);
            let span: Vec<Rollup> = span.take_while(|rollup| rollup.from_ms < to_ms).collect();
            let spans = rollup::coarser(&span, span_ms);
            if let (Some(first), Some(last)) = (spans.first(), spans.last()) {
                (series.series.first_ms, series.series.last_ms) = (first.from_ms, last.from_ms);
                answer.push((series, spans));
            }
        }
        answer
    }
}

/// A series of an agent with these labels.
pub(crate) fn stored_series(
    whose: &Labels,
    shape: &Entry,
    first_ms: TimeMs,
    last_ms: TimeMs,
) -> StoredSeries {
    let labels = all_labels(whose, shape);
    let borrowed: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let text = series_text(&shape.family.name, &shape.suffix, &borrowed);
    StoredSeries {
        name: format!("{}{}", shape.family.name, shape.suffix),
        family: shape.family.name.to_string(),
        kind: shape.family.kind,
        help: shape.family.help.to_string(),
        labels,
        text,
        first_ms,
        last_ms,
    }
}
