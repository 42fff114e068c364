//! Hands the series of a request to whoever takes them, one by one and in parts of bounded length, and keeps
//! account of what was taken and what was refused. The readers of the formats fill it.

use crate::pushed::{
    Label, Limits, Metadata, Outcome, Pushed, PushedSeries, Sample, SeriesFault, check_labels, n_bytes,
    name_of,
};

/// Most samples handed on at once: a series that has more comes in parts.
pub(crate) const PART_SAMPLES_MAX: usize = 4_096;

/// One request on its way.
pub(crate) struct Delivery<'l, V> {
    visit: V,
    limits: &'l Limits,
    /// Series begun so far.
    n_series: usize,
    /// What the labels of all series may still take, bytes.
    label_bytes_left: usize,
    samples: Vec<Sample>,
    outcome: Outcome,
}

impl<'l, V: FnMut(Pushed<'_>)> Delivery<'l, V> {
    pub(crate) fn new(limits: &'l Limits, visit: V) -> Self {
        Self {
            visit,
            limits,
            n_series: 0,
            label_bytes_left: limits.message_bytes_max.saturating_mul(limits.expansion_max),
            samples: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// Takes a label to those of a series, unless there are too many.
    pub(crate) fn label<'a>(&self, labels: &mut Vec<Label<'a>>, label: Label<'a>) -> Result<(), SeriesFault> {
        if labels.len() >= self.limits.labels_max {
            return Err(SeriesFault::TooManyLabels { max: self.limits.labels_max });
        }
        labels.push(label);
        Ok(())
    }

    /// Hands on a series with its samples, or counts it as refused, for what was wrong before or is now.
    pub(crate) fn series(
        &mut self,
        labels: &mut Vec<Label<'_>>,
        before: Result<Option<Metadata<'_>>, SeriesFault>,
        samples: impl Iterator<Item = Sample>,
    ) {
        self.n_series += 1;
        match before.and_then(|metadata| self.check(labels).map(|()| metadata)) {
            Ok(metadata) => self.hand_on(labels, metadata, samples),
            Err(fault) => {
                self.outcome.refuse(self.n_series, name_of(labels), fault, samples.count() as u64);
            }
        }
    }

    /// Hands on what is known of a family.
    pub(crate) fn family(&mut self, name: &str, metadata: Metadata<'_>) {
        (self.visit)(Pushed::Family { name, metadata });
    }

    /// Counts what is read and not kept.
    pub(crate) fn unsupported(&mut self, n_histograms: u64, n_exemplars: u64) {
        self.outcome.n_histograms_unsupported += n_histograms;
        self.outcome.n_exemplars_unsupported += n_exemplars;
    }

    /// What one request may bring.
    pub(crate) fn limits(&self) -> &'l Limits {
        self.limits
    }

    /// Has a series been refused since the last call of `take_refusal`?
    pub(crate) fn has_refusal(&self) -> bool {
        !self.outcome.refusals.is_empty()
    }

    /// The first refusal since the last call, for formats that count something else than series.
    pub(crate) fn take_refusal(&mut self) -> Option<SeriesFault> {
        let refusals = std::mem::take(&mut self.outcome.refusals);
        refusals.into_iter().next().map(|refusal| refusal.fault)
    }

    pub(crate) fn finish(self) -> Outcome {
        self.outcome
    }

    fn check(&mut self, labels: &mut Vec<Label<'_>>) -> Result<(), SeriesFault> {
        check_labels(labels, self.limits)?;
        let max = self.limits.message_bytes_max.saturating_mul(self.limits.expansion_max);
        let left = self.label_bytes_left.checked_sub(n_bytes(labels));
        self.label_bytes_left = left.ok_or(SeriesFault::RequestTooLong { max })?;
        Ok(())
    }

    fn hand_on(
        &mut self,
        labels: &[Label<'_>],
        metadata: Option<Metadata<'_>>,
        samples: impl Iterator<Item = Sample>,
    ) {
        self.samples.clear();
        for sample in samples {
            self.samples.push(sample);
            if self.samples.len() == PART_SAMPLES_MAX {
                self.part(labels, metadata);
            }
        }
        if !self.samples.is_empty() {
            self.part(labels, metadata);
        }
    }

    fn part(&mut self, labels: &[Label<'_>], metadata: Option<Metadata<'_>>) {
        let series = PushedSeries { labels, metadata, samples: &self.samples };
        (self.visit)(Pushed::Series(series));
        self.outcome.n_samples += self.samples.len() as u64;
        self.samples.clear();
    }
}
