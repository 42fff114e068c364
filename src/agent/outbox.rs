//! The agent's record as a hub reads it over the link: what there is, parts of it, the tail as it
//! is sealed, and what the hub has acknowledged. Nothing is kept here: the store is the queue.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fieldpost_link::{Acknowledgement, ItemMark, RecordHead, SeqSpan};
use fieldpost_model::{Frame, Item, SEQ_MAX, Seq, Stream};
use fieldpost_store::Store;
use fieldpost_store::record::{Ask, CursorStatus, Known, Part, Subscription};
use futures_util::stream::{self, Stream as Flow};
use serde::Deserialize;
use tokio::sync::watch;

use super::pace::Pace;

/// Frames of one step, bytes: a few windows, so that a slow link holds little of it in memory.
const STEP_BYTES: usize = 128 << 10;
/// Items of one step.
const STEP_ITEMS: usize = 64;
/// A tail on which nothing is new says so this often: the hub learns that nothing is missing.
const NEWS_EVERY: Duration = Duration::from_secs(5);
/// The same where items go in turns, as seldom as hubs put up with.
const NEWS_EVERY_IN_TURNS: Duration = Duration::from_secs(20);

/// Which end of the asked numbers comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The smallest number.
    Oldest,
    /// The largest number.
    Newest,
}

/// A part of the record, as bytes of frames.
pub type Bytesflow = std::pin::Pin<Box<dyn Flow<Item = anyhow::Result<Bytes>> + Send>>;

/// The record of this agent.
pub struct Outbox {
    store: Arc<Store>,
    newest: watch::Receiver<[Seq; Stream::ALL.len()]>,
    pace: Pace,
    _told: Subscription,
}

impl Outbox {
    /// The record in this store, of which new items go to hubs no more often than `push_interval`;
    /// zero: as they are sealed.
    pub fn new(store: Arc<Store>, push_interval: Duration) -> Arc<Self> {
        let (tell, newest) = watch::channel([0; Stream::ALL.len()]);
        let told = store.on_stored(Arc::new(move |stream, seq| {
            tell.send_modify(|newest| newest[place(stream)] = seq);
        }));
        Arc::new(Self { store, newest, pace: Pace::new(push_interval), _told: told })
    }

    /// Who this is, and which numbers there are.
    pub fn head(&self) -> RecordHead {
        let record = self.store.record();
        let span = |(stream, span): (Stream, fieldpost_store::record::SeqSpan)| {
            (stream, SeqSpan { first: span.first, last: span.last })
        };
        let streams = record.streams.into_iter().map(span).collect();
        RecordHead { agent_id: record.agent_id, spool_id: record.spool_id, streams }
    }

    /// By what an item is told from others; none where it is no item (any more).
    pub async fn mark(self: &Arc<Self>, stream: Stream, seq: Seq) -> anyhow::Result<Option<ItemMark>> {
        let outbox = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || outbox.store.item(stream, seq));
        let item = read.await.context("reading the record broke off")??;
        Ok(item.map(|Item { seq, to_ms, checksum, .. }| ItemMark { seq, to_ms, checksum }))
    }

    /// Every asked number as an item or as lost, and then the end.
    pub fn part(self: &Arc<Self>, stream: Stream, from: Seq, to: Seq, order: Order) -> Bytesflow {
        let start =
            Step { outbox: Arc::clone(self), stream, order, known: Known::default(), rest: Some((from, to)) };
        Box::pin(stream::try_unfold(start, |mut step| async move {
            let Some((from, to)) = step.rest.take() else { return Ok(None) };
            let frames = step.read(from, to).await?;
            Ok(Some((frames, step)))
        }))
    }

    /// Every item after this number as soon as it is stored, without an end.
    pub fn tail(self: &Arc<Self>, stream: Stream, after: Seq) -> Bytesflow {
        let first = after.saturating_add(1);
        let start = Step {
            outbox: Arc::clone(self),
            stream,
            order: Order::Oldest,
            known: Known::default(),
            rest: None,
        };
        Box::pin(stream::try_unfold((start, first, None), |(mut step, next, mut sent)| async move {
            if let Some((from, to)) = step.rest.take() {
                return Ok(Some((step.read(from, to).await?, (step, next, sent))));
            }
            let last = step.outbox.wait_for_turn(step.stream, next, &mut sent).await;
            if last < next {
                let news = encoded(&[Frame::Newest(last)])?;
                return Ok(Some((news, (step, next, sent))));
            }
            let frames = step.read(next, last).await?;
            Ok(Some((frames, (step, last + 1, sent))))
        }))
    }

    /// Notes what a hub has committed. Refused if it speaks of another spool.
    pub fn acknowledge(&self, hub_id: &str, acknowledgement: &Acknowledgement) -> anyhow::Result<()> {
        for (stream, numbers) in &acknowledgement.streams {
            let noted = self.store.acknowledge(hub_id, &acknowledgement.spool_id, *stream, numbers);
            noted.with_context(|| format!("cannot note what hub {hub_id} has of {}", stream.as_str()))?;
        }
        for refused in &acknowledgement.refused {
            let (stream, seq, reason) = (refused.stream.as_str(), refused.seq, &refused.reason);
            tracing::warn!(hub_id, stream, seq, reason, "the hub refuses an item");
        }
        Ok(())
    }

    /// From now on these hubs, and no others, are owed the record: it is kept as it was sealed
    /// until they have it.
    pub fn owe_only(&self, hub_ids: &[String]) -> anyhow::Result<()> {
        let known: Vec<String> = self.store.cursors().into_iter().map(|cursor| cursor.hub).collect();
        for hub_id in hub_ids.iter().filter(|hub_id| !known.contains(hub_id)) {
            self.store
                .add_cursor(hub_id)
                .with_context(|| format!("cannot keep the record for hub {hub_id}"))?;
        }
        // Cursors that are named with a colon are not of hubs, and not ours to forget.
        let is_hub = |cursor: &&String| !cursor.contains(':');
        for hub_id in known.iter().filter(is_hub).filter(|hub_id| !hub_ids.contains(hub_id)) {
            self.store.remove_cursor(hub_id).with_context(|| format!("cannot forget hub {hub_id}"))?;
        }
        Ok(())
    }

    /// Has this hub acknowledged all there is?
    pub fn has_everything(&self, hub_id: &str) -> bool {
        let cursors = self.store.cursors();
        let cursor = cursors.iter().find(|cursor| cursor.hub == hub_id);
        cursor.is_none_or(|cursor| cursor.streams.values().all(|stream| stream.lag_items == 0))
    }

    /// Begins a new numbering: the hub knows numbers that this store has not given yet, so that
    /// it was put back to an earlier state.
    pub fn renumber(&self, reason: &str) -> anyhow::Result<RecordHead> {
        self.store.new_spool(reason).context("cannot begin a new spool")?;
        Ok(self.head())
    }

    /// How far each hub is.
    pub fn cursors(&self) -> Vec<CursorStatus> {
        self.store.cursors()
    }

    /// The end is near: nothing waits for its turn any more.
    pub fn hurry(&self) {
        self.pace.hurry();
    }

    /// As `wait_for`, but whoever has sent something in this turn waits for the next one.
    async fn wait_for_turn(&self, stream: Stream, next: Seq, sent: &mut Option<u128>) -> Seq {
        if !self.pace.is_open(*sent) {
            self.pace.next_turn(NEWS_EVERY_IN_TURNS).await;
        }
        if !self.pace.is_open(*sent) {
            return next - 1;
        }
        let last = self.wait_for(stream, next).await;
        if last >= next {
            *sent = Some(self.pace.turn());
        }
        last
    }

    /// The last number of a stream: at once if `next` is there, else when it is, or after a while.
    async fn wait_for(&self, stream: Stream, next: Seq) -> Seq {
        let last = self.last(stream);
        if last >= next {
            return last;
        }
        let mut newest = self.newest.clone();
        let news = newest.wait_for(|newest| newest[place(stream)] >= next);
        // Late or at the end of the store there is nothing new; both are said as such.
        let patience = if self.pace.is_at_once() { NEWS_EVERY } else { NEWS_EVERY_IN_TURNS };
        drop(tokio::time::timeout(patience, news).await);
        self.last(stream)
    }

    fn last(&self, stream: Stream) -> Seq {
        self.store.record().streams.get(&stream).map_or(0, |span| span.last)
    }
}

fn place(stream: Stream) -> usize {
    Stream::ALL.iter().position(|known| *known == stream).unwrap_or(0)
}

/// Where a reader of the record is.
struct Step {
    outbox: Arc<Outbox>,
    stream: Stream,
    order: Order,
    known: Known,
    rest: Option<(Seq, Seq)>,
}

impl Step {
    /// Reads as much as goes into one step, on a thread that may wait for the disk.
    async fn read(&mut self, from: Seq, to: Seq) -> anyhow::Result<Bytes> {
        let ask = Ask {
            stream: self.stream,
            from,
            to: to.min(SEQ_MAX),
            order: match self.order {
                Order::Oldest => fieldpost_store::record::Order::Oldest,
                Order::Newest => fieldpost_store::record::Order::Newest,
            },
            max_bytes: STEP_BYTES,
            max_items: STEP_ITEMS,
        };
        let (outbox, mut known) = (Arc::clone(&self.outbox), std::mem::take(&mut self.known));
        let read = tokio::task::spawn_blocking(move || {
            let part = outbox.store.read_record(&ask, &mut known)?;
            anyhow::Ok((part, known))
        });
        let (Part { frames, rest }, known) = read.await.context("reading the record broke off")??;
        (self.known, self.rest) = (known, rest);
        encoded(&frames)
    }
}

fn encoded(frames: &[Frame]) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    for frame in frames {
        fieldpost_link::encode(frame, &mut bytes).context("a frame of the record cannot be sent")?;
    }
    Ok(bytes.into())
}
