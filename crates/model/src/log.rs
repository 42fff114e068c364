//! A log record as the hub keeps it.

use serde::{Deserialize, Serialize};

use crate::TimeMs;

/// A log record, in words of no protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When it happened.
    pub time_ms: TimeMs,
    /// 1 to 24 in steps of four from trace, debug, info, warn, error to fatal; 0: nobody said.
    pub severity: u8,
    /// The source's own word for it; empty where there is none.
    pub severity_text: String,
    /// What it says.
    pub body: String,
    /// What else it says: names and values.
    pub attributes: Vec<(String, String)>,
    /// Who says it: names and values.
    pub resource: Vec<(String, String)>,
}

impl LogEntry {
    /// Bytes of all its texts, with something for each of them: about what it takes in memory.
    pub fn n_bytes(&self) -> usize {
        let pairs = self.attributes.iter().chain(&self.resource);
        let texts = pairs.map(|(name, value)| name.len() + value.len() + 48).sum::<usize>();
        texts + self.severity_text.len() + self.body.len() + 128
    }
}
