//! Prometheus remote write, 1.0 and 2.0, both ways: what the headers ask for, the request out of its compression,
//! its series one by one, and the answer; and the same for a sender. Requests are snappy blocks around protobuf.
//!
//! A request that cannot be read is refused as a whole, before anything of it is handed on. A series that breaks a
//! rule is refused alone: the others are handed on, and the `Outcome` says which was wrong and why.

mod encoder;
mod reply;
pub(crate) mod v1;
mod v2;

#[cfg(test)]
mod tests;

pub use encoder::Encoder;
pub use reply::{Next, Written, next};

use crate::negotiate::parameter;
use crate::pushed::{Limits, Outcome, Pushed};
use crate::wire::WireError;

/// The header by which a sender says what it speaks.
pub const VERSION_HEADER: &str = "X-Prometheus-Remote-Write-Version";
/// The value of `Content-Encoding`, in both versions: a block, not the framed stream.
pub const CONTENT_ENCODING: &str = "snappy";
/// The media type of both versions, without parameters.
const MEDIA_TYPE: &str = "application/x-protobuf";
/// What `proto=` says for each version.
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";
/// A snappy block expands less than this: three bytes can stand for 64 at most.
const EXPANSION_MAX: usize = 22;
/// Below this a claimed length is believed without regard to the length of the block.
const BELIEVED_BYTES: usize = 1 << 10;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 1.0, which everything speaks.
    V1,
    /// 2.0, a third of the bytes.
    V2,
}

/// What is wrong with a request as a whole. The sender must not send it again as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Headers ask for what is not spoken here: answer 415.
    #[error("{header} is {found:?}; send {wanted}")]
    Unsupported {
        /// Its name.
        header: &'static str,
        /// Its value.
        found: String,
        /// What would be taken.
        wanted: &'static str,
    },
    /// Longer than allowed.
    #[error(
        "the request has {n_bytes} bytes uncompressed; at most {max} are taken; send it in smaller parts"
    )]
    TooLong {
        /// What it says, or is.
        n_bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not a snappy block.
    #[error("the request is no snappy block ({reason}); send the block format, not the framed one")]
    NotSnappy {
        /// In the words of the decoder.
        reason: String,
    },
    /// Not the message that its content type says.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// The table of strings of 2.0 begins with an empty one.
    #[error("the table of strings begins with {found:?}; it must begin with an empty string")]
    FirstSymbol {
        /// The beginning of it.
        found: String,
    },
    /// The table of strings of 2.0 is too long.
    #[error("the table of strings has more than {max} entries; send it in smaller parts")]
    TooManySymbols {
        /// The limit.
        max: usize,
    },
}

impl RequestError {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            RequestError::Unsupported { .. } => 415,
            RequestError::TooLong { .. } => 413,
            _ => 400,
        }
    }
}

impl Version {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Version::V1 => MEDIA_TYPE,
            Version::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The value of `X-Prometheus-Remote-Write-Version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V1 => "0.1.0",
            Version::V2 => "2.0.0",
        }
    }

    /// The version that a request's `Content-Type` says. Absent headers mean 1.0 and snappy, for early senders had none.
    pub fn asked(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<Self, RequestError> {
        let unsupported = |header, found: &str, wanted| {
            Err(RequestError::Unsupported { header, found: crate::pushed::shown(found), wanted })
        };
        let encoding = content_encoding.unwrap_or(CONTENT_ENCODING).trim();
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(CONTENT_ENCODING) {
            return unsupported("Content-Encoding", encoding, CONTENT_ENCODING);
        }
        let content_type = content_type.unwrap_or(MEDIA_TYPE);
        let (media, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        match parameter(parameters, "proto") {
            _ if !media.trim().eq_ignore_ascii_case(MEDIA_TYPE) => {}
            None | Some(MESSAGE_V1) => return Ok(Version::V1),
            Some(MESSAGE_V2) => return Ok(Version::V2),
            Some(_) => {}
        }
        let wanted =
            "application/x-protobuf with proto=prometheus.WriteRequest or io.prometheus.write.v2.Request";
        unsupported("Content-Type", content_type, wanted)
    }
}

/// Takes a request out of its compression, into a buffer that can be used again. Nothing is allocated for a length
/// that is more than allowed or cannot be true.
pub fn decompress(block: &[u8], limits: &Limits, message: &mut Vec<u8>) -> Result<(), RequestError> {
    let not_snappy = |reason: &dyn ToString| RequestError::NotSnappy { reason: reason.to_string() };
    let n_bytes = snap::raw::decompress_len(block).map_err(|error| not_snappy(&error))?;
    if n_bytes > limits.message_bytes_max {
        return Err(RequestError::TooLong { n_bytes, max: limits.message_bytes_max });
    }
    if n_bytes > block.len().saturating_mul(EXPANSION_MAX).max(BELIEVED_BYTES) {
        return Err(not_snappy(&format!("{} bytes cannot hold the {n_bytes} that they claim", block.len())));
    }
    message.clear();
    message.resize(n_bytes, 0);
    snap::raw::Decoder::new().decompress(block, message).map_err(|error| not_snappy(&error))?;
    Ok(())
}

/// Reads a message out of its compression and hands on what it brings. On an error nothing was handed on.
pub fn decode(
    version: Version,
    message: &[u8],
    limits: &Limits,
    visit: impl FnMut(Pushed<'_>),
) -> Result<Outcome, RequestError> {
    if message.len() > limits.message_bytes_max {
        return Err(RequestError::TooLong { n_bytes: message.len(), max: limits.message_bytes_max });
    }
    match version {
        Version::V1 => Ok(v1::decode(message, limits, visit)?),
        Version::V2 => v2::decode(message, limits, visit),
    }
}
