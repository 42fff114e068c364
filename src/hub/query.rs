//! The hub's record as PromQL sees it: series by labels, those that say whose they are among them.
//! May wait for the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use fieldpost_model::{Matcher, Selector, TimeMs};
use fieldpost_promql::{
    Catalogue, Charge, Described, Labels, METRIC_NAME, QueryError, Source, SourceError, Stored,
};
use fieldpost_store::hub::HubSeries;

use super::Hub;

/// Name and labels as one.
fn labels(series: &HubSeries) -> Labels {
    let pairs = series.series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::new(pairs.chain([(METRIC_NAME, series.series.name.as_str())]))
}

fn selector(matchers: &[Matcher]) -> Selector {
    Selector { matchers: matchers.to_vec() }
}

fn failed(error: &fieldpost_store::StoreError) -> QueryError {
    QueryError::Source(format!("the hub's store cannot be read: {error}"))
}

impl Source for Hub {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        charge: Charge<'_>,
    ) -> Result<Vec<Stored>, SourceError> {
        let mut places: HashMap<(String, String), usize> = HashMap::new();
        let mut found: Vec<Stored> = Vec::new();
        let mut refused = None;
        let selector = selector(matchers);
        let read = self.reader.scan(&selector, from_ms, to_ms.saturating_add(1), |series, samples| {
            // The reading cannot be broken off, but nothing more is kept of it.
            if refused.is_some() {
                return;
            }
            refused = charge(samples.len() as u64).err();
            let key = (series.agent_id.clone(), series.series.text.clone());
            let place = *places.entry(key).or_insert_with(|| {
                found.push(Stored { labels: labels(series), samples: Vec::new() });
                found.len() - 1
            });
            found[place].samples.extend_from_slice(samples);
        });
        read.map_err(|error| failed(&error))?;
        match refused {
            Some(error) => Err(error),
            None => Ok(united(found)),
        }
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
    for stored in &mut all {
        if !stored.samples.is_sorted_by(|a, b| a.0 < b.0) {
            stored.samples.sort_by_key(|(time_ms, _)| *time_ms);
            stored.samples.dedup_by_key(|(time_ms, _)| *time_ms);
        }
    }
    all
}

impl Catalogue for Hub {
    fn series(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Vec<Described>, SourceError> {
        let read = self.reader.series(&selector(matchers), from_ms, to_ms.saturating_add(1));
        let mut known: HashMap<Labels, Described> = HashMap::new();
        for series in read.map_err(|error| failed(&error))? {
            if let Entry::Vacant(place) = known.entry(labels(&series)) {
                let labels = place.key().clone();
                let (family, kind, help) = (series.series.family, series.series.kind, series.series.help);
                place.insert(Described { labels, family, kind, help });
            }
        }
        Ok(known.into_values().collect())
    }
}
