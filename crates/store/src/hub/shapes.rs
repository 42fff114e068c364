//! Shapes: what series are but for whose they are. Thousands of agents have the same families and
//! labels, so a reader keeps each shape once, asks a selector about each shape once, and knows an
//! agent's series as numbers of shapes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use fieldpost_model::Selector;
use parking_lot::Mutex;

use crate::StoreError;
use crate::codec::CodecError;
use crate::dictionary::Entry;
use crate::record::decode_definitions;

/// Shapes and descriptions that are remembered from one question to the next, as a number of
/// entries: some 200 MB at the most.
const N_REMEMBERED_MAX: usize = 8 << 20;
/// A shape counts as so many entries.
const ENTRIES_PER_SHAPE: usize = 16;

/// Number of a shape in one cache.
pub(crate) type ShapeId = u32;

/// Ids of series with their shapes, as one blob of definitions has them.
pub(crate) type Described = Arc<Vec<(u32, ShapeId)>>;

/// A fingerprint that nobody outside can foresee, so that nobody can forge another's shape.
pub(crate) struct Fingerprints {
    states: [RandomState; 2],
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self { states: [RandomState::new(), RandomState::new()] }
    }
}

impl Fingerprints {
    /// Of all that a series is but for its id.
    pub(crate) fn of(&self, series: &Entry) -> u128 {
        let whole =
            (&series.family.name, series.family.kind, &series.family.help, &series.suffix, &series.labels);
        let [low, high] = self.states.each_ref().map(|state| state.hash_one(Hashed(&whole)));
        u128::from(high) << 64 | u128::from(low)
    }
}

struct Hashed<'a, T: Hash>(&'a T);

impl<T: Hash> Hash for Hashed<'_, T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Shapes of the numbers of a list; none where one cannot be read.
pub(crate) type ShapeList = Arc<Vec<Option<ShapeId>>>;

#[derive(Default)]
struct Known {
    by_fingerprint: HashMap<u128, ShapeId>,
    shapes: Vec<Arc<Entry>>,
    described: HashMap<(u128, i64), Described>,
    /// Shapes of lists of numbers, by file and the blob that holds the list.
    lists: HashMap<u128, HashMap<Box<[u8]>, ShapeList>>,
    /// Shapes by file and number there.
    of_files: HashMap<u128, HashMap<u32, Option<ShapeId>>>,
    n_entries: usize,
}

/// All shapes that a reader has met.
#[derive(Default)]
pub(crate) struct Shapes {
    fingerprints: Fingerprints,
    known: Mutex<Known>,
}

impl Shapes {
    /// The number of a shape.
    pub(crate) fn id(&self, series: Entry) -> ShapeId {
        let fingerprint = self.fingerprints.of(&series);
        let mut known = self.known.lock();
        if let Some(id) = known.by_fingerprint.get(&fingerprint) {
            return *id;
        }
        let id = known.shapes.len() as ShapeId;
        known.by_fingerprint.insert(fingerprint, id);
        known.shapes.push(Arc::new(Entry { id, ..series }));
        known.n_entries += ENTRIES_PER_SHAPE;
        id
    }

    /// The shape of a number.
    pub(crate) fn shape(&self, id: ShapeId) -> Option<Arc<Entry>> {
        self.known.lock().shapes.get(id as usize).map(Arc::clone)
    }

    /// What the blob of a key in a file describes; read only where it is not remembered.
    pub(crate) fn described(
        &self,
        file: u128,
        key: i64,
        blob: impl FnOnce() -> Result<Vec<u8>, rusqlite::Error>,
    ) -> Result<Result<Described, CodecError>, rusqlite::Error> {
        if let Some(described) = self.remembered(file, key) {
            return Ok(Ok(described));
        }
        let described = decode_definitions(&blob()?).map(|all| {
            let all = all.into_iter().map(|series| (series.id, self.id(series)));
            self.remember(file, key, all.collect())
        });
        Ok(described)
    }

    fn remembered(&self, file: u128, key: i64) -> Option<Described> {
        self.known.lock().described.get(&(file, key)).map(Arc::clone)
    }

    /// The shapes of a list of numbers in a merged file, by the blob that holds it; found only where they are
    /// not remembered. Agents that are alike have the same list.
    pub(crate) fn of_list(
        &self,
        file: u128,
        blob: &[u8],
        find: impl FnOnce() -> Result<Vec<Option<ShapeId>>, StoreError>,
    ) -> Result<ShapeList, StoreError> {
        if let Some(known) = self.known.lock().lists.get(&file).and_then(|lists| lists.get(blob)) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(find()?);
        let mut known = self.known.lock();
        // What agents have that are all different is not worth as much as what shapes are called.
        if known.n_entries + found.len() < N_REMEMBERED_MAX / 2 {
            known.n_entries += found.len() + ENTRIES_PER_SHAPE;
            known.lists.entry(file).or_default().insert(blob.into(), Arc::clone(&found));
        }
        Ok(found)
    }

    /// Shapes by their numbers in a merged file; read only those that are not remembered.
    pub(crate) fn of_file(
        &self,
        file: u128,
        numbers: &[u32],
        mut read: impl FnMut(u32) -> rusqlite::Result<Option<Entry>>,
    ) -> rusqlite::Result<Vec<Option<ShapeId>>> {
        let mut found: Vec<Option<Option<ShapeId>>> = {
            let known = self.known.lock();
            let of_file = known.of_files.get(&file);
            numbers.iter().map(|number| of_file.and_then(|known| known.get(number)).copied()).collect()
        };
        let mut new = Vec::new();
        for (number, found) in numbers.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let id = read(*number)?.map(|shape| self.id(shape));
            new.push((*number, id));
            *found = Some(id);
        }
        if !new.is_empty() {
            let mut known = self.known.lock();
            known.n_entries += new.len();
            known.of_files.entry(file).or_default().extend(new);
        }
        Ok(found.into_iter().map(Option::flatten).collect())
    }

    fn remember(&self, file: u128, key: i64, mut all: Vec<(u32, ShapeId)>) -> Described {
        all.sort_unstable();
        let described = Arc::new(all);
        let mut known = self.known.lock();
        known.n_entries += described.len() + 1;
        known.described.insert((file, key), Arc::clone(&described));
        described
    }

    /// Forgets what blobs describe; shapes keep their numbers.
    pub(crate) fn forget_described(&self) {
        self.known.lock().described.clear();
    }

    /// Is it time to begin anew?
    pub(crate) fn is_full(&self) -> bool {
        self.known.lock().n_entries > N_REMEMBERED_MAX
    }
}

/// What a selector says of agents and of shapes, each asked once.
pub(crate) struct Accepts<'a> {
    selector: &'a Selector,
    shapes: Arc<Shapes>,
    /// Answers by shape, for each set of labels that agents bring along.
    answers: Vec<(Vec<String>, Vec<Option<bool>>)>,
}

/// A set of labels' names that some agents bring along.
pub(crate) type LabelSet = usize;

/// Labels that say whose a series is.
pub(crate) type Labels = Vec<(String, String)>;

impl<'a> Accepts<'a> {
    pub(crate) fn new(selector: &'a Selector, shapes: Arc<Shapes>) -> Self {
        Self { selector, shapes, answers: Vec::new() }
    }

    /// May an agent with these labels have series that are wanted?
    pub(crate) fn agent(&self, labels: &Labels) -> bool {
        let of = |name: &str| labels.iter().find(|(label, _)| label == name).map(|(_, value)| value);
        self.selector.matchers.iter().all(|m| of(&m.label).is_none_or(|value| m.accepts(value)))
    }

    /// The set of the names of an agent's labels.
    pub(crate) fn set(&mut self, labels: &Labels) -> LabelSet {
        let same = |names: &Vec<String>| names.iter().eq(labels.iter().map(|(name, _)| name));
        self.answers.iter().position(|(names, _)| same(names)).unwrap_or_else(|| {
            self.answers.push((labels.iter().map(|(name, _)| name.clone()).collect(), Vec::new()));
            self.answers.len() - 1
        })
    }

    /// Is a series of this shape wanted, of an agent that is and that has these labels, and their
    /// names in this set?
    pub(crate) fn shape(&mut self, set: LabelSet, labels: &Labels, shape: ShapeId) -> bool {
        let Some((_, answers)) = self.answers.get_mut(set) else { return false };
        let position = shape as usize;
        if let Some(Some(answer)) = answers.get(position) {
            return *answer;
        }
        let answer = self.shapes.shape(shape).is_some_and(|shape| asks(self.selector, labels, &shape));
        if answers.len() <= position {
            answers.resize(position + 1, None);
        }
        answers[position] = Some(answer);
        answer
    }
}

/// The conditions that are not about the labels of the agent.
fn asks(selector: &Selector, whose: &Labels, shape: &Entry) -> bool {
    let name = format!("{}{}", shape.family.name, shape.suffix);
    let is_whose = |label: &str| whose.iter().any(|(name, _)| name == label);
    let own = |label: &str| shape.labels.iter().find(|(name, _)| name == label).map(|(_, value)| &**value);
    selector.matchers.iter().all(|matcher| match matcher.label.as_str() {
        "__name__" => matcher.accepts(&name),
        label if is_whose(label) => true,
        label => {
            // What a series says about whose it is goes by another name: only the hub says that.
            let exported = label.strip_prefix(EXPORTED).filter(|label| is_whose(label));
            matcher.accepts(exported.and_then(own).or_else(|| own(label)).unwrap_or_default())
        }
    })
}

/// Before the name of a label of the series' own that has the name of one of the agent's.
const EXPORTED: &str = "exported_";

/// All labels of a series: whose it is first.
pub(crate) fn all_labels(whose: &Labels, shape: &Entry) -> Labels {
    let mut labels = whose.clone();
    for (name, value) in &shape.labels {
        let taken = whose.iter().any(|(other, _)| other == name);
        let name = if taken { format!("{EXPORTED}{name}") } else { name.clone() };
        labels.push((name, value.clone()));
    }
    labels
}

#[cfg(test)]
mod tests {
    use fieldpost_model::{Family, Kind};

    use super::*;

    fn series(name: &str, labels: &[(&str, &str)]) -> Entry {
        let family = Family { name: name.into(), help: "".into(), kind: Kind::Gauge };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels = labels.iter().map(owned).collect();
        Entry { id: 7, family, suffix: String::new(), labels }
    }

    #[test]
    fn only_the_hub_says_whose_a_series_is() {
        let shapes = Arc::new(Shapes::default());
        let liar = series("up", &[("instance", "other"), ("mode", "idle")]);
        let (id, again) = (shapes.id(liar.clone()), shapes.id(Entry { id: 9, ..liar.clone() }));
        assert_eq!(id, again);
        let whose: Labels = vec![("instance".into(), "web1".into())];
        let asked = |text: &str| {
            let selector = Selector::parse(text).unwrap();
            let mut accepts = Accepts::new(&selector, Arc::clone(&shapes));
            let set = accepts.set(&whose);
            accepts.agent(&whose) && accepts.shape(set, &whose, id)
        };
        assert!(asked("up") && asked("up{instance=\"web1\",mode=\"idle\"}"));
        assert!(!asked("up{instance=\"other\"}") && !asked("up{mode=\"user\"}") && !asked("down"));
        assert!(asked("up{exported_instance=\"other\"}"));
        let labels = all_labels(&whose, &liar);
        let names: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names, ["instance=web1", "exported_instance=other", "mode=idle"]);
    }
}
