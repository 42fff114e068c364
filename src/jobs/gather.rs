//! Values gathered into what they came to: the least, the greatest, the mean, how they are spread.
//! For what commands tell of themselves and for what is measured of them alike.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;
use fieldpost_model::job::{RunStat, StatKind};
use serde::{Deserialize, Serialize};

/// Members of a set that are told apart, at most.
const N_MEMBERS_MAX: usize = 10_000;
/// Characters of a member.
const MEMBER_MAX: usize = 100;
/// Values that are kept to tell how they are spread; later ones take the places of earlier ones.
const N_VALUES_KEPT: usize = 512;
/// A file of intervals is put aside beyond this size, in place of the one before it.
const FILE_BYTES_MAX: u64 = 512 << 10;
const FILE_MODE: u32 = 0o600;

/// What the values of one key came to.
#[derive(Debug, Default)]
pub struct Gathered {
    kind: StatKind,
    last: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
    members: BTreeSet<String>,
    values: Vec<f64>,
    is_spread: bool,
}

impl Gathered {
    /// Nothing yet. Of timings it is always told how they are spread, of others if wanted.
    pub fn new(kind: StatKind, is_spread: bool) -> Self {
        Self { kind, is_spread: is_spread || kind == StatKind::Timing, ..Self::default() }
    }

    /// What its values are.
    pub fn kind(&self) -> StatKind {
        self.kind
    }

    /// The newest value.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Takes a member of a set.
    pub fn member(&mut self, value: &str) {
        if self.members.len() < N_MEMBERS_MAX {
            self.members.insert(value.chars().take(MEMBER_MAX).collect());
        }
        self.number(self.members.len() as f64);
    }

    /// Takes a value.
    pub fn number(&mut self, number: f64) {
        let is_first = self.count == 0;
        self.last = number;
        self.min = if is_first { number } else { self.min.min(number) };
        self.max = if is_first { number } else { self.max.max(number) };
        self.sum += number;
        if self.is_spread {
            if self.values.len() < N_VALUES_KEPT {
                self.values.push(number);
            } else {
                self.values[(self.count % N_VALUES_KEPT as u64) as usize] = number;
            }
        }
        self.count += 1;
    }

    /// What they came to.
    pub fn told(&self) -> RunStat {
        let mut sorted = self.values.clone();
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

/// Everything over one span of the clock.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Where it begins: a multiple of its length since 1970.
    pub from_ms: TimeMs,
    /// Where it ends.
    pub to_ms: TimeMs,
    /// What each key came to.
    pub values: BTreeMap<String, RunStat>,
}

impl Interval {
    /// The span of this length that an instant lies in, without values.
    pub fn around(time_ms: TimeMs, length_ms: i64) -> Self {
        let from_ms = time_ms.div_euclid(length_ms.max(1)) * length_ms.max(1);
        Self { from_ms, to_ms: from_ms + length_ms.max(1), values: BTreeMap::new() }
    }
}

/// Adds an interval to a file, which stays bounded: the newest are kept.
pub fn append(path: &Path, interval: &Interval) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > FILE_BYTES_MAX) {
        fs::rename(path, before(path))?;
    }
    let mut line = serde_json::to_vec(interval)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?.write_all(&line)
}

/// Writes what all keys came to so far in place of what was written before; not for good, for it is
/// said again and at the end.
pub fn replace(path: &Path, totals: &BTreeMap<String, RunStat>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&beside)?;
    file.write_all(&serde_json::to_vec(totals)?)?;
    fs::rename(beside, path)
}

/// The file that was put aside.
fn before(path: &Path) -> PathBuf {
    path.with_extension("before")
}

/// The newest intervals of these files together, so many at most, the oldest first.
pub fn read(paths: &[PathBuf], n_max: usize) -> io::Result<Vec<Interval>> {
    let mut all: BTreeMap<TimeMs, Interval> = BTreeMap::new();
    for path in paths.iter().flat_map(|path| [before(path), path.clone()]) {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // A line that was cut off by an end is no interval.
        for interval in text.lines().filter_map(|line| serde_json::from_str::<Interval>(line).ok()) {
            match all.get_mut(&interval.from_ms) {
                Some(known) => known.values.extend(interval.values),
                None => drop(all.insert(interval.from_ms, interval)),
            }
        }
    }
    let newest: VecDeque<Interval> = all.into_values().rev().take(n_max).collect();
    Ok(newest.into_iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_lie_on_the_clock_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "b.jsonl"].map(|name| folder.path().join(name));
        assert_eq!(read(&paths, 9).unwrap(), []);
        let mut one = Interval::around(12_345, 10_000);
        assert_eq!((one.from_ms, one.to_ms), (10_000, 20_000));
        for (path, key) in paths.iter().zip(["x", "y"]) {
            let mut gathered = Gathered::new(StatKind::Gauge, true);
            [3.0, 1.0, 2.0].into_iter().for_each(|number| gathered.number(number));
            one.values = [(key.to_owned(), gathered.told())].into();
            append(path, &one).unwrap();
        }
        append(&paths[0], &Interval::around(25_000, 10_000)).unwrap();
        let back = read(&paths, 9).unwrap();
        assert_eq!(back.iter().map(|interval| interval.from_ms).collect::<Vec<_>>(), [10_000, 20_000]);
        let x = back[0].values["x"];
        assert_eq!((x.min, x.max, x.mean(), x.last, x.p50), (1.0, 3.0, 2.0, 2.0, Some(2.0)));
        assert!(back[0].values.contains_key("y"));
        assert_eq!(read(&paths, 1).unwrap()[0].from_ms, 20_000);
    }

    #[test]
    fn file_of_intervals_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut gathered = Gathered::new(StatKind::Gauge, true);
        gathered.number(1.0);
        let values: BTreeMap<String, RunStat> =
            (0..200).map(|n| (format!("k{n}"), gathered.told())).collect();
        for number in 0..200 {
            let interval = Interval { values: values.clone(), ..Interval::around(number * 1_000, 1_000) };
            append(&path, &interval).unwrap();
        }
        let on_disk: u64 =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk < 3 * FILE_BYTES_MAX, "{on_disk}");
        assert_eq!(read(&[path], 5).unwrap().last().unwrap().from_ms, 199_000);
    }
}
