//! What a collector saw: devices, mounts, fields, each with what belongs to it (ids of series,
//! kept files). Found again without allocation; let go when it was not seen in a pass.

use std::collections::HashMap;

use fieldpost_model::{SeriesId, Tick};

/// Something that holds ids of series, which end with it.
pub trait HoldsSeries {
    /// Calls `f` with every id held.
    fn each(&self, f: &mut dyn FnMut(SeriesId));
}

impl HoldsSeries for SeriesId {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(*self);
    }
}

impl<const N: usize> HoldsSeries for [SeriesId; N] {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.iter().copied().for_each(f);
    }
}

impl HoldsSeries for Vec<SeriesId> {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.iter().copied().for_each(f);
    }
}

impl<T: HoldsSeries> HoldsSeries for Option<T> {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.iter().for_each(|held| held.each(f));
    }
}

struct Slot<T> {
    key: Box<[u8]>,
    value: T,
    seen: bool,
}

/// Keyed things of one kind. Between `begin` and `end`, `get` each one that is there; those
/// that were not got are let go and their series end. Things mostly come in the same order at
/// every pass, so the next one is guessed first and the map is asked only if the guess fails.
pub struct Seen<T> {
    slots: Vec<Slot<T>>,
    positions: HashMap<Box<[u8]>, usize>,
    next: usize,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), positions: HashMap::new(), next: 0 }
    }
}

impl<T: HoldsSeries> Seen<T> {
    /// Starts a pass.
    pub fn begin(&mut self) {
        self.next = 0;
        self.slots.iter_mut().for_each(|slot| slot.seen = false);
    }

    /// Finds the thing with this key, or makes it.
    pub fn get(&mut self, key: &[u8], make: impl FnOnce() -> T) -> &mut T {
        let position = match self.slots.get(self.next) {
            Some(slot) if *slot.key == *key => self.next,
            _ => match self.positions.get(key) {
                Some(position) => *position,
                None => self.insert(key, make()),
            },
        };
        self.next = position + 1;
        let slot = &mut self.slots[position];
        slot.seen = true;
        &mut slot.value
    }

    fn insert(&mut self, key: &[u8], value: T) -> usize {
        self.slots.push(Slot { key: key.into(), value, seen: true });
        self.positions.insert(key.into(), self.slots.len() - 1);
        self.slots.len() - 1
    }

    /// Ends a pass: what was not seen goes, and its series with it.
    pub fn end(&mut self, tick: &Tick) {
        if self.slots.iter().all(|slot| slot.seen) {
            return;
        }
        self.slots.retain(|slot| {
            if !slot.seen {
                slot.value.each(&mut |id| tick.retire(id));
            }
            slot.seen
        });
        self.positions = self.slots.iter().enumerate().map(|(i, slot)| (slot.key.clone(), i)).collect();
    }

    /// All things, in the order in which they were first seen.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&[u8], &mut T)> {
        self.slots.iter_mut().map(|slot| (&*slot.key, &mut slot.value))
    }

    /// All things, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &T)> {
        self.slots.iter().map(|slot| (&*slot.key, &slot.value))
    }

    /// Is there one with this key?
    pub fn contains(&self, key: &[u8]) -> bool {
        self.positions.contains_key(key)
    }

    /// How many things there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Series of a seldom run collector, found by their labels at each pass: less to write than a
/// struct of ids for each thing, and dearer by a look-up for each sample.
#[derive(Default)]
pub struct SeriesSet {
    ids: Seen<SeriesId>,
    key: Vec<u8>,
}

impl SeriesSet {
    /// Starts a pass.
    pub fn begin(&mut self) {
        self.ids.begin();
    }

    /// Ends a pass: series that were not set end.
    pub fn end(&mut self, tick: &Tick) {
        self.ids.end(tick);
    }

    /// Records a gauge.
    pub fn gauge(&mut self, tick: &mut Tick, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let id = self.find(name, labels, || tick.gauge(name, help, labels));
        tick.set(id, value);
    }

    /// Records a counter.
    pub fn counter(&mut self, tick: &mut Tick, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let id = self.find(name, labels, || tick.counter(name, help, labels));
        tick.set(id, value);
    }

    fn find(&mut self, name: &str, labels: &[(&str, &str)], make: impl FnOnce() -> SeriesId) -> SeriesId {
        self.key.clear();
        self.key.extend_from_slice(name.as_bytes());
        for (_, value) in labels {
            self.key.push(0);
            self.key.extend_from_slice(value.as_bytes());
        }
        *self.ids.get(&self.key, make)
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::{Catalog, Owner};

    use super::*;

    #[test]
    fn device_that_goes_ends_its_series() {
        let catalog = Catalog::new();
        let tick = Tick::new(catalog.clone(), Owner(0));
        let mut seen: Seen<SeriesId> = Seen::default();
        let pass = |seen: &mut Seen<SeriesId>, names: &[&str]| {
            seen.begin();
            for name in names {
                seen.get(name.as_bytes(), || tick.gauge("m", "Help.", &[("device", name)]));
            }
            seen.end(&tick);
        };
        pass(&mut seen, &["a", "b", "c"]);
        pass(&mut seen, &["c", "a"]);
        assert_eq!(seen.len(), 2);
        catalog.sweep();
        catalog.sweep();
        assert_eq!(catalog.read().iter().count(), 2);
        pass(&mut seen, &["b", "a", "c"]);
        assert_eq!(catalog.read().iter().count(), 3);
    }
}
