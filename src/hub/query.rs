//! The hub's record as PromQL sees it: series by labels, those that say whose they are among them.
//! May wait for the disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use fieldpost_link::LiveSeries;
use fieldpost_model::{Matcher, Selector, TimeMs};
use fieldpost_promql::{
    Catalogue, Charge, Described, Labels, METRIC_NAME, QueryError, SeriesSource, SourceError, Stored,
};
use fieldpost_store::{StoredSeries, ThinSpan, samples_of, thin_remarks};

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
    fn live_series(&self, matchers: &[Matcher], from_ms: TimeMs, to_ms: TimeMs) -> Vec<Stored> {
        let mut found = Vec::new();
        for (agent_id, recent) in self.live.recent() {
            let whose = (self.agent_labels)(&agent_id);
            found.extend(recent.series(from_ms, to_ms).into_iter().filter_map(|(series, samples)| {
                let labels = labels_of(&whose, &series);
                let accepted = matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.label)));
                accepted.then_some(Stored { labels, samples })
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
    fn note_age(&self, agents: &BTreeSet<String>, to_ms: TimeMs) {
        let end_ms = to_ms.min(self.now_ms);
        let newest = self.hub.store.newest_ms();
        let mut late = self.late.borrow_mut();
        for agent in agents {
            let stored_ms = newest.get(agent).copied().unwrap_or(TimeMs::MIN);
            let live_ms = self.hub.live.newest_ms(agent).unwrap_or(TimeMs::MIN);
            let age_ms = end_ms.saturating_sub(stored_ms.max(live_ms));
            // What ended longer ago has no part in what is said of the end.
            if (SILENT_AGE_MS + 1..=LOOKED_BACK_MS).contains(&age_ms) {
                late.insert(agent.clone(), age_ms);
            }
        }
    }

    /// What rollups say of spans whose samples are gone.
    fn thinned(
        &self,
        selector: &Selector,
        (from_ms, to_ms): (TimeMs, TimeMs),
        charge: Charge<'_>,
    ) -> Result<Vec<Stored>, QueryError> {
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
                charge(samples.len() as u64)?;
                found.push(Stored { labels: labels(&series.series), samples });
            }
        }
        Ok(found)
    }

    fn name_of(&self, agent_id: &str) -> String {
        let known = self.hub.state.agent(agent_id).ok().flatten();
        known.map_or_else(|| agent_id.to_owned(), |agent| agent.name)
    }
}

impl SeriesSource for HubQuestion<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        charge: Charge<'_>,
    ) -> Result<Vec<Stored>, SourceError> {
        let mut places: HashMap<(String, String), usize> = HashMap::new();
        let mut found: Vec<Stored> = Vec::new();
        let mut agents = BTreeSet::new();
        let selector = selector(matchers);
        // Before the store: what is stored meanwhile is then there twice, and not missing.
        let live = self.hub.live_series(matchers, from_ms, to_ms);
        let refused = RefCell::new(None);
        let spend = |n: u64| {
            let mut refused = refused.borrow_mut();
            if refused.is_none() {
                *refused = charge(n).err();
            }
            refused.is_none()
        };
        let span = (from_ms, to_ms.saturating_add(1));
        let read = self.hub.reader.scan_while(&selector, span, &|| spend(0), |series, samples| {
            if !spend(samples.len() as u64) {
                return;
            }
            let key = (series.agent_id.clone(), series.series.text.clone());
            let place = *places.entry(key).or_insert_with(|| {
                agents.insert(series.agent_id.clone());
                found.push(Stored { labels: labels(&series.series), samples: Vec::new() });
                found.len() - 1
            });
            found[place].samples.extend_from_slice(samples);
        });
        read.map_err(|error| failed(&error))?;
        if let Some(error) = refused.into_inner() {
            return Err(error);
        }
        found.extend(self.thinned(&selector, (from_ms, to_ms.saturating_add(1)), charge)?);
        charge(live.iter().map(|stored| stored.samples.len() as u64).sum())?;
        found.extend(live);
        self.note_age(&agents, to_ms);
        Ok(united(found))
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

/// By labels, each once: what several senders call the same is one series, and of equal instants
/// the first one counts.
fn united(mut found: Vec<Stored>) -> Vec<Stored> {
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut all: Vec<Stored> = Vec::with_capacity(found.len());
    for stored in found {
        match all.last_mut().filter(|last| last.labels == stored.labels) {
            Some(last) => last.samples.extend(stored.samples),
            None => all.push(stored),
        }
    }
    all.iter_mut().for_each(Stored::put_in_order);
    all
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
