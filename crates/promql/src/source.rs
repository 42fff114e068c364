//! Where series come from: whoever has some implements one trait.

use std::borrow::Cow;

use fieldpost_model::{Kind, Matcher, TimeMs};
use parking_lot::Mutex;

use crate::{Labels, QueryError};

/// Why a source could not answer.
pub type SourceError = QueryError;

/// A series with its samples.
#[derive(Debug, Clone)]
pub struct Stored<'s> {
    /// What it is.
    pub labels: Labels,
    /// Strictly rising instants and values; `ABSENT` (Prometheus' stale marker) where it ended. Lent by a
    /// source that keeps them.
    pub samples: Cow<'s, [(TimeMs, f64)]>,
}

impl Stored<'static> {
    /// Of samples that nobody else needs.
    pub fn of(labels: Labels, samples: Vec<(TimeMs, f64)>) -> Self {
        Self { labels, samples: Cow::Owned(samples) }
    }
}

impl Stored<'_> {
    /// The same, lent by nobody.
    pub fn into_owned(self) -> Stored<'static> {
        Stored::of(self.labels, self.samples.into_owned())
    }

    /// Puts samples that were gathered from several places into order; of those of one instant the
    /// first one gathered counts.
    pub fn put_in_order(&mut self) {
        if !self.samples.is_sorted_by(|a, b| a.0 < b.0) {
            let samples = self.samples.to_mut();
            samples.sort_by_key(|(time_ms, _)| *time_ms);
            samples.dedup_by_key(|(time_ms, _)| *time_ms);
        }
    }
}

/// What a query may still have. Several threads may ask it at once; an error ends the reading.
pub trait Allowance: Sync {
    /// So many series were found: said before any is read.
    fn series(&self, n: u64) -> Result<(), QueryError>;

    /// So many more samples are read.
    fn samples(&self, n: u64) -> Result<(), QueryError>;
}

/// Takes series one by one, from several threads at once; an error ends the reading.
pub type Take<'a> = &'a (dyn Fn(Stored<'_>) -> Result<(), QueryError> + Sync);

/// Whatever has series.
pub trait SeriesSource {
    /// Hands over every series that all matchers accept and that has samples in `[from_ms, to_ms]`, in
    /// any order, each once and whole. What is taken need not stay: so a query over much needs little memory.
    fn each(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        allowance: &dyn Allowance,
        take: Take<'_>,
    ) -> Result<(), SourceError>;

    /// The same series, all at once, by rising labels.
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        allowance: &dyn Allowance,
    ) -> Result<Vec<Stored<'static>>, SourceError> {
        let found = Mutex::new(Vec::new());
        self.each(matchers, from_ms, to_ms, allowance, &|stored| {
            found.lock().push(stored.into_owned());
            Ok(())
        })?;
        let mut found = found.into_inner();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// What there is to say about all that was read so far: such as how old it is. Becomes warnings
    /// of the answer.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A series as catalogues list it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// What it is.
    pub labels: Labels,
    /// Name of its family: without `_bucket`, `_sum` and `_count` of histograms.
    pub family: String,
    /// What its numbers mean.
    pub kind: Kind,
    /// One sentence for people.
    pub help: String,
}

/// Whatever can list its series.
pub trait Catalogue: SeriesSource {
    /// Hands over the series that all matchers accept and that have samples in `[from_ms, to_ms]`, or
    /// near it, in any order. Some may come more than once.
    fn series(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        each: &mut dyn FnMut(Described),
    ) -> Result<(), SourceError>;
}
