//! Log records that others pushed, a page at a time, by rising time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fieldpost_model::{LogEntry, Seq, Stream, TimeMs};

use crate::StoreError;
use crate::folder::StoreFile;
use crate::hub::batch::HUB_SEQ_MAX;
use crate::hub::reader::HubReader;
use crate::hub::source::{HourSpan, whole};
use crate::record::decode_logs;
use crate::source::{is_raw, skip_damage, touches};

/// Which record: by its instant, then by its item and the place in it. What others push has one spool,
/// so that no two of an agent's have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// When it happened.
    pub time_ms: TimeMs,
    /// Number of its item.
    pub seq: Seq,
    /// Its place there, from 0.
    pub position: usize,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.time_ms, self.seq, self.position)
    }
}

impl FromStr for LogPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.split('.');
            let (time_ms, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let position = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(Self { time_ms, seq, position })
        };
        read().ok_or_else(|| format!("{text:?} is no place in a log; take what `next` says"))
    }
}

impl HubReader {
    /// The first `limit` log records of an agent in `[from_ms, to_ms)`, or of those after the given
    /// one, the oldest first.
    pub fn logs(
        &self,
        agent_id: &str,
        (from_ms, to_ms): (TimeMs, TimeMs),
        after: Option<LogPlace>,
        limit: usize,
    ) -> Result<Vec<(LogPlace, LogEntry)>, StoreError> {
        let from_ms = after.map_or(from_ms, |after| after.time_ms.max(from_ms));
        let mut found: BTreeMap<LogPlace, LogEntry> = BTreeMap::new();
        let touching = |file: &StoreFile| is_raw(file.kind) && touches(file, from_ms, to_ms);
        for file in self.open_files(&touching, &self.shapes())? {
            let span = HourSpan { hour: file.file.hour, from_ms, to_ms };
            for parts in file.parts(agent_id, Stream::Logs)? {
                for part in &parts.parts {
                    let read = file.each_item(part.number, 0..=HUB_SEQ_MAX, &span, |item| {
                        // Whatever is later than a whole page is of no use.
                        let last_ms = found.last_key_value().map(|(place, _)| place.time_ms);
                        if found.len() == limit && last_ms.is_some_and(|last_ms| item.from_ms > last_ms) {
                            return;
                        }
                        let entries =
                            whole(&item).and_then(|blob| decode_logs(blob).ok()).unwrap_or_default();
                        for (position, entry) in entries.into_iter().enumerate() {
                            let place = LogPlace { time_ms: entry.time_ms, seq: item.seq, position };
                            let is_asked = (from_ms..to_ms).contains(&entry.time_ms);
                            if is_asked && after.is_none_or(|after| place > after) {
                                found.insert(place, entry);
                            }
                        }
                        while found.len() > limit {
                            found.pop_last();
                        }
                    });
                    skip_damage(&file.file.path, read)?;
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_text_and_back() {
        let place = LogPlace { time_ms: -5, seq: 7, position: 3 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "1.2", "1.2.3.4", "a.1.2", "1.-2.3"] {
            assert!(wrong.parse::<LogPlace>().is_err(), "{wrong}");
        }
    }
}
