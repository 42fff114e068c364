//! The blob of one merged row: a few series over an hour (or their rollups over longer), each
//! column on its own so that one series is unpacked alone.
//!
//! Layout: version, length of the head, head (packed with zstd), then the columns' own chunks.
//! The head has for each column: series id, which part of it (0 for samples), number of its
//! axis, descriptor, and the length of its chunk. Instants live in axes beside the rows, for most
//! series of an hour share one.

use fieldpost_model::{ABSENT, TimeMs, is_absent};
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::window::{put_times, take_times};
use super::{
    CodecError, Cursor, N_VALUES_MAX, Packer, Scale, Unpacker, pack, put_signed, put_varint, unpack,
};

/// Bump it when the layout changes, and keep reading the old one.
const VERSION: u8 = 1;
/// Heads and short columns are packed once and kept long.
const ZSTD_LEVEL: i32 = 9;
/// The level at which pco is within 1 % of its best on host data.
const PCO_LEVEL: usize = 8;
/// The level for shorter columns: fewer numbers have fewer kinds.
const PCO_LEVEL_SHORT: usize = 4;
/// Shorter columns are not worth the head that pco puts before each.
const PCO_LENGTH_MIN: usize = 100;
/// Columns from this length on are worth pco's own search for the best model, which takes some
/// hundred microseconds whatever the length.
const PCO_LENGTH_SEARCHED: usize = 1_000;
/// The most columns of a row.
const N_COLUMNS_MAX: usize = 4_096;

/// Nothing but absent numbers.
const MODE_EMPTY: u8 = 0;
/// One whole number, all over.
const MODE_SAME: u8 = 1;
/// One float, all over.
const MODE_SAME_BITS: u8 = 2;
/// Differences of whole numbers, packed with zstd.
const MODE_DELTA: u8 = 3;
/// Whole numbers, packed with pco.
const MODE_WHOLE: u8 = 4;
/// Floats, packed with pco.
const MODE_FLOAT: u8 = 5;
/// Bits of floats, packed with pco.
const MODE_BITS: u8 = 6;
/// The column has absent numbers: the chunk begins with runs of present and absent ones.
const HAS_ABSENT: u8 = 0x80;

/// One column of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowColumn {
    /// Id of its series.
    pub id: u32,
    /// Which part of it: 0 for samples.
    pub part: u8,
    /// Number of the axis that has its instants.
    pub axis: u32,
    /// Its numbers, as many as the axis has instants.
    pub values: Vec<f64>,
}

/// Packs the instants of an axis.
pub fn encode_axis(times_ms: &[TimeMs]) -> Vec<u8> {
    let mut plain = vec![VERSION];
    put_times(&mut plain, times_ms);
    pack(&plain, ZSTD_LEVEL)
}

/// Unpacks what `encode_axis` made.
pub fn decode_axis(blob: &[u8]) -> Result<Vec<TimeMs>, CodecError> {
    let plain = unpack(blob)?;
    let mut cursor = Cursor::new(&plain);
    if cursor.byte()? != VERSION {
        return Err(CodecError::Malformed("unknown version"));
    }
    take_times(&mut cursor)
}

/// Packs the columns of a row.
pub fn encode_row(columns: &[RowColumn]) -> Vec<u8> {
    let (mut head, mut chunks) = (Vec::new(), Vec::new());
    let mut packer = Packer::new(ZSTD_LEVEL);
    put_varint(&mut head, columns.len() as u64);
    for column in columns {
        let start = chunks.len();
        let descriptor = encode_column(&column.values, &mut packer, &mut chunks);
        put_varint(&mut head, u64::from(column.id));
        head.push(column.part);
        put_varint(&mut head, u64::from(column.axis));
        put_varint(&mut head, column.values.len() as u64);
        head.extend_from_slice(&descriptor);
        put_varint(&mut head, (chunks.len() - start) as u64);
    }
    let head = packer.pack(&head);
    let mut blob = vec![VERSION];
    put_varint(&mut blob, head.len() as u64);
    blob.extend_from_slice(&head);
    blob.extend_from_slice(&chunks);
    blob
}

/// Unpacks those columns that `wanted` names by id and part.
pub fn decode_row(blob: &[u8], wanted: impl Fn(u32, u8) -> bool) -> Result<Vec<RowColumn>, CodecError> {
    RowDecoder::default().row(blob, wanted)
}

/// What a row says of one of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnHead {
    /// Id of its series.
    pub(crate) id: u32,
    /// Which part of it.
    pub(crate) part: u8,
    /// Number of its axis.
    pub(crate) axis: u32,
}

/// Unpacks many rows one after the other: what that needs is made only once.
#[derive(Default)]
pub(crate) struct RowDecoder {
    heads: Unpacker,
    columns: ColumnDecoder,
}

impl RowDecoder {
    /// Unpacks those columns of a row that `wanted` names by id and part, or none of them.
    pub(crate) fn row(
        &mut self,
        blob: &[u8],
        wanted: impl Fn(u32, u8) -> bool,
    ) -> Result<Vec<RowColumn>, CodecError> {
        let mut columns = Vec::new();
        self.columns(blob, wanted, |column, values| {
            let ColumnHead { id, part, axis } = column;
            columns.push(RowColumn { id, part, axis, values: values.to_vec() });
        })?;
        Ok(columns)
    }

    /// Hands over those columns of a row that `wanted` names by id and part. An error comes after the
    /// columns before it.
    pub(crate) fn columns(
        &mut self,
        blob: &[u8],
        wanted: impl Fn(u32, u8) -> bool,
        mut each: impl FnMut(ColumnHead, &[f64]),
    ) -> Result<(), CodecError> {
        let mut cursor = Cursor::new(blob);
        if cursor.byte()? != VERSION {
            return Err(CodecError::Malformed("unknown version"));
        }
        let head_length = cursor.count(blob.len())?;
        let mut head = Cursor::new(self.heads.unpack(cursor.take(head_length)?)?);
        let n_columns = head.count(N_COLUMNS_MAX)?;
        let mut n_values_left = N_VALUES_MAX;
        for _ in 0..n_columns {
            let id = u32::try_from(head.varint()?).map_err(|_| CodecError::Malformed("id out of range"))?;
            let part = head.byte()?;
            let axis =
                u32::try_from(head.varint()?).map_err(|_| CodecError::Malformed("axis out of range"))?;
            let n_values = head.count(n_values_left)?;
            let descriptor = [head.byte()?, head.byte()?];
            let length = head.count(blob.len())?;
            let chunk = cursor.take(length)?;
            if wanted(id, part) {
                n_values_left -= n_values;
                each(ColumnHead { id, part, axis }, self.columns.decode(descriptor, chunk, n_values)?);
            }
        }
        Ok(())
    }
}

/// Appends a column's chunk; answers mode and flag, and scale.
fn encode_column(values: &[f64], packer: &mut Packer, out: &mut Vec<u8>) -> [u8; 2] {
    let present: Vec<f64> = values.iter().copied().filter(|value| !is_absent(*value)).collect();
    let Some(first) = present.first() else { return [MODE_EMPTY, 0] };
    let mut flag = 0;
    if present.len() < values.len() {
        flag = HAS_ABSENT;
        put_runs(out, values);
    }
    let mut whole = Vec::new();
    if present.iter().all(|value| value.to_bits() == first.to_bits()) {
        return match Scale::find(&present[..1], &mut whole) {
            Some(scale) => {
                put_signed(out, whole[0]);
                [flag | MODE_SAME, scale.code()]
            }
            None => {
                out.extend_from_slice(&first.to_le_bytes());
                [flag | MODE_SAME_BITS, 0]
            }
        };
    }
    let (mode, scale, chunk) = match Scale::find(&present, &mut whole) {
        Some(scale) => shortest_whole(&whole, scale, packer),
        None => shortest_float(&present, packer),
    };
    out.extend_from_slice(&chunk);
    [flag | mode, scale]
}

fn shortest_whole(whole: &[i64], scale: Scale, packer: &mut Packer) -> (u8, u8, Vec<u8>) {
    let delta = encode_delta(whole, packer);
    match encode_pco_whole(whole) {
        Some(packed) if packed.len() < delta.len() => (MODE_WHOLE, scale.code(), packed),
        _ => (MODE_DELTA, scale.code(), delta),
    }
}

fn shortest_float(present: &[f64], packer: &mut Packer) -> (u8, u8, Vec<u8>) {
    let bits: Vec<u64> = present.iter().map(|value| value.to_bits()).collect();
    // Checked by unpacking, for a lossless promise about floats has more corners than one about bits.
    let exact = |packed: &Vec<u8>| {
        let mut back = vec![0.0_f64; present.len()];
        decode_pco(packed, &mut back).is_ok()
            && back.iter().map(|value| value.to_bits()).eq(bits.iter().copied())
    };
    let float = encode_pco(present).filter(exact);
    let raw = encode_pco(&bits);
    match (float, raw) {
        (Some(float), Some(raw)) if raw.len() < float.len() => (MODE_BITS, 0, raw),
        (Some(float), _) => (MODE_FLOAT, 0, float),
        (None, Some(raw)) => (MODE_BITS, 0, raw),
        (None, None) => {
            let whole: Vec<i64> = bits.iter().map(|bits| *bits as i64).collect();
            // The scale that no column has says that these are bits.
            (MODE_DELTA, SCALE_BITS, encode_delta(&whole, packer))
        }
    }
}

/// Stands for the scale of a column of differences of bits.
const SCALE_BITS: u8 = 0xff;

fn encode_delta(whole: &[i64], packer: &mut Packer) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut last = 0_i64;
    for &number in whole {
        put_signed(&mut plain, number.wrapping_sub(last));
        last = number;
    }
    packer.pack(&plain)
}

/// A long column is worth a search for the best model; a shorter one is given the likely one.
fn encode_pco_whole(whole: &[i64]) -> Option<Vec<u8>> {
    if whole.len() < PCO_LENGTH_MIN {
        return None;
    }
    if whole.len() >= PCO_LENGTH_SEARCHED {
        return encode_pco(whole);
    }
    let delta = if steps_are_smaller(whole) { DeltaSpec::TryConsecutive(1) } else { DeltaSpec::NoOp };
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL_SHORT);
    simple_compress(whole, &config.with_mode_spec(ModeSpec::Classic).with_delta_spec(delta)).ok()
}

/// Do the differences spread less than the numbers?
fn steps_are_smaller(whole: &[i64]) -> bool {
    let spread = |numbers: &mut dyn Iterator<Item = i64>| {
        let (least, most) =
            numbers.fold((i64::MAX, i64::MIN), |(least, most), n| (n.min(least), n.max(most)));
        most.wrapping_sub(least) as u64
    };
    let steps = spread(&mut whole.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    steps < spread(&mut whole.iter().copied())
}

fn encode_pco<T: Number>(numbers: &[T]) -> Option<Vec<u8>> {
    simple_compress(numbers, &ChunkConfig::default().with_compression_level(PCO_LEVEL)).ok()
}

fn decode_pco<T: Number>(packed: &[u8], out: &mut [T]) -> Result<(), CodecError> {
    let progress = simple_decompress_into(packed, out).map_err(|_| CodecError::Malformed("pco"))?;
    if progress.n_processed == out.len() { Ok(()) } else { Err(CodecError::Truncated) }
}

/// Unpacks columns one after the other, always into the same memory.
#[derive(Default)]
struct ColumnDecoder {
    chunks: Unpacker,
    whole: Vec<i64>,
    bits: Vec<u64>,
    present: Vec<f64>,
    values: Vec<f64>,
}

impl ColumnDecoder {
    fn decode(&mut self, descriptor: [u8; 2], chunk: &[u8], n_values: usize) -> Result<&[f64], CodecError> {
        let mut cursor = Cursor::new(chunk);
        let [mode, scale] = descriptor;
        self.values.clear();
        self.present.clear();
        if mode == MODE_EMPTY {
            self.values.resize(n_values, ABSENT);
            return Ok(&self.values);
        }
        if mode & HAS_ABSENT == 0 {
            self.decode_present(mode, scale, cursor, n_values)?;
            return Ok(&self.present);
        }
        let runs = take_runs(&mut cursor, n_values)?;
        let n_present = runs.iter().step_by(2).sum();
        self.decode_present(mode & !HAS_ABSENT, scale, cursor, n_present)?;
        let mut start = 0;
        for (position, &run) in runs.iter().enumerate() {
            if position % 2 == 0 {
                self.values.extend_from_slice(&self.present[start..start + run]);
                start += run;
            } else {
                self.values.resize(self.values.len() + run, ABSENT);
            }
        }
        Ok(&self.values)
    }

    fn decode_present(
        &mut self,
        mode: u8,
        scale: u8,
        mut cursor: Cursor<'_>,
        n_values: usize,
    ) -> Result<(), CodecError> {
        match mode {
            MODE_SAME => {
                self.present.resize(n_values, Scale::from_code(scale)?.float(cursor.signed()?));
            }
            MODE_SAME_BITS => self.present.resize(n_values, f64::from_bits(cursor.word()?)),
            MODE_DELTA => {
                self.decode_delta(cursor.rest(), n_values)?;
                if scale == SCALE_BITS {
                    self.present.extend(self.whole.iter().map(|bits| f64::from_bits(*bits as u64)));
                } else {
                    Scale::from_code(scale)?.floats(&self.whole, &mut self.present);
                }
            }
            MODE_WHOLE => {
                self.whole.clear();
                self.whole.resize(n_values, 0);
                decode_pco(cursor.rest(), &mut self.whole)?;
                Scale::from_code(scale)?.floats(&self.whole, &mut self.present);
            }
            MODE_FLOAT => {
                self.present.resize(n_values, 0.0);
                decode_pco(cursor.rest(), &mut self.present)?;
            }
            MODE_BITS => {
                self.bits.clear();
                self.bits.resize(n_values, 0);
                decode_pco(cursor.rest(), &mut self.bits)?;
                self.present.extend(self.bits.iter().map(|bits| f64::from_bits(*bits)));
            }
            _ => return Err(CodecError::Malformed("unknown mode")),
        }
        Ok(())
    }

    fn decode_delta(&mut self, packed: &[u8], n_values: usize) -> Result<(), CodecError> {
        let mut cursor = Cursor::new(self.chunks.unpack(packed)?);
        let (whole, mut last) = (&mut self.whole, 0_i64);
        whole.clear();
        cursor.each_signed(n_values, |step| {
            last = last.wrapping_add(step);
            whole.push(last);
        })
    }
}

/// Appends how many numbers are present, then absent, then present and so on.
fn put_runs(out: &mut Vec<u8>, values: &[f64]) {
    let mut runs = Vec::new();
    let (mut run, mut absent) = (0_u64, false);
    for value in values {
        if is_absent(*value) != absent {
            runs.push(run);
            (run, absent) = (0, !absent);
        }
        run += 1;
    }
    runs.push(run);
    put_varint(out, runs.len() as u64);
    runs.into_iter().for_each(|run| put_varint(out, run));
}

fn take_runs(cursor: &mut Cursor<'_>, n_values: usize) -> Result<Vec<usize>, CodecError> {
    let n_runs = cursor.count(n_values + 1)?;
    let mut left = n_values;
    let mut runs = Vec::new();
    for _ in 0..n_runs {
        let run = cursor.count(left)?;
        left -= run;
        runs.push(run);
    }
    if left == 0 { Ok(runs) } else { Err(CodecError::Malformed("runs do not fill the column")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::window::tests::any_value;

    fn any_columns() -> impl Strategy<Value = Vec<RowColumn>> {
        let values = prop_oneof![
            proptest::collection::vec(any_value(), 0..60),
            (any_value(), 0_usize..60).prop_map(|(value, n)| vec![value; n]),
            proptest::collection::vec((0_u32..1000).prop_map(f64::from), 0..300),
            proptest::collection::vec((0_u64..1 << 50).prop_map(|n| n as f64), 90..130),
            proptest::collection::vec(0_u32..1000, 90..130).prop_map(counter),
            proptest::collection::vec(0_u32..1000, 1_000..1_010).prop_map(counter),
        ];
        let column = (any::<u32>(), 0_u8..6, any::<u32>(), values);
        let column = column.prop_map(|(id, part, axis, values)| RowColumn { id, part, axis, values });
        proptest::collection::vec(column, 0..6)
    }

    /// A counter that grows by these steps.
    fn counter(steps: Vec<u32>) -> Vec<f64> {
        let sum = |total: &mut f64, step: u32| {
            *total += f64::from(step);
            Some(*total)
        };
        steps.into_iter().scan(1e9, sum).collect()
    }

    fn bits(columns: &[RowColumn]) -> Vec<(u32, u8, u32, Vec<u64>)> {
        let of = |c: &RowColumn| (c.id, c.part, c.axis, c.values.iter().map(|v| v.to_bits()).collect());
        columns.iter().map(of).collect()
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(columns in any_columns()) {
            let decoded = decode_row(&encode_row(&columns), |_, _| true).unwrap();
            prop_assert_eq!(bits(&decoded), bits(&columns));
        }

        #[test]
        fn axes_come_back(times in proptest::collection::vec(any::<i64>(), 0..100)) {
            prop_assert_eq!(decode_axis(&encode_axis(&times)), Ok(times));
        }

        #[test]
        fn damaged_rows_never_panic(columns in any_columns(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut blob = encode_row(&columns);
            let position = at.index(blob.len());
            blob[position] ^= flip;
            let _ = decode_row(&blob, |_, _| true);
            blob.truncate(position);
            let _ = decode_row(&blob, |_, _| true);
        }

        #[test]
        fn damaged_columns_never_panic(values in proptest::collection::vec(any_value(), 1..80), mode in 0_u8..8, scale: u8, n in 0_usize..200, at in any::<prop::sample::Index>(), flip: u8) {
            let mut chunk = Vec::new();
            let descriptor = encode_column(&values, &mut Packer::new(ZSTD_LEVEL), &mut chunk);
            let _ = ColumnDecoder::default().decode([mode, scale], &chunk, n);
            if !chunk.is_empty() {
                let position = at.index(chunk.len());
                chunk[position] ^= flip;
            }
            let _ = ColumnDecoder::default().decode(descriptor, &chunk, n);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_row(&bytes, |_, _| true);
            let _ = decode_axis(&bytes);
        }
    }

    #[test]
    fn one_column_is_unpacked_alone() {
        let column = |id: u32| RowColumn { id, part: 0, axis: 0, values: vec![f64::from(id), 1.5, 2.0] };
        let blob = encode_row(&[column(1), column(2), column(3)]);
        assert_eq!(decode_row(&blob, |id, _| id == 2), Ok(vec![column(2)]));
    }
}
