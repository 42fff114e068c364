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

/// Which record: by its instant, whose it is, its item and the place in it. What others push has one
/// spool, so that no two of an agent's have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// When it happened.
    pub time_ms: TimeMs,
    /// Number of its item.
    pub seq: Seq,
    /// Its place there, from 0.
    pub position: usize,
    /// Whose it is.
    pub agent_id: String,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.time_ms, self.seq, self.position, self.agent_id)
    }
}

impl FromStr for LogPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.splitn(4, '.');
            let (time_ms, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let position = parts.next()?.parse().ok()?;
            Some(Self { time_ms, seq, position, agent_id: parts.next()?.to_owned() })
        };
        read().ok_or_else(|| format!("{text:?} is no place in a log; take what `next` says"))
    }
}

/// Which log records.
#[derive(Debug, Clone, Default)]
pub struct LogAsk {
    /// Whose; those of all where it is not said.
    pub agent_id: Option<String>,
    /// First instant.
    pub from_ms: TimeMs,
    /// First instant after the span.
    pub to_ms: TimeMs,
    /// Only what comes behind this one, in the order that is asked for.
    pub after: Option<LogPlace>,
    /// The newest first.
    pub is_newest_first: bool,
    /// Of this severity at the least.
    pub severity: u8,
    /// With this in what it says, or in a value beside it; letters large or small.
    pub text: String,
    /// So many at most.
    pub limit: usize,
}

impl LogAsk {
    fn span(&self) -> (TimeMs, TimeMs) {
        match &self.after {
            Some(after) if self.is_newest_first => {
                (self.from_ms, self.to_ms.min(after.time_ms.saturating_add(1)))
            }
            Some(after) => (self.from_ms.max(after.time_ms), self.to_ms),
            None => (self.from_ms, self.to_ms),
        }
    }

    fn wants(&self, place: &LogPlace, entry: &LogEntry, text: &str) -> bool {
        let is_behind = self.after.as_ref().is_none_or(|after| match self.is_newest_first {
            true => place < after,
            false => place > after,
        });
        let says = |own: &str| own.to_lowercase().contains(text);
        let values = entry.attributes.iter().chain(&entry.resource);
        (self.from_ms..self.to_ms).contains(&place.time_ms)
            && entry.severity >= self.severity
            && is_behind
            && (text.is_empty() || says(&entry.body) || values.map(|(_, value)| value).any(|own| says(own)))
    }
}

/// The records of a page, while it is gathered.
struct Page<'a> {
    ask: &'a LogAsk,
    text: String,
    found: BTreeMap<LogPlace, LogEntry>,
}

impl Page<'_> {
    /// Is all of this span beyond what a full page holds?
    fn is_beyond(&self, from_ms: TimeMs, to_ms: TimeMs) -> bool {
        if self.found.len() < self.ask.limit {
            return false;
        }
        match self.ask.is_newest_first {
            true => self.found.first_key_value().is_some_and(|(place, _)| to_ms <= place.time_ms),
            false => self.found.last_key_value().is_some_and(|(place, _)| from_ms > place.time_ms),
        }
    }

    fn take(&mut self, agent_id: &str, item: &fieldpost_model::Item) {
        if self.is_beyond(item.from_ms, item.to_ms) {
            return;
        }
        let entries = whole(item).and_then(|blob| decode_logs(blob).ok()).unwrap_or_default();
        for (position, entry) in entries.into_iter().enumerate() {
            let agent_id = agent_id.to_owned();
            let place = LogPlace { time_ms: entry.time_ms, seq: item.seq, position, agent_id };
            if self.ask.wants(&place, &entry, &self.text) {
                self.found.insert(place, entry);
            }
        }
        while self.found.len() > self.ask.limit {
            if self.ask.is_newest_first {
                self.found.pop_first()
            } else {
                self.found.pop_last()
            };
        }
    }
}

impl HubReader {
    /// The first log records of those that are asked for, in the order that is asked for.
    pub fn logs(&self, ask: &LogAsk) -> Result<Vec<(LogPlace, LogEntry)>, StoreError> {
        let (from_ms, to_ms) = ask.span();
        let mut page = Page { ask, text: ask.text.to_lowercase(), found: BTreeMap::new() };
        let touching = |file: &StoreFile| is_raw(file.kind) && touches(file, from_ms, to_ms);
        let mut files = self.open_files(&touching, &self.shapes())?;
        // Those that fill the page first: of the others most is not looked into.
        files
            .sort_by_key(|file| if ask.is_newest_first { -file.file.end_ms() } else { file.file.begin_ms() });
        for file in files {
            if page.is_beyond(file.file.begin_ms(), file.file.end_ms()) {
                continue;
            }
            let span = HourSpan { hour: file.file.hour, from_ms, to_ms };
            let parts = match &ask.agent_id {
                Some(agent_id) => file.parts(agent_id, Stream::Logs)?,
                None => file.all_parts()?,
            };
            for parts in parts.iter().filter(|parts| parts.key.stream == Stream::Logs) {
                for part in &parts.parts {
                    let read = file.each_item(part.number, 0..=HUB_SEQ_MAX, &span, |item| {
                        page.take(&parts.key.agent_id, &item);
                    });
                    skip_damage(&file.file.path, read)?;
                }
            }
        }
        let found = page.found.into_iter();
        Ok(if ask.is_newest_first { found.rev().collect() } else { found.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_text_and_back() {
        let place = LogPlace { time_ms: -5, seq: 7, position: 3, agent_id: "push-a.b".to_owned() };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "1.2", "1.2.3", "a.1.2.b", "1.-2.3.b"] {
            assert!(wrong.parse::<LogPlace>().is_err(), "{wrong}");
        }
    }
}
