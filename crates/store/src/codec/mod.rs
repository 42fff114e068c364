//! Encoding of windows, merged rows and tables into blobs, and back. Pure functions: bytes in,
//! numbers out. Whatever the bytes are, decoding ends, allocates a bounded amount and never panics.

mod bytes;
mod ranges;
mod row;
mod scale;
mod table;
mod window;

pub(crate) use row::RowDecoder;
pub use row::{RowColumn, decode_axis, decode_row, encode_axis, encode_row};
pub use table::{Rows, decode_table, encode_table};
pub use window::{IdGroup, decode_window, encode_window};

pub(crate) use bytes::{Cursor, put_signed, put_text, put_varint};
pub(crate) use ranges::{decode_intervals, encode_intervals};
pub(crate) use scale::Scale;
pub(crate) use window::WindowReader;

/// The most numbers that one blob may claim to hold; bounds what a hostile blob can allocate.
pub const N_VALUES_MAX: usize = 4 << 20;
/// The most bytes that one blob may unpack to.
pub const UNPACKED_BYTES_MAX: usize = 32 << 20;

/// Why a blob cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It ends too early.
    #[error("the blob ends too early")]
    Truncated,
    /// It says something that no encoder says.
    #[error("the blob is malformed: {0}")]
    Malformed(&'static str),
    /// It claims to hold more than this program ever writes.
    #[error("the blob claims to hold too much")]
    TooLarge,
    /// Its checksum differs from the one stored beside it.
    #[error("the blob's checksum is wrong")]
    Checksum,
}

/// The checksum kept beside each blob.
pub fn checksum(blob: &[u8]) -> u32 {
    crc32fast::hash(blob)
}

/// Packs bytes with zstd; the level is one for windows, higher for what is written once.
pub(crate) fn pack(plain: &[u8], level: i32) -> Vec<u8> {
    // Compressing from memory to memory fails only when memory does.
    zstd::bulk::compress(plain, level).unwrap_or_default()
}

/// Packs many blobs one after the other, at one level: what zstd needs for it is made only once.
pub(crate) struct Packer {
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    /// Makes what zstd needs.
    pub(crate) fn new(level: i32) -> Self {
        // It fails only when memory does, as compressing does then.
        Self { compressor: zstd::bulk::Compressor::new(level).ok() }
    }

    /// Packs bytes as `pack` does.
    pub(crate) fn pack(&mut self, plain: &[u8]) -> Vec<u8> {
        let compressor = self.compressor.as_mut();
        compressor.and_then(|compressor| compressor.compress(plain).ok()).unwrap_or_default()
    }
}

/// Unpacks many blobs one after the other: what zstd needs for it, and the memory for what comes out,
/// are made only once.
#[derive(Default)]
pub(crate) struct Unpacker {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    plain: Vec<u8>,
}

impl Unpacker {
    /// Unpacks a blob as `unpack` does.
    pub(crate) fn unpack(&mut self, packed: &[u8]) -> Result<&[u8], CodecError> {
        let size = unpacked_size(packed)?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            // It fails only when memory does.
            none => none.insert(zstd::bulk::Decompressor::new().map_err(|_| CodecError::Malformed("zstd"))?),
        };
        self.plain.clear();
        self.plain.reserve(size);
        let done = decompressor.decompress_to_buffer(packed, &mut self.plain);
        done.map_err(|_| CodecError::Malformed("zstd"))?;
        Ok(&self.plain)
    }
}

/// Unpacks what `pack` made, at most `UNPACKED_BYTES_MAX`.
pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<u8>, CodecError> {
    let size = unpacked_size(packed)?;
    zstd::bulk::decompress(packed, size).map_err(|_| CodecError::Malformed("zstd"))
}

/// What a blob says it unpacks to, if that is allowed.
fn unpacked_size(packed: &[u8]) -> Result<usize, CodecError> {
    let claimed = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let size = claimed.ok_or(CodecError::Malformed("no zstd frame with a size"))?;
    if size > UNPACKED_BYTES_MAX as u64 {
        return Err(CodecError::TooLarge);
    }
    Ok(size as usize)
}
