//! The record: what an agent owes its hubs, as streams of numbered items, and the sets of numbers
//! by which both sides know what has arrived.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TimeMs;

/// Number of an item in its stream; the first is 1, and no number is given twice under one spool.
pub type Seq = u64;

/// The last number that there can be: what SQLite can count to.
pub const SEQ_MAX: Seq = i64::MAX as Seq;

/// A stream of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Sealed windows.
    Metrics,
    /// Tables of processes and units.
    Processes,
    /// Events of the agent, and gaps of its store.
    Events,
    /// Log records that others push to a hub; agents have none.
    Logs,
}

impl Stream {
    /// All that an agent has.
    pub const ALL: [Stream; 3] = [Stream::Metrics, Stream::Processes, Stream::Events];
    /// All that a hub keeps.
    pub const KEPT: [Stream; 4] = [Stream::Metrics, Stream::Processes, Stream::Events, Stream::Logs];

    /// The stream of this name, if a hub keeps one.
    pub fn kept(word: &str) -> Option<Self> {
        Self::KEPT.into_iter().find(|stream| stream.as_str() == word)
    }

    /// Its name in addresses and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Metrics => "metrics",
            Stream::Processes => "processes",
            Stream::Events => "events",
            Stream::Logs => "logs",
        }
    }
}

/// One of an agent.
impl FromStr for Stream {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|stream| stream.as_str() == word);
        found.ok_or_else(|| format!("no stream `{word}`: there are metrics, processes, events"))
    }
}

/// One item as it was sealed. Nobody between its maker and its reader looks into the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub seq: Seq,
    /// First instant in it.
    pub from_ms: TimeMs,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// How many samples, rows or events it holds.
    pub n_samples: u64,
    /// CRC-32 of the blob.
    pub checksum: u32,
    /// Its content, compressed.
    pub blob: Vec<u8>,
}

/// Numbers whose items exist nowhere any more, accounted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// First number.
    pub from: Seq,
    /// Last number.
    pub to: Seq,
    /// The span they may have covered; empty where nobody knows.
    pub from_ms: TimeMs,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// How many samples; 0 where nobody knows.
    pub n_samples: u64,
    /// Why, in one word: `quota`, `age`, `damage`, `overload`, `merged`, `unknown`.
    pub reason: String,
}

/// What an agent says when it is asked for a part of its record, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Numbers of series (or entities) in what follows are those of this scope. Numbers of one
    /// scope never change their meaning.
    Scope(String),
    /// Meanings of numbers of the present scope, in the store's own coding.
    Definitions(Vec<u8>),
    /// An item.
    Item(Item),
    /// Items that are no more.
    Lost(Lost),
    /// All up to this number has been said; sent now and then while nothing is new.
    Newest(Seq),
}

/// A set of numbers as closed ranges: in order, disjoint, never touching.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Seq, Seq)>", into = "Vec<(Seq, Seq)>")]
pub struct Intervals(Vec<(Seq, Seq)>);

impl Intervals {
    /// The numbers of `from..=to`; none if the ends are the wrong way round.
    pub fn of(from: Seq, to: Seq) -> Self {
        Self(if from <= to { vec![(from, to)] } else { Vec::new() })
    }

    /// Adds the numbers of `from..=to`.
    pub fn insert(&mut self, from: Seq, to: Seq) {
        if from > to {
            return;
        }
        let begin = self.0.partition_point(|(_, last)| last.saturating_add(1) < from);
        let end = self.0.partition_point(|(first, _)| *first <= to.saturating_add(1));
        let joined = match self.0.get(begin..end) {
            Some([first, ..]) => (from.min(first.0), to.max(self.0[end - 1].1)),
            _ => (from, to),
        };
        self.0.splice(begin..end, [joined]);
    }

    /// Adds all numbers of another set.
    pub fn union(&mut self, other: &Self) {
        other.0.iter().for_each(|(from, to)| self.insert(*from, *to));
    }

    /// Is the number in the set?
    pub fn contains(&self, seq: Seq) -> bool {
        let next = self.0.partition_point(|(_, last)| *last < seq);
        self.0.get(next).is_some_and(|(first, _)| *first <= seq)
    }

    /// The numbers of `from..=to` that are not in the set.
    pub fn missing(&self, from: Seq, to: Seq) -> Self {
        let mut missing = Vec::new();
        let mut next = from;
        for &(first, last) in self.0.iter().filter(|(first, last)| *last >= from && *first <= to) {
            if next < first {
                missing.push((next, first - 1));
            }
            if last >= to {
                return Self(missing);
            }
            next = last + 1;
        }
        if next <= to {
            missing.push((next, to));
        }
        Self(missing)
    }

    /// The last number before the first hole above `floor`: all of `floor..=answer` are in the
    /// set. `floor - 1` (or 0) if not even `floor` is.
    pub fn whole_up_to(&self, floor: Seq) -> Seq {
        let next = self.0.partition_point(|(_, last)| *last < floor);
        match self.0.get(next) {
            Some((first, last)) if *first <= floor => *last,
            _ => floor.saturating_sub(1),
        }
    }

    /// The largest number.
    pub fn last(&self) -> Option<Seq> {
        self.0.last().map(|(_, last)| *last)
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> &[(Seq, Seq)] {
        &self.0
    }

    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(first, last)| (last - first).saturating_add(1)).sum()
    }

    /// No number at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Seq> for Intervals {
    fn from_iter<I: IntoIterator<Item = Seq>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|seq| set.insert(seq, seq));
        set
    }
}

impl TryFrom<Vec<(Seq, Seq)>> for Intervals {
    type Error = String;

    fn try_from(ranges: Vec<(Seq, Seq)>) -> Result<Self, String> {
        let mut set = Self::default();
        for (from, to) in ranges {
            if from > to || from == 0 || to > SEQ_MAX {
                return Err(format!("{from} to {to} is no range of numbers"));
            }
            set.insert(from, to);
        }
        Ok(set)
    }
}

impl From<Intervals> for Vec<(Seq, Seq)> {
    fn from(set: Intervals) -> Self {
        set.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_are_a_set_of_numbers(ranges in proptest::collection::vec((1_u64..60, 0_u64..12), 0..20), from in 1_u64..70, span in 0_u64..40) {
            let mut intervals = Intervals::default();
            let mut numbers = BTreeSet::new();
            for (first, length) in ranges {
                intervals.insert(first, first + length);
                numbers.extend(first..=first + length);
            }
            prop_assert!(intervals.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            prop_assert_eq!(intervals.len(), numbers.len() as u64);
            prop_assert_eq!(intervals.last(), numbers.last().copied());
            prop_assert!((0..90).all(|seq| intervals.contains(seq) == numbers.contains(&seq)));
            let missing: Intervals = (from..=from + span).filter(|seq| !numbers.contains(seq)).collect();
            prop_assert_eq!(intervals.missing(from, from + span), missing);
            let whole = (from..).take_while(|seq| numbers.contains(seq)).last().unwrap_or(from - 1);
            prop_assert_eq!(intervals.whole_up_to(from), whole);
        }
    }

    #[test]
    fn ends_of_the_numbers_do_no_harm() {
        let mut set = Intervals::of(1, Seq::MAX);
        set.insert(Seq::MAX, Seq::MAX);
        assert_eq!(set.ranges(), [(1, Seq::MAX)]);
        assert!(set.missing(1, Seq::MAX).is_empty());
        assert!(Intervals::of(2, 1).is_empty());
        assert_eq!(Intervals::default().missing(1, Seq::MAX).ranges(), [(1, Seq::MAX)]);
    }

    #[test]
    fn hostile_ranges_are_refused() {
        assert!(serde_json::from_str::<Intervals>("[[5,4]]").is_err());
        assert!(serde_json::from_str::<Intervals>("[[0,4]]").is_err());
        assert!(serde_json::from_str::<Intervals>("[[1,18446744073709551615]]").is_err());
        assert_eq!(serde_json::from_str::<Intervals>("[[4,5],[1,3]]").unwrap(), Intervals::of(1, 5));
    }

    #[test]
    fn streams_are_named() {
        assert!(Stream::ALL.iter().all(|stream| stream.as_str().parse() == Ok(*stream)));
        assert!("x".parse::<Stream>().is_err());
    }
}
