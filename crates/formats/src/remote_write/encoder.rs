//! Writes requests: series after series into one message, then the snappy block around it.

use std::mem::take;

use super::v2::Interner;
use super::{RequestError, Version, v1, v2};
use crate::pushed::{Label, Limits, Metadata, PushedSeries, SeriesFault, check_labels};

/// A request that is being written; after `finish` the next one begins.
pub struct Encoder {
    version: Version,
    limits: Limits,
    /// Series, and for 1.0 families, as they will stand in the request.
    series: Vec<u8>,
    symbols: Interner,
    n_samples: u64,
}

impl Encoder {
    /// For requests of one version. Of the limits, those of labels are kept.
    pub fn new(version: Version, limits: Limits) -> Self {
        Self { version, limits, series: Vec::new(), symbols: Interner::default(), n_samples: 0 }
    }

    /// Adds a series, its labels in any order and perhaps with empty values: they are sorted and cleaned here. One
    /// that no receiver would take is left out, and the error says why.
    pub fn push(&mut self, series: PushedSeries<'_>) -> Result<(), SeriesFault> {
        let mut labels: Vec<Label<'_>> = series.labels.to_vec();
        labels.sort_unstable();
        check_labels(&mut labels, &self.limits)?;
        let series = PushedSeries { labels: &labels, ..series };
        match self.version {
            Version::V1 => v1::append_series(&mut self.series, series),
            Version::V2 => v2::append_series(&mut self.series, &mut self.symbols, series),
        }
        self.n_samples += series.samples.len() as u64;
        Ok(())
    }

    /// Adds what is known of a family. 2.0 has it with each series, so that nothing is added there.
    pub fn family(&mut self, name: &str, metadata: Metadata<'_>) {
        if self.version == Version::V1 {
            v1::append_family(&mut self.series, name, metadata);
        }
    }

    /// Samples of the request so far.
    pub fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// Length of the request so far, bytes, before compression.
    pub fn n_bytes(&self) -> usize {
        self.symbols.written.len() + self.series.len()
    }

    /// The body of the request, compressed. The next one begins.
    pub fn finish(&mut self) -> Result<Vec<u8>, RequestError> {
        let mut message = take(&mut self.symbols).written;
        message.append(&mut self.series);
        self.n_samples = 0;
        let too_long = |_| RequestError::TooLong { n_bytes: message.len(), max: u32::MAX as usize };
        snap::raw::Encoder::new().compress_vec(&message).map_err(too_long)
    }
}
