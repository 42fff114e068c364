//! Scopes: what the ids in an agent's items mean, as long as items of theirs come in. A series is
//! described once by its agent and may be used all day, in files of many hours, each of which has
//! to stand alone; so the descriptions stay in memory, packed as they came. What was forgotten
//! for want of room is asked for anew: items of an unknown id are refused.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fieldpost_model::Stream;
use fieldpost_model::hub_record::HubLimits;
use parking_lot::Mutex;

use crate::codec::CodecError;
use crate::dictionary::Entry;
use crate::hub::ledger::SourceId;
use crate::record::{decode_definitions, decode_entities};

/// Bytes of descriptions that are remembered, all agents together.
const BYTES_MAX: usize = 512 << 20;
/// Bytes of descriptions of one scope.
const SCOPE_BYTES_MAX: usize = 8 << 20;
/// Scopes of one source that are remembered: the days of a backlog come one after the other.
const N_SCOPES_MAX: usize = 32;
/// Bytes that a scope takes beside its descriptions, about.
const SCOPE_BYTES: usize = 512;

/// The meaning of ids in the items of a source.
pub(crate) struct Scope {
    pub(crate) source: SourceId,
    pub(crate) name: Box<str>,
    inner: Mutex<Inner>,
    /// Bytes that it takes, to be read without its lock.
    n_bytes: AtomicUsize,
    last_use: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// Ids with a hash of what they mean, by rising id.
    known: Vec<(u32, u32)>,
    blobs: Vec<Arc<[u8]>>,
    /// Blobs that were let go before the first of `blobs`.
    n_gone: usize,
    n_bytes: usize,
}

impl Scope {
    fn new(source: SourceId, name: &str) -> Self {
        let n_bytes = AtomicUsize::new(SCOPE_BYTES);
        Self { source, name: name.into(), inner: Mutex::default(), n_bytes, last_use: AtomicU64::new(0) }
    }

    /// Is every one of these ids described?
    pub(crate) fn knows(&self, mut ids: impl Iterator<Item = u32>) -> Result<(), u32> {
        let inner = self.inner.lock();
        let unknown = ids.find(|id| inner.known.binary_search_by_key(id, |(known, _)| *known).is_err());
        unknown.map_or(Ok(()), Err)
    }

    /// How many blobs of descriptions there have been.
    pub(crate) fn n_blobs(&self) -> usize {
        let inner = self.inner.lock();
        inner.n_gone + inner.blobs.len()
    }

    /// Blobs from this one up to that one, with the number of the first.
    pub(crate) fn blobs(&self, from: usize, to: usize) -> (usize, Vec<Arc<[u8]>>) {
        let inner = self.inner.lock();
        let first = from.max(inner.n_gone);
        let range = first - inner.n_gone..to.max(first) - inner.n_gone;
        (first, inner.blobs.get(range).map(<[_]>::to_vec).unwrap_or_default())
    }

    /// Lets blobs before this one go: a file has them, and no other will need them.
    pub(crate) fn let_go(&self, before: usize) {
        let mut inner = self.inner.lock();
        let n_blobs = before.saturating_sub(inner.n_gone).min(inner.blobs.len());
        let n_bytes: usize = inner.blobs.drain(..n_blobs).map(|blob| blob.len()).sum();
        inner.n_bytes -= n_bytes;
        inner.n_gone += n_blobs;
        self.note_bytes(&inner);
    }

    fn note_bytes(&self, inner: &Inner) {
        self.n_bytes.store(SCOPE_BYTES + inner.n_bytes + inner.known.len() * 8, Ordering::Relaxed);
    }

    fn n_bytes(&self) -> usize {
        self.n_bytes.load(Ordering::Relaxed)
    }
}

/// What an agent has described today.
#[derive(Default)]
struct Budget {
    n_series: usize,
    n_bytes: u64,
}

/// A series in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Described {
    id: u32,
    meaning: u32,
    n_bytes: u64,
}

#[derive(Default)]
struct All {
    scopes: HashMap<SourceId, Vec<Arc<Scope>>>,
    n_bytes: usize,
    day: i64,
    budgets: HashMap<String, Budget>,
}

/// All scopes that are in use.
#[derive(Default)]
pub(crate) struct Scopes {
    all: Mutex<All>,
    turn: AtomicU64,
}

/// An agent that describes something, at a day of the hub's clock.
pub(crate) struct Describer<'a> {
    pub(crate) agent_id: &'a str,
    pub(crate) stream: Stream,
    pub(crate) day: i64,
}

impl Scopes {
    /// The scope of this name, new or known.
    pub(crate) fn scope(&self, source: SourceId, name: &str) -> Arc<Scope> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut all = self.all.lock();
        let all = &mut *all;
        let scopes = all.scopes.entry(source).or_default();
        let scope = match scopes.iter().find(|scope| &*scope.name == name) {
            Some(scope) => Arc::clone(scope),
            None => {
                if scopes.len() == N_SCOPES_MAX {
                    all.n_bytes = all.n_bytes.saturating_sub(remove_oldest(scopes));
                }
                let scope = Arc::new(Scope::new(source, name));
                scopes.push(Arc::clone(&scope));
                all.n_bytes += SCOPE_BYTES;
                scope
            }
        };
        scope.last_use.store(turn, Ordering::Relaxed);
        scope
    }

    /// Takes in a blob of descriptions; what says nothing new is dropped.
    pub(crate) fn describe(
        &self,
        scope: &Scope,
        blob: &[u8],
        by: &Describer<'_>,
        limits: &HubLimits,
    ) -> Result<(), String> {
        let fault = |error: CodecError| format!("definitions of {}: {error}", scope.name);
        let described = match by.stream {
            Stream::Metrics => Some(read_series(blob, limits)?),
            Stream::Processes => decode_entities(blob).map(|_| None).map_err(fault)?,
            Stream::Events | Stream::Logs => {
                return Err(format!("definitions in the stream of {}", by.stream.as_str()));
            }
        };
        let n_before = scope.n_bytes();
        let outcome = self.take_in(scope, blob, described, by, limits);
        self.keep_small(scope.n_bytes().saturating_sub(n_before));
        outcome
    }

    fn take_in(
        &self,
        scope: &Scope,
        blob: &[u8],
        described: Option<Vec<Described>>,
        by: &Describer<'_>,
        limits: &HubLimits,
    ) -> Result<(), String> {
        let mut inner = scope.inner.lock();
        if inner.n_bytes + blob.len() > SCOPE_BYTES_MAX {
            return Err(format!("definitions of {} take more than {SCOPE_BYTES_MAX} bytes", scope.name));
        }
        if let Some(described) = described {
            let new = inner.new_of(described, &scope.name)?;
            if new.is_empty() {
                return Ok(());
            }
            self.spend(by, &new, limits)?;
            inner.known.extend(new.iter().map(|described| (described.id, described.meaning)));
            inner.known.sort_unstable();
        }
        inner.n_bytes += blob.len();
        inner.blobs.push(blob.into());
        scope.note_bytes(&inner);
        Ok(())
    }

    /// Counts new series of an agent against what it may describe in a day.
    fn spend(&self, by: &Describer<'_>, new: &[Described], limits: &HubLimits) -> Result<(), String> {
        let (n_series_max, bytes_max) = (limits.series, limits.described_bytes.0);
        let mut all = self.all.lock();
        if all.day != by.day {
            all.day = by.day;
            all.budgets.clear();
        }
        let budget = match all.budgets.get_mut(by.agent_id) {
            Some(budget) => budget,
            None => all.budgets.entry(by.agent_id.to_owned()).or_default(),
        };
        let n_series = budget.n_series + new.len();
        let n_bytes = budget.n_bytes + new.iter().map(|described| described.n_bytes).sum::<u64>();
        if n_series > n_series_max || n_bytes > bytes_max {
            return Err(format!(
                "more than {n_series_max} series, or {bytes_max} bytes of their labels, in a day: \
                 take labels away whose values are ever new, or raise the limit"
            ));
        }
        (budget.n_series, budget.n_bytes) = (n_series, n_bytes);
        Ok(())
    }

    /// Counts more bytes, and forgets what was not used for longest where they are too many.
    fn keep_small(&self, n_bytes_more: usize) {
        let mut all = self.all.lock();
        all.n_bytes += n_bytes_more;
        if all.n_bytes > BYTES_MAX {
            // Some may have been let go since they were counted.
            all.count();
        }
        if all.n_bytes > BYTES_MAX {
            all.forget_oldest();
            all.count();
        }
    }
}

impl All {
    fn count(&mut self) {
        self.n_bytes = self.scopes.values().flatten().map(|scope| scope.n_bytes()).sum();
    }

    /// Forgets a quarter of the scopes: those that were not used for longest.
    fn forget_oldest(&mut self) {
        let mut uses: Vec<u64> = self.scopes.values().flatten().map(|scope| used(scope)).collect();
        uses.sort_unstable();
        let Some(&oldest_kept) = uses.get(uses.len() / 4) else { return };
        self.scopes.retain(|_, scopes| {
            scopes.retain(|scope| used(scope) > oldest_kept);
            !scopes.is_empty()
        });
    }
}

impl Inner {
    /// Those that are not known yet. An id that changes its meaning is refused with all others.
    fn new_of(&self, mut described: Vec<Described>, name: &str) -> Result<Vec<Described>, String> {
        described.sort_unstable();
        described.dedup();
        if let Some(pair) = described.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(format!("series {} of {name} is described in two ways", pair[0].id));
        }
        let known = |id: u32| self.known.binary_search_by_key(&id, |(known, _)| *known);
        let mut new = Vec::new();
        for one in described {
            match known(one.id) {
                Err(_) => new.push(one),
                Ok(position) if self.known[position].1 == one.meaning => {}
                Ok(_) => return Err(format!("series {} of {name} changes its meaning", one.id)),
            }
        }
        Ok(new)
    }
}

fn used(scope: &Scope) -> u64 {
    scope.last_use.load(Ordering::Relaxed)
}

fn remove_oldest(scopes: &mut Vec<Arc<Scope>>) -> usize {
    let oldest = (0..scopes.len()).min_by_key(|position| used(&scopes[*position]));
    oldest.map_or(0, |position| scopes.swap_remove(position).n_bytes())
}

/// What a blob describes, within the limits.
fn read_series(blob: &[u8], limits: &HubLimits) -> Result<Vec<Described>, String> {
    let all = decode_definitions(blob).map_err(|error| format!("definitions: {error}"))?;
    let described = all.iter().map(|series| match beyond(series, limits) {
        Some(reason) => Err(reason),
        None => Ok(Described { id: series.id, meaning: meaning(series), n_bytes: n_bytes(series) }),
    });
    described.collect()
}

/// Which limit a series goes beyond, in words.
fn beyond(series: &Entry, limits: &HubLimits) -> Option<String> {
    let name: String = series.family.name.chars().take(64).collect();
    let (n_labels, bytes_max) = (series.labels.len(), limits.label_bytes);
    if n_labels > limits.labels {
        return Some(format!("{name} has {n_labels} labels; at most {} are taken", limits.labels));
    }
    let texts = series.labels.iter().flat_map(|(name, value)| [name.len(), value.len()]);
    let longest =
        texts.chain([series.family.name.len(), series.suffix.len(), series.family.help.len()]).max();
    let longest = longest.unwrap_or(0);
    (longest > bytes_max)
        .then(|| format!("{name} has a text of {longest} bytes; at most {bytes_max} are taken"))
}

fn n_bytes(series: &Entry) -> u64 {
    let labels = series.labels.iter().map(|(name, value)| name.len() + value.len() + 16);
    let family = series.family.name.len() + series.family.help.len();
    (labels.sum::<usize>() + family + series.suffix.len() + 32) as u64
}

fn meaning(series: &Entry) -> u32 {
    let mut hasher = DefaultHasher::new();
    (&series.family.name, &series.suffix, &series.labels).hash(&mut hasher);
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use fieldpost_model::{Family, Kind};

    use super::*;
    use crate::record::encode_definitions;

    fn blob(ids: std::ops::Range<u32>, label: &str) -> Vec<u8> {
        let family = Family { name: "x".into(), help: "".into(), kind: Kind::Gauge };
        let series = |id| Entry {
            id,
            family: family.clone(),
            suffix: String::new(),
            labels: vec![("n".into(), format!("{label}{id}"))],
        };
        encode_definitions(&ids.map(series).collect::<Vec<_>>()).0
    }

    const BY: Describer<'_> = Describer { agent_id: "a", stream: Stream::Metrics, day: 1 };

    #[test]
    fn what_is_known_is_not_kept_twice_and_keeps_its_meaning() {
        let (scopes, limits) = (Scopes::default(), HubLimits::default());
        let scope = scopes.scope(0, "day");
        scopes.describe(&scope, &blob(0..10, ""), &BY, &limits).unwrap();
        scopes.describe(&scope, &blob(3..7, ""), &BY, &limits).unwrap();
        assert_eq!((scope.n_blobs(), scope.knows(0..10), scope.knows(5..12)), (1, Ok(()), Err(10)));
        let refused = scopes.describe(&scope, &blob(9..11, "other"), &BY, &limits).unwrap_err();
        assert_eq!(refused, "series 9 of day changes its meaning");
        assert_eq!(scope.knows(10..11), Err(10));
    }

    #[test]
    fn agent_that_describes_ever_more_is_held_to_its_day() {
        let limits = HubLimits { series: 25, ..HubLimits::default() };
        let scopes = Scopes::default();
        for day in 0..2 {
            let by = Describer { day, ..BY };
            let scope = scopes.scope(0, &format!("day {day}"));
            scopes.describe(&scope, &blob(0..20, ""), &by, &limits).unwrap();
            let refused = scopes.describe(&scope, &blob(20..40, ""), &by, &limits).unwrap_err();
            assert!(refused.starts_with("more than 25 series,"), "{refused}");
            assert_eq!(scope.knows(20..21), Err(20));
        }
    }

    #[test]
    fn blobs_are_let_go_from_the_front() {
        let (scopes, limits) = (Scopes::default(), HubLimits::default());
        let scope = scopes.scope(0, "day");
        for n in 0..4 {
            scopes.describe(&scope, &blob(n..n + 1, ""), &BY, &limits).unwrap();
        }
        scope.let_go(2);
        let (first, blobs) = scope.blobs(0, 3);
        assert_eq!((first, blobs.len(), scope.n_blobs()), (2, 1, 4));
    }
}
