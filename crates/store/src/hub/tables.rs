//! The history of an agent's processes and units, out of the items in which its tables came. A
//! table is a chain of changes: where one of them is missing, nothing is answered until the next
//! chain begins, minutes later.

use std::collections::{BTreeMap, HashMap};

use fieldpost_model::{Entity, Intervals, Seq, Stream, TableKind, TableTick, TimeMs};

use crate::StoreError;
use crate::calendar::DAY_MS;
use crate::codec::Rows;
use crate::folder::StoreFile;
use crate::hub::batch::HUB_SEQ_MAX;
use crate::hub::intake::each_definition;
use crate::hub::pool::Lent;
use crate::hub::reader::HubReader;
use crate::hub::source::{HourSpan, whole};
use crate::record::{decode_entities, decode_table_blob};
use crate::source::{is_raw, skip_damage};
use crate::tables::{CHAIN_MS_MAX, TableScan, undescribed};

/// A blob of the table that is asked for.
struct Piece {
    seq: Seq,
    chain: i64,
    blob: Vec<u8>,
}

/// What one spool and scope has of a day. Ids of entities mean something in one scope only, and
/// so do chains.
#[derive(Default)]
struct Day {
    pieces: BTreeMap<i64, Piece>,
    /// Numbers of the items that are here, of whatever table.
    numbers: Intervals,
    entities: HashMap<u32, Entity>,
}

impl HubReader {
    /// Hands over the ticks of an agent's table in `[from_ms, to_ms)`, as `Reader::scan_tables`
    /// does. Memory holds a day of the agent's tables, packed. Answers how many blobs were damaged
    /// or could not be read for want of one before them.
    pub fn scan_tables(
        &self,
        agent_id: &str,
        kind: TableKind,
        from_ms: TimeMs,
        to_ms: TimeMs,
        mut each: impl FnMut(TableTick),
    ) -> Result<u64, StoreError> {
        let shapes = self.shapes();
        let touches = |file: &StoreFile| {
            is_raw(file.kind) && file.end_ms() > from_ms.saturating_sub(DAY_MS) && file.begin_ms() < to_ms
        };
        // The files of whole days: what is described in one hour may be used in a later one.
        let files = self.open_files(&touches, &shapes)?;
        let mut scan = TableScan::new(kind, from_ms, to_ms, &mut each);
        let mut n_damaged = 0;
        let first = files.iter().map(|file| file.file.day()).min().unwrap_or(0);
        let last = files.iter().map(|file| file.file.day()).max().unwrap_or(-1);
        for day in first.max(from_ms.div_euclid(DAY_MS) - 1)..=last {
            let begin_ms = from_ms.saturating_sub(2 * CHAIN_MS_MAX).max(day * DAY_MS);
            let span = HourSpan { hour: 0, from_ms: begin_ms, to_ms: to_ms.min((day + 1) * DAY_MS) };
            if span.from_ms < span.to_ms {
                for of_scope in gather(&files, agent_id, kind, &span)?.into_values() {
                    n_damaged += of_scope.read(&mut scan, begin_ms);
                }
            }
        }
        Ok(n_damaged)
    }
}

/// Gathers what an agent has of a day, by spool and scope.
fn gather(
    files: &[Lent],
    agent_id: &str,
    kind: TableKind,
    span: &HourSpan,
) -> Result<BTreeMap<(String, String), Day>, StoreError> {
    let mut days: BTreeMap<(String, String), Day> = BTreeMap::new();
    for file in files {
        for parts in file.parts(agent_id, Stream::Processes)? {
            for part in &parts.parts {
                let place = (parts.key.spool_id.clone(), part.scope.clone());
                let day = days.entry(place).or_default();
                let read = file.each_item(part.number, 0..=HUB_SEQ_MAX, span, |item| {
                    if let Some(blob) = whole(&item) {
                        day.take(item.seq, blob, kind);
                    }
                });
                skip_damage(&file.file.path, read)?;
                let read = each_definition(&file.connection, part.number, |blob| {
                    let described = decode_entities(blob).unwrap_or_default().into_iter();
                    let of_kind = described.filter(|definition| definition.kind == kind);
                    day.entities.extend(of_kind.map(|definition| (definition.id, definition.entity)));
                });
                let read = read.map_err(StoreError::sql("read", &file.file.path));
                skip_damage(&file.file.path, read)?;
            }
        }
    }
    Ok(days)
}

impl Day {
    fn take(&mut self, seq: Seq, blob: &[u8], kind: TableKind) {
        let Ok(table) = decode_table_blob(blob) else { return };
        self.numbers.insert(seq, seq);
        if table.kind == kind {
            let piece = Piece { seq, chain: table.chain, blob: table.blob.to_vec() };
            self.pieces.insert(table.key, piece);
        }
    }

    fn read(self, scan: &mut TableScan<'_>, begin_ms: TimeMs) -> u64 {
        let Self { pieces, numbers, entities } = self;
        let mut entity = |id| Ok(entities.get(&id).cloned().unwrap_or_else(undescribed));
        let mut n_damaged = 0;
        // The chain under way: its key, the number of its last blob, and its table while it is whole.
        let mut present: Option<(i64, Seq, Option<Rows>)> = None;
        for (key, piece) in pieces {
            let (chain, last_seq, table) = match present.take() {
                Some(known) if known.0 == piece.chain => known,
                _ => (piece.chain, piece.seq, (key == piece.chain).then(Rows::new)),
            };
            let follows = last_seq == piece.seq || numbers.missing(last_seq, piece.seq).is_empty();
            let mut table = table.filter(|_| follows && last_seq <= piece.seq);
            if let Some(rows) = &mut table {
                // Only looking up an entity could fail, and here they are in memory.
                if !scan.hand_over(rows, &piece.blob, &mut entity).unwrap_or(false) {
                    table = None;
                }
            }
            // A chain that begins before what was gathered ends before what was asked for.
            n_damaged += u64::from(table.is_none() && chain >> 1 >= begin_ms);
            present = Some((chain, piece.seq, table));
        }
        n_damaged
    }
}
