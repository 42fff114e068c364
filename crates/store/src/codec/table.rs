//! The blob of some ticks of one table: only what changed since the tick before. The first blob
//! of a chain starts from an empty table, the next ones from where the last one ended.
//!
//! Plain layout, before zstd: version, number of ticks, then for each tick its instant, the ids
//! that are gone, the ids that changed with a mask byte each, and the changes column by column.

use std::collections::BTreeMap;

use fieldpost_model::TimeMs;

use super::{CodecError, Cursor, N_VALUES_MAX, pack, put_signed, put_varint, unpack};

/// Bump it when the layout changes, and keep reading the old one.
const VERSION: u8 = 1;
const ZSTD_LEVEL: i32 = 3;
/// Numbers of a row.
const N_COLUMNS: usize = 8;
/// The most rows that all ticks of a blob may have together.
const N_ROWS_MAX: usize = N_VALUES_MAX / N_COLUMNS;

/// Rows by the id of their entity.
pub type Rows = BTreeMap<u32, [i64; N_COLUMNS]>;

/// Packs ticks, and leaves `rows` as the last one has them.
pub fn encode_table(rows: &mut Rows, ticks: Vec<(TimeMs, Rows)>) -> Vec<u8> {
    let mut plain = vec![VERSION];
    put_varint(&mut plain, ticks.len() as u64);
    let mut last_ms = 0;
    for (time_ms, next) in ticks {
        put_signed(&mut plain, time_ms.wrapping_sub(last_ms));
        last_ms = time_ms;
        put_ids(&mut plain, rows.keys().filter(|id| !next.contains_key(id)).copied());
        put_changes(&mut plain, rows, &next);
        *rows = next;
    }
    pack(&plain, ZSTD_LEVEL)
}

/// Unpacks what `encode_table` made, starting from the same `rows`, and hands over each tick.
pub fn decode_table(
    rows: &mut Rows,
    blob: &[u8],
    mut each: impl FnMut(TimeMs, &Rows),
) -> Result<(), CodecError> {
    let plain = unpack(blob)?;
    let mut cursor = Cursor::new(&plain);
    if cursor.byte()? != VERSION {
        return Err(CodecError::Malformed("unknown version"));
    }
    let n_ticks = cursor.count(plain.len())?;
    let (mut last_ms, mut n_rows) = (0_i64, 0);
    for _ in 0..n_ticks {
        last_ms = last_ms.wrapping_add(cursor.signed()?);
        for id in take_ids(&mut cursor)? {
            rows.remove(&id);
        }
        take_changes(&mut cursor, rows)?;
        n_rows += rows.len();
        if n_rows > N_ROWS_MAX {
            return Err(CodecError::TooLarge);
        }
        each(last_ms, rows);
    }
    if cursor.is_empty() { Ok(()) } else { Err(CodecError::Malformed("bytes are left over")) }
}

fn put_ids(out: &mut Vec<u8>, ids: impl Iterator<Item = u32> + Clone) {
    put_varint(out, ids.clone().count() as u64);
    let mut last = 0;
    for id in ids {
        put_varint(out, u64::from(id - last));
        last = id;
    }
}

fn take_ids(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, CodecError> {
    let n_ids = cursor.count(N_ROWS_MAX)?;
    let mut ids = Vec::new();
    let mut last = 0_u32;
    for _ in 0..n_ids {
        let step = u32::try_from(cursor.varint()?).ok();
        last =
            step.and_then(|step| last.checked_add(step)).ok_or(CodecError::Malformed("id out of range"))?;
        ids.push(last);
    }
    Ok(ids)
}

fn put_changes(out: &mut Vec<u8>, before: &Rows, after: &Rows) {
    let mut changes: Vec<(u32, u8, [i64; N_COLUMNS])> = Vec::new();
    for (&id, values) in after {
        let old = before.get(&id);
        let zeros = [0; N_COLUMNS];
        let base = old.unwrap_or(&zeros);
        let mut mask = 0;
        let mut steps = [0; N_COLUMNS];
        for (column, step) in steps.iter_mut().enumerate() {
            *step = values[column].wrapping_sub(base[column]);
            mask |= u8::from(*step != 0) << column;
        }
        if mask != 0 || old.is_none() {
            changes.push((id, mask, steps));
        }
    }
    put_ids(out, changes.iter().map(|(id, ..)| *id));
    out.extend(changes.iter().map(|(_, mask, _)| mask));
    for column in 0..N_COLUMNS {
        for (_, mask, steps) in &changes {
            if mask >> column & 1 == 1 {
                put_signed(out, steps[column]);
            }
        }
    }
}

fn take_changes(cursor: &mut Cursor<'_>, rows: &mut Rows) -> Result<(), CodecError> {
    let ids = take_ids(cursor)?;
    let masks = cursor.take(ids.len())?;
    for &id in &ids {
        rows.entry(id).or_insert([0; N_COLUMNS]);
    }
    for column in 0..N_COLUMNS {
        for (id, _) in ids.iter().zip(masks).filter(|(_, mask)| **mask >> column & 1 == 1) {
            let step = cursor.signed()?;
            if let Some(values) = rows.get_mut(id) {
                values[column] = values[column].wrapping_add(step);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_ticks() -> impl Strategy<Value = Vec<(TimeMs, Rows)>> {
        let number = prop_oneof![any::<i64>(), -1_i64..5];
        let row = proptest::array::uniform8(number);
        let rows = proptest::collection::btree_map(prop_oneof![any::<u32>(), 0_u32..10], row, 0..12);
        proptest::collection::vec((any::<i64>(), rows), 0..6)
    }

    proptest! {
        #[test]
        fn every_tick_comes_back_over_a_chain(first in any_ticks(), second in any_ticks()) {
            let (mut written, mut read) = (Rows::new(), Rows::new());
            for ticks in [first, second] {
                let blob = encode_table(&mut written, ticks.clone());
                let mut back = Vec::new();
                decode_table(&mut read, &blob, |time_ms, rows| back.push((time_ms, rows.clone()))).unwrap();
                prop_assert_eq!(back, ticks);
            }
        }

        #[test]
        fn damaged_tables_never_panic(ticks in any_ticks(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut plain = unpack(&encode_table(&mut Rows::new(), ticks)).unwrap();
            let position = at.index(plain.len());
            plain[position] ^= flip;
            let _ = decode_table(&mut Rows::new(), &pack(&plain, 1), |_, _| {});
            plain.truncate(position);
            let decoded = decode_table(&mut Rows::new(), &pack(&plain, 1), |_, _| {});
            prop_assert!(decoded.is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_table(&mut Rows::new(), &bytes, |_, _| {});
            let mut plain = vec![VERSION];
            plain.extend(&bytes);
            let _ = decode_table(&mut Rows::new(), &pack(&plain, 1), |_, _| {});
        }
    }
}
