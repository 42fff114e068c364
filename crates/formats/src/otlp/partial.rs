//! Partial success: what of a request was rejected and why, for the answer of a receiver and for a sender.

use std::fmt;

use prost::Message;

use crate::pushed::shown;

/// Most reasons that are kept with their words; the rest is counted.
const REASONS_KEPT_MAX: usize = 8;

/// `ExportMetricsServiceResponse` and `ExportLogsServiceResponse`, which are written alike.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// What of a request was rejected, as the answer says it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PartialSuccess {
    /// Data points or log records.
    #[prost(int64, tag = "1")]
    pub n_rejected: i64,
    /// Why; also words of warning where nothing was rejected.
    #[prost(string, tag = "2")]
    pub message: String,
}

impl PartialSuccess {
    /// What an answer with status 200 says; none where all was taken. An answer that cannot be read says nothing.
    pub fn read(body: &[u8]) -> Option<Self> {
        let partial = Response::decode(body).ok()?.partial_success?;
        (partial != PartialSuccess::default()).then_some(partial)
    }
}

/// What of a request was rejected, as it is being read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Data points or log records.
    pub n_rejected: u64,
    /// The first reasons, each with the metric it is about.
    reasons: Vec<(String, String)>,
    /// Reasons that were not kept.
    n_more: u64,
}

impl Rejections {
    /// Rejects points of a metric, or records where the name is empty. The same words for the same name are kept once.
    pub fn add(&mut self, name: &str, n_rejected: u64, reason: impl fmt::Display) {
        self.n_rejected += n_rejected;
        let reason = (shown(name), reason.to_string());
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < REASONS_KEPT_MAX {
            self.reasons.push(reason);
        } else {
            self.n_more += 1;
        }
    }

    /// The body of the answer, whose status is 200 also where a part or all was rejected.
    pub fn answer(&self) -> Vec<u8> {
        let partial = PartialSuccess {
            n_rejected: i64::try_from(self.n_rejected).unwrap_or(i64::MAX),
            message: self.to_string(),
        };
        let partial_success = (*self != Rejections::default()).then_some(partial);
        Response { partial_success }.encode_to_vec()
    }
}

/// The reasons in a line; empty where nothing was rejected.
impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, reason)) in self.reasons.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            match name.as_str() {
                "" => write!(f, "{separator}{reason}")?,
                name => write!(f, "{separator}{name}: {reason}")?,
            }
        }
        match self.n_more {
            0 => Ok(()),
            n_more => write!(f, "; and {n_more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_success_is_an_empty_answer() {
        assert_eq!(Rejections::default().answer(), b"");
        assert_eq!(PartialSuccess::read(b""), None);
        assert_eq!(PartialSuccess::read(b"\x0a\x00"), None);
        assert_eq!(PartialSuccess::read(b"<html>"), None);
    }

    #[test]
    fn partial_success_is_said_and_read() {
        let mut rejections = Rejections::default();
        rejections.add("a.b", 3, "delta is not supported");
        rejections.add("a.b", 2, "delta is not supported");
        rejections.add("", 1, "too long");
        let partial = PartialSuccess::read(&rejections.answer()).unwrap();
        assert_eq!(partial.n_rejected, 6);
        assert_eq!(partial.message, "a.b: delta is not supported; too long");
        for name in 0..20 {
            rejections.add(&name.to_string(), 0, "x");
        }
        assert!(rejections.to_string().ends_with("5: x; and 14 more"), "{rejections}");
    }
}
