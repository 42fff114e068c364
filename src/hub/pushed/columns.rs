//! The samples of one request as windows: by series, then by common instants. Of several samples of a
//! series at one instant the last one stays.

use std::collections::{BTreeMap, HashMap};

use fieldpost_formats::Sample;
use fieldpost_model::{ENDED, Item, Seq, TimeMs, is_absent};
use fieldpost_store::codec::{checksum, encode_window};

/// Windows begin at whole minutes, so that none lies in two hours.
const WINDOW_MS: i64 = 60_000;
/// Samples of one window, about: larger ones are cut.
const N_WINDOW_SAMPLES: usize = 50_000;

/// What a request brings.
pub(super) struct Columns {
    from_ms: TimeMs,
    to_ms: TimeMs,
    series: BTreeMap<u32, Vec<(TimeMs, f64)>>,
    /// Samples whose instants are not taken.
    pub(super) n_refused: u64,
    refused_ms: TimeMs,
}

/// Series of a window that share their instants.
#[derive(Default)]
struct Group {
    ids: Vec<u32>,
    values: Vec<f64>,
}

impl Columns {
    /// For samples of this span.
    pub(super) fn new((from_ms, to_ms): (TimeMs, TimeMs)) -> Self {
        Self { from_ms, to_ms, series: BTreeMap::new(), n_refused: 0, refused_ms: 0 }
    }

    /// Takes samples of a series.
    pub(super) fn add(&mut self, id: u32, samples: &[Sample]) {
        let known = self.series.entry(id).or_default();
        for sample in samples {
            // The end of a window is one later than its last sample.
            if !(self.from_ms..self.to_ms - 1).contains(&sample.time_ms) {
                self.n_refused += 1;
                self.refused_ms = sample.time_ms;
                continue;
            }
            known.push((sample.time_ms, if is_absent(sample.value) { ENDED } else { sample.value }));
        }
    }

    /// Why samples were refused, if any were.
    pub(super) fn reason(&self) -> Option<String> {
        let (from_ms, to_ms, refused_ms) = (self.from_ms, self.to_ms, self.refused_ms);
        (self.n_refused > 0).then(|| {
            format!("{refused_ms} ms is too old or too far ahead; {from_ms} to {to_ms} ms is taken now")
        })
    }

    /// Everything as sealed items, numbered from this one on, the oldest first.
    pub(super) fn seal(self, first: Seq) -> Vec<Item> {
        let mut windows: BTreeMap<i64, BTreeMap<u32, Vec<(TimeMs, f64)>>> = BTreeMap::new();
        for (id, mut samples) in self.series {
            samples.reverse();
            samples.sort_by_key(|(time_ms, _)| *time_ms);
            samples.dedup_by_key(|(time_ms, _)| *time_ms);
            for part in samples.chunk_by(|a, b| a.0.div_euclid(WINDOW_MS) == b.0.div_euclid(WINDOW_MS)) {
                windows.entry(part[0].0.div_euclid(WINDOW_MS)).or_default().insert(id, part.to_vec());
            }
        }
        let mut items = Vec::new();
        for window in windows.into_values() {
            for part in cut(window) {
                items.push(sealed(first + items.len() as u64, &part));
            }
        }
        items
    }
}

/// A window in parts of a bounded number of samples.
fn cut(window: BTreeMap<u32, Vec<(TimeMs, f64)>>) -> Vec<BTreeMap<u32, Vec<(TimeMs, f64)>>> {
    let (mut parts, mut part, mut n_samples) = (Vec::new(), BTreeMap::new(), 0);
    for (id, samples) in window {
        n_samples += samples.len();
        part.insert(id, samples);
        if n_samples >= N_WINDOW_SAMPLES {
            parts.push(std::mem::take(&mut part));
            n_samples = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn sealed(seq: Seq, window: &BTreeMap<u32, Vec<(TimeMs, f64)>>) -> Item {
    let mut groups: HashMap<Vec<TimeMs>, Group> = HashMap::new();
    let (mut from_ms, mut last_ms, mut n_samples) = (TimeMs::MAX, TimeMs::MIN, 0);
    for (id, samples) in window {
        let times_ms: Vec<TimeMs> = samples.iter().map(|(time_ms, _)| *time_ms).collect();
        from_ms = from_ms.min(times_ms[0]);
        last_ms = last_ms.max(times_ms[times_ms.len() - 1]);
        n_samples += times_ms.len() as u64;
        let group = groups.entry(times_ms).or_default();
        group.ids.push(*id);
        group.values.extend(samples.iter().map(|(_, value)| *value));
    }
    let mut groups: Vec<(Vec<TimeMs>, Group)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| group.ids[0]);
    let parts = groups.iter().map(|(times_ms, group)| (&times_ms[..], &group.ids[..], &group.values[..]));
    let blob = encode_window(parts);
    Item { seq, from_ms, to_ms: last_ms + 1, n_samples, checksum: checksum(&blob), blob }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::ABSENT;
    use fieldpost_store::codec::decode_window;

    use super::*;

    fn sample(time_ms: TimeMs, value: f64) -> Sample {
        Sample { time_ms, value, start_ms: None }
    }

    #[test]
    fn samples_are_put_in_order_and_into_windows_of_a_minute() {
        let mut columns = Columns::new((0, 1_000_000));
        columns.add(3, &[sample(61_000, 5.0), sample(2_000, 1.0), sample(1_000, 2.0)]);
        columns.add(3, &[sample(2_000, 4.0)]);
        columns.add(1, &[sample(1_000, 7.0), sample(2_000, ABSENT)]);
        columns.add(1, &[sample(-1, 0.0), sample(999_999, 0.0)]);
        assert_eq!(columns.n_refused, 2);
        assert!(columns.reason().is_some_and(|reason| reason.starts_with("999999 ms is too old or too far")));
        let items = columns.seal(8);
        let spans: Vec<_> =
            items.iter().map(|item| (item.seq, item.from_ms, item.to_ms, item.n_samples)).collect();
        assert_eq!(spans, [(8, 1_000, 2_001, 4), (9, 61_000, 61_001, 1)]);
        let groups = decode_window(&items[0].blob).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!((&groups[0].times_ms, &groups[0].ids), (&vec![1_000, 2_000], &vec![1, 3]));
        assert_eq!(groups[0].column(1), [2.0, 4.0]);
        assert!(fieldpost_model::is_ended(groups[0].column(0)[1]));
    }

    #[test]
    fn large_windows_are_cut_between_series() {
        let mut columns = Columns::new((0, 1_000_000));
        let samples: Vec<Sample> = (0..50_000).map(|n| sample(n, 0.5)).collect();
        (0..3).for_each(|id| columns.add(id, &samples));
        let items = columns.seal(1);
        assert_eq!(items.iter().map(|item| item.n_samples).collect::<Vec<_>>(), [50_000; 3]);
    }
}
