//! The blob of one window: all its groups as columns of whole numbers, packed together.
//!
//! Plain layout, before zstd: version, number of groups, then for each group its instants, the
//! ids of its series, one descriptor byte a column, and the columns' numbers. A descriptor is
//! mode (bits 0-2), scale (bits 3-6) and "has absent numbers" (bit 7).

use fieldpost_model::{ABSENT, TimeMs, is_absent};

use super::{CodecError, Cursor, N_VALUES_MAX, Scale, Unpacker, pack, put_signed, put_varint, unpack};

/// Bump it when the layout changes, and keep reading the old one.
const VERSION: u8 = 1;
/// Windows are written often and read seldom: the fastest level is within 3 % of the next ones.
const ZSTD_LEVEL: i32 = 1;
const HAS_ABSENT: u8 = 0x80;

/// Nothing but absent numbers.
const MODE_EMPTY: u8 = 0;
/// One whole number, all over.
const MODE_SAME: u8 = 1;
/// One float, all over.
const MODE_SAME_BITS: u8 = 2;
/// Differences of whole numbers.
const MODE_DELTA: u8 = 3;
/// Differences of differences.
const MODE_DELTA2: u8 = 4;
/// Bits of floats, each against the one before.
const MODE_BITS: u8 = 5;

/// Columns with the ids of their series in one file's dictionary instead of the series themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IdGroup {
    /// The instants.
    pub times_ms: Vec<TimeMs>,
    /// Ids of the series, in the order of their columns.
    pub ids: Vec<u32>,
    /// Numbers, a whole column after the other.
    pub values: Vec<f64>,
}

impl IdGroup {
    /// The numbers of the series at this position.
    pub fn column(&self, position: usize) -> &[f64] {
        let n = self.times_ms.len();
        &self.values[position * n..(position + 1) * n]
    }
}

/// Packs the groups of a window: instants, ids, and columns of each.
pub fn encode_window<'a>(
    groups: impl ExactSizeIterator<Item = (&'a [TimeMs], &'a [u32], &'a [f64])>,
) -> Vec<u8> {
    let mut plain = vec![VERSION];
    let mut encoder = ColumnEncoder::default();
    put_varint(&mut plain, groups.len() as u64);
    for (times_ms, ids, values) in groups {
        put_times(&mut plain, times_ms);
        put_ids(&mut plain, ids);
        encoder.numbers.clear();
        for position in 0..ids.len() {
            let column = &values[position * times_ms.len()..(position + 1) * times_ms.len()];
            plain.push(encoder.encode(column));
        }
        plain.extend_from_slice(&encoder.numbers);
    }
    pack(&plain, ZSTD_LEVEL)
}

/// Unpacks what `encode_window` made.
pub fn decode_window(blob: &[u8]) -> Result<Vec<IdGroup>, CodecError> {
    decode_plain(&unpack(blob)?, |_| true)
}

/// Reads some columns of many windows, one after the other.
#[derive(Default)]
pub(crate) struct WindowReader {
    unpacker: Unpacker,
}

impl WindowReader {
    /// Unpacks what `encode_window` made, as far as its series are wanted: the groups have these
    /// columns only. Numbers of others are passed over, and not looked at.
    pub(crate) fn read(
        &mut self,
        blob: &[u8],
        wanted: impl Fn(u32) -> bool,
    ) -> Result<Vec<IdGroup>, CodecError> {
        decode_plain(self.unpacker.unpack(blob)?, wanted)
    }
}

fn decode_plain(plain: &[u8], wanted: impl Fn(u32) -> bool) -> Result<Vec<IdGroup>, CodecError> {
    let mut cursor = Cursor::new(plain);
    if cursor.byte()? != VERSION {
        return Err(CodecError::Malformed("unknown version"));
    }
    let n_groups = cursor.count(plain.len())?;
    let mut groups = Vec::new();
    let mut n_values = 0;
    for _ in 0..n_groups {
        groups.push(decode_group(&mut cursor, &mut n_values, &wanted)?);
    }
    if cursor.is_empty() { Ok(groups) } else { Err(CodecError::Malformed("bytes are left over")) }
}

/// Instants as differences of differences: a steady interval costs a zero each.
pub(crate) fn put_times(out: &mut Vec<u8>, times_ms: &[TimeMs]) {
    put_varint(out, times_ms.len() as u64);
    let (mut last, mut last_step) = (0_i64, 0_i64);
    for &time_ms in times_ms {
        let step = time_ms.wrapping_sub(last);
        put_signed(out, step.wrapping_sub(last_step));
        (last, last_step) = (time_ms, step);
    }
}

/// Reads what `put_times` wrote.
pub(crate) fn take_times(cursor: &mut Cursor<'_>) -> Result<Vec<TimeMs>, CodecError> {
    let n_times = cursor.count(N_VALUES_MAX)?;
    let mut times_ms = Vec::new();
    let (mut last, mut last_step) = (0_i64, 0_i64);
    cursor.each_signed(n_times, |step| {
        last_step = last_step.wrapping_add(step);
        last = last.wrapping_add(last_step);
        times_ms.push(last);
    })?;
    Ok(times_ms)
}

fn put_ids(out: &mut Vec<u8>, ids: &[u32]) {
    put_varint(out, ids.len() as u64);
    let mut expected = 0_i64;
    for &id in ids {
        put_signed(out, i64::from(id) - expected);
        expected = i64::from(id) + 1;
    }
}

fn take_ids(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, CodecError> {
    let n_ids = cursor.count(N_VALUES_MAX)?;
    let mut ids = Vec::new();
    let mut expected = 0_i64;
    for _ in 0..n_ids {
        let id = expected.wrapping_add(cursor.signed()?);
        let id = u32::try_from(id).map_err(|_| CodecError::Malformed("id out of range"))?;
        ids.push(id);
        expected = i64::from(id) + 1;
    }
    Ok(ids)
}

#[derive(Default)]
struct ColumnEncoder {
    numbers: Vec<u8>,
    present: Vec<f64>,
    whole: Vec<i64>,
}

impl ColumnEncoder {
    /// Appends a column's numbers and answers its descriptor.
    fn encode(&mut self, column: &[f64]) -> u8 {
        self.present.clear();
        self.present.extend(column.iter().filter(|value| !is_absent(**value)));
        if self.present.is_empty() {
            return MODE_EMPTY;
        }
        let mut flags = 0;
        if self.present.len() < column.len() {
            flags = HAS_ABSENT;
            put_mask(&mut self.numbers, column);
        }
        flags | self.encode_present()
    }

    fn encode_present(&mut self) -> u8 {
        let first = self.present[0].to_bits();
        let same = self.present.iter().all(|value| value.to_bits() == first);
        let looked_at = if same { &self.present[..1] } else { &self.present[..] };
        let Some(scale) = Scale::find(looked_at, &mut self.whole) else { return self.encode_bits(same) };
        let mode = if same {
            put_signed(&mut self.numbers, self.whole[0]);
            MODE_SAME
        } else {
            put_whole(&mut self.numbers, &self.whole)
        };
        mode | scale.code() << 3
    }

    fn encode_bits(&mut self, same: bool) -> u8 {
        let count = if same { 1 } else { self.present.len() };
        let mut last = 0;
        for value in &self.present[..count] {
            self.numbers.extend_from_slice(&(value.to_bits() ^ last).to_le_bytes());
            last = value.to_bits();
        }
        if same { MODE_SAME_BITS } else { MODE_BITS }
    }
}

/// One bit a number, set where there is one.
fn put_mask(out: &mut Vec<u8>, column: &[f64]) {
    for eight in column.chunks(8) {
        let bits = eight.iter().enumerate().map(|(bit, value)| u8::from(!is_absent(*value)) << bit);
        out.push(bits.fold(0, |mask, bit| mask | bit));
    }
}

/// Appends differences, or differences of differences where these are shorter; answers the mode.
fn put_whole(out: &mut Vec<u8>, whole: &[i64]) -> u8 {
    let start = out.len();
    let mut last = 0;
    for &number in whole {
        put_signed(out, number.wrapping_sub(last));
        last = number;
    }
    let middle = out.len();
    let (mut last, mut last_step) = (0_i64, 0_i64);
    for (position, &number) in whole.iter().enumerate() {
        let step = number.wrapping_sub(last);
        put_signed(out, step.wrapping_sub(last_step));
        // The first number is no step: it would spoil the first difference of differences.
        (last, last_step) = (number, if position == 0 { 0 } else { step });
    }
    if out.len() - middle < middle - start {
        out.drain(start..middle);
        MODE_DELTA2
    } else {
        out.truncate(middle);
        MODE_DELTA
    }
}

fn decode_group(
    cursor: &mut Cursor<'_>,
    n_values: &mut usize,
    wanted: impl Fn(u32) -> bool,
) -> Result<IdGroup, CodecError> {
    let times_ms = take_times(cursor)?;
    let mut ids = take_ids(cursor)?;
    let size = times_ms.len().checked_mul(ids.len()).ok_or(CodecError::TooLarge)?;
    *n_values += size;
    if *n_values > N_VALUES_MAX {
        return Err(CodecError::TooLarge);
    }
    let descriptors = cursor.take(ids.len())?;
    let are_wanted: Vec<bool> = ids.iter().map(|id| wanted(*id)).collect();
    let n_wanted = are_wanted.iter().filter(|is_wanted| **is_wanted).count();
    let mut values = Vec::with_capacity(n_wanted * times_ms.len());
    for (&descriptor, &is_wanted) in descriptors.iter().zip(&are_wanted) {
        if is_wanted {
            decode_column(cursor, descriptor, times_ms.len(), &mut values)?;
        } else {
            skip_column(cursor, descriptor, times_ms.len())?;
        }
    }
    let mut is_wanted = are_wanted.iter();
    ids.retain(|_| is_wanted.next().is_some_and(|is_wanted| *is_wanted));
    Ok(IdGroup { times_ms, ids, values })
}

/// Passes over what `decode_column` would read.
fn skip_column(cursor: &mut Cursor<'_>, descriptor: u8, n_times: usize) -> Result<(), CodecError> {
    let mut n_present = n_times;
    if descriptor & HAS_ABSENT != 0 {
        let mask = cursor.take(n_times.div_ceil(8))?;
        n_present = (0..n_times).filter(|position| mask[position / 8] >> (position % 8) & 1 == 1).count();
    }
    match descriptor & 7 {
        _ if n_present == 0 => Ok(()),
        MODE_EMPTY => Ok(()),
        MODE_SAME => cursor.skip(1),
        MODE_SAME_BITS => cursor.take(8).map(drop),
        MODE_BITS => cursor.take(8 * n_present).map(drop),
        MODE_DELTA | MODE_DELTA2 => cursor.skip(n_present),
        _ => Err(CodecError::Malformed("unknown mode")),
    }
}

fn decode_column(
    cursor: &mut Cursor<'_>,
    descriptor: u8,
    n_times: usize,
    values: &mut Vec<f64>,
) -> Result<(), CodecError> {
    let mask = if descriptor & HAS_ABSENT == 0 { None } else { Some(cursor.take(n_times.div_ceil(8))?) };
    let scale = Scale::from_code(descriptor >> 3 & 0xf)?;
    let mut numbers = Numbers { mode: descriptor & 7, scale, last: 0, step: 0, started: false };
    for position in 0..n_times {
        let present = mask.is_none_or(|mask| mask[position / 8] >> (position % 8) & 1 == 1);
        values.push(if present { numbers.next(cursor)? } else { ABSENT });
    }
    Ok(())
}

/// Undoes the mode of a column, number by number.
struct Numbers {
    mode: u8,
    scale: Scale,
    last: i64,
    step: i64,
    started: bool,
}

impl Numbers {
    fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<f64, CodecError> {
        let first = !std::mem::replace(&mut self.started, true);
        match self.mode {
            MODE_EMPTY => return Ok(ABSENT),
            MODE_SAME | MODE_SAME_BITS if !first => {}
            MODE_SAME => self.last = cursor.signed()?,
            MODE_SAME_BITS => self.last = cursor.word()? as i64,
            MODE_BITS => self.last ^= cursor.word()? as i64,
            MODE_DELTA => self.last = self.last.wrapping_add(cursor.signed()?),
            MODE_DELTA2 if first => self.last = cursor.signed()?,
            MODE_DELTA2 => {
                self.step = self.step.wrapping_add(cursor.signed()?);
                self.last = self.last.wrapping_add(self.step);
            }
            _ => return Err(CodecError::Malformed("unknown mode")),
        }
        let bits = matches!(self.mode, MODE_SAME_BITS | MODE_BITS);
        Ok(if bits { f64::from_bits(self.last as u64) } else { self.scale.float(self.last) })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(groups: &[IdGroup]) -> Vec<u8> {
        encode_window(groups.iter().map(|g| (&g.times_ms[..], &g.ids[..], &g.values[..])))
    }

    fn bits(groups: &[IdGroup]) -> Vec<(Vec<i64>, Vec<u32>, Vec<u64>)> {
        let of = |g: &IdGroup| {
            (g.times_ms.clone(), g.ids.clone(), g.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        groups.iter().map(of).collect()
    }

    pub(crate) fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000_i64..1000).prop_map(|n| n as f64 / 100.0),
            (0_u64..1 << 50).prop_map(|n| n as f64),
            (0_u64..1 << 30).prop_map(|n| n as f64 * 4096.0),
            Just(ABSENT),
            Just(-0.0),
            Just(0.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::from_bits(0x7ff8_dead_beef_0001)),
            Just(f64::from_bits(0xfff0_0000_0000_0001)),
            Just(9_007_199_254_740_993.0),
        ]
    }

    fn any_group() -> impl Strategy<Value = IdGroup> {
        (0_usize..20, 0_usize..12).prop_flat_map(|(n_times, n_series)| {
            let values = prop_oneof![
                proptest::collection::vec(any_value(), n_times * n_series),
                any_value().prop_map(move |value| vec![value; n_times * n_series]),
            ];
            let times = proptest::collection::vec(any::<i64>(), n_times);
            let ids = proptest::collection::vec(any::<u32>(), n_series);
            (times, ids, values).prop_map(|(times_ms, ids, values)| IdGroup { times_ms, ids, values })
        })
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(groups in proptest::collection::vec(any_group(), 0..4)) {
            let decoded = decode_window(&encode(&groups)).unwrap();
            prop_assert_eq!(bits(&decoded), bits(&groups));
        }

        #[test]
        fn some_columns_are_those_of_the_whole(windows in proptest::collection::vec(proptest::collection::vec(any_group(), 0..4), 1..3), bit in 0_u32..32) {
            let mut reader = WindowReader::default();
            for mut groups in windows {
                let found = reader.read(&encode(&groups), |id| id >> bit & 1 == 1).unwrap();
                for group in &mut groups {
                    let kept = (0..group.ids.len()).filter(|position| group.ids[*position] >> bit & 1 == 1);
                    group.values = kept.flat_map(|position| group.column(position).to_vec()).collect();
                    group.ids.retain(|id| id >> bit & 1 == 1);
                }
                prop_assert_eq!(bits(&found), bits(&groups));
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut with_version = vec![VERSION];
            with_version.extend(&bytes);
            for blob in [bytes.clone(), pack(&bytes, 1), pack(&with_version, 1)] {
                let _ = decode_window(&blob);
                let _ = WindowReader::default().read(&blob, |id| id % 2 == 0);
            }
        }

        #[test]
        fn damaged_windows_never_panic(groups in proptest::collection::vec(any_group(), 1..3), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut plain = unpack(&encode(&groups)).unwrap();
            let position = at.index(plain.len());
            plain[position] ^= flip;
            let _ = decode_window(&pack(&plain, 1));
            plain.truncate(position);
            prop_assert!(decode_window(&pack(&plain, 1)).is_err());
        }
    }

    #[test]
    fn steady_counters_cost_little() {
        let times_ms: Vec<i64> = (0..10).map(|n| 1_700_000_000_000 + n * 1000).collect();
        let ids: Vec<u32> = (0..600).collect();
        let values =
            ids.iter().flat_map(|id| (0..10).map(move |n| f64::from(*id * 1000 + n * (id % 3)))).collect();
        let blob = encode(&[IdGroup { times_ms, ids, values }]);
        assert!(blob.len() < 3000, "{} bytes", blob.len());
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let mut plain = vec![VERSION, 1];
        put_times(&mut plain, &vec![0; 4096]);
        put_ids(&mut plain, &vec![0; 4096]);
        assert_eq!(decode_window(&pack(&plain, 1)), Err(CodecError::TooLarge));
    }
}
