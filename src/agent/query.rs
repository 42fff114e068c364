//! The agent's own series as PromQL sees them: what is stored, and what is not sealed yet. They carry
//! the labels by which a hub tells agents apart, so that a question means the same at either. May wait
//! for the disk.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use fieldpost_model::{Kind, Matcher, Selector, Series, TimeMs, Window, is_absent};
use fieldpost_promql::{
    Allowance, Catalogue, Described, Labels, METRIC_NAME, QueryError, SeriesSource, SourceError, Stored, Take,
};
use fieldpost_store::{Reader, StoreError, StoredSeries, ThinSpan, samples_of, thin_remarks};

use super::Agent;

/// The label `job` of every series, as it is at a hub that nobody has told otherwise.
const JOB: &str = "fieldpost";
/// Before the name of a label of a series' own that the agent gives.
const EXPORTED: &str = "exported_";
/// The longest that a question waits for a window on its way to the disk.
const SEALED_DEADLINE: Duration = Duration::from_secs(1);
/// No window is longer, milliseconds: what ends earlier is sealed.
const WINDOW_MS_MAX: i64 = 600_000;
/// An answer that rests on older samples than this says so, milliseconds.
const SILENT_AGE_MS: i64 = 15_000;
/// How far back a sample counts where the question does not say, milliseconds.
const LOOKED_BACK_MS: i64 = 300_000;

impl Agent {
    /// For one question.
    pub fn question(&self) -> AgentQuestion<'_> {
        AgentQuestion {
            agent: self,
            open: OnceCell::new(),
            asked_ms: OnceCell::new(),
            thin: RefCell::default(),
        }
    }
}

/// One question to the agent: all that is read for it belongs to the same instant.
pub struct AgentQuestion<'a> {
    agent: &'a Agent,
    open: OnceCell<Option<Window>>,
    /// The last instant that was asked for, where any series was found.
    asked_ms: OnceCell<TimeMs>,
    /// Spans of which rollups were taken, for samples are gone.
    thin: RefCell<Vec<ThinSpan>>,
}

/// Samples by labels, in the order in which they came.
type Found = BTreeMap<Labels, Vec<(TimeMs, f64)>>;

impl AgentQuestion<'_> {
    fn whose(&self) -> [(&'static str, &str); 2] {
        [("instance", &self.agent.identity.name), ("job", JOB)]
    }

    /// All labels of a series of this name.
    fn labels<'l>(&self, name: &str, own: impl Iterator<Item = (&'l str, &'l str)>) -> Labels {
        let whose = self.whose();
        let taken = |name: &str| whose.iter().any(|(other, _)| *other == name);
        let own = own.map(|(name, value)| match taken(name) {
            true => (format!("{EXPORTED}{name}"), value.to_owned()),
            false => (name.to_owned(), value.to_owned()),
        });
        let whose = whose.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Labels::new(own.chain(whose).chain([(METRIC_NAME.to_owned(), name.to_owned())]))
    }

    /// What the store is to be asked for: conditions on labels that it does not have are left out, and
    /// looked at afterwards. None: no series can be meant.
    fn selector(&self, matchers: &[Matcher]) -> Option<Selector> {
        let whose = self.whose();
        let value_of = |label: &str| whose.iter().find(|(name, _)| *name == label).map(|(_, value)| *value);
        let mut kept = Vec::new();
        for matcher in matchers {
            match value_of(&matcher.label) {
                Some(value) if matcher.accepts(value) => {}
                Some(_) => return None,
                None if matcher.label.starts_with(EXPORTED) => {}
                None => kept.push(matcher.clone()),
            }
        }
        Some(Selector { matchers: kept })
    }

    /// What is not sealed yet, if the span reaches so far. Once it is known, all that was sealed before
    /// is on the disk.
    fn open_window(&self, to_ms: TimeMs) -> Option<&Window> {
        if to_ms < self.agent.clock.wall_ms() - WINDOW_MS_MAX {
            return None;
        }
        let peek = || {
            let open = self.agent.open_window();
            // Should the disk be full or slow, the answer says how old it is.
            self.agent.store().flush(SEALED_DEADLINE);
            open
        };
        self.open.get_or_init(peek).as_ref()
    }

    /// Everything that the matchers accept in `[from_ms, to_ms]`.
    fn find(
        &self,
        matchers: &[Matcher],
        (from_ms, to_ms): (TimeMs, TimeMs),
        allowance: &dyn Allowance,
    ) -> Result<Found, QueryError> {
        let Some(selector) = self.selector(matchers) else { return Ok(Found::new()) };
        let accepts = |labels: &Labels| matchers.iter().all(|m| m.accepts(labels.get(&m.label)));
        let open = self.open_window(to_ms);
        let reader = self.reader()?;
        let (found, refused) = (RefCell::new(Found::new()), RefCell::new(None));
        let spend = |n: u64| {
            let mut refused = refused.borrow_mut();
            if refused.is_none() {
                *refused = allowance.samples(n).err();
            }
            refused.is_none()
        };
        let take = |series: &StoredSeries, samples: &[(TimeMs, f64)]| {
            if !spend(samples.len() as u64) {
                return;
            }
            let labels = self.labels_of(series);
            if accepts(&labels) {
                found.borrow_mut().entry(labels).or_default().extend_from_slice(samples);
            }
        };
        let span = (from_ms, to_ms.saturating_add(1));
        for span in reader.thin_spans(span.0, span.1).map_err(|error| failed(&error))? {
            let rollups = reader.rollup(&selector, span.from_ms, span.to_ms, span.rollup_ms);
            let rollups = rollups.map_err(|error| failed(&error))?;
            if !rollups.is_empty() {
                self.thin.borrow_mut().push(span);
            }
            for (series, rollups) in rollups {
                take(&series, &samples_of(series.kind, &rollups, span.rollup_ms));
            }
        }
        reader.scan_while(&selector, span, &|| spend(0), take).map_err(|error| failed(&error))?;
        if let Some(error) = refused.into_inner() {
            return Err(error);
        }
        let mut found = found.into_inner();
        if let Some(open) = open {
            allowance.samples(self.add_open(open, &selector, (from_ms, to_ms), &accepts, &mut found))?;
        }
        if !found.is_empty() {
            self.asked_ms.get_or_init(|| to_ms);
        }
        Ok(found)
    }

    fn reader(&self) -> Result<Reader, QueryError> {
        Reader::open(self.agent.store().folder()).map_err(|error| failed(&error))
    }

    fn labels_of(&self, series: &StoredSeries) -> Labels {
        let own = series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.labels(&series.name, own)
    }

    /// Adds what is newer than what was stored; answers how many samples.
    fn add_open(
        &self,
        open: &Window,
        selector: &Selector,
        (from_ms, to_ms): (TimeMs, TimeMs),
        accepts: &dyn Fn(&Labels) -> bool,
        found: &mut Found,
    ) -> u64 {
        let mut n_added = 0;
        for group in &open.groups {
            for (position, series) in group.series.iter().enumerate() {
                let Some(labels) = self.open_labels(series, selector) else { continue };
                let newest = found.get(&labels).and_then(|samples| samples.last());
                let newest_ms = newest.map_or(TimeMs::MIN, |(time_ms, _)| *time_ms);
                let samples = group.times_ms.iter().copied().zip(group.column(position).iter().copied());
                let wanted = |(time_ms, value): &(TimeMs, f64)| {
                    (from_ms..=to_ms).contains(time_ms) && *time_ms > newest_ms && !is_absent(*value)
                };
                let samples: Vec<_> = samples.filter(wanted).collect();
                if !samples.is_empty() && accepts(&labels) {
                    n_added += samples.len() as u64;
                    found.entry(labels).or_default().extend(samples);
                }
            }
        }
        n_added
    }

    /// All labels of a series that is not sealed yet, if the selector accepts it.
    fn open_labels(&self, series: &Series, selector: &Selector) -> Option<Labels> {
        let name = series.name();
        let own = || series.labels.iter().map(|(name, value)| (&**name, &**value));
        let accepted = selector.accepts(&name, |label| own().find(|(n, _)| *n == label).map(|(_, v)| v));
        accepted.then(|| self.labels(&name, own()))
    }

    /// The newest instant at which anything was sampled.
    fn newest_ms(&self) -> Option<TimeMs> {
        let open = self.open.get()?.as_ref()?;
        open.groups.iter().filter_map(|group| group.times_ms.last().copied()).max()
    }
}

fn failed(error: &StoreError) -> QueryError {
    QueryError::Source(format!("the agent's store cannot be read: {error}"))
}

impl SeriesSource for AgentQuestion<'_> {
    fn each(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        allowance: &dyn Allowance,
        take: Take<'_>,
    ) -> Result<(), SourceError> {
        let found = self.find(matchers, (from_ms, to_ms), allowance)?;
        allowance.series(found.len() as u64)?;
        for (labels, samples) in found {
            let mut stored = Stored::of(labels, samples);
            // Days without samples may lie between days with them.
            stored.put_in_order();
            take(stored)?;
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = thin_remarks(&self.thin.borrow());
        let Some(asked_ms) = self.asked_ms.get() else { return remarks };
        let now_ms = self.agent.clock.wall_ms();
        let states = self.agent.board.read().collectors().iter().map(|state| state.time_ms).max();
        let newest_ms = self.newest_ms().max(states).unwrap_or(TimeMs::MIN);
        let age_ms = asked_ms.min(&now_ms).saturating_sub(newest_ms);
        if (SILENT_AGE_MS + 1..=LOOKED_BACK_MS).contains(&age_ms) {
            remarks.push(format!("the newest samples are {} s old", age_ms / 1_000));
        }
        remarks
    }
}

impl Catalogue for AgentQuestion<'_> {
    fn series(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: &mut dyn FnMut(Described),
    ) -> Result<(), SourceError> {
        let Some(selector) = self.selector(matchers) else { return Ok(()) };
        let accepts = |labels: &Labels| matchers.iter().all(|m| m.accepts(labels.get(&m.label)));
        let mut tell = |labels: Labels, family: &str, kind: Kind, help: &str| {
            if accepts(&labels) {
                each(Described { labels, family: family.to_owned(), kind, help: help.to_owned() });
            }
        };
        if let Some(open) = self.open_window(to_ms) {
            for series in open.groups.iter().flat_map(|group| &group.series) {
                if let Some(labels) = self.open_labels(series, &selector) {
                    tell(labels, &series.family.name, series.family.kind, &series.family.help);
                }
            }
        }
        let read = self.reader()?.named(&selector, from_ms, to_ms.saturating_add(1), &mut |series| {
            tell(self.labels_of(series), &series.family, series.kind, &series.help);
        });
        read.map_err(|error| failed(&error))
    }
}
