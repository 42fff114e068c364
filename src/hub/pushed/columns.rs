//! The samples of one request as windows: by series, then by common instants. Of several samples of a
//! series at one instant the last one stays.

use std::collections::HashMap;

use fieldpost_formats::Sample;
use fieldpost_model::{ENDED, Item, TimeMs, is_absent};
use fieldpost_store::codec::{checksum, encode_window};

/// Windows begin at whole minutes, so that none lies in two hours.
const WINDOW_MS: i64 = 60_000;
/// Samples of one window, about: larger ones are cut.
const N_WINDOW_SAMPLES: usize = 50_000;

/// What a request brings.
pub(super) struct Columns {
    from_ms: TimeMs,
    to_ms: TimeMs,
    points: Vec<Point>,
    /// Samples whose instants are not taken.
    pub(super) n_refused: u64,
    refused_ms: TimeMs,
}

/// A sample of a series.
#[derive(Clone, Copy)]
struct Point {
    id: u32,
    time_ms: TimeMs,
    value: f64,
}

impl Point {
    fn window(&self) -> i64 {
        self.time_ms.div_euclid(WINDOW_MS)
    }
}

/// Series of a window that share their instants.
struct Group {
    times_ms: Vec<TimeMs>,
    ids: Vec<u32>,
    values: Vec<f64>,
}

impl Columns {
    /// For samples of this span.
    pub(super) fn new((from_ms, to_ms): (TimeMs, TimeMs)) -> Self {
        Self { from_ms, to_ms, points: Vec::new(), n_refused: 0, refused_ms: 0 }
    }

    /// Takes samples of a series.
    pub(super) fn add(&mut self, id: u32, samples: &[Sample]) {
        for sample in samples {
            // The end of a window is one later than its last sample.
            if !(self.from_ms..self.to_ms - 1).contains(&sample.time_ms) {
                self.n_refused += 1;
                self.refused_ms = sample.time_ms;
                continue;
            }
            let value = if is_absent(sample.value) { ENDED } else { sample.value };
            self.points.push(Point { id, time_ms: sample.time_ms, value });
        }
    }

    /// Was nothing taken?
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Why samples were refused, if any were.
    pub(super) fn reason(&self) -> Option<String> {
        let (from_ms, to_ms, refused_ms) = (self.from_ms, self.to_ms, self.refused_ms);
        (self.n_refused > 0).then(|| {
            format!("{refused_ms} ms is too old or too far ahead; {from_ms} to {to_ms} ms is taken now")
        })
    }

    /// Everything as sealed items, the oldest first. They have no numbers yet.
    pub(super) fn seal(self) -> Vec<Item> {
        let mut points = self.points;
        // Stable, and quick where they come in this order already.
        points.sort_by_key(|point| (point.window(), point.id, point.time_ms));
        points.dedup_by(|later, kept| {
            let is_same = (later.id, later.time_ms) == (kept.id, kept.time_ms);
            if is_same {
                kept.value = later.value;
            }
            is_same
        });
        let windows = points.chunk_by(|a, b| a.window() == b.window());
        windows.flat_map(cut).map(sealed).collect()
    }
}

/// A window in parts of a bounded number of samples, cut between series.
fn cut(mut window: &[Point]) -> Vec<&[Point]> {
    let mut parts = Vec::new();
    while let Some(last) = window.get(N_WINDOW_SAMPLES.saturating_sub(1)) {
        let (part, rest) = window.split_at(window.partition_point(|point| point.id <= last.id));
        parts.push(part);
        window = rest;
    }
    if !window.is_empty() {
        parts.push(window);
    }
    parts
}

fn sealed(window: &[Point]) -> Item {
    let groups = grouped(window);
    let from_ms = groups.iter().filter_map(|group| group.times_ms.first()).min().copied().unwrap_or(0);
    let last_ms = groups.iter().filter_map(|group| group.times_ms.last()).max().copied().unwrap_or(0);
    let parts = groups.iter().map(|group| (&group.times_ms[..], &group.ids[..], &group.values[..]));
    let blob = encode_window(parts);
    let n_samples = window.len() as u64;
    Item { seq: 0, from_ms, to_ms: last_ms + 1, n_samples, checksum: checksum(&blob), blob }
}

/// The series of a window, those with the same instants together.
fn grouped(window: &[Point]) -> Vec<Group> {
    let (mut groups, mut places): (Vec<Group>, HashMap<Vec<TimeMs>, usize>) = (Vec::new(), HashMap::new());
    let mut times_ms = Vec::new();
    // Most have the instants of the one before.
    let mut place = 0;
    for series in window.chunk_by(|a, b| a.id == b.id) {
        times_ms.clear();
        times_ms.extend(series.iter().map(|point| point.time_ms));
        if groups.get(place).is_none_or(|group| group.times_ms != times_ms) {
            place = *places.entry(times_ms.clone()).or_insert(groups.len());
        }
        if place == groups.len() {
            groups.push(Group { times_ms: times_ms.clone(), ids: Vec::new(), values: Vec::new() });
        }
        groups[place].ids.push(series[0].id);
        groups[place].values.extend(series.iter().map(|point| point.value));
    }
    groups
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
        let items = columns.seal();
        let spans: Vec<_> = items.iter().map(|item| (item.from_ms, item.to_ms, item.n_samples)).collect();
        assert_eq!(spans, [(1_000, 2_001, 4), (61_000, 61_001, 1)]);
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
        let items = columns.seal();
        assert_eq!(items.iter().map(|item| item.n_samples).collect::<Vec<_>>(), [50_000; 3]);
    }
}
