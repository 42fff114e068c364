//! A window: all series of an agent over a fixed span, as columns. The unit that is sealed,
//! committed, sent and acknowledged, and the most that a crash can lose.

use std::sync::Arc;

use crate::{Series, TimeMs};

/// Stands in a column where a series has no sample at that tick. The same not-a-number as
/// Prometheus' staleness marker (`prometheus/model/value.StaleNaN`), which no measurement yields.
pub const ABSENT: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Is this the marker, and no ordinary not-a-number?
#[inline]
pub fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// A sample which says that its series has ended, as it is stored: where others push, Prometheus'
/// marker is a sample like any other, and in a column `ABSENT` is none. Whoever reads gets `ABSENT`.
pub const ENDED: f64 = f64::from_bits(0x7ff0_0000_0000_0003);

/// Is this the sample which says that its series has ended?
#[inline]
pub fn is_ended(value: f64) -> bool {
    value.to_bits() == ENDED.to_bits()
}

/// Series that were sampled at the very same instants.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The instants, strictly rising.
    pub times_ms: Vec<TimeMs>,
    /// The series, in the order of their columns.
    pub series: Vec<Arc<Series>>,
    /// `series.len() * times_ms.len()` numbers, a whole column after the other; `ABSENT` where
    /// there was no sample.
    pub values: Vec<f64>,
}

impl Group {
    /// The numbers of the series at this position.
    pub fn column(&self, position: usize) -> &[f64] {
        let n = self.times_ms.len();
        &self.values[position * n..(position + 1) * n]
    }
}

/// A sealed window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// First instant that belongs to it.
    pub from_ms: TimeMs,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// Its columns, by common instants.
    pub groups: Vec<Group>,
}

impl Window {
    /// How many samples it holds.
    pub fn n_samples(&self) -> u64 {
        let values = self.groups.iter().flat_map(|group| &group.values);
        values.filter(|value| !is_absent(**value)).count() as u64
    }
}
