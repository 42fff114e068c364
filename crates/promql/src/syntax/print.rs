//! Trees as text: on one line, or broken into lines as Prometheus breaks long expressions.

use fieldpost_model::{Matcher, MatcherOp};

use super::text::{format_duration, parse_duration, quote};
use super::tree::{Aggregation, At, Cardinality, Expr, Matching, Node, Shift, VectorSelector};
use crate::ParseError;
use crate::labels::METRIC_NAME;

/// What is longer than this is broken into lines, bytes.
const LINE_BYTES_MAX: usize = 100;

/// Reads an expression and writes it in the usual form.
pub fn format_query(text: &str) -> Result<String, ParseError> {
    let expr = super::parse(text)?;
    Ok(Printer { text }.pretty(&expr, 0))
}

/// How a comparison of labels is written.
pub fn operator_text(op: MatcherOp) -> &'static str {
    match op {
        MatcherOp::Equal => "=",
        MatcherOp::NotEqual => "!=",
        MatcherOp::Matches => "=~",
        MatcherOp::MatchesNot => "!~",
    }
}

/// Writes trees of this text.
struct Printer<'a> {
    text: &'a str,
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

impl Printer<'_> {
    /// Over several lines where one would be too long; each line begins as deep as its level says.
    fn pretty(&self, expr: &Expr, level: usize) -> String {
        let begin = indent(level);
        let line = self.line(expr);
        if line.len() <= LINE_BYTES_MAX {
            return begin + &line;
        }
        match &expr.node {
            Node::Aggregate(aggregation) => {
                let mut text = format!("{begin}{}(\n", head(aggregation));
                if let Some(parameter) = &aggregation.parameter {
                    text += &format!("{},\n", self.pretty(parameter, level + 1));
                }
                format!("{text}{}\n{begin})", self.pretty(&aggregation.expr, level + 1))
            }
            Node::Binary { op, is_bool, matching, left, right, .. } => {
                let how = how(*is_bool, matching);
                let (left, right) = (self.pretty(left, level + 1), self.pretty(right, level + 1));
                format!("{left}\n{begin}{}{how}\n{right}", op.text())
            }
            Node::Call { function, args } => {
                let args: Vec<String> = args.iter().map(|arg| self.pretty(arg, level + 1)).collect();
                format!("{begin}{}(\n{}\n{begin})", function.name, args.join(",\n"))
            }
            Node::Paren(inner) => format!("{begin}(\n{}\n{begin})", self.pretty(inner, level + 1)),
            Node::Subquery { expr, range_ms, step_ms, shift } => {
                self.pretty(expr, level) + &subquery(*range_ms, *step_ms, *shift)
            }
            Node::Unary { negative, expr } => {
                let sign = if *negative { "-" } else { "+" };
                format!("{begin}{sign}{}", self.pretty(expr, level).trim())
            }
            Node::Number(_) | Node::Text(_) | Node::Selector(_) | Node::Range { .. } => begin + &line,
        }
    }

    fn line(&self, expr: &Expr) -> String {
        match &expr.node {
            Node::Number(value) => self.number(expr, *value),
            Node::Text(text) => quote(text),
            Node::Selector(selector) => bare(selector) + &shifted(selector.shift),
            Node::Range { selector, range_ms } => {
                format!("{}[{}]{}", bare(selector), format_duration(*range_ms), shifted(selector.shift))
            }
            Node::Subquery { expr, range_ms, step_ms, shift } => {
                self.line(expr) + &subquery(*range_ms, *step_ms, *shift)
            }
            Node::Call { function, args } => {
                let args: Vec<String> = args.iter().map(|arg| self.line(arg)).collect();
                format!("{}({})", function.name, args.join(", "))
            }
            Node::Aggregate(aggregation) => {
                let parameter = aggregation.parameter.as_ref();
                let parameter = parameter.map_or_else(String::new, |expr| self.line(expr) + ", ");
                format!("{}({parameter}{})", head(aggregation), self.line(&aggregation.expr))
            }
            Node::Binary { op, is_bool, matching, left, right, .. } => {
                let how = how(*is_bool, matching);
                format!("{} {}{how} {}", self.line(left), op.text(), self.line(right))
            }
            Node::Unary { negative, expr } => {
                format!("{}{}", if *negative { "-" } else { "+" }, self.line(expr))
            }
            Node::Paren(inner) => format!("({})", self.line(inner)),
        }
    }

    /// A duration stays one.
    fn number(&self, expr: &Expr, value: f64) -> String {
        let written = self.text.get(expr.span.start..expr.span.end).unwrap_or_default();
        let bare = written.trim_start_matches(['-', '+', ' ']);
        match parse_duration(bare).filter(|_| bare != "0") {
            Some(ms) => format!("{}{}", if value < 0.0 { "-" } else { "" }, format_duration(ms)),
            None => super::format_number(value),
        }
    }
}

fn head(aggregation: &Aggregation) -> String {
    let name = aggregation.op.name();
    let grouping = names(&aggregation.grouping);
    match (aggregation.without, aggregation.grouping.is_empty()) {
        (true, _) => format!("{name} without ({grouping}) "),
        (false, false) => format!("{name} by ({grouping}) "),
        (false, true) => name.to_owned(),
    }
}

fn how(is_bool: bool, matching: &Matching) -> String {
    let mut text = String::from(if is_bool { " bool" } else { "" });
    let side = match matching.cardinality {
        Cardinality::ManyToOne => "left",
        Cardinality::OneToMany => "right",
        Cardinality::OneToOne | Cardinality::ManyToMany => "",
    };
    if !matching.labels.is_empty() || matching.on || !side.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        text += &format!(" {word} ({})", names(&matching.labels));
    }
    if !side.is_empty() {
        text += &format!(" group_{side} ({})", names(&matching.include));
    }
    text
}

fn names(labels: &[String]) -> String {
    labels.iter().map(|label| name(label)).collect::<Vec<_>>().join(", ")
}

/// In quotes where it has not the usual form.
fn name(label: &str) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_usual = !label.starts_with(|c: char| c.is_ascii_digit()) && label.chars().all(usual);
    if is_usual && !label.is_empty() { label.to_owned() } else { quote(label) }
}

fn bare(selector: &VectorSelector) -> String {
    let own = selector.name.as_deref().unwrap_or_default();
    let is_own = |matcher: &Matcher| {
        let is_name = matcher.label == METRIC_NAME && matcher.op == MatcherOp::Equal;
        is_name && matcher.value == own && !own.is_empty()
    };
    let text = |matcher: &Matcher| {
        format!("{}{}{}", name(&matcher.label), operator_text(matcher.op), quote(&matcher.value))
    };
    let mut matchers: Vec<String> =
        selector.matchers.iter().filter(|matcher| !is_own(matcher)).map(text).collect();
    matchers.sort();
    if matchers.is_empty() { own.to_owned() } else { format!("{own}{{{}}}", matchers.join(",")) }
}

fn subquery(range_ms: i64, step_ms: Option<i64>, shift: Shift) -> String {
    let step = step_ms.map(format_duration).unwrap_or_default();
    format!("[{}:{step}]{}", format_duration(range_ms), shifted(shift))
}

fn shifted(shift: Shift) -> String {
    let mut text = match shift.at {
        None => String::new(),
        Some(At::Time(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            format!(" @ {sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
        }
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
    };
    match shift.offset_ms {
        Some(ms) if ms > 0 => text += &format!(" offset {}", format_duration(ms)),
        Some(ms) if ms < 0 => text += &format!(" offset -{}", format_duration(-ms)),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_written_in_one_form() {
        for (text, expected) in [
            ("sum( rate(a{b='c',a=\"b\"}[300s]) )by(x)", r#"sum by (x) (rate(a{a="b",b="c"}[5m]))"#),
            ("a+ignoring(b)group_left c", "a + ignoring (b) group_left () c"),
            ("a==bool on(x)b", "a == bool on (x) b"),
            ("-a^2", "-a ^ 2"),
            ("topk(3,a)", "topk(3, a)"),
            ("{__name__=\"a\"}", r#"{__name__="a"}"#),
            ("{\"a.b\",\"c.d\"=\"1\"}", r#"{"c.d"="1",__name__="a.b"}"#),
            ("a[90m:] offset -1d @ 5", "a[1h30m:] @ 5.000 offset -1d"),
            ("a @ end()", "a @ end()"),
            ("a{\"\"=\"b\"}", "a{\"\"=\"b\"}"),
            ("1e3 + 5m - -1w", "1000 + 5m - -1w"),
            ("count without()(a)", "count without () (a)"),
        ] {
            assert_eq!(format_query(text).as_deref(), Ok(expected), "{text}");
            assert_eq!(format_query(expected).as_deref(), Ok(expected), "{text}, twice");
        }
    }

    #[test]
    fn long_expressions_are_broken_into_lines() {
        let text = "sum by (instance, mode) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m])) \
                    / ignoring (mode) group_left () sum by (instance) (rate(node_cpu_seconds_total[5m]))";
        let expected = "  sum by (instance, mode) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))\n\
                        / ignoring (mode) group_left ()\n  \
                        sum by (instance) (rate(node_cpu_seconds_total[5m]))";
        assert_eq!(format_query(text).as_deref(), Ok(expected));
        let long = "x".repeat(100);
        let expected = format!("topk(\n  3,\n  abs(\n    {long}\n  )\n)");
        assert_eq!(format_query(&format!("topk(3, abs({long}))")), Ok(expected));
    }
}
