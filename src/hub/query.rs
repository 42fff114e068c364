//! The hub's record as PromQL sees it: series by labels, those that say whose they are among them.
//! May wait for the disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use fieldpost_link::LiveSeries;
use fieldpost_model::{Matcher, Selector, TimeMs};
use fieldpost_promql::{
    Allowance, Catalogue, Described, Labels, METRIC_NAME, QueryError, SeriesSource, SourceError, Stored, Take,
};
use fieldpost_store::{StoredSeries, ThinSpan, samples_of, thin_remarks};
use parking_lot::Mutex;

use super::Hub;

/// An answer that rests on older samples than this says so, milliseconds.
const SILENT_AGE_MS: i64 = 15_000;
/// How far back a sample counts where the question does not say, milliseconds.
const LOOKED_BACK_MS: i64 = 300_000;
/// So many late agents are named.
const N_NAMED_MAX: usize = 5;

/// Name and labels as one.
fn labels(series: &StoredSeries) -> Labels {
    let pairs = series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::new(pairs.chain([(METRIC_NAME, series.name.as_str())]))
}

fn selector(matchers: &[Matcher]) -> Selector {
    Selector { matchers: matchers.to_vec() }
}

fn failed(error: &fieldpost_store::StoreError) -> QueryError {
    QueryError::Source(format!("the hub's store cannot be read: {error}"))
}

/// One question to the hub: what is read for it, and how old that is.
pub struct HubQuestion<'a> {
    hub: &'a Hub,
    now_ms: TimeMs,
    /// Agents whose newest samples are old, and how old, milliseconds.
    late: RefCell<BTreeMap<String, i64>>,
    /// Spans of which rollups were taken, for samples are gone.
    thin: RefCell<Vec<ThinSpan>>,
}

impl Hub {
    /// For one question.
    pub fn question(&self) -> HubQuestion<'_> {
        HubQuestion { hub: self, now_ms: self.now_ms(), late: RefCell::default(), thin: RefCell::default() }
    }

    /// What watched agents have said since their newest window was stored.
    fn live_series(&self, matchers: &[Matcher], from_ms: TimeMs, to_ms: TimeMs) -> Vec<Stored<'static>> {
        let mut found = Vec::new();
        for (agent_id, recent) in self.live.recent() {
            let whose = (self.agent_labels)(&agent_id);
            found.extend(recent.series(from_ms, to_ms).into_iter().filter_map(|(series, samples)| {
                let labels = labels_of(&whose, &series);
                let accepted = matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.label)));
                accepted.then(|| Stored::of(labels, samples))
            }));
        }
        found
    }
}

/// Labels of a series of the live lane: whose it is wins, as it does in the store.
fn labels_of(whose: &[(String, String)], series: &LiveSeries) -> Labels {
    let taken = |name: &str| whose.iter().any(|(other, _)| other == name);
    let own = series.labels.iter().map(|(name, value)| {
        (if taken(name) { format!("exported_{name}") } else { name.clone() }, value.clone())
    });
    let name = (METRIC_NAME.to_owned(), series.name.clone());
    Labels::new(own.chain(whose.iter().cloned()).chain([name]))
}

impl HubQuestion<'_> {
    /// Notes which agents the answer rests on whose newest samples are old.
    fn note_age<'s>(&self, agents: impl Iterator<Item = &'s str>, to_ms: TimeMs) {
        let end_ms = to_ms.min(self.now_ms);
        let newest = self.hub.store.newest_ms();
        let mut late = self.late.borrow_mut();
        for agent in agents {
            let stored_ms = newest.get(agent).copied().unwrap_or(TimeMs::MIN);
            let live_ms = self.hub.live.newest_ms(agent).unwrap_or(TimeMs::MIN);
            let age_ms = end_ms.saturating_sub(stored_ms.max(live_ms));
            // What ended longer ago has no part in what is said of the end.
            if (SILENT_AGE_MS + 1..=LOOKED_BACK_MS).contains(&age_ms) {
                late.insert(agent.to_owned(), age_ms);
            }
        }
    }

    /// What rollups say of spans whose samples are gone.
    fn thinned(
        &self,
        selector: &Selector,
        (from_ms, to_ms): (TimeMs, TimeMs),
        allowance: &dyn Allowance,
    ) -> Result<Vec<Stored<'static>>, QueryError> {
        let reader = &self.hub.reader;
        let mut found = Vec::new();
        for span in reader.thin_spans(from_ms, to_ms).map_err(|error| failed(&error))? {
            let rollups = reader.rollup(selector, span.from_ms, span.to_ms, span.rollup_ms);
            let rollups = rollups.map_err(|error| failed(&error))?;
            if !rollups.is_empty() {
                self.thin.borrow_mut().push(span);
            }
            for (series, rollups) in rollups {
                let samples = samples_of(series.series.kind, &rollups, span.rollup_ms);
                allowance.samples(samples.len() as u64)?;
                found.push(Stored::of(labels(&series.series), samples));
            }
        }
        Ok(found)
    }

    fn name_of(&self, agent_id: &str) -> String {
        let known = self.hub.state.agent_name(agent_id).unwrap_or_default();
        known.unwrap_or_else(|| agent_id.to_owned())
    }
}

impl SeriesSource for HubQuestion<'_> {
    fn each(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        allowance: &dyn Allowance,
        take: Take<'_>,
    ) -> Result<(), SourceError> {
        let selector = selector(matchers);
        let span = (from_ms, to_ms.saturating_add(1));
        // Before the store: what is stored meanwhile is then there twice, and not missing.
        let live = self.hub.live_series(matchers, from_ms, to_ms);
        allowance.samples(live.iter().map(|stored| stored.samples.len() as u64).sum())?;
        let mut more = self.thinned(&selector, span, allowance)?;
        more.extend(live);
        let harvest = self.hub.reader.find(&selector, span.0, span.1).map_err(|error| failed(&error))?;
        let series = harvest.series();
        let joint = Joint::new(series.iter().map(|found| labels(&found.series)).collect(), more);
        allowance.series(joint.n_series())?;
        let has_samples: Vec<AtomicBool> = series.iter().map(|_| AtomicBool::new(false)).collect();
        let refused = Mutex::new(None);
        let goes_on = |outcome: Result<(), QueryError>| match outcome {
            Ok(()) => true,
            Err(error) => {
                refused.lock().get_or_insert(error);
                false
            }
        };
        let read = harvest.read(&|n| goes_on(allowance.samples(n)), &|number, samples| {
            has_samples[number].store(true, Ordering::Relaxed);
            goes_on(joint.add(number, samples).map_or(Ok(()), take))
        });
        if let Some(error) = refused.into_inner() {
            return Err(error);
        }
        read.map_err(|error| failed(&error))?;
        joint.rest().try_for_each(take)?;
        let heard = series.iter().zip(&has_samples).filter(|(_, has)| has.load(Ordering::Relaxed));
        let agents: BTreeSet<&str> = heard.map(|(found, _)| found.agent_id.as_str()).collect();
        self.note_age(agents.into_iter(), to_ms);
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = thin_remarks(&self.thin.borrow());
        let late = self.late.borrow();
        let Some(oldest_ms) = late.values().max() else { return remarks };
        let mut names: Vec<String> = late.keys().take(N_NAMED_MAX).map(|id| self.name_of(id)).collect();
        if late.len() > N_NAMED_MAX {
            names.push(format!("{} more", late.len() - N_NAMED_MAX));
        }
        let seconds = oldest_ms / 1_000;
        remarks.push(format!("the newest samples are {seconds} s old, of {}", names.join(", ")));
        remarks
    }
}

/// How many numbers of a series are still to come, and the samples that have.
type Parts = (usize, Vec<(TimeMs, f64)>);

/// Puts together what is one series and comes from several places: what senders call the same, rollups where
/// samples are gone, what was said since. Of equal instants what is stored counts.
struct Joint {
    labels: Vec<Labels>,
    /// Series that come from more than one place.
    shared: Mutex<HashMap<Labels, Parts>>,
    /// Has any number a part elsewhere?
    is_any_shared: bool,
}

impl Joint {
    /// Of series by number, and more that have none.
    fn new(labels: Vec<Labels>, more: Vec<Stored<'_>>) -> Self {
        let mut owners: HashMap<&Labels, usize> = HashMap::with_capacity(labels.len());
        labels.iter().for_each(|labels| *owners.entry(labels).or_default() += 1);
        let mut shared: HashMap<Labels, Parts> = HashMap::new();
        for (labels, n_owners) in &owners {
            if *n_owners > 1 {
                shared.insert((*labels).clone(), (*n_owners, Vec::new()));
            }
        }
        for stored in more {
            let n_owners = owners.get(&stored.labels).copied().unwrap_or(0);
            shared.entry(stored.labels).or_insert((n_owners, Vec::new())).1.extend(stored.samples.iter());
        }
        drop(owners);
        Self { is_any_shared: !shared.is_empty(), shared: Mutex::new(shared), labels }
    }

    fn n_series(&self) -> u64 {
        let shared = self.shared.lock();
        let n_numbered: usize = shared.values().map(|(n_owners, _)| *n_owners).sum();
        (self.labels.len() - n_numbered + shared.len()) as u64
    }

    /// Takes what a number has; answers the series once it is whole.
    fn add(&self, number: usize, mut samples: Vec<(TimeMs, f64)>) -> Option<Stored<'static>> {
        let labels = self.labels[number].clone();
        if self.is_any_shared {
            let mut shared = self.shared.lock();
            if let Some((n_left, known)) = shared.get_mut(&labels) {
                *n_left -= 1;
                // What is stored stands first, and counts.
                samples.append(known);
                *known = samples;
                if *n_left > 0 {
                    return None;
                }
                let (_, samples) = shared.remove(&labels)?;
                drop(shared);
                return Some(ordered(labels, samples));
            }
        }
        Some(Stored::of(labels, samples))
    }

    /// Series of which a number had nothing, or which have none.
    fn rest(self) -> impl Iterator<Item = Stored<'static>> {
        let rest = self.shared.into_inner().into_iter();
        rest.filter(|(_, (_, samples))| !samples.is_empty())
            .map(|(labels, (_, samples))| ordered(labels, samples))
    }
}

fn ordered(labels: Labels, samples: Vec<(TimeMs, f64)>) -> Stored<'static> {
    let mut stored = Stored::of(labels, samples);
    stored.put_in_order();
    stored
}

impl Catalogue for HubQuestion<'_> {
    fn series(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: &mut dyn FnMut(Described),
    ) -> Result<(), SourceError> {
        let selector = selector(matchers);
        let read = self.hub.reader.named(&selector, from_ms, to_ms.saturating_add(1), &mut |series| {
            let (family, kind, help) = (series.family.clone(), series.kind, series.help.clone());
            each(Described { labels: labels(series), family, kind, help });
        });
        read.map_err(|error| failed(&error))
    }
}
