//! Sizes and spans in as few characters as a column of `top` has.

/// A size in three figures and a letter: `0`, `512`, `3.1K`, `212M`, `23.5G`.
pub fn size(bytes: f64) -> String {
    let mut value = bytes.max(0.0);
    for unit in ["", "K", "M", "G", "T"] {
        if value < 999.5 || unit == "T" {
            let digits = usize::from(value < 99.95 && !unit.is_empty());
            return format!("{value:.digits$}{unit}");
        }
        value /= 1024.0;
    }
    unreachable!("the last unit always returns")
}

/// A span in its largest unit: `14 s`, `7 min`, `5 h`, `41d`.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3_600.0 => format!("{:.0} min", (s / 60.0).floor()),
        s if s < 86_400.0 => format!("{:.0} h", (s / 3_600.0).floor()),
        s => format!("{:.0}d", (s / 86_400.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_fit_into_a_column() {
        let sizes = [0.0, 512.0, 3_174.0, 222_298_112.0, 25_232_932_864.0].map(size);
        assert_eq!(sizes, ["0", "512", "3.1K", "212M", "23.5G"]);
        assert_eq!([14.0, 420.0, 18_000.0, 3_542_400.0].map(span), ["14 s", "7 min", "5 h", "41d"]);
    }
}
