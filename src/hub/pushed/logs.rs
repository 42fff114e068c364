//! Log records that others push, as items of the stream of logs of their pseudo-agent: what happened
//! within one minute lies together, so that a span is found without reading all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use fieldpost_formats::otlp::{self, LogRecord, Rejections};
use fieldpost_model::{Frame, Item, LogEntry, Seq, Stream, TimeMs};
use fieldpost_store::codec::checksum;
use fieldpost_store::hub::{LogAsk, LogPlace};
use fieldpost_store::record::encode_logs;

use super::{PREFIX, PushFault, Pushed, Refused, Waiting, is_pseudo, reject, settled};
use crate::hub::Hub;

/// What lies together lies within a whole minute.
const SPAN_MS: i64 = 60_000;
/// The longest record, all texts together, bytes. What is longer is no line of a log.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// More than this of one request is not held in memory, bytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// An item is closed when its texts are longer than this, or when it has so many records.
const ITEM_BYTES: usize = 512 << 10;
const N_ITEM_RECORDS: usize = 2_000;

/// The records of a request.
pub(super) struct LogItems {
    /// From when on, and until when, records are taken.
    taken_ms: (TimeMs, TimeMs),
    minutes: BTreeMap<i64, Vec<LogEntry>>,
    n_bytes: usize,
    refused: Refused,
}

impl LogItems {
    /// For records of this span.
    pub(super) fn new(taken_ms: (TimeMs, TimeMs)) -> Self {
        Self { taken_ms, minutes: BTreeMap::new(), n_bytes: 0, refused: Refused::default() }
    }

    /// Takes a record, or says why not.
    pub(super) fn take(&mut self, record: &LogRecord<'_>) {
        let (from_ms, to_ms) = self.taken_ms;
        if !(from_ms..to_ms - 1).contains(&record.time_ms) {
            let text = format!("too old or too far ahead; {from_ms} to {to_ms} ms is taken now");
            self.refused.add(1, text);
            return;
        }
        let entry = LogEntry {
            time_ms: record.time_ms,
            severity: record.severity,
            severity_text: record.severity_text.to_owned(),
            body: record.body.to_owned(),
            attributes: record.attributes.to_vec(),
            resource: record.resource.to_vec(),
        };
        let n_bytes = entry.n_bytes();
        if n_bytes > RECORD_BYTES_MAX {
            self.refused.add(1, format!("records of more than {RECORD_BYTES_MAX} bytes are not taken"));
            return;
        }
        if self.n_bytes + n_bytes > REQUEST_BYTES_MAX {
            self.refused.add(1, "the request holds too much; send it in smaller parts".to_owned());
            return;
        }
        self.n_bytes += n_bytes;
        self.minutes.entry(record.time_ms.div_euclid(SPAN_MS)).or_default().push(entry);
    }

    /// Everything as sealed items, numbered from this one on, the oldest first.
    pub(super) fn seal(&mut self, first: Seq) -> Vec<Item> {
        let mut items = Vec::new();
        for (_, mut entries) in std::mem::take(&mut self.minutes) {
            entries.sort_by_key(|entry| entry.time_ms);
            let mut rest = &entries[..];
            while !rest.is_empty() {
                let (part, more) = rest.split_at(n_together(rest));
                items.push(sealed(first + items.len() as u64, part));
                rest = more;
            }
        }
        items
    }
}

impl Pushed {
    /// Hands the records of a request to the store.
    fn take_logs(&self, agent_id: &str, mut records: LogItems) -> Result<Taken, PushFault> {
        let lane = self.source(agent_id);
        lane.with(|source| {
            let items = records.seal(source.next_log);
            if items.is_empty() {
                return Ok((None, records.refused));
            }
            let counts: Vec<_> = items.iter().map(|item| (item.seq, item.n_samples)).collect();
            let frames = items.into_iter().map(Frame::Item).collect();
            let committed = self.append(&source.agent_id, Stream::Logs, frames)?;
            source.next_log += counts.len() as u64;
            let (source, scope) = (Arc::clone(&lane), source.dictionary.scope());
            Ok((Some(Waiting { source, scope, committed, items: counts }), records.refused))
        })
    }
}

/// What waits for the disk, and what was refused.
type Taken = (Option<Waiting>, Refused);

impl Hub {
    /// Takes in logs of OTLP, uncompressed. The answer says what was rejected, once the rest is on
    /// the disk.
    pub async fn push_otlp_logs(
        self: Arc<Self>,
        sender: String,
        message: bytes::Bytes,
    ) -> Result<Rejections, PushFault> {
        let _turn = self.pushed.turn().await?;
        let hub = Arc::clone(&self);
        let taking = tokio::task::spawn_blocking(move || {
            let mut records = LogItems::new(hub.pushed.store.span_taken());
            let (limits, now_ms) = (hub.pushed.limits(), hub.now_ms());
            let rejections = otlp::decode_logs(&message, &limits, now_ms, |record| records.take(&record))?;
            let (waiting, refused) = hub.pushed.take_logs(&format!("{PREFIX}{sender}"), records)?;
            Ok::<_, PushFault>((rejections, waiting, refused))
        });
        let (mut rejections, waiting, mut refused) = taking.await.context("taking in a push broke off")??;
        settled(waiting, &mut refused).await?;
        reject(&mut rejections, &refused);
        Ok(rejections)
    }

    /// Whose logs go by this name: an agent by its name or id, or what an API token pushes, `push-` and
    /// the id of the token. None if nobody is known by it.
    pub fn log_source(&self, name: &str) -> anyhow::Result<Option<String>> {
        if is_pseudo(name) {
            return Ok(Some(name.to_owned()));
        }
        Ok(self.state.agent(name)?.map(|agent| agent.id))
    }

    /// The first log records of those that are asked for, in the order that is asked for.
    pub fn logs(&self, ask: &LogAsk) -> anyhow::Result<Vec<(LogPlace, LogEntry)>> {
        self.reader.logs(ask).context("cannot read the logs")
    }

    /// Who has sent these records, by their ids: agents, and tokens of those who push.
    pub fn senders(&self, ids: &BTreeSet<&str>) -> anyhow::Result<BTreeMap<String, String>> {
        let tokens = match ids.iter().any(|id| id.starts_with(PREFIX)) {
            true => self.state.api_tokens()?,
            false => Vec::new(),
        };
        let name = |id: &str| -> anyhow::Result<String> {
            if let Some(token) = id.strip_prefix(PREFIX) {
                let known = tokens.iter().find(|known| known.id == token);
                return Ok(known.map_or_else(|| id.to_owned(), |known| known.name.clone()));
            }
            Ok(self.state.agent_name(id)?.unwrap_or_else(|| id.to_owned()))
        };
        ids.iter().map(|id| Ok(((*id).to_owned(), name(id)?))).collect()
    }
}

/// How many of these go into one item; one at least.
fn n_together(entries: &[LogEntry]) -> usize {
    let mut n_bytes = 0;
    let fits = |entry: &&LogEntry| {
        n_bytes += entry.n_bytes();
        n_bytes <= ITEM_BYTES
    };
    entries.iter().take(N_ITEM_RECORDS).take_while(fits).count().max(1)
}

fn sealed(seq: Seq, entries: &[LogEntry]) -> Item {
    let blob = encode_logs(entries);
    let from_ms = entries.first().map_or(0, |entry| entry.time_ms);
    let to_ms = entries.last().map_or(0, |entry| entry.time_ms) + 1;
    Item { seq, from_ms, to_ms, n_samples: entries.len() as u64, checksum: checksum(&blob), blob }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time_ms: TimeMs, body: &str) -> LogRecord<'_> {
        LogRecord { time_ms, severity: 9, severity_text: "", body, attributes: &[], resource: &[] }
    }

    #[test]
    fn records_lie_together_by_the_minute_and_in_bounds() {
        let mut items = LogItems::new((0, 1_000_000));
        for (time_ms, body) in [(61_000, "b"), (5_000, "a"), (4_000, "c"), (-1, "old"), (999_999, "ahead")] {
            items.take(&record(time_ms, body));
        }
        items.take(&record(1, &"x".repeat(RECORD_BYTES_MAX + 1)));
        assert_eq!((items.refused.n_samples, items.refused.reasons.len()), (3, 2));
        let sealed = items.seal(7);
        let spans: Vec<_> =
            sealed.iter().map(|item| (item.seq, item.from_ms, item.to_ms, item.n_samples)).collect();
        assert_eq!(spans, [(7, 4_000, 5_001, 2), (8, 61_000, 61_001, 1)]);
        let line = "x".repeat(RECORD_BYTES_MAX - 128);
        (0..20).for_each(|n| items.take(&record(n, &line)));
        let counts: Vec<u64> = items.seal(1).iter().map(|item| item.n_samples).collect();
        assert_eq!(counts, [8, 8, 4]);
    }
}
