//! What the numbers of a query are: found by the names that it asks for, shown as people read them.

use fieldpost_promql::{Expr, Node, parse};

/// What the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nothing is known.
    Plain,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// A part of a whole, 1 being all of it.
    Share,
}

/// Functions that make seconds of an hour of the numbers of a counter.
const RATES: [&str; 3] = ["rate", "irate", "deriv"];

impl Unit {
    /// Of what a query yields, as far as its text tells.
    pub fn of(text: &str) -> Self {
        parse(text).map_or(Unit::Plain, |expr| of_expr(&expr))
    }

    /// A number in this unit, with three digits or so.
    pub fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return fieldpost_promql::format_value(value);
        }
        match self {
            Unit::Plain => plain(value),
            Unit::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
            Unit::BytesPerSecond => scaled(value, 1024.0, &["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"]),
            Unit::Seconds => seconds(value),
            Unit::Share => format!("{} %", digits(value * 100.0)),
        }
    }
}

fn of_expr(expr: &Expr) -> Unit {
    match &expr.node {
        Node::Selector(selector) | Node::Range { selector, .. } => {
            of_name(selector.name.as_deref().unwrap_or_default())
        }
        Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => of_expr(expr),
        Node::Call { function, args } => match (function.name, args.iter().map(of_expr).next_back()) {
            (name, Some(unit)) if RATES.contains(&name) => rate_of(unit),
            (name, _) if name.starts_with("count_") || name.starts_with("changes") => Unit::Plain,
            ("resets" | "sgn" | "absent" | "absent_over_time" | "timestamp" | "scalar" | "vector", _) => {
                Unit::Plain
            }
            (_, unit) => unit.unwrap_or(Unit::Plain),
        },
        Node::Aggregate(aggregation) => match aggregation.op.name() {
            "count" | "count_values" | "group" => Unit::Plain,
            _ => of_expr(&aggregation.expr),
        },
        Node::Binary { op, left, right, is_bool, .. } => {
            let (a, b) = (of_expr(left), of_expr(right));
            match op.text() {
                _ if *is_bool => Unit::Plain,
                "/" if a == b && a != Unit::Plain => Unit::Share,
                // The rest of a whole.
                "-" if matches!(left.bare().node, Node::Number(1.0)) && b == Unit::Share => Unit::Share,
                "+" | "-" if a == b => a,
                "and" | "or" | "unless" => a,
                _ if op.is_comparison() => a,
                _ => Unit::Plain,
            }
        }
        Node::Number(_) | Node::Text(_) => Unit::Plain,
    }
}

fn rate_of(unit: Unit) -> Unit {
    match unit {
        Unit::Bytes => Unit::BytesPerSecond,
        // Seconds a second: a part of the time.
        Unit::Seconds => Unit::Share,
        _ => Unit::Plain,
    }
}

fn of_name(name: &str) -> Unit {
    let name = name.trim_end_matches("_total").trim_end_matches("_sum");
    if name.ends_with("_bytes") {
        Unit::Bytes
    } else if name.ends_with("_seconds") && !name.ends_with("time_seconds") {
        Unit::Seconds
    } else if name.ends_with("_ratio") {
        Unit::Share
    } else {
        Unit::Plain
    }
}

fn scaled(value: f64, base: f64, names: &[&str]) -> String {
    let mut scaled = value;
    let mut names = names.iter();
    let mut name = names.next().unwrap_or(&"");
    for next in names {
        if scaled.abs() < base {
            break;
        }
        scaled /= base;
        name = next;
    }
    format!("{} {name}", digits(scaled))
}

fn seconds(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0 s".to_owned(),
        size if size < 1e-3 => format!("{} \u{b5}s", digits(value * 1e6)),
        size if size < 1.0 => format!("{} ms", digits(value * 1e3)),
        size if size < 120.0 => format!("{} s", digits(value)),
        size if size < 7_200.0 => format!("{} min", digits(value / 60.0)),
        size if size < 172_800.0 => format!("{} h", digits(value / 3_600.0)),
        _ => format!("{} d", digits(value / 86_400.0)),
    }
}

fn plain(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    if value.fract() == 0.0 {
        return format!("{value}");
    }
    digits(value)
}

/// Four digits that count, without zeros at the end.
fn digits(value: f64) -> String {
    let whole = value.abs().log10().floor();
    let behind = if whole.is_finite() { (3.0 - whole).clamp(0.0, 6.0) as usize } else { 0 };
    let text = format!("{value:.behind$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_from_the_question() {
        for (text, unit) in [
            ("node_memory_MemFree_bytes", Unit::Bytes),
            ("sum(rate(node_network_receive_bytes_total[1m]))", Unit::BytesPerSecond),
            ("rate(node_cpu_seconds_total[1m])", Unit::Share),
            ("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", Unit::Share),
            ("count(node_memory_MemFree_bytes)", Unit::Plain),
            ("node_time_seconds", Unit::Plain),
            ("node_load1", Unit::Plain),
            ("not promql", Unit::Plain),
            ("topk(3, a_seconds) > 2", Unit::Seconds),
        ] {
            assert_eq!(Unit::of(text), unit, "{text}");
        }
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        for (unit, value, text) in [
            (Unit::Bytes, 1_610_612_736.0, "1.5 GiB"),
            (Unit::BytesPerSecond, 0.0, "0 B/s"),
            (Unit::Share, 0.12345, "12.35 %"),
            (Unit::Seconds, 0.00042, "420 \u{b5}s"),
            (Unit::Seconds, 300.0, "5 min"),
            (Unit::Plain, 1_234_567.0, "1234567"),
            (Unit::Plain, 0.5, "0.5"),
            (Unit::Plain, 1e-9, "1.000e-9"),
            (Unit::Plain, f64::NAN, "NaN"),
        ] {
            assert_eq!(unit.show(value), text);
        }
    }
}
