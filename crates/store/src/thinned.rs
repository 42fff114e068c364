//! What is answered in place of samples that are gone: which spans have rollups and no samples, and
//! samples made of rollups, near enough to each other for whoever looks back five minutes.

use std::collections::BTreeSet;

use fieldpost_model::{Kind, TimeMs};

use crate::Samples;
use crate::calendar::{DAY_MS, HOUR_MS, civil};
use crate::folder::{FileKind, StoreFile};
use crate::rollup::{MINUTE_MS, Rollup};
use crate::source::is_raw;

/// Between two samples that are made of one rollup.
const EVERY_MS: i64 = 4 * MINUTE_MS;

/// A span of time of which only rollups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinSpan {
    /// First instant.
    pub from_ms: TimeMs,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// Length of a rollup: a minute or an hour.
    pub rollup_ms: i64,
}

/// The spans within `[from_ms, to_ms)` of which there are rollups and no samples, by time.
pub(crate) fn thin_spans(files: &[StoreFile], from_ms: TimeMs, to_ms: TimeMs) -> Vec<ThinSpan> {
    let days = |wanted: fn(&StoreFile) -> bool| -> BTreeSet<i64> {
        files.iter().filter(|file| wanted(file)).map(StoreFile::day).collect()
    };
    let raw = days(|file| is_raw(file.kind));
    let minutes = days(|file| file.kind == FileKind::Minutes);
    let mut spans: Vec<ThinSpan> = Vec::new();
    let mut add = |day: i64, rollup_ms: i64| {
        let (begin_ms, end_ms) = ((day * DAY_MS).max(from_ms), ((day + 1) * DAY_MS).min(to_ms));
        if begin_ms >= end_ms || raw.contains(&day) {
            return;
        }
        match spans.last_mut().filter(|last| last.to_ms == begin_ms && last.rollup_ms == rollup_ms) {
            Some(last) => last.to_ms = end_ms,
            None => spans.push(ThinSpan { from_ms: begin_ms, to_ms: end_ms, rollup_ms }),
        }
    };
    for month in files.iter().filter(|file| file.kind == FileKind::Hours) {
        let days = month.begin_ms().div_euclid(DAY_MS)..month.end_ms().div_euclid(DAY_MS);
        days.filter(|day| !minutes.contains(day)).for_each(|day| add(day, HOUR_MS));
    }
    minutes.iter().for_each(|day| add(*day, MINUTE_MS));
    spans.sort_by_key(|span| span.from_ms);
    spans
}

/// Samples in place of those that are gone. Of minutes the last one of each; of hours one every four
/// minutes: a counter rises evenly from hour to hour, other numbers are the mean of their hour.
pub fn samples_of(kind: Kind, rollups: &[Rollup], rollup_ms: i64) -> Samples {
    if rollup_ms <= EVERY_MS {
        return rollups.iter().map(|rollup| (rollup.from_ms + rollup_ms - 1, rollup.last)).collect();
    }
    let mut samples = Vec::new();
    let mut before: Option<&Rollup> = None;
    for rollup in rollups {
        let n_parts = rollup_ms / EVERY_MS;
        let known = before.filter(|before| before.from_ms + rollup_ms == rollup.from_ms);
        let rises = known.filter(|before| kind == Kind::Counter && before.last <= rollup.last);
        for part in 1..=n_parts {
            let at_ms = rollup.from_ms + part * EVERY_MS - 1;
            let value = match (rises, kind) {
                (Some(before), _) => before.last + (rollup.last - before.last) * part as f64 / n_parts as f64,
                (None, Kind::Counter) => rollup.last,
                (None, _) => rollup.sum / rollup.count as f64,
            };
            samples.push((at_ms, value));
        }
        before = Some(rollup);
    }
    samples
}

/// What is said of an answer that rests on such spans: one sentence for each length of rollups.
pub fn thin_remarks(spans: &[ThinSpan]) -> Vec<String> {
    let mut said = Vec::new();
    for (rollup_ms, name) in [(HOUR_MS, "1h"), (MINUTE_MS, "1m")] {
        let of = || spans.iter().filter(|span| span.rollup_ms == rollup_ms);
        if let (Some(from_ms), Some(to_ms)) =
            (of().map(|span| span.from_ms).min(), of().map(|span| span.to_ms).max())
        {
            said.push(format!(
                "from {} to {} the answer rests on rollups to {name}: samples of that time are no longer kept",
                instant(from_ms),
                instant(to_ms)
            ));
        }
    }
    said
}

/// `2026-11-21 03:12 UTC`.
fn instant(time_ms: TimeMs) -> String {
    let (year, month, day) = civil(time_ms.div_euclid(DAY_MS));
    let minutes = time_ms.rem_euclid(DAY_MS) / MINUTE_MS;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rollup(hour: i64, last: f64) -> Rollup {
        Rollup { from_ms: hour * HOUR_MS, min: 0.0, max: last, sum: last * 10.0, count: 20, last }
    }

    #[test]
    fn spans_are_those_without_samples() {
        let names = ["hours-20261101.db", "minutes-20261120.db", "minutes-20261121.db", "day-20261121.db"];
        let mut files: Vec<StoreFile> =
            names.iter().map(|name| StoreFile::parse(Path::new("/"), name).unwrap()).collect();
        files.sort();
        let day_ms = |day: i64| (20_758 + day) * DAY_MS;
        let spans = thin_spans(&files, day_ms(-1), TimeMs::MAX);
        let of = |from, to, rollup_ms| ThinSpan { from_ms: day_ms(from), to_ms: day_ms(to), rollup_ms };
        // The 1st of November is day 20 758.
        assert_eq!(spans, [of(0, 19, HOUR_MS), of(19, 20, MINUTE_MS), of(21, 31, HOUR_MS)]);
        let told = thin_remarks(&spans[..2]);
        assert!(told[0].starts_with("from 2026-11-01 00:00 UTC to 2026-11-20 00:00 UTC"), "{told:?}");
        assert!(told[1].contains("rollups to 1m"), "{told:?}");
        assert_eq!(thin_spans(&files, day_ms(20), day_ms(21)), []);
    }

    #[test]
    fn hours_become_samples_that_reach_each_other() {
        let hours = [rollup(1, 100.0), rollup(2, 160.0)];
        let samples = samples_of(Kind::Counter, &hours, HOUR_MS);
        assert_eq!(samples.len(), 30);
        assert!(samples.windows(2).all(|pair| pair[1].0 - pair[0].0 == EVERY_MS));
        assert_eq!(
            (samples[15], samples[29]),
            ((2 * HOUR_MS + EVERY_MS - 1, 104.0), (3 * HOUR_MS - 1, 160.0))
        );
        assert!(samples_of(Kind::Gauge, &hours, HOUR_MS).iter().take(15).all(|(_, value)| *value == 50.0));
        let minutes = samples_of(Kind::Gauge, &hours[..1], MINUTE_MS);
        assert_eq!(minutes, [(HOUR_MS + MINUTE_MS - 1, 100.0)]);
    }
}
