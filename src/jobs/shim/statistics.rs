//! Statistics that a command gives of itself: lines of level 10, `key:value|kind` as in statsd, gathered
//! while they come, so that none is lost with the middle of a long output.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_model::job::{RunStat, StatKind};

/// Keys of one run, at most; more are counted as refused.
const N_KEYS_MAX: usize = 200;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 100;
/// Members of a set that are told apart, at most.
const N_MEMBERS_MAX: usize = 10_000;
/// Timings that are kept to tell how they are spread; later ones take the places of earlier ones.
const N_TIMINGS_KEPT: usize = 512;

/// What one key came to.
#[derive(Debug, Default)]
struct Gathered {
    kind: StatKind,
    last: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
    members: BTreeSet<String>,
    timings: Vec<f64>,
}

/// Everything that a run has told of itself.
#[derive(Debug, Default)]
pub struct Statistics {
    keys: BTreeMap<String, Gathered>,
    n_refused: u64,
}

impl Statistics {
    /// Takes a message of level 10: one statistic a line.
    pub fn take(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if self.line(line).is_none() {
                self.n_refused += 1;
            }
        }
    }

    fn line(&mut self, line: &str) -> Option<()> {
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
        let gathered =
            self.keys.entry(key.to_owned()).or_insert_with(|| Gathered { kind, ..Gathered::default() });
        if gathered.kind != kind {
            return None;
        }
        match number {
            _ if kind == StatKind::Set => gathered.member(value),
            Some(number) => {
                let is_change = kind == StatKind::Gauge && value.starts_with(['+', '-']);
                gathered.number(if is_change { gathered.last + number } else { number });
            }
            None => {}
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

impl Gathered {
    fn member(&mut self, value: &str) {
        if self.members.len() < N_MEMBERS_MAX {
            self.members.insert(value.chars().take(KEY_BYTES_MAX).collect());
        }
        self.number(self.members.len() as f64);
    }

    fn number(&mut self, number: f64) {
        let is_first = self.count == 0;
        self.last = number;
        self.min = if is_first { number } else { self.min.min(number) };
        self.max = if is_first { number } else { self.max.max(number) };
        self.sum += number;
        if self.kind == StatKind::Timing {
            if self.timings.len() < N_TIMINGS_KEPT {
                self.timings.push(number);
            } else {
                self.timings[(self.count % N_TIMINGS_KEPT as u64) as usize] = number;
            }
        }
        self.count += 1;
    }

    fn told(&self) -> RunStat {
        let mut sorted = self.timings.clone();
        sorted.sort_by(f64::total_cmp);
        let part = |percent: usize| sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied();
        RunStat {
            kind: self.kind,
            last: self.last,
            min: self.min,
            max: self.max,
            sum: self.sum,
            count: self.count,
            p50: part(50),
            p95: part(95),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_by_their_kind() {
        let mut statistics = Statistics::default();
        statistics.take(b"rows:5|c\nrows:7|c\ntemp:20|g\ntemp:+2.5|g\nnonsense\nrows:1|g\nrows:x|c\n");
        for ms in 1..=100 {
            statistics.take(format!("query:{ms}|ms").as_bytes());
        }
        statistics.take(b"users:ann|s\nusers:bob|s\nusers:ann|s\n");
        let all = statistics.all();
        assert_eq!((all["rows"].sum, all["rows"].count), (12.0, 2));
        assert_eq!((all["temp"].last, all["temp"].min, all["temp"].max), (22.5, 20.0, 22.5));
        assert_eq!((all["query"].p50, all["query"].p95, all["query"].count), (Some(50.0), Some(95.0), 100));
        assert_eq!(all["users"].last, 2.0);
        assert_eq!(statistics.n_refused(), 3);
    }

    #[test]
    fn keys_are_bounded() {
        let mut statistics = Statistics::default();
        for number in 0..1_000 {
            statistics.take(format!("k{number}:1|c").as_bytes());
        }
        assert_eq!((statistics.all().len(), statistics.n_refused()), (N_KEYS_MAX, 800));
    }
}
