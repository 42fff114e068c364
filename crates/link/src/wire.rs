//! What hub and agent say to each other about the record, as JSON; unknown fields are passed over.

use std::collections::BTreeMap;

use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use serde::{Deserialize, Serialize};

/// Which numbers a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqSpan {
    /// The oldest that may still be there.
    pub first: Seq,
    /// The newest that was given; 0 before the first.
    pub last: Seq,
}

/// What an agent has: the answer to `GET /v1/record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordHead {
    /// Whose record it is.
    pub agent_id: String,
    /// Under which numbering.
    pub spool_id: String,
    /// Its streams.
    pub streams: BTreeMap<Stream, SeqSpan>,
}

/// By what an item is told from others: the answer to `GET /v1/record/{stream}/{seq}`, where the
/// item is still there as it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemMark {
    /// Its number.
    pub seq: Seq,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// CRC-32 of its blob.
    pub checksum: u32,
}

/// What a hub has committed: the body of `POST /v1/record/ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Under which numbering.
    pub spool_id: String,
    /// The numbers, by stream.
    pub streams: BTreeMap<Stream, Intervals>,
    /// What it does not take, and will not take another time.
    #[serde(default)]
    pub refused: Vec<RefusedItem>,
}

/// An item that a hub does not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedItem {
    /// Of which stream.
    pub stream: Stream,
    /// Its number; 0 where it is not about one item.
    pub seq: Seq,
    /// Why.
    pub reason: String,
}
