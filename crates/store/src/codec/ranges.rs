//! Sets of numbers as bytes: each range by its distance from the one before.

use fieldpost_model::Intervals;

use super::{CodecError, Cursor, put_varint};

/// Packs a set of numbers.
pub(crate) fn encode_intervals(set: &Intervals) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, set.ranges().len() as u64);
    let mut last = 0;
    for (from, to) in set.ranges() {
        put_varint(&mut bytes, from - last);
        put_varint(&mut bytes, to - from);
        last = *to;
    }
    bytes
}

/// Unpacks what `encode_intervals` made.
pub(crate) fn decode_intervals(bytes: &[u8]) -> Result<Intervals, CodecError> {
    let mut cursor = Cursor::new(bytes);
    let n_ranges = cursor.count(bytes.len())?;
    let out_of_range = CodecError::Malformed("a range of numbers out of range");
    let (mut set, mut last) = (Intervals::default(), 0_u64);
    for _ in 0..n_ranges {
        let from = last.checked_add(cursor.varint()?).ok_or(out_of_range)?;
        last = from.checked_add(cursor.varint()?).ok_or(out_of_range)?;
        set.insert(from, last);
    }
    if cursor.is_empty() { Ok(set) } else { Err(CodecError::Malformed("bytes are left over")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_come_back(ranges in proptest::collection::vec((any::<u64>(), 0_u64..9), 0..20)) {
            let mut set = Intervals::default();
            ranges.iter().for_each(|(from, length)| set.insert(*from, from.saturating_add(*length)));
            prop_assert_eq!(decode_intervals(&encode_intervals(&set)), Ok(set));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_intervals(&bytes);
        }
    }
}
