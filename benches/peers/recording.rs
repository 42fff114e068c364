//! An hour of samples as they were taken, to be replayed into stores of any kind.

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use fieldpost_model::{Catalog, Family, Group, Owner, Selector, Series, TimeMs, Window};
use fieldpost_store::{Reader, StoredSeries};

/// Milliseconds in an hour.
pub const HOUR_MS: TimeMs = 3_600_000;

/// What a store has recorded, at most its last hour.
pub struct Recording {
    series: Vec<(StoredSeries, Vec<(TimeMs, f64)>)>,
    from_ms: TimeMs,
    span_ms: i64,
}

impl Recording {
    /// Reads the last hour of a store.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let reader = Reader::open(folder)?;
        let (mut first_ms, mut last_ms) = (TimeMs::MAX, TimeMs::MIN);
        reader.scan(&Selector::default(), TimeMs::MIN, TimeMs::MAX, |series, _| {
            first_ms = first_ms.min(series.first_ms);
            last_ms = last_ms.max(series.last_ms);
        })?;
        ensure!(first_ms < last_ms, "{} holds no samples", folder.display());
        let to_ms = last_ms - last_ms.rem_euclid(1_000) + 1_000;
        let from_ms = (first_ms - first_ms.rem_euclid(1_000)).max(to_ms - HOUR_MS);
        let mut series: Vec<(StoredSeries, Vec<(TimeMs, f64)>)> = Vec::new();
        let mut known = std::collections::HashMap::new();
        reader.scan(&Selector::default(), from_ms, to_ms, |found, samples| {
            let at = *known.entry(found.text.clone()).or_insert(series.len());
            if at == series.len() {
                series.push((found.clone(), Vec::new()));
            }
            series[at].1.extend_from_slice(samples);
        })?;
        Ok(Self { series, from_ms, span_ms: to_ms - from_ms })
    }

    /// Samples a second over all series.
    pub fn samples_a_second(&self) -> f64 {
        let n: usize = self.series.iter().map(|(_, samples)| samples.len()).sum();
        n as f64 / (self.span_ms as f64 / 1e3)
    }

    /// What it is, for people.
    pub fn note(&self) -> String {
        let minutes = self.span_ms as f64 / 60_000.0;
        let repeated = if self.span_ms < HOUR_MS { ", repeated until it fills an hour" } else { "" };
        format!(
            "{minutes:.0} minutes recorded on this machine at 1 s, {} series, {:.0} samples/s{repeated}",
            self.series.len(),
            self.samples_a_second()
        )
    }

    /// A whole hour, counted from its beginning.
    pub fn hour(&self) -> Hour {
        let catalog = Catalog::new();
        let series = self.series.iter().map(|(stored, samples)| {
            let mut all = Vec::new();
            for begin_ms in (0..HOUR_MS).step_by(usize::try_from(self.span_ms).unwrap_or(1)) {
                let shifted = samples.iter().map(|(t, value)| (t - self.from_ms + begin_ms, *value));
                all.extend(shifted.filter(|(t, _)| *t < HOUR_MS));
            }
            (described(&catalog, stored), all)
        });
        let mut series: Vec<_> = series.collect();
        series.sort_by(|(a, _), (b, _)| a.text.cmp(&b.text));
        Hour { series }
    }
}

fn described(catalog: &Arc<Catalog>, stored: &StoredSeries) -> Arc<Series> {
    let family =
        Family { name: stored.family.as_str().into(), help: stored.help.as_str().into(), kind: stored.kind };
    let labels: Vec<(&str, &str)> = stored.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let suffix = stored.name.strip_prefix(&stored.family).unwrap_or_default();
    let id = catalog.resolve(Owner(1), &family, suffix, &labels);
    let view = catalog.read();
    Arc::clone(view.get(id).expect("it was resolved a moment ago"))
}

/// A series with its samples by rising time.
pub type Recorded = (Arc<Series>, Vec<(TimeMs, f64)>);

/// An hour of samples, their times counted from its beginning.
pub struct Hour {
    /// What was recorded of each series.
    pub series: Vec<Recorded>,
}

impl Hour {
    /// How many samples.
    pub fn n_samples(&self) -> u64 {
        self.series.iter().map(|(_, samples)| samples.len() as u64).sum()
    }

    /// The hour as windows of this length, as a sampler would seal them.
    pub fn windows(&self, length_ms: i64) -> Vec<Window> {
        let mut next = vec![0; self.series.len()];
        let starts = (0..HOUR_MS).step_by(usize::try_from(length_ms).unwrap_or(1));
        starts.map(|from_ms| self.window(from_ms, from_ms + length_ms, &mut next)).collect()
    }

    /// Series that were sampled at the very same instants stand in one group.
    fn window(&self, from_ms: TimeMs, to_ms: TimeMs, next: &mut [usize]) -> Window {
        let mut groups: Vec<Group> = Vec::new();
        for ((series, samples), next) in self.series.iter().zip(next) {
            let rest = &samples[*next..];
            let (inside, _) = rest.split_at(rest.partition_point(|(t, _)| *t < to_ms));
            *next += inside.len();
            if inside.is_empty() {
                continue;
            }
            let times = || inside.iter().map(|(t, _)| *t);
            let at = groups.iter().position(|group| group.times_ms.iter().copied().eq(times()));
            let at = at.unwrap_or_else(|| {
                groups.push(Group { times_ms: times().collect(), ..Group::default() });
                groups.len() - 1
            });
            groups[at].series.push(Arc::clone(series));
            groups[at].values.extend(inside.iter().map(|(_, value)| *value));
        }
        Window { from_ms, to_ms, groups }
    }
}

/// The window at another time.
pub fn shifted(window: &Window, by_ms: i64) -> Window {
    let mut moved = window.clone();
    moved.from_ms += by_ms;
    moved.to_ms += by_ms;
    moved.groups.iter_mut().flat_map(|group| &mut group.times_ms).for_each(|t| *t += by_ms);
    moved
}
