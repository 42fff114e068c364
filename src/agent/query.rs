//! The agent's own series as PromQL sees them: what is stored, and what is not sealed yet. They carry
//! the labels by which a hub tells agents apart, so that a question means the same at either. May wait
//! for the disk.

use std::cell::{OnceCell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fieldpost_model::{Matcher, Selector, Series, TimeMs, Window, is_absent};
use fieldpost_promql::{
    Catalogue, Charge, Described, Labels, METRIC_NAME, QueryError, Source, SourceError, Stored,
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
type Found = HashMap<Labels, (Described, Vec<(TimeMs, f64)>)>;

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

    /// Everything that the matchers accept in `[from_ms, to_ms]`; of the samples all, or the last one.
    fn find(
        &self,
        matchers: &[Matcher],
        (from_ms, to_ms): (TimeMs, TimeMs),
        all: bool,
        charge: Charge<'_>,
    ) -> Result<Found, QueryError> {
        let mut found = Found::new();
        let Some(selector) = self.selector(matchers) else { return Ok(found) };
        let accepts = |labels: &Labels| matchers.iter().all(|m| m.accepts(labels.get(&m.label)));
        let open = self.open_window(to_ms);
        let reader = Reader::open(self.agent.store().folder()).map_err(|error| failed(&error))?;
        let mut refused = None;
        let mut take = |series: &StoredSeries, samples: &[(TimeMs, f64)]| {
            // The reading cannot be broken off, but nothing more is kept of it.
            if refused.is_some() {
                return;
            }
            refused = charge(samples.len() as u64).err();
            let samples = if all { samples } else { &samples[samples.len().saturating_sub(1)..] };
            let own = series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = self.labels(&series.name, own);
            match found.entry(labels) {
                Entry::Occupied(mut known) if all => known.get_mut().1.extend_from_slice(samples),
                Entry::Occupied(mut known) => known.get_mut().1 = samples.to_vec(),
                Entry::Vacant(place) if accepts(place.key()) => {
                    let (labels, family) = (place.key().clone(), series.family.clone());
                    let described =
                        Described { labels, family, kind: series.kind, help: series.help.clone() };
                    place.insert((described, samples.to_vec()));
                }
                Entry::Vacant(_) => {}
            }
        };
        for span in reader.thin_spans(from_ms, to_ms.saturating_add(1)).map_err(|error| failed(&error))? {
            let rollups = reader.rollup(&selector, span.from_ms, span.to_ms, span.rollup_ms);
            let rollups = rollups.map_err(|error| failed(&error))?;
            if !rollups.is_empty() {
                self.thin.borrow_mut().push(span);
            }
            for (series, rollups) in rollups {
                take(&series, &samples_of(series.kind, &rollups, span.rollup_ms));
            }
        }
        let read = reader.scan(&selector, from_ms, to_ms.saturating_add(1), take);
        read.map_err(|error| failed(&error))?;
        if let Some(error) = refused {
            return Err(error);
        }
        if let Some(open) = open {
            charge(self.add_open(open, &selector, (from_ms, to_ms), &accepts, &mut found))?;
        }
        if !found.is_empty() {
            self.asked_ms.get_or_init(|| to_ms);
        }
        Ok(found)
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
                let name = series.name();
                if !selector.accepts(&name, |label| own_label(series, label)) {
                    continue;
                }
                let own = series.labels.iter().map(|(name, value)| (&**name, &**value));
                let labels = self.labels(&name, own);
                let newest_ms = found.get(&labels).and_then(|(_, samples)| samples.last());
                let newest_ms = newest_ms.map_or(TimeMs::MIN, |(time_ms, _)| *time_ms);
                let samples = group.times_ms.iter().copied().zip(group.column(position).iter().copied());
                let wanted = |(time_ms, value): &(TimeMs, f64)| {
                    (from_ms..=to_ms).contains(time_ms) && *time_ms > newest_ms && !is_absent(*value)
                };
                let samples: Vec<_> = samples.filter(wanted).collect();
                if samples.is_empty() || !accepts(&labels) {
                    continue;
                }
                n_added += samples.len() as u64;
                let described = || Described {
                    labels: labels.clone(),
                    family: series.family.name.to_string(),
                    kind: series.family.kind,
                    help: series.family.help.to_string(),
                };
                let known = found.entry(labels.clone()).or_insert_with(|| (described(), Vec::new()));
                known.1.extend(samples);
            }
        }
        n_added
    }

    /// The newest instant at which anything was sampled.
    fn newest_ms(&self) -> Option<TimeMs> {
        let open = self.open.get()?.as_ref()?;
        open.groups.iter().filter_map(|group| group.times_ms.last().copied()).max()
    }
}

fn own_label<'s>(series: &'s Series, label: &str) -> Option<&'s str> {
    series.labels.iter().find(|(name, _)| **name == *label).map(|(_, value)| &**value)
}

fn failed(error: &StoreError) -> QueryError {
    QueryError::Source(format!("the agent's store cannot be read: {error}"))
}

impl Source for AgentQuestion<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        charge: Charge<'_>,
    ) -> Result<Vec<Stored>, SourceError> {
        let found = self.find(matchers, (from_ms, to_ms), true, charge)?;
        let mut by_labels = BTreeMap::new();
        for (labels, (_, mut samples)) in found {
            // Days without samples may lie between days with them.
            if !samples.is_sorted_by(|a, b| a.0 < b.0) {
                samples.sort_by_key(|(time_ms, _)| *time_ms);
                samples.dedup_by_key(|(time_ms, _)| *time_ms);
            }
            by_labels.insert(labels, samples);
        }
        Ok(by_labels.into_iter().map(|(labels, samples)| Stored { labels, samples }).collect())
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
    ) -> Result<Vec<Described>, SourceError> {
        let found = self.find(matchers, (from_ms, to_ms), false, &|_| Ok(()))?;
        Ok(found.into_values().map(|(described, _)| described).collect())
    }
}
