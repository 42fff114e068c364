//! Writes a page of metrics, family by family, into a buffer that is used again and again.
//!
//! The order of calls is the order of the page: `header`, the family's samples, the next `header`, ..., `end`.
//! A sample's line is the same in both dialects, for series carry their text already escaped; headers differ.

use fieldpost_model::{Family, Kind, TimeMs};

use crate::Dialect;

/// What a counter's samples end in by the rules of OpenMetrics, and its family's name does not.
const COUNTER_SUFFIX: &str = "_total";

/// Appends the `# HELP` and `# TYPE` lines of a family; no help line where help is empty.
///
/// `taken` answers whether the page holds a family of this name. It is asked only for counters in OpenMetrics: their
/// families are named without `_total`, and where that name belongs to another family the counter keeps its
/// own name and becomes `unknown`, as does a counter whose name lacks `_total`. No family appears twice.
pub fn header(out: &mut Vec<u8>, dialect: Dialect, family: &Family, taken: impl FnOnce(&str) -> bool) {
    let (name, kind) = match dialect {
        Dialect::Text => (&*family.name, family.kind.as_str()),
        Dialect::OpenMetrics => open_metrics_name(family, taken),
    };
    if !family.help.is_empty() {
        out.extend_from_slice(b"# HELP ");
        out.extend_from_slice(name.as_bytes());
        out.push(b' ');
        escaped_help(out, &family.help, dialect);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

/// Appends one sample's line. `series` is `name{label="value"}` as `fieldpost_model::Series::text` holds it.
#[inline]
pub fn sample(out: &mut Vec<u8>, series: &str, value: f64) {
    out.extend_from_slice(series.as_bytes());
    out.push(b' ');
    number(out, value);
    out.push(b'\n');
}

/// Appends one sample's line with its instant: milliseconds in text, seconds in OpenMetrics.
pub fn sample_at(out: &mut Vec<u8>, dialect: Dialect, series: &str, value: f64, time_ms: TimeMs) {
    out.extend_from_slice(series.as_bytes());
    out.push(b' ');
    number(out, value);
    out.push(b' ');
    match dialect {
        Dialect::Text => out.extend_from_slice(itoa::Buffer::new().format(time_ms).as_bytes()),
        Dialect::OpenMetrics => seconds(out, time_ms),
    }
    out.push(b'\n');
}

/// Appends what ends a page: `# EOF` in OpenMetrics, nothing in text.
pub fn end(out: &mut Vec<u8>, dialect: Dialect) {
    if dialect == Dialect::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

/// Appends a number in the shortest form that reads back as the very same number.
#[inline]
pub fn number(out: &mut Vec<u8>, value: f64) {
    // The cast saturates and turns not-a-number into 0, and loses the sign of -0: the bits tell.
    let whole = value as i64;
    if (whole as f64).to_bits() == value.to_bits() {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
}

/// A number as the value of a label `le` or `quantile`, in the one form that Go programs use: scrapers compare
/// these as text. Exponents begin at 1e+06 and 1e-05 and have two digits at least.
pub fn label_number(value: f64) -> String {
    if !value.is_finite() {
        let mut out = Vec::new();
        number(&mut out, value);
        return String::from_utf8_lossy(&out).into_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value}"),
    }
}

/// Appends a label's value with `\`, `"` and newline escaped, without the quotes around it.
pub fn escaped_label(out: &mut Vec<u8>, value: &str) {
    escaped(out, value, true);
}

/// Appends help with `\` and newline escaped; OpenMetrics escapes `"` as well.
fn escaped_help(out: &mut Vec<u8>, help: &str, dialect: Dialect) {
    escaped(out, help, dialect == Dialect::OpenMetrics);
}

fn escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    for &byte in text.as_bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if quotes => out.extend_from_slice(b"\\\""),
            byte => out.push(byte),
        }
    }
}

fn open_metrics_name(family: &Family, taken: impl FnOnce(&str) -> bool) -> (&str, &'static str) {
    match family.kind {
        Kind::Counter => match family.name.strip_suffix(COUNTER_SUFFIX) {
            Some(base) if !base.is_empty() && !taken(base) => (base, "counter"),
            _ => (&family.name, "unknown"),
        },
        Kind::Untyped => (&family.name, "unknown"),
        kind => (&family.name, kind.as_str()),
    }
}

fn seconds(out: &mut Vec<u8>, time_ms: TimeMs) {
    if time_ms < 0 {
        out.push(b'-');
    }
    let (whole, part) = (time_ms.unsigned_abs() / 1_000, time_ms.unsigned_abs() % 1_000);
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if part != 0 {
        let digits =
            [b'.', b'0' + (part / 100) as u8, b'0' + (part / 10 % 10) as u8, b'0' + (part % 10) as u8];
        out.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn family(name: &str, help: &str, kind: Kind) -> Family {
        Family { name: name.into(), help: help.into(), kind }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn header_of(dialect: Dialect, family: &Family, taken: &[&str]) -> String {
        written(|out| header(out, dialect, family, |name| taken.contains(&name)))
    }

    #[test]
    fn numbers_are_short_and_as_prometheus_reads_them() {
        let cases: [(f64, &str); 14] = [
            (0.0, "0"),
            (-0.0, "-0.0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.3, "0.3"),
            (1e-7, "1e-7"),
            (16_095_850_496.0, "16095850496"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e20, "1e20"),
            (1.5e300, "1.5e300"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(written(|out| number(out, value)), text);
        }
    }

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        for (value, text) in [
            (100.0, "100"),
            (409_600.0, "409600"),
            (1_000_000.0, "1e+06"),
            (26_214_400.0, "2.62144e+07"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (0.0, "0"),
            (-2.5e-120, "-2.5e-120"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(label_number(value), text);
        }
    }

    #[test]
    fn text_header_names_the_family_as_it_is() {
        let counter = family("a_total", "Back\\slash, \"quote\"\nand line.", Kind::Counter);
        let expected = "# HELP a_total Back\\\\slash, \"quote\"\\nand line.\n# TYPE a_total counter\n";
        assert_eq!(header_of(Dialect::Text, &counter, &[]), expected);
        assert_eq!(header_of(Dialect::Text, &family("b", "", Kind::Untyped), &[]), "# TYPE b untyped\n");
    }

    #[test]
    fn open_metrics_header_follows_its_own_names() {
        let counter = family("a_total", "Say \"a\".", Kind::Counter);
        let expected = "# HELP a Say \\\"a\\\".\n# TYPE a counter\n";
        assert_eq!(header_of(Dialect::OpenMetrics, &counter, &[]), expected);
        for (family, line) in [
            (family("lone", "", Kind::Counter), "# TYPE lone unknown\n"),
            (family("_total", "", Kind::Counter), "# TYPE _total unknown\n"),
            (family("u", "", Kind::Untyped), "# TYPE u unknown\n"),
            (family("h", "", Kind::Histogram), "# TYPE h histogram\n"),
        ] {
            assert_eq!(header_of(Dialect::OpenMetrics, &family, &[]), line);
        }
    }

    #[test]
    fn counter_whose_short_name_is_taken_keeps_its_own() {
        let counter = family("a_total", "", Kind::Counter);
        assert_eq!(header_of(Dialect::OpenMetrics, &counter, &["a"]), "# TYPE a_total unknown\n");
    }

    #[test]
    fn samples_carry_their_instant_when_asked() {
        assert_eq!(written(|out| sample(out, "a{b=\"c\"}", 1.5)), "a{b=\"c\"} 1.5\n");
        for (dialect, line) in
            [(Dialect::Text, "a 1 1700000000042\n"), (Dialect::OpenMetrics, "a 1 1700000000.042\n")]
        {
            assert_eq!(written(|out| sample_at(out, dialect, "a", 1.0, 1_700_000_000_042)), line);
        }
        assert_eq!(written(|out| sample_at(out, Dialect::OpenMetrics, "a", 1.0, -5_000)), "a 1 -5\n");
        assert_eq!(written(|out| end(out, Dialect::OpenMetrics)), "# EOF\n");
        assert_eq!(written(|out| end(out, Dialect::Text)), "");
    }

    proptest! {
        #[test]
        fn any_number_reads_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            let back: f64 = written(|out| number(out, value)).parse().unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || value.is_nan() && back.is_nan());
        }
    }
}
