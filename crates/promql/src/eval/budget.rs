//! What one query may take, and has taken so far. Several threads may take from it at once.

use std::sync::atomic::{AtomicU64, Ordering};

use fieldpost_model::ABSENT;

use super::Grid;
use crate::{Allowance, QueryError};

/// How much one query may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples read and numbers kept at once, of 16 and 8 bytes.
    pub samples: u64,
    /// Series that one selector finds.
    pub series: u64,
    /// Instants of a range, subqueries included.
    pub steps: u64,
    /// Memory that samples and numbers take, bytes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: 50_000_000, series: 200_000, steps: 1_000_000, bytes: 1 << 30 }
    }
}

/// What a sample takes, and what a series takes beside its samples, bytes.
pub(super) const SAMPLE_BYTES: u64 = 16;
pub(super) const SERIES_BYTES: u64 = 400;
/// What a number of a column takes, bytes.
const NUMBER_BYTES: u64 = 8;
/// What to do where there is too much of anything.
const ADVICE: &str = "ask for fewer series, a shorter range or a longer step";

/// The budget of a query under way.
pub(crate) struct Budget<'a> {
    limits: Limits,
    is_over: &'a (dyn Fn() -> bool + Sync),
    n_samples: AtomicU64,
    n_looked_at: AtomicU64,
    /// Samples looked at by the place of the instant; empty unless somebody wants to know.
    by_step: Vec<AtomicU64>,
    /// Subqueries that are being evaluated, one in another.
    n_inner: AtomicU64,
    n_bytes: AtomicU64,
}

/// A subquery is being evaluated until this goes.
pub(crate) struct Inner<'b>(&'b AtomicU64);

impl Drop for Inner<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Budget<'a> {
    /// Of a query at so many instants; 0: nobody wants to know them one by one.
    pub(super) fn new(limits: Limits, n_steps: usize, is_over: &'a (dyn Fn() -> bool + Sync)) -> Self {
        let (n_samples, n_looked_at, n_inner, n_bytes) = Default::default();
        let by_step = (0..n_steps).map(|_| AtomicU64::new(0)).collect();
        Self { limits, is_over, n_samples, n_looked_at, by_step, n_inner, n_bytes }
    }

    /// Takes from the samples; an error where nothing is left, or the time is over.
    pub fn charge(&self, n: u64) -> Result<(), QueryError> {
        let found = self.n_samples.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        let most = self.limits.samples;
        if found > most {
            return Err(QueryError::Limit { what: "samples of a query", found, most, advice: ADVICE });
        }
        self.check_time()
    }

    /// Takes room for so many bytes; an error where there is none left.
    pub fn hold(&self, bytes: u64) -> Result<(), QueryError> {
        let found = self.n_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let most = self.limits.bytes;
        if found > most {
            let what = "bytes of memory of a query";
            return Err(QueryError::Limit { what, found, most, advice: ADVICE });
        }
        Ok(())
    }

    /// A column of nothing.
    pub fn blank(&self, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        self.charge(grid.n as u64)?;
        self.hold(grid.n as u64 * NUMBER_BYTES)?;
        Ok(vec![ABSENT; grid.n])
    }

    /// An error where a range has more instants than it may.
    pub fn check_steps(&self, found: u64) -> Result<(), QueryError> {
        let (most, advice) = (self.limits.steps, "ask for a shorter range or a longer step");
        if found > most {
            return Err(QueryError::Limit { what: "instants of a range", found, most, advice });
        }
        Ok(())
    }

    fn check_series(&self, found: u64) -> Result<(), QueryError> {
        let (most, advice) = (self.limits.series, "select fewer by more labels");
        if found > most {
            return Err(QueryError::Limit { what: "series of a selector", found, most, advice });
        }
        Ok(())
    }

    pub fn check_time(&self) -> Result<(), QueryError> {
        if (self.is_over)() { Err(QueryError::Timeout) } else { Ok(()) }
    }

    /// So many samples were looked at, each as often as it was.
    pub fn looked_at(&self, n: u64) {
        self.n_looked_at.fetch_add(n, Ordering::Relaxed);
    }

    /// The same, for the instant at this place. What a subquery looks at counts for the last one, as in
    /// Prometheus.
    pub fn looked_at_step(&self, step: usize, n: u64) {
        let Some(last) = self.by_step.len().checked_sub(1) else { return };
        let is_inner = self.n_inner.load(Ordering::Relaxed) > 0;
        self.by_step[if is_inner { last } else { step.min(last) }].fetch_add(n, Ordering::Relaxed);
    }

    /// A subquery begins.
    pub(super) fn inner(&self) -> Inner<'_> {
        self.n_inner.fetch_add(1, Ordering::Relaxed);
        Inner(&self.n_inner)
    }

    /// Samples that were read, that were looked at, and these by instant.
    pub(super) fn spent(&self) -> (u64, u64, Vec<u64>) {
        let by_step = self.by_step.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        (self.n_samples.load(Ordering::Relaxed), self.n_looked_at.load(Ordering::Relaxed), by_step)
    }
}

/// Room that one selector's samples take, until they are given back or this goes.
pub(crate) struct Held<'a> {
    budget: &'a Budget<'a>,
    bytes: AtomicU64,
}

impl<'a> Held<'a> {
    pub(super) fn new(budget: &'a Budget<'a>) -> Self {
        Self { budget, bytes: AtomicU64::new(0) }
    }

    pub(super) fn take(&self, bytes: u64) -> Result<(), QueryError> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.hold(bytes)
    }

    /// So many bytes are free again.
    pub(super) fn give_back(&self, bytes: u64) {
        let held = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
        let given = held.map_or(0, |held| held.min(bytes));
        self.budget.n_bytes.fetch_sub(given, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.n_bytes.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Allowance for Held<'_> {
    fn series(&self, n: u64) -> Result<(), QueryError> {
        self.budget.check_series(n)?;
        self.take(n * SERIES_BYTES)
    }

    fn samples(&self, n: u64) -> Result<(), QueryError> {
        self.budget.charge(n)?;
        self.take(n * SAMPLE_BYTES)
    }
}

/// The limits of a query for whoever reads series without one; nothing is given back.
pub struct Quota(Budget<'static>);

impl Quota {
    /// Of these limits.
    pub fn new(limits: Limits) -> Self {
        Self(Budget::new(limits, 0, &|| false))
    }
}

impl Allowance for Quota {
    fn series(&self, n: u64) -> Result<(), QueryError> {
        self.0.check_series(n)
    }

    fn samples(&self, n: u64) -> Result<(), QueryError> {
        self.0.charge(n)?;
        self.0.hold(n * SAMPLE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let limits = Limits { bytes: 1_000, ..Limits::default() };
        let budget = Budget::new(limits, 0, &|| false);
        let held = Held::new(&budget);
        held.samples(50).unwrap();
        held.give_back(400);
        held.samples(30).unwrap();
        assert!(matches!(held.samples(30), Err(QueryError::Limit { found: 1_360, most: 1_000, .. })));
        drop(held);
        assert_eq!(budget.n_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(budget.spent().0, 110);
    }

    #[test]
    fn too_many_series_are_refused_before_they_are_read() {
        let budget = Budget::new(Limits { series: 3, ..Limits::default() }, 0, &|| false);
        let held = Held::new(&budget);
        assert!(held.series(3).is_ok());
        assert!(matches!(held.series(5), Err(QueryError::Limit { found: 5, most: 3, .. })));
    }
}
