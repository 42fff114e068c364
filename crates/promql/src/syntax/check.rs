//! Does the tree mean something: types of operands and arguments, as Prometheus checks them.

use super::tree::{Aggregation, BinaryOp, Cardinality, Expr, Matching, Node, Type, VectorSelector};
use crate::ParseError;
use crate::functions::Function;

/// The first thing that is wrong.
pub(super) fn check(expr: &Expr, text: &str) -> Result<(), ParseError> {
    let wrong = |message: String| Err(ParseError::new(text, expr.span, message));
    match &expr.node {
        Node::Number(_) | Node::Text(_) => Ok(()),
        Node::Selector(selector) | Node::Range { selector, .. } => check_selector(expr, selector, text),
        Node::Subquery { expr: inner, .. } => {
            check(inner, text)?;
            if inner.kind() == Type::Vector {
                return Ok(());
            }
            wrong(format!("subquery is only allowed on instant vector, got {} instead", inner.kind().words()))
        }
        Node::Paren(inner) => check(inner, text),
        Node::Unary { expr: inner, .. } => {
            check(inner, text)?;
            if matches!(inner.kind(), Type::Scalar | Type::Vector) {
                return Ok(());
            }
            let words = inner.kind().words();
            wrong(format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {words:?}"
            ))
        }
        Node::Call { function, args } => check_call(expr, function, args, text),
        Node::Aggregate(aggregation) => check_aggregation(aggregation, text),
        Node::Binary { op, op_span, is_bool, matching, left, right } => {
            check(left, text)?;
            check(right, text)?;
            let types = (left.kind(), right.kind());
            check_binary(*op, *is_bool, matching, types).map_err(|(place, message)| {
                let span = match place {
                    Place::Whole => expr.span,
                    Place::Operator => *op_span,
                    Place::Left => left.span,
                    Place::Right => right.span,
                };
                ParseError::new(text, span, message)
            })
        }
    }
}

fn check_selector(expr: &Expr, selector: &VectorSelector, text: &str) -> Result<(), ParseError> {
    if selector.matchers.iter().any(|matcher| !matcher.accepts("")) {
        return Ok(());
    }
    Err(ParseError::new(text, expr.span, "vector selector must contain at least one non-empty matcher"))
}

fn check_call(expr: &Expr, function: &Function, args: &[Expr], text: &str) -> Result<(), ParseError> {
    let wrong = |message: String| Err(ParseError::new(text, expr.span, message));
    let (least, most) = (function.n_least(), function.n_most());
    let (n, name) = (args.len(), function.name);
    if Some(least) == most && n != least {
        return wrong(format!("expected {least} argument(s) in call to {name:?}, got {n}"));
    }
    if n < least {
        return wrong(format!("expected at least {least} argument(s) in call to {name:?}, got {n}"));
    }
    if let Some(most) = most.filter(|most| n > *most) {
        return wrong(format!("expected at most {most} argument(s) in call to {name:?}, got {n}"));
    }
    for (index, arg) in args.iter().enumerate() {
        check(arg, text)?;
        let context = format!("call to function {name:?}");
        expect(arg, function.argument(index), &context, text)?;
    }
    Ok(())
}

fn expect(expr: &Expr, wanted: Type, context: &str, text: &str) -> Result<(), ParseError> {
    let kind = expr.kind();
    if kind == wanted {
        return Ok(());
    }
    let what = format!("expected type {} in {context}, got {}", wanted.words(), kind.words());
    Err(ParseError::new(text, expr.span, what))
}

fn check_aggregation(aggregation: &Aggregation, text: &str) -> Result<(), ParseError> {
    check(&aggregation.expr, text)?;
    expect(&aggregation.expr, Type::Vector, "aggregation expression", text)?;
    if let (Some(parameter), Some(wanted)) = (&aggregation.parameter, aggregation.op.parameter()) {
        check(parameter, text)?;
        expect(parameter, wanted, "aggregation parameter", text)?;
    }
    Ok(())
}

/// Which part of an operation is to blame.
enum Place {
    Whole,
    Operator,
    Left,
    Right,
}

fn check_binary(
    op: BinaryOp,
    is_bool: bool,
    matching: &Matching,
    types: (Type, Type),
) -> Result<(), (Place, &'static str)> {
    let operand = |kind: Type| matches!(kind, Type::Scalar | Type::Vector);
    if is_bool && !op.is_comparison() {
        return Err((Place::Operator, "bool modifier can only be used on comparison operators"));
    }
    if !operand(types.0) || !operand(types.1) {
        let place = if operand(types.0) { Place::Right } else { Place::Left };
        return Err((place, "binary expression must contain only scalar and instant vector types"));
    }
    let scalars = types == (Type::Scalar, Type::Scalar);
    if op.is_comparison() && !is_bool && scalars {
        return Err((Place::Operator, "comparisons between scalars must use BOOL modifier"));
    }
    let vectors = types == (Type::Vector, Type::Vector);
    if !vectors && (!matching.labels.is_empty() || matching.is_given) {
        return Err((Place::Whole, "vector matching only allowed between instant vectors"));
    }
    if op.is_set() && !vectors {
        let what = match op {
            BinaryOp::And => "set operator \"and\" not allowed in binary scalar expression",
            BinaryOp::Or => "set operator \"or\" not allowed in binary scalar expression",
            _ => "set operator \"unless\" not allowed in binary scalar expression",
        };
        return Err((Place::Whole, what));
    }
    debug_assert!(op.is_set() == (matching.cardinality == Cardinality::ManyToMany));
    Ok(())
}
