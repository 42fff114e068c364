//! Kernel text: lines, fields and numbers of byte slices, without allocation.

use std::str::FromStr;

/// The lines of a text, without their ends, the last empty one left out.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let empty = text.is_empty();
    text.split(|byte| *byte == b'\n').filter(move |_| !empty)
}

/// The fields of a line, between blanks and tabs.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|field| !field.is_empty())
}

/// A number of decimal digits only; nothing else, no sign, no overflow.
#[inline]
pub fn number(field: &[u8]) -> Option<u64> {
    if field.is_empty() || field.len() > 20 {
        return None;
    }
    let mut value = 0_u64;
    for byte in field {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A number in hexadecimal digits, with or without `0x`.
pub fn hex(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// Any number that Rust reads: signed, floating.
pub fn parse<T: FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A floating number; whole ones take the short way.
#[inline]
pub fn float(field: &[u8]) -> Option<f64> {
    match number(field) {
        Some(whole) => Some(whole as f64),
        None => parse(field),
    }
}

/// May this stand in the name of a metric? The kernel's own names may; a damaged file's may not.
pub fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Name and rest of a line such as `MemTotal:   1234 kB`.
pub fn split_once(line: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == separator)?;
    Some((&line[..at], &line[at + 1..]))
}

/// For label values: bytes that are no UTF-8 become the replacement character.
pub fn label(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_strict() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "18446744073709551616", "1.5", " 1"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(float(b"1.5"), Some(1.5));
    }

    #[test]
    fn lines_and_fields() {
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"a\n\nb\n").count(), 3);
        assert_eq!(fields(b"  a \t b ").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
