//! The catalog: every series that this process knows now, its family, labels and owner.
//! Collectors resolve a series once to a `SeriesId`; from then on a sample is an id and a number.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};

/// What a family's numbers mean, in the words of the Prometheus exposition formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A number that only grows, but for resets.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Cumulative buckets with `_bucket`, `_sum` and `_count` series.
    Histogram,
    /// Quantiles with `_sum` and `_count` series.
    Summary,
    /// Nothing is promised.
    Untyped,
}

impl Kind {
    /// The word of text format 0.0.4.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped => "untyped",
        }
    }
}

/// A family of series: one name, one help text, one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Name as it stands in the `# TYPE` line.
    pub name: Box<str>,
    /// One sentence for people; unescaped.
    pub help: Box<str>,
    /// What the numbers mean.
    pub kind: Kind,
}

/// Who feeds a series: the position of a collector in the closed list, or a number that
/// the agent keeps for its own series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u16);

/// The handle of a series within this process. It is never stored on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(u32);

impl SeriesId {
    /// Stands for a series that could not be had (another owner has it): samples for it are dropped.
    pub const NONE: SeriesId = SeriesId(u32::MAX);

    /// Position in arrays that run beside the catalog; `usize::MAX`-like for `NONE`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One series: a family, perhaps a suffix (`_bucket`), and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The family it belongs to.
    pub family: Arc<Family>,
    /// What follows the family's name in this series' own name: mostly nothing.
    pub suffix: Box<str>,
    /// Names and values in the order in which they are shown; values are unescaped UTF-8.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// `name{label="value",...}` with values escaped as text format 0.0.4 asks.
    pub text: Box<str>,
    /// Who feeds it.
    pub owner: Owner,
    /// Unique in the life of this process, never used again (ids are).
    pub serial: u64,
}

impl Series {
    /// The series' own name: the family's and the suffix.
    pub fn name(&self) -> String {
        format!("{}{}", self.family.name, self.suffix)
    }
}

#[derive(Default)]
struct Inner {
    families: HashMap<Box<str>, Arc<Family>>,
    by_text: HashMap<Box<str>, SeriesId>,
    series: Vec<Option<Arc<Series>>>,
    retired: Vec<SeriesId>,
    draining: Vec<SeriesId>,
    free: Vec<SeriesId>,
    generation: u64,
    serial: u64,
    refused: u64,
}

/// Every series that this process knows now. Cheap to read; written only when a series begins or ends.
#[derive(Default)]
pub struct Catalog {
    inner: RwLock<Inner>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Finds or makes the series. Answers `NONE`, and counts a refusal, where another owner
    /// feeds the very same series: two sources for one series would make a page that no
    /// Prometheus accepts.
    pub fn resolve(&self, owner: Owner, family: &Family, suffix: &str, labels: &[(&str, &str)]) -> SeriesId {
        let text = series_text(&family.name, suffix, labels);
        let mut inner = self.inner.write();
        if let Some(&id) = inner.by_text.get(text.as_str()) {
            return inner.revive(id, owner, family);
        }
        let family = inner.family(family);
        inner.serial += 1;
        inner.generation += 1;
        let series = Series {
            family,
            suffix: suffix.into(),
            labels: labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            text: text.as_str().into(),
            owner,
            serial: inner.serial,
        };
        inner.insert(text.into(), Arc::new(series))
    }

    /// Ends a series. Its id stays valid (and silent) until two sweeps have passed, so that an
    /// open window still finds the name of what it holds.
    pub fn retire(&self, id: SeriesId) {
        if id == SeriesId::NONE {
            return;
        }
        let mut inner = self.inner.write();
        inner.retired.push(id);
    }

    /// Ends every series of one owner, as when a collector is rebuilt or switched off.
    pub fn retire_owner(&self, owner: Owner) {
        let mut inner = self.inner.write();
        let ids: Vec<SeriesId> = inner
            .series
            .iter()
            .enumerate()
            .filter(|(_, series)| series.as_ref().is_some_and(|s| s.owner == owner))
            .map(|(index, _)| SeriesId(index as u32))
            .collect();
        inner.retired.extend(ids);
    }

    /// Frees what was retired before the last sweep. Called once per sealed window.
    pub fn sweep(&self) {
        let mut inner = self.inner.write();
        let dead = std::mem::take(&mut inner.draining);
        inner.draining = std::mem::take(&mut inner.retired);
        for id in dead {
            inner.remove(id);
        }
    }

    /// Changes whenever a series begins or ends: caches beside the catalog compare it.
    pub fn generation(&self) -> u64 {
        self.inner.read().generation
    }

    /// How many times a series was refused because another owner feeds it.
    pub fn refused(&self) -> u64 {
        self.inner.read().refused
    }

    /// A short look; hold it no longer than a pass over it takes, for new series wait meanwhile.
    pub fn read(&self) -> CatalogView<'_> {
        CatalogView { inner: self.inner.read() }
    }
}

impl Inner {
    fn revive(&mut self, id: SeriesId, owner: Owner, family: &Family) -> SeriesId {
        let Some(series) = self.series[id.index()].clone() else { return SeriesId::NONE };
        let dying = self.retired.contains(&id) || self.draining.contains(&id);
        if !dying && series.owner != owner {
            self.refused += 1;
            return SeriesId::NONE;
        }
        self.retired.retain(|other| *other != id);
        self.draining.retain(|other| *other != id);
        if series.owner != owner || *series.family != *family {
            self.serial += 1;
            self.generation += 1;
            let family = self.family(family);
            let serial = self.serial;
            self.series[id.index()] = Some(Arc::new(Series { owner, family, serial, ..(*series).clone() }));
        }
        id
    }

    /// The newest description of a family wins: a textfile may change its help while it runs.
    fn family(&mut self, family: &Family) -> Arc<Family> {
        match self.families.get(&family.name) {
            Some(known) if **known == *family => Arc::clone(known),
            _ => {
                let shared = Arc::new(family.clone());
                self.families.insert(family.name.clone(), Arc::clone(&shared));
                shared
            }
        }
    }

    fn insert(&mut self, text: Box<str>, series: Arc<Series>) -> SeriesId {
        let id = match self.free.pop() {
            Some(id) => {
                self.series[id.index()] = Some(series);
                id
            }
            None => {
                self.series.push(Some(series));
                SeriesId((self.series.len() - 1) as u32)
            }
        };
        self.by_text.insert(text, id);
        id
    }

    fn remove(&mut self, id: SeriesId) {
        if let Some(series) = self.series[id.index()].take() {
            self.by_text.remove(&series.text);
            // Two holders: the map itself and nobody else's series.
            if Arc::strong_count(&series.family) == 2 {
                self.families.remove(&series.family.name);
            }
            self.free.push(id);
            self.generation += 1;
        }
    }
}

/// A look at the catalog.
pub struct CatalogView<'a> {
    inner: RwLockReadGuard<'a, Inner>,
}

impl CatalogView<'_> {
    /// The series behind an id, if it still is.
    pub fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        self.inner.series.get(id.index())?.as_ref()
    }

    /// All series with their ids, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &Arc<Series>)> {
        let slots = self.inner.series.iter().enumerate();
        slots.filter_map(|(index, series)| Some((SeriesId(index as u32), series.as_ref()?)))
    }

    /// One more than the highest id ever given: the length of arrays that run beside the catalog.
    pub fn capacity(&self) -> usize {
        self.inner.series.len()
    }

    /// The generation this look belongs to.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }
}

/// `name{label="value"}` with `\`, `"` and newline escaped in values (text format 0.0.4).
pub fn series_text(name: &str, suffix: &str, labels: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(name.len() + suffix.len() + 24 * labels.len());
    text.push_str(name);
    text.push_str(suffix);
    for (position, (label, value)) in labels.iter().enumerate() {
        text.push(if position == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str) -> Family {
        Family { name: name.into(), help: "Help.".into(), kind: Kind::Gauge }
    }

    #[test]
    fn same_series_has_same_id() {
        let catalog = Catalog::new();
        let a = catalog.resolve(Owner(1), &family("x"), "", &[("a", "1")]);
        assert_eq!(a, catalog.resolve(Owner(1), &family("x"), "", &[("a", "1")]));
        assert_ne!(a, catalog.resolve(Owner(1), &family("x"), "", &[("a", "2")]));
    }

    #[test]
    fn second_owner_is_refused_and_counted() {
        let catalog = Catalog::new();
        catalog.resolve(Owner(1), &family("x"), "", &[]);
        assert_eq!(SeriesId::NONE, catalog.resolve(Owner(2), &family("x"), "", &[]));
        assert_eq!(catalog.refused(), 1);
    }

    #[test]
    fn retired_id_is_used_again_only_after_two_sweeps() {
        let catalog = Catalog::new();
        let a = catalog.resolve(Owner(1), &family("x"), "", &[]);
        catalog.retire(a);
        catalog.sweep();
        let b = catalog.resolve(Owner(1), &family("y"), "", &[]);
        assert_ne!(a, b);
        assert!(catalog.read().get(a).is_some());
        catalog.sweep();
        assert!(catalog.read().get(a).is_none());
        assert_eq!(a, catalog.resolve(Owner(1), &family("z"), "", &[]));
    }

    #[test]
    fn series_that_returns_before_the_sweep_keeps_its_id() {
        let catalog = Catalog::new();
        let a = catalog.resolve(Owner(1), &family("x"), "", &[]);
        catalog.retire(a);
        catalog.sweep();
        assert_eq!(a, catalog.resolve(Owner(2), &family("x"), "", &[]));
        catalog.sweep();
        catalog.sweep();
        assert_eq!(catalog.read().get(a).map(|s| s.owner), Some(Owner(2)));
    }

    #[test]
    fn label_values_are_escaped() {
        let text = series_text("m", "", &[("a", "x\"y\\z\n")]);
        assert_eq!(text, "m{a=\"x\\\"y\\\\z\\n\"}");
    }
}
