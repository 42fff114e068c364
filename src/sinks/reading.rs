//! What a sink reads of the store: sealed windows in their order, and what the ids in them mean.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fieldpost_model::{Frame, Item, Kind, Selector, Seq, Stream};
use fieldpost_store::record::{Ask, Definition, Known, Order, decode_definitions};
use fieldpost_store::{Store, StoreError};

/// Bytes and windows that are read at once.
const STEP_BYTES: usize = 512 << 10;
const STEP_ITEMS: usize = 16;

/// A series as its receiver gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Series {
    /// With its name under `__name__`.
    pub(super) labels: Vec<(String, String)>,
    pub(super) kind: Kind,
    pub(super) help: String,
}

/// Meanings of the ids of one scope; what is not chosen is not in it.
pub(super) type Meanings = HashMap<u32, Arc<Series>>;

/// Which series go out, and what is added to them.
pub(super) struct Choice {
    pub(super) selectors: Vec<Selector>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Choice {
    fn series(&self, definition: &Definition) -> Option<Series> {
        let name = format!("{}{}", definition.family.name, definition.suffix);
        let own = |label: &str| {
            definition.labels.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_str())
        };
        let chosen = self.selectors.iter().any(|selector| selector.accepts(&name, own));
        if !chosen && !self.selectors.is_empty() {
            return None;
        }
        // What a series says itself stays.
        let added = self.labels.iter().filter(|(name, _)| own(name).is_none());
        let mut labels: Vec<_> = added.map(|(name, value)| (name.clone(), value.clone())).collect();
        labels.extend(definition.labels.iter().cloned());
        labels.push(("__name__".to_owned(), name));
        Some(Series { labels, kind: definition.family.kind, help: definition.family.help.to_string() })
    }
}

/// What was read.
pub(super) enum Read {
    /// A window, and what its ids mean.
    Window(Item, Arc<Meanings>),
    /// So many windows are no more.
    Lost(u64),
}

/// A part of what was asked for.
pub(super) struct Step {
    /// In their order.
    pub(super) read: Vec<Read>,
    /// The next number that was not answered.
    pub(super) next: Seq,
}

/// A reader that remembers what it was told.
pub(super) struct Reading {
    store: Arc<Store>,
    choice: Choice,
    known: Known,
    meanings: Arc<Meanings>,
}

impl Reading {
    pub(super) fn new(store: Arc<Store>, choice: Choice) -> Self {
        Self { store, choice, known: Known::default(), meanings: Arc::default() }
    }

    /// Reads some of the windows `from..=to`, the oldest first. Waits for the disk.
    pub(super) fn step(&mut self, from: Seq, to: Seq) -> Result<Step, StoreError> {
        let (max_bytes, max_items) = (STEP_BYTES, STEP_ITEMS);
        let ask = Ask { stream: Stream::Metrics, from, to, order: Order::Oldest, max_bytes, max_items };
        let part = self.store.read_record(&ask, &mut self.known)?;
        let mut read = Vec::new();
        for frame in part.frames {
            match frame {
                Frame::Scope(_) => self.meanings = Arc::default(),
                Frame::Definitions(bytes) => self.learn(&bytes),
                Frame::Item(item) => read.push(Read::Window(item, Arc::clone(&self.meanings))),
                Frame::Lost(lost) => read.push(Read::Lost(lost.to - lost.from + 1)),
                Frame::Newest(_) => {}
            }
        }
        Ok(Step { read, next: part.rest.map_or(to + 1, |(next, _)| next) })
    }

    fn learn(&mut self, bytes: &[u8]) {
        match decode_definitions(bytes) {
            Ok(definitions) => {
                let meanings = Arc::make_mut(&mut self.meanings);
                for definition in definitions {
                    if let Some(series) = self.choice.series(&definition) {
                        meanings.insert(definition.id, Arc::new(series));
                    }
                }
            }
            Err(error) => tracing::error!(%error, "series of the store cannot be read; they are not sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Family;

    use super::*;

    #[test]
    fn chosen_series_get_the_labels_that_they_lack() {
        let choice = Choice {
            selectors: vec![
                Selector::parse("node_load1").unwrap(),
                Selector::parse("{job=\"own\"}").unwrap(),
            ],
            labels: [("instance".to_owned(), "web1".to_owned()), ("job".to_owned(), "host".to_owned())]
                .into(),
        };
        let definition = |name: &str, labels: &[(&str, &str)]| Definition {
            id: 1,
            family: Family { name: name.into(), help: "H.".into(), kind: Kind::Gauge },
            suffix: String::new(),
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        assert_eq!(choice.series(&definition("node_load5", &[])), None);
        let labels = |definition| {
            let series = choice.series(&definition).unwrap();
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            labels(definition("node_load1", &[])),
            ["instance=web1", "job=host", "__name__=node_load1"]
        );
        assert_eq!(labels(definition("x", &[("job", "own")])), ["instance=web1", "job=own", "__name__=x"]);
    }
}
