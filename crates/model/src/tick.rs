//! A tick: all samples of one collector at one instant, in a buffer that is used again and again.

use std::sync::Arc;

use crate::{Catalog, Family, Kind, Owner, SeriesId, TimeMs};

/// One number of one series; its time is the tick's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The series.
    pub id: SeriesId,
    /// The number.
    pub value: f64,
}

/// What a collector fills in one pass. Resolving a series allocates; setting a sample does not.
pub struct Tick {
    catalog: Arc<Catalog>,
    owner: Owner,
    time_ms: TimeMs,
    samples: Vec<Sample>,
}

impl Tick {
    /// An empty tick of this owner.
    pub fn new(catalog: Arc<Catalog>, owner: Owner) -> Self {
        Self { catalog, owner, time_ms: 0, samples: Vec::new() }
    }

    /// Resolves a series of a counter family.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> SeriesId {
        self.series(&Family { name: name.into(), help: help.into(), kind: Kind::Counter }, "", labels)
    }

    /// Resolves a series of a gauge family.
    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> SeriesId {
        self.series(&Family { name: name.into(), help: help.into(), kind: Kind::Gauge }, "", labels)
    }

    /// Resolves a series of an untyped family.
    pub fn untyped(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> SeriesId {
        self.series(&Family { name: name.into(), help: help.into(), kind: Kind::Untyped }, "", labels)
    }

    /// Resolves a series of any family; `suffix` is `_bucket` and the like.
    pub fn series(&self, family: &Family, suffix: &str, labels: &[(&str, &str)]) -> SeriesId {
        self.catalog.resolve(self.owner, family, suffix, labels)
    }

    /// Ends a series whose subject (device, mount, process group) is gone.
    pub fn retire(&self, id: SeriesId) {
        self.catalog.retire(id);
    }

    /// Records a sample. Samples of `SeriesId::NONE` are dropped.
    #[inline]
    pub fn set(&mut self, id: SeriesId, value: f64) {
        if id != SeriesId::NONE {
            self.samples.push(Sample { id, value });
        }
    }

    /// Begins a pass at this instant, with an empty buffer.
    pub fn begin(&mut self, time_ms: TimeMs) {
        self.time_ms = time_ms;
        self.samples.clear();
    }

    /// The instant of the pass.
    pub fn time_ms(&self) -> TimeMs {
        self.time_ms
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// Drops what was recorded after position `length`: a pass that fails half way leaves no half.
    pub fn truncate(&mut self, length: usize) {
        self.samples.truncate(length);
    }

    /// What was recorded so far.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Who fills it.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The catalog it resolves in.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}
