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

/// The handle of a series within this process. It is never stored on disk. A place in the catalog
/// is used again once its series has ended; `turn` tells who has it now, so that whoever holds
/// an old id (a collector that was held up for minutes) can harm nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId {
    place: u32,
    turn: u32,
}

impl SeriesId {
    /// Stands for a series that could not be had (another owner has it): samples for it are dropped.
    pub const NONE: SeriesId = SeriesId { place: u32::MAX, turn: 0 };

    /// Position in arrays that run beside the catalog; `usize::MAX`-like for `NONE`.
    pub fn index(self) -> usize {
        self.place as usize
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

/// How far a series is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Alive,
    /// Ended since the last sweep.
    Retired,
    /// Ended before the last sweep: the next one frees it.
    Draining,
}

struct Entry {
    series: Arc<Series>,
    phase: Phase,
}

/// A place for a series, and how often it has had a new one.
#[derive(Default)]
struct Place {
    turn: u32,
    entry: Option<Entry>,
}

/// A family as it was described last, and how many series it has.
struct Known {
    family: Arc<Family>,
    n_series: usize,
}

#[derive(Default)]
struct Inner {
    families: HashMap<Box<str>, Known>,
    by_text: HashMap<Box<str>, SeriesId>,
    places: Vec<Place>,
    retired: Vec<SeriesId>,
    draining: Vec<SeriesId>,
    free: Vec<u32>,
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
            return inner.revive(id, owner, family, suffix);
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
    /// open window still finds the name of what it holds. An id that is no longer valid ends nothing.
    pub fn retire(&self, id: SeriesId) {
        self.inner.write().retire(id);
    }

    /// Ends every series of one owner, as when a collector is rebuilt or switched off.
    pub fn retire_owner(&self, owner: Owner) {
        let mut inner = self.inner.write();
        let of_owner = |(_, series): &(SeriesId, &Arc<Series>)| series.owner == owner;
        let ids: Vec<SeriesId> = inner.iter().filter(of_owner).map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| inner.retire(id));
    }

    /// Frees what was retired before the last sweep. Called once per sealed window.
    pub fn sweep(&self) {
        let mut inner = self.inner.write();
        for id in std::mem::take(&mut inner.draining) {
            inner.remove(id);
        }
        let mut ended = std::mem::take(&mut inner.retired);
        ended.retain(|id| inner.drain(*id));
        inner.draining = ended;
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
    fn entry(&mut self, id: SeriesId) -> Option<&mut Entry> {
        let place = self.places.get_mut(id.index())?;
        if place.turn == id.turn { place.entry.as_mut() } else { None }
    }

    fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        let place = self.places.get(id.index())?;
        if place.turn == id.turn { place.entry.as_ref().map(|entry| &entry.series) } else { None }
    }

    fn iter(&self) -> impl Iterator<Item = (SeriesId, &Arc<Series>)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let id = SeriesId { place: index as u32, turn: place.turn };
            Some((id, &place.entry.as_ref()?.series))
        })
    }

    fn retire(&mut self, id: SeriesId) {
        if let Some(entry) = self.entry(id)
            && entry.phase == Phase::Alive
        {
            entry.phase = Phase::Retired;
            self.retired.push(id);
        }
    }

    /// A series that was retired goes one step further, if nobody has taken it up again.
    fn drain(&mut self, id: SeriesId) -> bool {
        match self.entry(id) {
            Some(entry) if entry.phase == Phase::Retired => {
                entry.phase = Phase::Draining;
                true
            }
            _ => false,
        }
    }

    fn revive(&mut self, id: SeriesId, owner: Owner, family: &Family, suffix: &str) -> SeriesId {
        let Some(entry) = self.entry(id) else { return SeriesId::NONE };
        if entry.phase == Phase::Alive && entry.series.owner != owner {
            self.refused += 1;
            return SeriesId::NONE;
        }
        entry.phase = Phase::Alive;
        if entry.series.owner != owner || *entry.series.family != *family {
            let before = Arc::clone(&entry.series);
            self.serial += 1;
            self.generation += 1;
            let (serial, shared) = (self.serial, self.family(family));
            self.let_go(&before.family.name);
            if let Some(entry) = self.entry(id) {
                let series =
                    Series { owner, family: shared, suffix: suffix.into(), serial, ..(*before).clone() };
                entry.series = Arc::new(series);
            }
        }
        id
    }

    /// The family of one series more. The newest description wins: a textfile may change its help
    /// while it runs.
    fn family(&mut self, family: &Family) -> Arc<Family> {
        if let Some(known) = self.families.get_mut(&family.name) {
            known.n_series += 1;
            if *known.family != *family {
                known.family = Arc::new(family.clone());
            }
            return Arc::clone(&known.family);
        }
        let shared = Arc::new(family.clone());
        self.families.insert(family.name.clone(), Known { family: Arc::clone(&shared), n_series: 1 });
        shared
    }

    /// The family has one series less; without any it is forgotten.
    fn let_go(&mut self, family: &str) {
        if let Some(known) = self.families.get_mut(family) {
            known.n_series -= 1;
            if known.n_series == 0 {
                self.families.remove(family);
            }
        }
    }

    fn insert(&mut self, text: Box<str>, series: Arc<Series>) -> SeriesId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.entry = Some(Entry { series, phase: Phase::Alive });
        let id = SeriesId { place: index, turn: place.turn };
        self.by_text.insert(text, id);
        id
    }

    /// Frees the place of a series that has had its time, unless somebody has taken it up again.
    fn remove(&mut self, id: SeriesId) {
        if self.entry(id).is_none_or(|entry| entry.phase != Phase::Draining) {
            return;
        }
        let place = &mut self.places[id.index()];
        place.turn = place.turn.wrapping_add(1);
        if let Some(Entry { series, .. }) = place.entry.take() {
            self.by_text.remove(&series.text);
            self.let_go(&series.family.name);
            self.free.push(id.place);
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
        self.inner.get(id)
    }

    /// All series with their ids, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &Arc<Series>)> {
        self.inner.iter()
    }

    /// One more than the highest index of an id: the length of arrays that run beside the catalog.
    pub fn capacity(&self) -> usize {
        self.inner.places.len()
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
        assert_eq!(a.index(), catalog.resolve(Owner(1), &family("z"), "", &[]).index());
    }

    #[test]
    fn series_that_is_retired_twice_takes_no_other_with_it() {
        let catalog = Catalog::new();
        let a = catalog.resolve(Owner(1), &family("a"), "", &[]);
        catalog.retire(a);
        catalog.sweep();
        catalog.retire_owner(Owner(1));
        catalog.sweep();
        let b = catalog.resolve(Owner(2), &family("b"), "", &[]);
        catalog.sweep();
        catalog.sweep();
        assert_eq!(catalog.read().get(b).map(|series| series.owner), Some(Owner(2)));
        let c = catalog.resolve(Owner(3), &family("c"), "", &[]);
        assert_ne!(b.index(), c.index());
    }

    #[test]
    fn old_id_neither_reads_nor_ends_the_series_that_has_its_place() {
        let catalog = Catalog::new();
        let old = catalog.resolve(Owner(1), &family("old"), "", &[]);
        catalog.retire(old);
        catalog.sweep();
        catalog.sweep();
        let new = catalog.resolve(Owner(2), &family("new"), "", &[]);
        assert_eq!(old.index(), new.index());
        assert!(catalog.read().get(old).is_none());
        catalog.retire(old);
        catalog.sweep();
        catalog.sweep();
        assert!(catalog.read().get(new).is_some());
    }

    #[test]
    fn family_is_forgotten_with_its_last_series_whoever_still_holds_it() {
        let catalog = Catalog::new();
        let ids = ["1", "2"].map(|value| catalog.resolve(Owner(1), &family("x"), "", &[("a", value)]));
        let held = catalog.read().get(ids[0]).map(Arc::clone);
        for (id, left) in ids.into_iter().zip([1, 0]) {
            catalog.retire(id);
            catalog.sweep();
            catalog.sweep();
            assert_eq!(catalog.inner.read().families.len(), left);
        }
        drop(held);
    }

    #[test]
    fn series_that_moves_to_another_family_has_that_ones_suffix() {
        let catalog = Catalog::new();
        let a = catalog.resolve(Owner(1), &family("x"), "_count", &[]);
        assert_eq!(a, catalog.resolve(Owner(1), &family("x_count"), "", &[]));
        assert_eq!(catalog.read().get(a).map(|series| series.name()), Some("x_count".into()));
        assert_eq!(catalog.inner.read().families.len(), 1);
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
