//! `format_query` and `parse_query`: an expression in the usual form, and its tree in the JSON that
//! Prometheus' own page reads.

use fieldpost_promql::{
    Aggregation, At, Cardinality, Expr, Function, Matching, Node, Optional, ParseError, Shift, Type,
    VectorSelector, format_query, format_value, operator_text, parse,
};
use serde_json::{Value as Json, json};

use super::{Ask, Fault, Reply};

/// `format_query`: the same expression as it is usually written.
pub fn formatted(ask: &Ask) -> Result<Reply, Fault> {
    let text = format_query(ask.text("query")).map_err(|error| not_understood(&error))?;
    Ok(Reply::of_json(&json!(text), &[]))
}

/// `parse_query`: its tree.
pub fn parsed(ask: &Ask) -> Result<Reply, Fault> {
    let expr = parse(ask.text("query")).map_err(|error| not_understood(&error))?;
    Ok(Reply::of_json(&tree(&expr), &[]))
}

fn not_understood(error: &ParseError) -> Fault {
    Fault::bad_data(format!("invalid parameter \"query\": {error}"))
}

fn tree(expr: &Expr) -> Json {
    match &expr.node {
        Node::Number(value) => json!({ "type": "numberLiteral", "val": plain(*value) }),
        Node::Text(text) => json!({ "type": "stringLiteral", "val": text }),
        Node::Paren(inner) => json!({ "type": "parenExpr", "expr": tree(inner) }),
        Node::Unary { negative, expr } => {
            let op = if *negative { "-" } else { "+" };
            json!({ "type": "unaryExpr", "op": op, "expr": tree(expr) })
        }
        Node::Selector(selector) => selected("vectorSelector", selector),
        Node::Range { selector, range_ms } => {
            let mut json = selected("matrixSelector", selector);
            json["range"] = json!(range_ms);
            json
        }
        Node::Subquery { expr, range_ms, step_ms, shift } => {
            let mut json = shifted("subquery", *shift);
            json["expr"] = tree(expr);
            json["range"] = json!(range_ms);
            json["step"] = json!(step_ms.unwrap_or_default());
            json["alignEvalTime"] = json!(false);
            json
        }
        Node::Call { function, args } => {
            let args: Vec<Json> = args.iter().map(tree).collect();
            json!({ "type": "call", "func": described(function), "args": args })
        }
        Node::Aggregate(aggregation) => aggregated(aggregation),
        Node::Binary { op, is_bool, matching, left, right, .. } => {
            let of_vectors = left.kind() == Type::Vector && right.kind() == Type::Vector;
            let matching = of_vectors.then(|| matched(matching));
            json!({
                "type": "binaryExpr",
                "op": op.text(),
                "lhs": tree(left),
                "rhs": tree(right),
                "matching": matching,
                "bool": is_bool,
            })
        }
    }
}

/// Without an exponent, however great.
fn plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { format_value(value) }
}

fn shifted(kind: &str, shift: Shift) -> Json {
    let (timestamp, end) = match shift.at {
        Some(At::Time(ms)) => (Some(ms), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
        None => (None, None),
    };
    let offset = shift.offset_ms.unwrap_or_default();
    json!({ "type": kind, "offset": offset, "timestamp": timestamp, "startOrEnd": end })
}

fn selected(kind: &str, selector: &VectorSelector) -> Json {
    let matchers = selector.matchers.iter().map(
        |matcher| json!({ "name": matcher.label, "value": matcher.value, "type": operator_text(matcher.op) }),
    );
    let mut json = shifted(kind, selector.shift);
    json["name"] = json!(selector.name.as_deref().unwrap_or_default());
    json["matchers"] = matchers.collect();
    json["anchored"] = json!(false);
    json["smoothed"] = json!(false);
    json
}

fn described(function: &Function) -> Json {
    let types: Vec<&str> = function.takes.iter().map(|kind| word(*kind)).collect();
    let variadic = match function.optional {
        Optional::None => 0,
        Optional::Last(n) => n as i64,
        Optional::Any => -1,
    };
    json!({
        "name": function.name,
        "argTypes": types,
        "variadic": variadic,
        "returnType": word(function.gives),
    })
}

fn word(kind: Type) -> &'static str {
    match kind {
        Type::Scalar => "scalar",
        Type::Vector => "vector",
        Type::Matrix => "matrix",
        Type::Text => "string",
    }
}

fn aggregated(aggregation: &Aggregation) -> Json {
    json!({
        "type": "aggregation",
        "op": aggregation.op.name(),
        "expr": tree(&aggregation.expr),
        "param": aggregation.parameter.as_ref().map(tree),
        "grouping": aggregation.grouping,
        "without": aggregation.without,
    })
}

fn matched(matching: &Matching) -> Json {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": { "lhs": null, "rhs": null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_has_the_fields_that_prometheus_gives() {
        let expr = parse("sum by (a) (rate(x{b!=\"1\"}[5m] offset 1m)) / on (a) group_left () y @ end() > 2");
        let selector = |kind: &str, name: &str, offset: i64, end: Option<&str>, matchers: Json| {
            json!({
                "type": kind, "name": name, "offset": offset, "timestamp": null, "startOrEnd": end,
                "matchers": matchers, "anchored": false, "smoothed": false,
            })
        };
        let named = |name: &str| json!({ "name": "__name__", "value": name, "type": "=" });
        let not = json!({ "name": "b", "value": "1", "type": "!=" });
        let mut range = selector("matrixSelector", "x", 60_000, None, json!([not, named("x")]));
        range["range"] = json!(300_000);
        let rate = json!({ "name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector" });
        let sum = json!({
            "type": "aggregation", "op": "sum", "param": null, "grouping": ["a"], "without": false,
            "expr": { "type": "call", "func": rate, "args": [range] },
        });
        let matching = json!({
            "card": "many-to-one", "labels": ["a"], "on": true, "include": [],
            "fillValues": { "lhs": null, "rhs": null },
        });
        let share = json!({
            "type": "binaryExpr", "op": "/", "bool": false, "matching": matching, "lhs": sum,
            "rhs": selector("vectorSelector", "y", 0, Some("end"), json!([named("y")])),
        });
        let expected = json!({
            "type": "binaryExpr", "op": ">", "bool": false, "matching": null, "lhs": share,
            "rhs": { "type": "numberLiteral", "val": "2" },
        });
        assert_eq!(tree(&expr.unwrap()), expected);
    }
}
