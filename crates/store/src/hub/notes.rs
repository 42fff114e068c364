//! Events and gaps that agents noted, out of all files that still have them.

use std::collections::BTreeMap;

use fieldpost_model::{Stream, TimeMs};

use crate::StoreError;
use crate::folder::{FileKind, StoreFile};
use crate::hub::batch::HUB_SEQ_MAX;
use crate::hub::reader::HubReader;
use crate::hub::source::{HourSpan, whole};
use crate::record::{Note, decode_note};
use crate::source::skip_damage;

impl HubReader {
    /// What an agent noted in `[from_ms, to_ms)`: the newest `limit` events and gaps, oldest first.
    /// A gap counts by its beginning. Notes outlive the samples of their time: they are kept as
    /// long as the rollups to hours.
    pub fn notes(
        &self,
        agent_id: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        let kept = |file: &StoreFile| file.kind != FileKind::Tables;
        let mut found: BTreeMap<(TimeMs, String, u64), Note> = BTreeMap::new();
        for file in self.open_files(&kept, &self.shapes())? {
            let span = HourSpan { hour: file.file.hour, from_ms, to_ms };
            for parts in file.parts(agent_id, Stream::Events)? {
                for part in &parts.parts {
                    let read = file.each_item(part.number, 0..=HUB_SEQ_MAX, &span, |item| {
                        let note = whole(&item).and_then(|blob| decode_note(blob).ok().flatten());
                        if let Some(note) = note.filter(|_| (from_ms..to_ms).contains(&item.from_ms)) {
                            found.insert((item.from_ms, parts.key.spool_id.clone(), item.seq), note);
                        }
                        if found.len() > limit {
                            found.pop_first();
                        }
                    });
                    skip_damage(&file.file.path, read)?;
                }
            }
        }
        Ok(found.into_values().collect())
    }
}
