//! Statistics that a command gives of itself: lines of level 10, `key:value|kind` as in statsd, gathered
//! while they come, so that none is lost with the middle of a long output.

use std::collections::BTreeMap;
use std::path::Path;

use fieldpost_model::TimeMs;
use fieldpost_model::job::{RunStat, StatKind};

use super::super::gather::{self, Gathered, Interval};
use super::super::protocol::{TOLD_FILE, TOTALS_FILE};

/// Keys of one run, at most; more are counted as refused.
const N_KEYS_MAX: usize = 200;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 100;

/// Everything that a run has told of itself: in all, and over the span of the clock that goes on.
#[derive(Debug)]
pub struct Statistics {
    keys: BTreeMap<String, Gathered>,
    n_refused: u64,
    interval_ms: i64,
    open: Option<(Interval, BTreeMap<String, Gathered>)>,
}

impl Statistics {
    /// Nothing yet; spans of the clock are so long.
    pub fn new(interval_ms: u64) -> Self {
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX).max(1);
        Self { keys: BTreeMap::new(), n_refused: 0, interval_ms, open: None }
    }

    /// Takes a message of level 10: one statistic a line.
    pub fn take(&mut self, bytes: &[u8], now_ms: TimeMs) {
        self.flush(now_ms);
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if self.line(line, now_ms).is_none() {
                self.n_refused += 1;
            }
        }
    }

    /// How long until the span that goes on is over, milliseconds; none if none does.
    pub fn left_ms(&self, now_ms: TimeMs) -> Option<u64> {
        let (interval, _) = self.open.as_ref()?;
        // A clock that was set back must not hold it open for ever.
        Some((interval.to_ms - now_ms).clamp(0, self.interval_ms) as u64)
    }

    /// Writes down a span that is over.
    pub fn flush(&mut self, now_ms: TimeMs) {
        if self
            .open
            .as_ref()
            .is_some_and(|(interval, _)| !(interval.from_ms..interval.to_ms).contains(&now_ms))
        {
            self.close();
        }
    }

    /// Writes down the span that goes on, if any.
    pub fn close(&mut self) {
        let Some((mut interval, gathered)) = self.open.take() else { return };
        interval.values = gathered.iter().map(|(key, gathered)| (key.clone(), gathered.told())).collect();
        let written = gather::append(Path::new(TOLD_FILE), &interval)
            .and_then(|()| gather::replace(Path::new(TOTALS_FILE), &self.all()));
        if let Err(error) = written {
            super::tell(&format!("statistics are not written: {error}"));
        }
    }

    fn line(&mut self, line: &str, now_ms: TimeMs) -> Option<()> {
        let (key, rest) = line.split_once(':')?;
        let (value, kind) = rest.split_once('|')?;
        let kind = match kind.split('|').next()? {
            "g" | "kv" => StatKind::Gauge,
            "c" => StatKind::Count,
            "ms" => StatKind::Timing,
            "s" => StatKind::Set,
            _ => return None,
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let is_key = !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.chars().all(fits);
        let is_known = self.keys.contains_key(key);
        if !is_key || (!is_known && self.keys.len() >= N_KEYS_MAX) {
            return None;
        }
        let value = value.trim();
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        if kind != StatKind::Set && number.is_none() {
            return None;
        }
        let gathered = self.keys.entry(key.to_owned()).or_insert_with(|| Gathered::new(kind, false));
        if gathered.kind() != kind {
            return None;
        }
        let is_change = kind == StatKind::Gauge && value.starts_with(['+', '-']);
        let number = number.map(|number| if is_change { gathered.last() + number } else { number });
        let (_, open) =
            self.open.get_or_insert_with(|| (Interval::around(now_ms, self.interval_ms), BTreeMap::new()));
        let of_interval = open.entry(key.to_owned()).or_insert_with(|| Gathered::new(kind, true));
        for gathered in [gathered, of_interval] {
            match number {
                _ if kind == StatKind::Set => gathered.member(value),
                Some(number) => gathered.number(number),
                None => {}
            }
        }
        Some(())
    }

    /// What all of it came to.
    pub fn all(&self) -> BTreeMap<String, RunStat> {
        self.keys.iter().map(|(key, gathered)| (key.clone(), gathered.told())).collect()
    }

    /// Lines that were no statistics, or of too many keys.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_by_their_kind() {
        let mut statistics = Statistics::new(10_000);
        statistics.take(b"rows:5|c\nrows:7|c\ntemp:20|g\ntemp:+2.5|g\nnonsense\nrows:1|g\nrows:x|c\n", 5);
        for ms in 1..=100 {
            statistics.take(format!("query:{ms}|ms").as_bytes(), 5);
        }
        statistics.take(b"users:ann|s\nusers:bob|s\nusers:ann|s\n", 5);
        let all = statistics.all();
        assert_eq!((all["rows"].sum, all["rows"].count), (12.0, 2));
        assert_eq!((all["temp"].last, all["temp"].min, all["temp"].max), (22.5, 20.0, 22.5));
        assert_eq!((all["query"].p50, all["query"].p95, all["query"].count), (Some(50.0), Some(95.0), 100));
        assert_eq!(all["users"].last, 2.0);
        assert_eq!(statistics.n_refused(), 3);
    }

    #[test]
    fn keys_are_bounded() {
        let mut statistics = Statistics::new(10_000);
        for number in 0..1_000 {
            statistics.take(format!("k{number}:1|c").as_bytes(), 5);
        }
        assert_eq!((statistics.all().len(), statistics.n_refused()), (N_KEYS_MAX, 800));
    }
}
