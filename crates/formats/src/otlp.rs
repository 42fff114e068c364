//! OTLP over HTTP, as protobuf (opentelemetry-proto 1.x): metrics into series by the rules of "Prometheus and
//! OpenMetrics Compatibility", logs into records, the answers; and metrics of our own for who wants them so.
//!
//! A request that is cut off or no protobuf is refused before anything is handed on. Single points and records that
//! cannot be kept are rejected alone and counted: the answer is a partial success that says which and why. Bodies
//! come here out of their compression.

mod encoder;
mod logs;
mod metrics;
mod names;
mod partial;
mod points;
mod value;

#[cfg(test)]
mod tests;

pub use encoder::{Metric, MetricKind, MetricsEncoder, Point};
pub use logs::{LogRecord, decode_logs};
pub use metrics::decode_metrics;
pub use partial::{PartialSuccess, Rejections};

use fieldpost_model::TimeMs;

use crate::negotiate::parameter;
use crate::pushed::{Limits, shown};
use crate::wire::WireError;

/// Where metrics are posted.
pub const METRICS_PATH: &str = "/v1/metrics";
/// Where logs are posted.
pub const LOGS_PATH: &str = "/v1/logs";
/// `Content-Type` of requests and answers.
pub const CONTENT_TYPE: &str = "application/x-protobuf";
/// What one metric, record or resource may take in memory once it is read, bytes. A metric of 40,000 points with
/// three attributes stays below; what needs more is rejected alone.
const PART_COST_MAX: usize = 32 << 20;

/// What is wrong with a request as a whole. The sender must not send it again as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// Not what is spoken here: answer 415.
    #[error("Content-Type is {found:?}; send {CONTENT_TYPE}")]
    Unsupported {
        /// Its value.
        found: String,
    },
    /// Longer than allowed: answer 413.
    #[error(
        "the request has {n_bytes} bytes uncompressed; at most {max} are taken; send it in smaller parts"
    )]
    TooLong {
        /// How long it is.
        n_bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not the message that it should be: answer 400.
    #[error(transparent)]
    Malformed(#[from] WireError),
}

impl OtlpError {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            OtlpError::Unsupported { .. } => 415,
            OtlpError::TooLong { .. } => 413,
            OtlpError::Malformed(_) => 400,
        }
    }
}

/// Is the body protobuf, as its `Content-Type` says? JSON is not spoken here.
pub fn check_content_type(content_type: Option<&str>) -> Result<(), OtlpError> {
    let content_type = content_type.unwrap_or_default();
    let (media, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let is_plain = parameter(parameters, "proto").is_none();
    if is_plain && media.trim().eq_ignore_ascii_case(CONTENT_TYPE) {
        return Ok(());
    }
    Err(OtlpError::Unsupported { found: shown(content_type) })
}

/// May a sender send the same again after an answer with this status? Not after any other error.
pub fn may_retry(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

fn check_length(message: &[u8], limits: &Limits) -> Result<(), OtlpError> {
    if message.len() > limits.message_bytes_max {
        return Err(OtlpError::TooLong { n_bytes: message.len(), max: limits.message_bytes_max });
    }
    Ok(())
}

/// Milliseconds of nanoseconds since 1970, or the instant of arrival where the sender gave none.
fn time_ms(nanoseconds: u64, received_ms: TimeMs) -> TimeMs {
    match (nanoseconds / 1_000_000).cast_signed() {
        0 => received_ms,
        milliseconds => milliseconds,
    }
}
