//! Frames of the record as they come out of an answer, one by one: who does not ask for the next
//! lets the agent wait.

use bytes::Bytes;
use fieldpost_model::Frame;

use crate::body::Received;
use crate::error::LinkError;
use crate::frames::Decoder;

/// How much of one piece of the answer is looked at before its frames are given.
const PIECE_BYTES: usize = 16 << 10;

/// Reads frames from an answer.
pub struct FrameReader {
    body: Received,
    decoder: Decoder,
    unread: Bytes,
}

impl FrameReader {
    /// Reads the frames of this body.
    pub fn new(body: Received) -> Self {
        Self { body, decoder: Decoder::new(), unread: Bytes::new() }
    }

    /// Has more come than was asked for? Else the next frame may be long in coming.
    pub fn has_more(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The next frame; `None` at the end of the answer. An answer that breaks off within a frame
    /// is an error, and so is a frame that cannot be; then drop the reader, which ends the answer.
    pub async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if self.unread.is_empty() {
                match self.body.chunk().await? {
                    Some(bytes) => self.unread = bytes,
                    None => return self.decoder.finish().map(|()| None).map_err(LinkError::from),
                }
            }
            let piece = self.unread.split_to(self.unread.len().min(PIECE_BYTES));
            self.decoder.feed(&piece);
        }
    }
}
