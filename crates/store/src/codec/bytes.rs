//! Whole numbers of varying length, and a cursor that reads them from untrusted bytes.

use super::CodecError;

/// Appends seven bits a byte, lowest first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number: small ones of either sign are short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Undoes the folding of `put_signed`.
fn unfolded(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads from the front of untrusted bytes.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.rest.split_at_checked(n_bytes).ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn word(&mut self) -> Result<u64, CodecError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::Malformed("a number of more than ten bytes"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, CodecError> {
        self.varint().map(unfolded)
    }

    /// Hands over so many signed numbers; most are short.
    pub(crate) fn each_signed(
        &mut self,
        n_numbers: usize,
        mut each: impl FnMut(i64),
    ) -> Result<(), CodecError> {
        for _ in 0..n_numbers {
            let value = match self.rest {
                [a, rest @ ..] if *a < 0x80 => {
                    self.rest = rest;
                    u64::from(*a)
                }
                [a, b, rest @ ..] if *b < 0x80 => {
                    self.rest = rest;
                    u64::from(*a & 0x7f) | u64::from(*b) << 7
                }
                _ => self.varint()?,
            };
            each(unfolded(value));
        }
        Ok(())
    }

    /// Passes over so many numbers, of whatever length.
    pub(crate) fn skip(&mut self, n_numbers: usize) -> Result<(), CodecError> {
        const LAST: u64 = 0x8080_8080_8080_8080;
        let mut left = n_numbers;
        // The last byte of a number has its highest bit clear. Eight bytes end at most eight numbers.
        while left > 8
            && let Some((eight, rest)) = self.rest.split_first_chunk::<8>()
        {
            left -= (!u64::from_le_bytes(*eight) & LAST).count_ones() as usize;
            self.rest = rest;
        }
        while left > 0 {
            left -= usize::from(self.byte()? < 0x80);
        }
        Ok(())
    }

    /// A count of things, refused above `limit`.
    pub(crate) fn count(&mut self, limit: usize) -> Result<usize, CodecError> {
        let count = self.varint()?;
        if count > limit as u64 {
            return Err(CodecError::TooLarge);
        }
        Ok(count as usize)
    }

    /// A length-prefixed text; bytes that are no UTF-8 are replaced.
    pub(crate) fn text(&mut self) -> Result<String, CodecError> {
        let length = self.count(self.rest.len())?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

/// Appends a text after its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
