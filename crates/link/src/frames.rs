//! The record's frames as bytes: length, kind, content; numbers little-endian. The decoder takes
//! bytes as they come and keeps never more than one frame that is not whole yet.
//!
//! ```text
//! length of the rest u32 | kind u8 | content
//!   1 scope        text
//!   2 definitions  bytes
//!   3 item         seq u64 | from i64 | to i64 | samples u64 | checksum u32 | blob
//!   4 lost         from u64 | to u64 | from i64 | to i64 | samples u64 | reason
//!   5 newest       seq u64
//! ```
//!
//! Kinds from 128 on may be passed over by who does not know them; all others may not.

use fieldpost_model::{Frame, Item, Lost, SEQ_MAX, Seq};

/// The longest frame, kind included, length not.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The longest text in a frame.
const TEXT_BYTES_MAX: usize = 1024;
const LENGTH_BYTES: usize = 4;
const SCOPE: u8 = 1;
const DEFINITIONS: u8 = 2;
const ITEM: u8 = 3;
const LOST: u8 = 4;
const NEWEST: u8 = 5;
/// What the decoder keeps allocated between frames; one very long frame is soon forgotten.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Kinds from here on may be passed over.
const SKIPPABLE: u8 = 128;

/// Why bytes are no frames, or a frame cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame that is too long, or has no kind.
    #[error("a frame of {0} bytes; 1 to {FRAME_BYTES_MAX} are allowed")]
    Length(usize),
    /// A kind that must be known.
    #[error("a frame of the unknown kind {0}; the other side is newer, upgrade this one")]
    Unknown(u8),
    /// The content does not fit the kind.
    #[error("a frame of kind {kind} is damaged: {what}")]
    Content {
        /// Its kind.
        kind: u8,
        /// What is wrong.
        what: &'static str,
    },
    /// A text that is too long.
    #[error("a text of {0} bytes; at most {TEXT_BYTES_MAX} are allowed")]
    Text(usize),
    /// The bytes end within a frame.
    #[error("the answer ends within a frame, {0} bytes after its begin")]
    Cut(usize),
}

/// Appends a frame to `out`. Refused if it is longer than a receiver would take.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let written = write(frame, out);
    let length = out.len() - start - LENGTH_BYTES;
    let checked =
        written.and(if length > FRAME_BYTES_MAX { Err(FrameError::Length(length)) } else { Ok(()) });
    if checked.is_err() {
        out.truncate(start);
        return checked;
    }
    out[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

fn write(frame: &Frame, out: &mut Vec<u8>) -> Result<(), FrameError> {
    match frame {
        Frame::Scope(scope) => {
            out.push(SCOPE);
            write_text(scope, out)?;
        }
        Frame::Definitions(bytes) => {
            out.push(DEFINITIONS);
            out.extend_from_slice(bytes);
        }
        Frame::Item(item) => {
            out.push(ITEM);
            out.extend_from_slice(&item.seq.to_le_bytes());
            out.extend_from_slice(&item.from_ms.to_le_bytes());
            out.extend_from_slice(&item.to_ms.to_le_bytes());
            out.extend_from_slice(&item.n_samples.to_le_bytes());
            out.extend_from_slice(&item.checksum.to_le_bytes());
            out.extend_from_slice(&item.blob);
        }
        Frame::Lost(lost) => {
            out.push(LOST);
            out.extend_from_slice(&lost.from.to_le_bytes());
            out.extend_from_slice(&lost.to.to_le_bytes());
            out.extend_from_slice(&lost.from_ms.to_le_bytes());
            out.extend_from_slice(&lost.to_ms.to_le_bytes());
            out.extend_from_slice(&lost.n_samples.to_le_bytes());
            write_text(&lost.reason, out)?;
        }
        Frame::Newest(seq) => {
            out.push(NEWEST);
            out.extend_from_slice(&seq.to_le_bytes());
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), FrameError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(FrameError::Text(text.len()));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Takes bytes as they come and gives frames. After an error the bytes that follow mean nothing:
/// end the answer.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes that are not given as frames yet, from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
    /// Bytes of a frame passed over that are still to come.
    to_skip: usize,
}

impl Decoder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes. Ask for frames until there are none before giving the next, and no more than
    /// one frame is ever kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        let skipped = self.to_skip.min(bytes.len());
        self.to_skip -= skipped;
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES_MAX);
        }
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// The next frame; `None` if it is not whole yet.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let Some((length, rest)) = self.buffer[self.taken..].split_first_chunk::<LENGTH_BYTES>() else {
                return Ok(None);
            };
            let length = u32::from_le_bytes(*length) as usize;
            if length == 0 || length > FRAME_BYTES_MAX {
                return Err(FrameError::Length(length));
            }
            match rest.first() {
                None => return Ok(None),
                Some(&kind) if kind >= SKIPPABLE => self.pass_over(length),
                Some(&kind) if !(SCOPE..=NEWEST).contains(&kind) => return Err(FrameError::Unknown(kind)),
                Some(_) if rest.len() < length => return Ok(None),
                Some(&kind) => {
                    let frame = read(kind, &rest[1..length])?;
                    self.taken += LENGTH_BYTES + length;
                    return Ok(Some(frame));
                }
            }
        }
    }

    /// Call it when the bytes have ended: they must not end within a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        let left = self.buffer.len() - self.taken;
        if left > 0 || self.to_skip > 0 { Err(FrameError::Cut(left)) } else { Ok(()) }
    }

    fn pass_over(&mut self, length: usize) {
        let whole = LENGTH_BYTES + length;
        let here = whole.min(self.buffer.len() - self.taken);
        self.taken += here;
        self.to_skip = whole - here;
    }
}

fn read(kind: u8, content: &[u8]) -> Result<Frame, FrameError> {
    let mut fields = Fields { kind, rest: content };
    let frame = match kind {
        SCOPE => Frame::Scope(fields.text()?),
        DEFINITIONS => Frame::Definitions(fields.rest.to_vec()),
        ITEM => Frame::Item(Item {
            seq: fields.seq()?,
            from_ms: fields.signed()?,
            to_ms: fields.signed()?,
            n_samples: fields.number()?,
            checksum: u32::from_le_bytes(fields.chunk()?),
            blob: fields.rest.to_vec(),
        }),
        LOST => Frame::Lost(Lost {
            from: fields.seq()?,
            to: fields.seq()?,
            from_ms: fields.signed()?,
            to_ms: fields.signed()?,
            n_samples: fields.number()?,
            reason: fields.text()?,
        }),
        _ => {
            // Zero stands for a stream in which nothing was numbered yet.
            let newest = fields.number()?;
            if newest > SEQ_MAX || !fields.rest.is_empty() {
                return Err(fields.damaged("a number that cannot be"));
            }
            Frame::Newest(newest)
        }
    };
    check_order(kind, &frame)?;
    Ok(frame)
}

fn check_order(kind: u8, frame: &Frame) -> Result<(), FrameError> {
    let (spans, numbers) = match frame {
        Frame::Item(item) => (item.from_ms <= item.to_ms, true),
        Frame::Lost(lost) => (lost.from_ms <= lost.to_ms, lost.from <= lost.to),
        _ => (true, true),
    };
    if spans && numbers { Ok(()) } else { Err(FrameError::Content { kind, what: "an end before its begin" }) }
}

struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn damaged(&self, what: &'static str) -> FrameError {
        FrameError::Content { kind: self.kind, what }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(self.damaged("it is too short"))?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn number(&mut self) -> Result<u64, FrameError> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn signed(&mut self) -> Result<i64, FrameError> {
        self.chunk().map(i64::from_le_bytes)
    }

    fn seq(&mut self) -> Result<Seq, FrameError> {
        let seq = self.number()?;
        if seq == 0 || seq > SEQ_MAX { Err(self.damaged("a number that cannot be")) } else { Ok(seq) }
    }

    fn text(&mut self) -> Result<String, FrameError> {
        if self.rest.len() > TEXT_BYTES_MAX {
            return Err(FrameError::Text(self.rest.len()));
        }
        let text = std::str::from_utf8(self.rest).map_err(|_| self.damaged("a text that is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
