//! Small texts within the language: durations, numbers, quoted strings.

use fieldpost_model::TimeMs;

/// The longest duration, milliseconds: what fits in 64 bits of nanoseconds, as in Prometheus.
const DURATION_MAX_MS: i64 = i64::MAX / 1_000_000;

/// Bytes of a string that are no UTF-8 are kept as characters from here on, of the private use area.
const STRAY_BYTE: u32 = 0x0010_FF00;

/// Units of durations, greatest first.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1h30m`, `5m`, `250ms`: each unit once, greater ones first. None: it is no duration, or
/// too long a one.
pub fn parse_duration(text: &str) -> Option<TimeMs> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let number: i64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, factor) = units.by_ref().find(|(name, _)| *name == &rest[..end])?;
        total = number.checked_mul(*factor).and_then(|ms| total.checked_add(ms))?;
        rest = &rest[end..];
    }
    (!text.is_empty() && total <= DURATION_MAX_MS).then_some(total)
}

/// Writes a duration as Prometheus does: years and weeks only where nothing is left over.
pub(crate) fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = ms;
    for (name, factor) in UNITS {
        let whole_only = matches!(name, "y" | "w");
        if rest >= factor && !(whole_only && rest % factor != 0) {
            text += &format!("{}{name}", rest / factor);
            rest %= factor;
        }
    }
    text
}

/// Reads a number as Go does: decimal, hexadecimal, octal with a leading zero, underscores between
/// digits, `Inf` and `NaN`.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let bare = without_underscores(text)?;
    let lower = bare.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(|number| number as f64);
    }
    let octal = lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit());
    if octal && let Ok(number) = i64::from_str_radix(&lower, 8) {
        return Some(number as f64);
    }
    match lower.as_str() {
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        other => other.parse().ok(),
    }
}

/// Reads the upper bound of a bucket.
pub(crate) fn parse_bound(text: &str) -> Option<f64> {
    match text {
        "" => None,
        "+Inf" | "Inf" => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}

/// Underscores stand between digits only.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let between = |at: usize| {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        at > 0 && (digit(at - 1) || bytes[at - 1] == b'x') && digit(at + 1)
    };
    let sound = bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || between(at));
    sound.then(|| text.replace('_', ""))
}

/// Writes a number as Prometheus does in answers: the shortest digits, `NaN`, `+Inf`, `-Inf`.
pub(crate) fn format_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}

/// Writes a number as Prometheus does in JSON: with an exponent where it is very great or small.
pub fn format_value(value: f64) -> String {
    with_exponent(value, 1e-6)
}

/// Writes a number as Go's `%v` does.
pub(crate) fn format_short(value: f64) -> String {
    with_exponent(value, 1e-4)
}

/// With an exponent of two digits below the least size, and from 1e21 on.
fn with_exponent(value: f64, least: f64) -> String {
    let size = value.abs();
    if !size.is_finite() || size == 0.0 || (least..1e21).contains(&size) {
        return format_number(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Reads what stands between quotes, with the escapes of Go; backticks take everything as it is.
/// The error says what is wrong.
pub(crate) fn unquote(inner: &str, quote: char) -> Result<String, String> {
    if quote == '`' {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let used = escape(&rest[at + 1..], quote, &mut bytes).ok_or("unknown escape sequence in string")?;
        rest = &rest[at + 1 + used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(text_of(&bytes))
}

/// Bytes as text; those that are no UTF-8 stay apart from all characters that anybody writes.
fn text_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let stray = chunk.invalid().iter().filter_map(|byte| char::from_u32(STRAY_BYTE + u32::from(*byte)));
        text.extend(stray);
    }
    text
}

/// The text with the usual sign in place of each byte that is no UTF-8.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if u32::from(c) < STRAY_BYTE { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Is every character one of UTF-8?
pub(crate) fn is_whole_text(text: &str) -> bool {
    text.chars().all(|c| u32::from(c) < STRAY_BYTE)
}

/// One escape after the backslash: appends its bytes, tells its length.
fn escape(text: &str, quote: char, bytes: &mut Vec<u8>) -> Option<usize> {
    let first = text.chars().next()?;
    let plain = match first {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => c as u8,
        _ => 0,
    };
    if plain != 0 {
        bytes.push(plain);
        return Some(1);
    }
    let (start, length, radix) = match first {
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        '0'..='7' => (0, 3, 8),
        _ => return None,
    };
    let number = u32::from_str_radix(text.get(start..start + length)?, radix).ok()?;
    if matches!(first, 'u' | 'U') {
        bytes.extend_from_slice(char::from_u32(number)?.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        bytes.push(u8::try_from(number).ok()?);
    }
    Some(start + length)
}

/// Writes a text in double quotes, as Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if u32::from(c) >= STRAY_BYTE => {
                quoted.push_str(&format!("\\x{:02x}", (u32::from(c) - STRAY_BYTE) & 0xff));
            }
            c if c.is_control() && u32::from(c) < 0x80 => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_each_unit_once_and_in_order() {
        let cases = [
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1y2w3d4h5m6s7ms", Some(33_019_506_007)),
            ("0", Some(0)),
            ("5", None),
            ("1m1h", None),
            ("1m1m", None),
            ("", None),
            ("m", None),
            ("300y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_in_the_greatest_units() {
        for text in ["5m", "1h30m", "1w", "1d", "8d", "1y", "366d", "1s500ms", "0s"] {
            let ms = parse_duration(text).unwrap();
            assert_eq!(format_duration(ms), text);
        }
    }

    #[test]
    fn numbers_are_those_of_go() {
        let cases =
            [("0x1F", 31.0), ("010", 8.0), ("1_000", 1000.0), (".5", 0.5), ("2.", 2.0), ("1e3", 1000.0)];
        for (text, expected) in cases {
            assert_eq!(parse_number(text), Some(expected), "{text}");
        }
        assert_eq!(parse_number("1__0"), None);
        assert_eq!([1e30, 1e-7, 0.5, -1e21].map(format_value), ["1e+30", "1e-07", "0.5", "-1e+21"]);
        assert!(parse_number("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn strings_have_the_escapes_of_go() {
        assert_eq!(unquote(r"a\n\x41\u00e9\101", '"').unwrap(), "a\nAéA");
        assert_eq!(quote(&unquote(r"a\xc5z", '"').unwrap()), r#""a\xc5z""#);
        assert!(unquote(r"\q", '"').is_err());
        assert_eq!(unquote(r"\q", '`').unwrap(), r"\q");
    }
}
