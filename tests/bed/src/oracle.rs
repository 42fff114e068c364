//! The oracle: reads what an agent has sealed and what a hub has stored, and finds everything that
//! is missing, doubled, changed or made up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use fieldpost_model::{Frame, Item, SEQ_MAX, Selector, Seq, Stream, TimeMs};
use fieldpost_store::hub::HubReader;
use fieldpost_store::record::{Ask, Known, Order};
use fieldpost_store::{Config, Reader, Store, StoreOptions};

use crate::{Scratch, copy_folder};

/// The hub's record within its data folder.
const RECORD: &str = "record";
/// What is read of the agent's record at once.
const PART_BYTES: usize = 8 << 20;
/// Faults that are told one by one.
const N_TOLD: usize = 20;
/// The last instant that is looked for; far beyond any test.
const END_MS: TimeMs = 1 << 48;

/// Samples of every series, as bits: what is equal here is equal to the last bit.
type Samples = BTreeMap<String, BTreeMap<TimeMs, u64>>;

/// What an agent has.
#[derive(Debug, Default)]
pub struct Sealed {
    /// Its id.
    pub agent_id: String,
    /// The spool that it has now.
    pub spool_id: String,
    /// Items that it believes its hubs to lack.
    pub n_owed: u64,
    last: BTreeMap<Stream, Seq>,
    items: BTreeMap<(Stream, Seq), Item>,
    n_lost: u64,
    samples: Samples,
}

impl Sealed {
    /// Of the agent with this data folder, which must not run. The folder is not touched: a copy
    /// of it is opened.
    pub fn read(data: &Path) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let copy = scratch.path().join("copy");
        copy_folder(data, &copy)?;
        let config = Config { path: copy.clone(), ..Config::default() };
        let (store, _) = Store::open(StoreOptions::new(config)).context("the copy cannot be opened")?;
        let record = store.record();
        let mut sealed = Self { agent_id: record.agent_id, spool_id: record.spool_id, ..Self::default() };
        for (stream, span) in record.streams {
            sealed.last.insert(stream, span.last);
            sealed.read_stream(&store, stream, span.last)?;
        }
        let cursors = store.cursors();
        sealed.n_owed =
            cursors.iter().flat_map(|cursor| cursor.streams.values()).map(|stream| stream.lag_items).sum();
        store.close()?;
        Reader::open(&copy)?.scan(&Selector::default(), 0, END_MS, |series, samples| {
            let known = sealed.samples.entry(series.text.clone()).or_default();
            known.extend(samples.iter().map(|(time_ms, value)| (*time_ms, value.to_bits())));
        })?;
        Ok(sealed)
    }

    fn read_stream(&mut self, store: &Store, stream: Stream, last: Seq) -> anyhow::Result<()> {
        let mut known = Known::default();
        let mut rest = (last > 0).then_some((1, last));
        while let Some((from, to)) = rest {
            let ask =
                Ask { stream, from, to, order: Order::Oldest, max_bytes: PART_BYTES, max_items: usize::MAX };
            let part = store.read_record(&ask, &mut known)?;
            for frame in part.frames {
                match frame {
                    Frame::Item(item) => drop(self.items.insert((stream, item.seq), item)),
                    Frame::Lost(lost) => self.n_lost += lost.to - lost.from + 1,
                    Frame::Scope(_) | Frame::Definitions(_) | Frame::Newest(_) => {}
                }
            }
            rest = part.rest;
        }
        Ok(())
    }

    /// The highest number of a stream.
    pub fn last(&self, stream: Stream) -> Seq {
        self.last.get(&stream).copied().unwrap_or(0)
    }
}

/// What a hub has of an agent.
#[derive(Debug, Default)]
pub struct Stored {
    items: BTreeMap<(String, Stream, Seq), Vec<Item>>,
    samples: Samples,
}

impl Stored {
    /// Of the hub with this data folder, which may run.
    pub fn read(data: &Path, agent_id: &str) -> anyhow::Result<Self> {
        let mut stored = Self::default();
        let mut samples = Samples::new();
        // Without labels that say whose they are, series go by the names that the agent gave them.
        let reader = HubReader::open(&data.join(RECORD), Arc::new(|_| Vec::new()))?;
        for (series, of_series) in reader.samples(&Selector::default(), 0, END_MS)? {
            if series.agent_id == agent_id {
                let bits = of_series.iter().map(|(time_ms, value)| (*time_ms, value.to_bits()));
                samples.entry(series.series.text).or_default().extend(bits);
            }
        }
        stored.samples = samples;
        for stream in Stream::ALL {
            reader.items(agent_id, stream, 1..=SEQ_MAX, |of, item| {
                stored.items.entry((of.spool_id.to_owned(), stream, item.seq)).or_default().push(item);
            })?;
        }
        Ok(stored)
    }

    /// The numbers of a stream that are there under this spool.
    pub fn numbers(data: &Path, agent_id: &str, stream: Stream) -> anyhow::Result<BTreeSet<(String, Seq)>> {
        let mut numbers = BTreeSet::new();
        let reader = HubReader::open(&data.join(RECORD), Arc::new(|_| Vec::new()))?;
        reader.items(agent_id, stream, 1..=SEQ_MAX, |of, item| {
            numbers.insert((of.spool_id.to_owned(), item.seq));
        })?;
        Ok(numbers)
    }

    /// The spools under which there is something.
    pub fn spools(&self) -> BTreeSet<&str> {
        self.items.keys().map(|(spool_id, ..)| spool_id.as_str()).collect()
    }
}

/// What the oracle says.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Items that are at the agent and not, or not yet, at the hub.
    pub missing: Vec<(Stream, Seq)>,
    /// Everything else that is wrong.
    pub faults: Vec<String>,
    /// Items that were compared and found equal.
    pub n_items: usize,
    /// Samples that were compared and found equal.
    pub n_samples: usize,
    /// Numbers that the agent itself accounts for as lost.
    pub n_lost: u64,
}

impl Verdict {
    /// Compares. Items of other spools than the agent's present one are only allowed if they are
    /// among the former ones.
    pub fn of(sealed: &Sealed, stored: &Stored, former_spools: &[String]) -> Self {
        let mut verdict = Self { n_lost: sealed.n_lost, ..Self::default() };
        verdict.items(sealed, stored);
        for (spool_id, stream, seq) in stored.items.keys() {
            let is_present = *spool_id == sealed.spool_id;
            if is_present && *seq > sealed.last(*stream) {
                verdict.fault(format!("{stream:?} {seq} is at the hub and was never sealed"));
            } else if !is_present && !former_spools.contains(spool_id) {
                verdict.fault(format!("{stream:?} {seq} is at the hub under a foreign spool {spool_id}"));
            }
        }
        // What is missing as an item is missing as samples, too: said once.
        if verdict.missing.is_empty() {
            verdict.samples(&sealed.samples, &stored.samples, former_spools.is_empty());
        }
        verdict
    }

    fn items(&mut self, sealed: &Sealed, stored: &Stored) {
        for ((stream, seq), item) in &sealed.items {
            let key = (sealed.spool_id.clone(), *stream, *seq);
            match stored.items.get(&key).map(Vec::as_slice) {
                None => self.missing.push((*stream, *seq)),
                Some([one]) if one == item => self.n_items += 1,
                Some([_]) => self.fault(format!("{stream:?} {seq} is not what the agent sealed")),
                Some(all) => self.fault(format!("{stream:?} {seq} is there {} times", all.len())),
            }
        }
    }

    /// Every sample of the agent is at the hub; and nothing more, unless a rollback undid some.
    fn samples(&mut self, sealed: &Samples, stored: &Samples, nothing_more: bool) {
        for (series, samples) in sealed {
            let there = stored.get(series);
            for (time_ms, bits) in samples {
                match there.and_then(|there| there.get(time_ms)) {
                    Some(found) if found == bits => self.n_samples += 1,
                    Some(_) => self.fault(format!("{series} at {time_ms} has another value at the hub")),
                    None => self.fault(format!("{series} at {time_ms} is not at the hub")),
                }
            }
        }
        let nothing = BTreeMap::new();
        for (series, samples) in stored.iter().filter(|_| nothing_more) {
            let known = sealed.get(series).unwrap_or(&nothing);
            for time_ms in samples.keys().filter(|time_ms| !known.contains_key(time_ms)) {
                self.fault(format!("{series} at {time_ms} is at the hub and was never sampled"));
            }
        }
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    /// Fails unless everything is there once and equal.
    pub fn check(&self) -> anyhow::Result<()> {
        let told: Vec<&str> = self.faults.iter().take(N_TOLD).map(String::as_str).collect();
        let missing: Vec<_> = self.missing.iter().take(N_TOLD).collect();
        ensure!(
            self.faults.is_empty() && self.missing.is_empty(),
            "{} items are missing: {missing:?}; {} faults:\n{}",
            self.missing.len(),
            self.faults.len(),
            told.join("\n")
        );
        ensure!(self.n_items > 0 && self.n_samples > 0, "there was nothing to compare");
        Ok(())
    }
}

/// The oracle must find what it is for.
#[cfg(test)]
mod controls {
    use super::*;

    fn item(seq: Seq, blob: &[u8]) -> Item {
        Item { seq, from_ms: 0, to_ms: 1, n_samples: 1, checksum: 7, blob: blob.to_vec() }
    }

    fn sealed(seqs: &[Seq]) -> Sealed {
        let items = seqs.iter().map(|seq| ((Stream::Metrics, *seq), item(*seq, b"x"))).collect();
        let samples = Samples::from([("up".to_owned(), BTreeMap::from([(5, 1)]))]);
        let last = BTreeMap::from([(Stream::Metrics, seqs.last().copied().unwrap_or(0))]);
        Sealed { spool_id: "s".into(), last, items, samples, ..Sealed::default() }
    }

    fn stored(items: &[(&str, Seq, &[u8])], samples: &[(TimeMs, u64)]) -> Stored {
        let mut stored = Stored::default();
        for (spool_id, seq, blob) in items {
            let key = ((*spool_id).to_owned(), Stream::Metrics, *seq);
            stored.items.entry(key).or_default().push(item(*seq, blob));
        }
        stored.samples.insert("up".into(), samples.iter().copied().collect());
        stored
    }

    fn verdict(items: &[(&str, Seq, &[u8])], samples: &[(TimeMs, u64)]) -> anyhow::Result<()> {
        Verdict::of(&sealed(&[1, 2]), &stored(items, samples), &[]).check()
    }

    #[test]
    fn equal_stores_pass() {
        verdict(&[("s", 1, b"x"), ("s", 2, b"x")], &[(5, 1)]).unwrap();
    }

    #[test]
    fn every_kind_of_harm_is_found() {
        let said = |items: &[(&str, Seq, &[u8])], samples: &[(TimeMs, u64)]| {
            verdict(items, samples).unwrap_err().to_string()
        };
        let whole: [(&str, Seq, &[u8]); 2] = [("s", 1, b"x"), ("s", 2, b"x")];
        assert!(said(&whole[..1], &[(5, 1)]).contains("1 items are missing"));
        assert!(said(&[whole[0], whole[1], whole[1]], &[(5, 1)]).contains("is there 2 times"));
        assert!(said(&[whole[0], ("s", 2, b"y")], &[(5, 1)]).contains("not what the agent sealed"));
        assert!(said(&[whole[0], whole[1], ("s", 3, b"x")], &[(5, 1)]).contains("never sealed"));
        assert!(said(&[whole[0], whole[1], ("t", 1, b"x")], &[(5, 1)]).contains("foreign spool"));
        assert!(said(&whole, &[(5, 2)]).contains("another value"));
        assert!(said(&whole, &[]).contains("is not at the hub"));
        assert!(said(&whole, &[(5, 1), (6, 1)]).contains("never sampled"));
    }

    #[test]
    fn former_spools_are_allowed_by_name() {
        let stored = stored(&[("s", 1, b"x"), ("s", 2, b"x"), ("t", 9, b"z")], &[(5, 1), (6, 1)]);
        Verdict::of(&sealed(&[1, 2]), &stored, &["t".into()]).check().unwrap();
    }
}
