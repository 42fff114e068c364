//! A batch of an agent's record, checked on the thread that brings it: what an agent can do is to
//! lie about itself, within bounds. What is refused is said with a reason, and the rest goes on.

use std::sync::Arc;

use fieldpost_model::hub_record::{Accepted, Batch, HubLimits, Refusal};
use fieldpost_model::{Frame, Item, Lost, Seq, Stream, TimeMs, is_absent};

use crate::calendar::{DAY_MS, HOUR_MS};
use crate::codec::{CodecError, Rows, checksum, decode_table, decode_window};
use crate::config::WINDOW_MS_MAX;
use crate::hub::ledger::{Ledger, SourceId, SourceKey};
use crate::hub::scopes::{Describer, Scope, Scopes};
use crate::record::{decode_logs, decode_note, decode_table_blob};

/// Bits of an item's key that are its number.
pub(crate) const SEQ_BITS: u32 = 40;
/// The last number that is taken: at one a second it is reached in 34 000 years.
pub(crate) const HUB_SEQ_MAX: Seq = (1 << SEQ_BITS) - 1;
/// The longest name of an agent, a spool or a scope, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Refusals that are said one by one.
const N_REFUSED_SAID: usize = 100;

/// An item that may be stored.
pub(crate) struct CheckedItem {
    pub(crate) item: Item,
    pub(crate) scope: Arc<Scope>,
    /// Blobs of the scope that the item rests on.
    pub(crate) n_blobs: usize,
    /// The file it belongs into.
    pub(crate) hour: i64,
}

/// What may be stored of a batch.
pub(crate) struct Checked {
    pub(crate) source: SourceId,
    pub(crate) stream: Stream,
    pub(crate) items: Vec<CheckedItem>,
    pub(crate) lost: Vec<(i64, Lost)>,
    pub(crate) answer: Accepted,
    pub(crate) n_duplicates: u64,
}

/// What a batch is checked against.
pub(crate) struct Check<'a> {
    pub(crate) limits: &'a HubLimits,
    pub(crate) ledger: &'a Ledger,
    pub(crate) scopes: &'a Scopes,
    pub(crate) now_ms: TimeMs,
    /// Older items would go at once.
    pub(crate) age_ms_max: i64,
}

impl Check<'_> {
    /// Sorts a batch into what may be stored and what is refused.
    pub(crate) fn batch(&self, batch: Batch) -> Result<Checked, String> {
        let Batch { agent_id, spool_id, stream, frames } = batch;
        for (what, name) in [("agent", &agent_id), ("spool", &spool_id)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(format!("the name of the {what} has {} bytes", name.len()));
            }
        }
        let key = SourceKey { agent_id, spool_id, stream };
        let source = self.source(&key)?;
        let (items, lost, answer) = Default::default();
        let mut checked = Checked { source, stream, items, lost, answer, n_duplicates: 0 };
        // Events and logs need no ids, and so no scope.
        let mut scope =
            matches!(stream, Stream::Events | Stream::Logs).then(|| self.scopes.scope(source, ""));
        for frame in frames {
            self.frame(frame, &key, &mut scope, &mut checked);
        }
        Ok(checked)
    }

    fn source(&self, key: &SourceKey) -> Result<SourceId, String> {
        let spools = self.limits.spools;
        match self.ledger.find(key) {
            Some(source) => Ok(source),
            None if self.ledger.n_spools(&key.agent_id, key.stream) >= spools => {
                Err(format!("the agent has {spools} spools already; it has to be enrolled anew"))
            }
            None => Ok(self.ledger.source(key)),
        }
    }

    fn frame(&self, frame: Frame, key: &SourceKey, scope: &mut Option<Arc<Scope>>, checked: &mut Checked) {
        match frame {
            Frame::Scope(name) if name.len() <= NAME_BYTES_MAX => {
                *scope = Some(self.scopes.scope(checked.source, &name));
            }
            Frame::Scope(name) => {
                *scope = None;
                checked.refuse(None, format!("a scope with a name of {} bytes", name.len()), false);
            }
            Frame::Definitions(blob) => {
                if let Err(reason) = self.describe(scope.as_deref(), &blob, key) {
                    checked.refuse(None, reason, false);
                }
            }
            Frame::Item(item) => {
                let seq = item.seq;
                if self.ledger.contains(checked.source, seq) {
                    checked.answer.numbers.insert(seq, seq);
                    checked.n_duplicates += 1;
                    return;
                }
                match self.item(item, checked, scope.as_ref()) {
                    Ok(item) => checked.items.push(item),
                    Err((reason, undefined)) => checked.refuse(Some(seq), reason, undefined),
                }
            }
            Frame::Lost(lost) => self.lost(lost, checked),
            Frame::Newest(seq) => self.ledger.note_newest(checked.source, seq.min(HUB_SEQ_MAX)),
        }
    }

    fn describe(&self, scope: Option<&Scope>, blob: &[u8], key: &SourceKey) -> Result<(), String> {
        let Some(scope) = scope else { return Err("definitions before the first scope".into()) };
        let day = self.now_ms.div_euclid(DAY_MS);
        let by = Describer { agent_id: &key.agent_id, stream: key.stream, day };
        self.scopes.describe(scope, blob, &by, self.limits)
    }

    /// The item, if it may be stored; else why not, and whether definitions are all that it lacks.
    fn item(
        &self,
        item: Item,
        checked: &Checked,
        scope: Option<&Arc<Scope>>,
    ) -> Result<CheckedItem, (String, bool)> {
        let Some(scope) = scope else { return Err(("an item before the first scope".into(), true)) };
        self.envelope(&item, checked).map_err(|reason| (reason, false))?;
        match checked.stream {
            Stream::Metrics => window(&item, scope)?,
            Stream::Processes => table(&item.blob).map_err(|error| (error.to_string(), false))?,
            Stream::Events => {
                decode_note(&item.blob).map_err(|error| (error.to_string(), false))?;
            }
            Stream::Logs => logs(&item).map_err(|reason| (reason, false))?,
        }
        let hour = self.hour_of(item.from_ms);
        Ok(CheckedItem { n_blobs: scope.n_blobs(), scope: Arc::clone(scope), hour, item })
    }

    fn envelope(&self, item: &Item, checked: &Checked) -> Result<(), String> {
        let limits = self.limits;
        if item.seq == 0 || item.seq > HUB_SEQ_MAX {
            return Err(format!("{} is no number of an item", item.seq));
        }
        let (n_bytes, bytes_max) = (item.blob.len() as u64, limits.item_bytes.0);
        if n_bytes > bytes_max {
            return Err(format!("an item of {n_bytes} bytes; at most {bytes_max} are taken"));
        }
        if item.n_samples > limits.item_samples {
            let (n_samples, most) = (item.n_samples, limits.item_samples);
            return Err(format!("an item of {n_samples} samples; at most {most} are taken"));
        }
        if checksum(&item.blob) != item.checksum {
            return Err("its checksum is wrong".into());
        }
        // What is noted may be about any time, and is filed under the present where need be.
        if checked.stream != Stream::Events {
            self.times(item.from_ms, item.to_ms)?;
        }
        self.holes(checked.source, item.seq, item.seq)
    }

    /// Numbers that lie alone make a hole more, and holes take memory.
    fn holes(&self, source: SourceId, from: Seq, to: Seq) -> Result<(), String> {
        let is_here = |seq| self.ledger.contains(source, seq);
        let alone = !is_here(from - 1) && !is_here(to + 1);
        if alone && self.ledger.n_ranges(source) > self.limits.holes {
            return Err(format!("more than {} holes in the numbers of its stream", self.limits.holes));
        }
        Ok(())
    }

    fn times(&self, from_ms: TimeMs, to_ms: TimeMs) -> Result<(), String> {
        let span_ms = to_ms.checked_sub(from_ms).filter(|span_ms| (0..=WINDOW_MS_MAX).contains(span_ms));
        if span_ms.is_none() {
            return Err(format!("a span from {from_ms} to {to_ms}"));
        }
        let ahead_ms = to_ms.saturating_sub(self.now_ms);
        if ahead_ms > self.limits.ahead.as_ms() {
            return Err(format!("it ends {} s ahead of the hub's clock", ahead_ms / 1000));
        }
        let age_ms = self.now_ms.saturating_sub(from_ms);
        if from_ms < 0 || age_ms > self.age_ms_max {
            return Err(format!("it is {} s old, and nothing that old is kept", age_ms / 1000));
        }
        Ok(())
    }

    /// The hour of an instant; the present one for an instant of which nothing is kept.
    fn hour_of(&self, time_ms: TimeMs) -> i64 {
        let ahead_ms = self.now_ms.saturating_add(self.limits.ahead.as_ms());
        let kept = self.now_ms.saturating_sub(self.age_ms_max).max(0)..=ahead_ms;
        let time_ms = if kept.contains(&time_ms) { time_ms } else { self.now_ms.max(0) };
        time_ms.div_euclid(HOUR_MS)
    }

    /// A range that is lost is noted where it belongs in time, or now where nobody knows.
    fn lost(&self, mut lost: Lost, checked: &mut Checked) {
        if lost.from == 0 || lost.from > lost.to || lost.to > HUB_SEQ_MAX {
            checked.refuse(None, format!("numbers {} to {} as lost", lost.from, lost.to), false);
            return;
        }
        if let Err(reason) = self.holes(checked.source, lost.from, lost.to) {
            checked.refuse(None, reason, false);
            return;
        }
        let oldest_ms = self.now_ms.saturating_sub(self.age_ms_max).max(0);
        let known = lost.from_ms < lost.to_ms && (oldest_ms..=self.now_ms).contains(&lost.from_ms);
        if !known {
            lost.from_ms = lost.from_ms.clamp(oldest_ms, self.now_ms.max(oldest_ms));
            lost.to_ms = lost.to_ms.clamp(lost.from_ms, self.now_ms.max(lost.from_ms));
        }
        let hour = if known { lost.from_ms } else { self.now_ms }.max(0).div_euclid(HOUR_MS);
        lost.reason.truncate(lost.reason.floor_char_boundary(32));
        checked.lost.push((hour, lost));
    }
}

/// Whether a blob of tables is one.
fn table(blob: &[u8]) -> Result<(), CodecError> {
    let sealed = decode_table_blob(blob)?.blob;
    decode_table(&mut Rows::new(), sealed, |_, _| {})
}

/// Whether log records are what the item claims.
fn logs(item: &Item) -> Result<(), String> {
    let entries = decode_logs(&item.blob).map_err(|error| error.to_string())?;
    let span = item.from_ms..item.to_ms;
    if entries.len() as u64 != item.n_samples || !entries.iter().all(|entry| span.contains(&entry.time_ms)) {
        return Err("log records other than it claims".into());
    }
    Ok(())
}

/// Whether a window says what it claims to say, in ids that are described.
fn window(item: &Item, scope: &Scope) -> Result<(), (String, bool)> {
    let groups = decode_window(&item.blob).map_err(|error| (error.to_string(), false))?;
    let span = item.from_ms..item.to_ms;
    if groups.iter().flat_map(|group| &group.times_ms).any(|time_ms| !span.contains(time_ms)) {
        return Err(("samples outside of the span that it claims".into(), false));
    }
    let n_samples = groups.iter().flat_map(|group| &group.values).filter(|value| !is_absent(**value)).count();
    if n_samples as u64 != item.n_samples {
        return Err((format!("{n_samples} samples where it claims {}", item.n_samples), false));
    }
    let ids = groups.iter().flat_map(|group| group.ids.iter().copied());
    let unknown = |id| (format!("series {id} of {} is not described", scope.name), true);
    scope.knows(ids).map_err(unknown)
}

impl Checked {
    fn refuse(&mut self, seq: Option<Seq>, reason: String, undefined: bool) {
        self.answer.n_refused += 1;
        if self.answer.refused.len() < N_REFUSED_SAID {
            self.answer.refused.push(Refusal { seq, reason, undefined });
        }
    }

    /// Nothing of it has to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.lost.is_empty()
    }
}
