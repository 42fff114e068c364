//! The record of all agents at the hub, as whoever writes into it sees it: one trait, and what goes in
//! and comes out of it. How it is kept is its implementation's own affair.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Frame, Intervals, Period, Seq, Stream, TimeMs};

/// A part of an agent's record. It says which scope its items are of before the first of them
/// (those of events have none):
/// a body that is cut into batches repeats its last `Frame::Scope` at the head of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whose.
    pub agent_id: String,
    /// Under which spool.
    pub spool_id: String,
    /// Of which stream.
    pub stream: Stream,
    /// What the agent said, in its order.
    pub frames: Vec<Frame>,
}

impl Batch {
    /// Bytes of memory it takes, about.
    pub fn bytes(&self) -> usize {
        let of = |frame: &Frame| match frame {
            Frame::Scope(text) => text.len(),
            Frame::Definitions(blob) => blob.len(),
            Frame::Item(item) => item.blob.len(),
            Frame::Lost(lost) => lost.reason.len(),
            Frame::Newest(_) => 0,
        };
        self.frames.iter().map(|frame| 128 + of(frame)).sum()
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Numbers of the batch that are on the disk: they may be acknowledged.
    pub numbers: Intervals,
    /// What was refused, the first hundred of it. It will not be taken another time either.
    pub refused: Vec<Refusal>,
    /// How many there were in all.
    pub n_refused: u64,
}

/// Something that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the item; none where definitions or a lost range were refused.
    pub seq: Option<Seq>,
    /// Why, for the agent's log.
    pub reason: String,
    /// Would it be taken if the definitions came again? The hub forgets those that were not used
    /// for long; asking anew from the beginning brings them back.
    pub undefined: bool,
}

/// Why a batch was not taken up.
#[derive(Debug)]
pub enum NotTaken {
    /// Too much waits to be written: stop reading from the link, and bring it again later.
    Full(Batch),
    /// All of it is refused, for this reason.
    Refused(String),
    /// The store is closed.
    Closed,
}

/// A batch was taken up, but could not be written. The disk may be full; it may be brought again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("what was brought could not be written")]
pub struct Unwritten(#[source] Arc<dyn Error + Send + Sync>);

impl Unwritten {
    /// For this reason.
    pub fn new(reason: Arc<dyn Error + Send + Sync>) -> Self {
        Self(reason)
    }
}

/// What became of a batch: what may be acknowledged, or why nothing may.
pub type Answer = Result<Accepted, Unwritten>;

/// Is called with the answer; it must not wait.
pub type Done = Box<dyn FnOnce(Answer) + Send>;

/// By what an item is told from another one of the same number: an agent that was put back to an
/// earlier state gives numbers anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownItem {
    /// Its number.
    pub seq: Seq,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// CRC-32 of its blob; none where it is merged.
    pub checksum: Option<u32>,
}

/// How much is taken from one agent. What goes beyond is refused, and the agent is told why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubLimits {
    /// Series that an agent may describe in a day.
    pub series: usize,
    /// Bytes of all that it says about them.
    pub described_bytes: ByteSize,
    /// Labels of a series.
    pub labels: usize,
    /// Bytes of a label's name or value, or of a family's name.
    pub label_bytes: usize,
    /// Bytes of an item as it was sealed.
    pub item_bytes: ByteSize,
    /// Samples of an item.
    pub item_samples: u64,
    /// How far ahead of the hub's clock an item may end.
    pub ahead: Period,
    /// Holes in the numbers of one stream.
    pub holes: usize,
    /// Spools under which an agent may have streams.
    pub spools: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            series: 100_000,
            described_bytes: ByteSize(32 << 20),
            labels: 64,
            label_bytes: 4_096,
            item_bytes: ByteSize(4 << 20),
            item_samples: 1_000_000,
            ahead: Period::from_secs(600),
            holes: 10_000,
            spools: 32,
        }
    }
}

/// Where the items of all agents go in, and what is known of them. Nothing here waits for the disk.
pub trait RecordWriter: Send + Sync {
    /// Takes in a batch. `done` is called once everything of it is on the disk, with the numbers
    /// that may be acknowledged and what was refused; or with why it could not be written, and
    /// then nothing may be acknowledged.
    fn append(&self, batch: Batch, done: Done) -> Result<(), NotTaken>;

    /// Numbers of a stream that are here, or were here until they aged: they need not be asked
    /// for. After a file was damaged some may be missing again.
    fn progress(&self, agent_id: &str, spool_id: &str, stream: Stream) -> Intervals;

    /// The item of a stream with the highest number, of those that are here or were.
    fn newest_item(&self, agent_id: &str, spool_id: &str, stream: Stream) -> Option<KnownItem>;

    /// First instant after the newest stored sample of each agent that has any.
    fn newest_ms(&self) -> HashMap<String, TimeMs>;

    /// First instant of which samples are taken now, and first after those.
    fn span_taken(&self) -> (TimeMs, TimeMs);

    /// How much it takes from one agent.
    fn limits(&self) -> &HubLimits;
}
