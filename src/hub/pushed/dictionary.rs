//! What the ids in a pusher's windows mean. A series is described once a day and held to the limits
//! that the store sets for an agent; the meanings of ids end with the process, never change before.

use std::collections::HashMap;

use fieldpost_formats::pushed::{Label, Metadata, NAME_LABEL, PushedSeries};
use fieldpost_model::hub_record::HubLimits;
use fieldpost_model::{Family, Kind, TimeMs};
use fieldpost_store::record::{Definition, encode_definitions};

const DAY_MS: i64 = 86_400_000;
/// Families of which something is remembered that came beside the series.
const N_FAMILIES_MAX: usize = 10_000;
/// Bytes of packed descriptions under one scope: the store takes no more than 8 MiB.
const SCOPE_BYTES_MAX: usize = 6 << 20;
/// What series of a family with several series are called after it.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// See the head of the file.
pub(super) struct Dictionary {
    started_ms: TimeMs,
    limits: HubLimits,
    day: i64,
    /// How many scopes there were before.
    turn: u64,
    ids: HashMap<Box<[u8]>, u32>,
    /// Series that the store was not told of yet: the last ones.
    undescribed: Vec<Definition>,
    scope_bytes: usize,
    families: HashMap<Box<str>, (Kind, Box<str>)>,
    /// What was described today, under whatever scope.
    n_series: usize,
    n_bytes: u64,
    key: Vec<u8>,
}

impl Dictionary {
    pub(super) fn new(started_ms: TimeMs, limits: &HubLimits) -> Self {
        Self {
            started_ms,
            limits: limits.clone(),
            day: 0,
            turn: 0,
            ids: HashMap::new(),
            undescribed: Vec::new(),
            scope_bytes: 0,
            families: HashMap::new(),
            n_series: 0,
            n_bytes: 0,
            key: Vec::new(),
        }
    }

    /// A request begins at this time. Each day is described anew, so that what ended is forgotten.
    pub(super) fn begin(&mut self, now_ms: TimeMs) {
        let day = now_ms.div_euclid(DAY_MS);
        if day != self.day {
            self.day = day;
            (self.n_series, self.n_bytes) = (0, 0);
            self.forget();
        }
    }

    /// Begins a new scope, unless somebody has since this one.
    pub(super) fn renew(&mut self, scope: &str) {
        if self.scope() == scope {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.turn += 1;
        self.ids.clear();
        self.undescribed.clear();
        self.scope_bytes = 0;
    }

    /// In which the ids of now mean something.
    pub(super) fn scope(&self) -> String {
        format!("{}-{}-{}", self.day, self.started_ms, self.turn)
    }

    /// What the store must be told before it is given windows with ids of now.
    pub(super) fn take_undescribed(&mut self) -> Vec<Definition> {
        std::mem::take(&mut self.undescribed)
    }

    /// The store could not be told: the next one has to.
    pub(super) fn put_back(&mut self, scope: &str, mut definitions: Vec<Definition>) {
        if self.scope() == scope {
            definitions.append(&mut self.undescribed);
            self.undescribed = definitions;
        }
    }

    /// The store was told so many bytes.
    pub(super) fn described(&mut self, scope: &str, n_bytes: usize) {
        if self.scope() == scope {
            self.scope_bytes += n_bytes;
        }
    }

    /// Remembers what is known of a family, for series that are described later.
    pub(super) fn note_family(&mut self, name: &str, metadata: &Metadata<'_>) {
        if self.families.len() < N_FAMILIES_MAX || self.families.contains_key(name) {
            let help = self.short(metadata.help).into();
            self.families.insert(name.into(), (metadata.kind, help));
        }
    }

    fn short<'a>(&self, text: &'a str) -> &'a str {
        &text[..text.floor_char_boundary(self.limits.label_bytes)]
    }

    /// The id of a series, or why it is not taken.
    pub(super) fn id(&mut self, series: &PushedSeries<'_>) -> Result<u32, String> {
        self.key.clear();
        for (name, value) in series.labels {
            // No text has this byte in it.
            for part in [name.as_bytes(), b"\xff", value.as_bytes(), b"\xff"] {
                self.key.extend_from_slice(part);
            }
        }
        if let Some(id) = self.ids.get(&self.key[..]) {
            return Ok(*id);
        }
        let id = self.ids.len() as u32;
        let definition = self.define(id, series.labels, series.metadata);
        self.check(&definition)?;
        self.n_series += 1;
        self.n_bytes += n_bytes(&definition);
        self.ids.insert(self.key.as_slice().into(), id);
        self.undescribed.push(definition);
        Ok(id)
    }

    fn define(&self, id: u32, labels: &[Label<'_>], metadata: Option<Metadata<'_>>) -> Definition {
        let name = labels.iter().find(|(name, _)| *name == NAME_LABEL).map_or("", |(_, value)| value);
        let stem = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let noted = |name: &str| self.families.get(name).map(|(kind, help)| (*kind, &**help));
        let said = metadata.map(|metadata| (metadata.kind, self.short(metadata.help)));
        let (kind, help) =
            said.or_else(|| noted(name)).or_else(|| noted(stem)).unwrap_or((Kind::Untyped, ""));
        let is_part = matches!(kind, Kind::Histogram | Kind::Summary);
        let family = if is_part { stem } else { name };
        let others = labels.iter().filter(|(name, _)| *name != NAME_LABEL);
        Definition {
            id,
            family: Family { name: family.into(), help: help.into(), kind },
            suffix: name[family.len()..].to_owned(),
            labels: others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// Is it within the limits that the store has for an agent?
    fn check(&self, series: &Definition) -> Result<(), String> {
        let (limits, name) = (&self.limits, &series.family.name);
        let texts = series.labels.iter().flat_map(|(name, value)| [name.len(), value.len()]);
        let longest = texts.chain([name.len()]).max().unwrap_or(0);
        if longest > limits.label_bytes {
            let name: String = name.chars().take(64).collect();
            return Err(format!(
                "{name} has a text of {longest} bytes; at most {} are taken",
                limits.label_bytes
            ));
        }
        let is_beyond = self.n_series >= limits.series
            || self.n_bytes + n_bytes(series) > limits.described_bytes.0
            || self.scope_bytes > SCOPE_BYTES_MAX;
        if is_beyond {
            return Err(format!(
                "more than {} series, or {} bytes of their labels, in a day: take labels away whose values \
                 are ever new, or raise limits.series_per_agent",
                limits.series, limits.described_bytes.0
            ));
        }
        Ok(())
    }
}

/// Descriptions as frames of a bounded length.
pub(super) fn frames_of(mut definitions: &[Definition]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !definitions.is_empty() {
        let (frame, n) = encode_definitions(definitions);
        frames.push(frame);
        definitions = &definitions[n.max(1)..];
    }
    frames
}

/// What a description counts for, as the store counts it.
fn n_bytes(series: &Definition) -> u64 {
    let labels = series.labels.iter().map(|(name, value)| name.len() + value.len() + 16);
    let family = series.family.name.len() + series.family.help.len();
    (labels.sum::<usize>() + family + series.suffix.len() + 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(dictionary: &mut Dictionary, labels: &[Label<'_>]) -> Result<u32, String> {
        dictionary.id(&PushedSeries { labels, metadata: None, samples: &[] })
    }

    #[test]
    fn series_are_described_once_a_day() {
        let mut dictionary = Dictionary::new(5, &HubLimits::default());
        dictionary.begin(0);
        let first = dictionary.scope();
        assert_eq!(id(&mut dictionary, &[("__name__", "up"), ("job", "a")]), Ok(0));
        assert_eq!(id(&mut dictionary, &[("__name__", "up"), ("job", "b")]), Ok(1));
        assert_eq!(id(&mut dictionary, &[("__name__", "up"), ("job", "a")]), Ok(0));
        let definitions = dictionary.take_undescribed();
        assert_eq!((definitions.len(), frames_of(&definitions).len()), (2, 1));
        assert!(dictionary.take_undescribed().is_empty());
        assert_eq!(id(&mut dictionary, &[("__name__", "up"), ("job", "c")]), Ok(2));
        dictionary.put_back(&first, definitions);
        let ids: Vec<u32> = dictionary.take_undescribed().iter().map(|definition| definition.id).collect();
        assert_eq!(ids, [0, 1, 2], "what could not be told is told first");
        dictionary.begin(DAY_MS);
        assert_ne!(dictionary.scope(), first);
        assert_eq!(id(&mut dictionary, &[("__name__", "up"), ("job", "b")]), Ok(0));
    }

    #[test]
    fn parts_of_histograms_belong_to_their_family() {
        let mut dictionary = Dictionary::new(5, &HubLimits::default());
        let metadata = Metadata { kind: Kind::Histogram, help: "How long.", unit: "" };
        dictionary.note_family("x_seconds", &metadata);
        let labels = [("__name__", "x_seconds_bucket"), ("le", "1")];
        let definition = dictionary.define(0, &labels, None);
        assert_eq!((&*definition.family.name, &*definition.suffix), ("x_seconds", "_bucket"));
        assert_eq!((definition.family.kind, &*definition.family.help), (Kind::Histogram, "How long."));
        let definition = dictionary.define(0, &[("__name__", "y_count")], None);
        assert_eq!((&*definition.family.name, &*definition.suffix), ("y_count", ""));
    }

    #[test]
    fn more_series_than_allowed_are_refused_and_known_ones_go_on() {
        let mut dictionary = Dictionary::new(5, &HubLimits { series: 2, ..HubLimits::default() });
        dictionary.begin(1);
        for name in ["a", "b"] {
            assert!(id(&mut dictionary, &[("__name__", name)]).is_ok());
        }
        let refused = id(&mut dictionary, &[("__name__", "c")]).unwrap_err();
        assert!(refused.starts_with("more than 2 series,"), "{refused}");
        assert_eq!(id(&mut dictionary, &[("__name__", "a")]), Ok(0));
        let scope = dictionary.scope();
        dictionary.renew("another");
        assert_eq!(dictionary.scope(), scope);
        dictionary.renew(&scope);
        assert!(id(&mut dictionary, &[("__name__", "a")]).is_err(), "the day's series are spent");
    }
}
