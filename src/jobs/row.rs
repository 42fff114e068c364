//! A row of the output of a run, as it is told to others: text, or base64 where it is none.

use std::str::FromStr;

use data_encoding::BASE64;
use fieldpost_model::TimeMs;
use serde::{Deserialize, Serialize};

use super::output::Record;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRow {
    /// Its number within the run; the first is 1.
    pub seq: u64,
    /// When it was said.
    pub time_ms: TimeMs,
    /// 1 standard output, 2 standard error, others by the level protocol.
    pub level: u8,
    /// What was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The same where it is no UTF-8.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base64: String,
    /// Bytes just before it that are not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing_bytes: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<Record> for LogRow {
    fn from(record: Record) -> Self {
        let Record { seq, time_ms, level, bytes, missing_bytes } = record;
        let (text, base64) = match String::from_utf8(bytes) {
            Ok(text) => (text, String::new()),
            Err(error) => (String::new(), BASE64.encode(error.as_bytes())),
        };
        Self { seq, time_ms, level, text, base64, missing_bytes }
    }
}

impl LogRow {
    /// What was said, byte by byte.
    pub fn bytes(&self) -> Vec<u8> {
        if self.base64.is_empty() {
            return self.text.clone().into_bytes();
        }
        BASE64.decode(self.base64.as_bytes()).unwrap_or_default()
    }
}

/// A choice of levels: `1,2,6-9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(Vec<(u8, u8)>);

impl Levels {
    /// As ranges, first and last.
    pub fn ranges(&self) -> &[(u8, u8)] {
        &self.0
    }

    /// No level at all.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Those that are in both choices.
    pub fn and(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|own| other.0.iter().map(move |theirs| (own, theirs)));
        let both = pairs.map(|(own, theirs)| (own.0.max(theirs.0), own.1.min(theirs.1)));
        Self(both.filter(|(from, to)| from <= to).collect())
    }

    /// Is this one of them?
    pub fn contains(&self, level: u8) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&level))
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (u8, u8) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            (from <= to).then_some((from, to))
        };
        let parts: Option<Vec<_>> = text.split(',').map(part).collect();
        parts.map(Self).ok_or_else(|| format!("\"{text}\" names no levels; write 1,2,6-9"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        for bytes in [b"text".to_vec(), vec![0xff, 0, 10], Vec::new()] {
            let record = Record { seq: 1, time_ms: 2, level: 1, bytes: bytes.clone(), missing_bytes: 0 };
            let json = serde_json::to_string(&LogRow::from(record)).unwrap();
            assert_eq!(serde_json::from_str::<LogRow>(&json).unwrap().bytes(), bytes);
        }
    }

    #[test]
    fn levels_are_read_as_ranges() {
        let levels: Levels = "1,6-9".parse().unwrap();
        assert_eq!([1, 2, 6, 9, 10].map(|level| levels.contains(level)), [true, false, true, true, false]);
        let both = levels.and(&"2-7,9".parse().unwrap());
        assert_eq!([1, 6, 7, 8, 9].map(|level| both.contains(level)), [false, true, true, false, true]);
        for text in ["", "a", "3-1", "1,,2"] {
            assert!(text.parse::<Levels>().is_err(), "{text}");
        }
    }
}
