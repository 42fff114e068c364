//! The ledger: which numbers of each source are here, in memory. Each file answers for its own;
//! progress is the union of all files and of the floor. A file that is lost takes its numbers
//! with it, and the agents are asked for them again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldpost_model::hub_record::KnownItem;
use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use parking_lot::Mutex;

/// Whose numbers: an agent's stream under one of its spools.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SourceKey {
    pub(crate) agent_id: String,
    pub(crate) spool_id: String,
    pub(crate) stream: Stream,
}

/// A source's number in this process.
pub(crate) type SourceId = u32;

/// The numbers of some sources.
pub(crate) type Numbers = HashMap<SourceId, Intervals>;

struct Source {
    key: Arc<SourceKey>,
    floor: Intervals,
    all: Intervals,
    /// The highest number that the agent named.
    newest: Seq,
    /// First instant after the newest item.
    newest_ms: TimeMs,
    /// The item with the highest number.
    newest_item: Option<KnownItem>,
}

#[derive(Default)]
struct Inner {
    ids: HashMap<Arc<SourceKey>, SourceId>,
    sources: Vec<Source>,
    files: HashMap<PathBuf, Numbers>,
}

impl Inner {
    /// Adds up anew what the floor and all files say of these sources.
    fn add_up(&mut self, ids: impl IntoIterator<Item = SourceId>) {
        for id in ids {
            let Some(source) = self.sources.get_mut(id as usize) else { continue };
            let mut all = source.floor.clone();
            let files = self.files.values().filter_map(|file| file.get(&id));
            files.for_each(|numbers| all.union(numbers));
            source.all = all;
        }
    }
}

/// All sources and their numbers.
#[derive(Default)]
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
}

impl Ledger {
    /// The id of a source that is known.
    pub(crate) fn find(&self, key: &SourceKey) -> Option<SourceId> {
        self.inner.lock().ids.get(key).copied()
    }

    /// The id of a source; a new one gets one.
    pub(crate) fn source(&self, key: &SourceKey) -> SourceId {
        let mut inner = self.inner.lock();
        if let Some(id) = inner.ids.get(key) {
            return *id;
        }
        let id = inner.sources.len() as SourceId;
        let key = Arc::new(key.clone());
        inner.ids.insert(Arc::clone(&key), id);
        let (floor, all, newest_item) = Default::default();
        inner.sources.push(Source { key, floor, all, newest: 0, newest_ms: TimeMs::MIN, newest_item });
        id
    }

    /// Spools under which this agent has something of this stream in any file.
    pub(crate) fn n_spools(&self, agent_id: &str, stream: Stream) -> usize {
        let inner = self.inner.lock();
        let of = |key: &SourceKey| key.agent_id == agent_id && key.stream == stream;
        let ids = (0..).zip(&inner.sources).filter(|(_, source)| of(&source.key)).map(|(id, _)| id);
        ids.filter(|id: &SourceId| inner.files.values().any(|file| file.contains_key(id))).count()
    }

    /// Who has this id.
    pub(crate) fn key(&self, source: SourceId) -> Option<Arc<SourceKey>> {
        self.inner.lock().sources.get(source as usize).map(|source| Arc::clone(&source.key))
    }

    /// All numbers of a source that are here or were.
    pub(crate) fn progress(&self, key: &SourceKey) -> Intervals {
        let inner = self.inner.lock();
        let found = inner.ids.get(key).and_then(|id| inner.sources.get(*id as usize));
        found.map(|source| source.all.clone()).unwrap_or_default()
    }

    /// Is this number here, or was it?
    pub(crate) fn contains(&self, source: SourceId, seq: Seq) -> bool {
        self.inner.lock().sources.get(source as usize).is_some_and(|source| source.all.contains(seq))
    }

    /// Numbers of a range that are not here.
    pub(crate) fn missing(&self, source: SourceId, from: Seq, to: Seq) -> Intervals {
        let inner = self.inner.lock();
        match inner.sources.get(source as usize) {
            Some(source) => source.all.missing(from, to),
            None => Intervals::of(from, to),
        }
    }

    /// Ranges of a source's numbers: one more than its holes.
    pub(crate) fn n_ranges(&self, source: SourceId) -> usize {
        let inner = self.inner.lock();
        inner.sources.get(source as usize).map_or(0, |source| source.all.ranges().len())
    }

    /// The numbers of a source that a file answers for.
    pub(crate) fn of_file(&self, path: &Path, source: SourceId) -> Intervals {
        let inner = self.inner.lock();
        inner.files.get(path).and_then(|file| file.get(&source)).cloned().unwrap_or_default()
    }

    /// A file answers for these numbers as well from now on.
    pub(crate) fn add(&self, path: &Path, numbers: &Numbers) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let file = inner.files.entry(path.to_owned()).or_default();
        for (id, more) in numbers {
            file.entry(*id).or_default().union(more);
            if let Some(source) = inner.sources.get_mut(*id as usize) {
                source.all.union(more);
                source.newest = source.newest.max(more.last().unwrap_or(0));
            }
        }
    }

    /// A file was written anew, and answers for these numbers and no others.
    pub(crate) fn replace(&self, path: &Path, numbers: Numbers) {
        let mut inner = self.inner.lock();
        let before = inner.files.insert(path.to_owned(), numbers.clone()).unwrap_or_default();
        let ids: Vec<SourceId> = before.into_keys().chain(numbers.into_keys()).collect();
        inner.add_up(ids);
    }

    /// Numbers are answered for by the floor from now on.
    pub(crate) fn raise(&self, numbers: &Numbers) {
        let mut inner = self.inner.lock();
        for (id, more) in numbers {
            if let Some(source) = inner.sources.get_mut(*id as usize) {
                source.floor.union(more);
                source.all.union(more);
            }
        }
    }

    /// The floor of these sources together with more numbers.
    pub(crate) fn raised_floor(&self, numbers: &Numbers) -> Vec<(Arc<SourceKey>, Intervals)> {
        let inner = self.inner.lock();
        let with = |(id, more): (&SourceId, &Intervals)| {
            let source = inner.sources.get(*id as usize)?;
            let mut floor = source.floor.clone();
            floor.union(more);
            Some((Arc::clone(&source.key), floor))
        };
        numbers.iter().filter_map(with).collect()
    }

    /// The numbers of a file.
    pub(crate) fn numbers_of(&self, path: &Path) -> Numbers {
        self.inner.lock().files.get(path).cloned().unwrap_or_default()
    }

    /// The file is gone: what it alone answered for is not here any more.
    pub(crate) fn forget(&self, path: &Path) {
        let mut inner = self.inner.lock();
        let gone = inner.files.remove(path).unwrap_or_default();
        inner.add_up(gone.into_keys());
    }

    /// The agent named this number as its newest.
    pub(crate) fn note_newest(&self, source: SourceId, seq: Seq) {
        if let Some(source) = self.inner.lock().sources.get_mut(source as usize) {
            source.newest = source.newest.max(seq);
        }
    }

    /// This item of a source is here.
    pub(crate) fn note_item(&self, source: SourceId, item: KnownItem) {
        if let Some(source) = self.inner.lock().sources.get_mut(source as usize) {
            source.newest_ms = source.newest_ms.max(item.to_ms);
            if source.newest_item.is_none_or(|known| known.seq <= item.seq) {
                source.newest_item = Some(item);
            }
        }
    }

    /// The item of a source with the highest number.
    pub(crate) fn newest_item(&self, key: &SourceKey) -> Option<KnownItem> {
        let inner = self.inner.lock();
        let source = inner.ids.get(key).and_then(|id| inner.sources.get(*id as usize));
        source.and_then(|source| source.newest_item)
    }

    /// First instant after the newest sample of each agent that has any.
    pub(crate) fn newest_ms(&self) -> HashMap<String, TimeMs> {
        let inner = self.inner.lock();
        let mut newest: HashMap<String, TimeMs> = HashMap::new();
        for source in inner.sources.iter().filter(|source| source.key.stream == Stream::Metrics) {
            if source.newest_ms > TimeMs::MIN {
                let known = newest.entry(source.key.agent_id.clone()).or_insert(source.newest_ms);
                *known = source.newest_ms.max(*known);
            }
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(agent_id: &str) -> SourceKey {
        SourceKey { agent_id: agent_id.into(), spool_id: "s".into(), stream: Stream::Metrics }
    }

    #[test]
    fn lost_file_takes_its_own_numbers_and_no_others() {
        let ledger = Ledger::default();
        let (a, b) = (ledger.source(&key("a")), ledger.source(&key("b")));
        let (one, two) = (Path::new("1"), Path::new("2"));
        ledger.add(one, &HashMap::from([(a, Intervals::of(1, 10)), (b, Intervals::of(1, 5))]));
        ledger.add(two, &HashMap::from([(a, Intervals::of(8, 20))]));
        ledger.raise(&HashMap::from([(b, Intervals::of(2, 3))]));
        assert_eq!(ledger.progress(&key("a")), Intervals::of(1, 20));
        ledger.forget(one);
        assert_eq!(ledger.progress(&key("a")), Intervals::of(8, 20));
        assert_eq!(ledger.progress(&key("b")), Intervals::of(2, 3));
        assert!(ledger.numbers_of(one).is_empty());
    }
}
