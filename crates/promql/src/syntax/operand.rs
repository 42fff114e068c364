//! Operands: numbers, texts, selectors, calls, aggregations, and what stands behind them
//! (`[5m]`, `[1h:1m]`, `offset`, `@`).

use fieldpost_model::{Matcher, MatcherOp};

use super::lex::{KEYWORDS, Token};
use super::parse::Parser;
use super::text::quote;
use super::tree::{Aggregation, Aggregator, At, Expr, Node, Shift, Span, VectorSelector};
use crate::labels::METRIC_NAME;
use crate::{ParseError, functions};

/// The greatest instant of an `@`, seconds: offsets and ranges beside it stay within 64 bits.
const AT_MAX_S: f64 = 1e12;

/// Signs between durations.
const SUMS: [&str; 6] = ["+", "-", "*", "/", "%", "^"];

impl Parser<'_> {
    /// An operand with all that stands behind it.
    pub fn operand(&mut self) -> Result<Expr, ParseError> {
        let start = self.peek().span.start;
        let node = self.primary()?;
        let mut expr = Expr { node, span: Span { start, end: self.end() } };
        loop {
            if self.is_sign("[") {
                expr = self.bracket(expr)?;
            } else if self.take_word(&["offset"]).is_some() {
                self.offset(&mut expr)?;
            } else if self.take_sign("@") {
                self.at(&mut expr)?;
            } else if self.word().is_some_and(|word| ["anchored", "smoothed"].contains(&word.as_str())) {
                return Err(self.unsupported("this modifier"));
            } else {
                return Ok(expr);
            }
            expr.span.end = self.end();
        }
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        match self.peek().token.clone() {
            Token::Number(value) => {
                self.next();
                Ok(Node::Number(value))
            }
            Token::Duration(ms) => {
                self.next();
                Ok(Node::Number(ms as f64 / 1000.0))
            }
            Token::Text(text) => {
                self.next();
                Ok(Node::Text(text))
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.expression(0)?;
                self.expect_sign(")", "parentheses")?;
                Ok(Node::Paren(Box::new(inner)))
            }
            Token::Sign("{") => self.selector(None),
            Token::Word { text, .. } => self.named(text),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// What begins with a word: an aggregation, a call or a metric.
    fn named(&mut self, word: String) -> Result<Node, ParseError> {
        if let Some(op) = self.aggregator() {
            return self.aggregation(op);
        }
        let second = self.peek_second().token.clone();
        if second == Token::Sign("(") && !KEYWORDS.contains(&word.to_ascii_lowercase().as_str()) {
            return self.call(&word);
        }
        self.next();
        self.selector(Some(word))
    }

    fn call(&mut self, name: &str) -> Result<Node, ParseError> {
        let span = self.next().span;
        let function = functions::by_name(name).ok_or_else(|| {
            self.wrong(
                span,
                match functions::is_unsupported(name) {
                    true => {
                        format!("function {} is not supported", quote(name))
                    }
                    false => format!("unknown function with name {}", quote(name)),
                },
            )
        })?;
        let args = self.arguments("function call")?;
        Ok(Node::Call { function, args })
    }

    fn arguments(&mut self, context: &str) -> Result<Vec<Expr>, ParseError> {
        self.expect_sign("(", context)?;
        let mut args = Vec::new();
        while !self.is_sign(")") {
            args.push(self.expression(0)?);
            if !self.take_sign(",") {
                break;
            }
            if self.is_sign(")") {
                let what = format!("trailing commas not allowed in {context} args");
                return Err(self.wrong(self.peek().span, what));
            }
        }
        self.expect_sign(")", context)?;
        Ok(args)
    }

    fn aggregation(&mut self, op: Aggregator) -> Result<Node, ParseError> {
        let span = self.next().span;
        let mut grouping = self.grouping()?;
        let mut args = self.arguments("aggregation")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, grouping) = grouping.unwrap_or_default();
        let n_wanted = if op.parameter().is_some() { 2 } else { 1 };
        if args.is_empty() {
            return Err(self.wrong(span, "no arguments for aggregate expression provided"));
        }
        if args.len() != n_wanted {
            let what = "wrong number of arguments for aggregate expression provided";
            return Err(self.wrong(span, format!("{what}, expected {n_wanted}, got {}", args.len())));
        }
        let Some(expr) = args.pop() else { return Err(self.unexpected("aggregation", "")) };
        Ok(Node::Aggregate(Box::new(Aggregation { op, expr, parameter: args.pop(), grouping, without })))
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let Some(word) = self.take_word(&["by", "without"]) else { return Ok(None) };
        Ok(Some((word == "without", self.label_list()?)))
    }

    /// Conditions in braces, if there are any, and the name before them.
    fn selector(&mut self, name: Option<String>) -> Result<Node, ParseError> {
        // A name that stands before the braces has been taken already.
        let begins = if name.is_some() { self.last_span() } else { self.peek().span };
        let mut selector = VectorSelector { name, ..VectorSelector::default() };
        if self.take_sign("{") {
            while !self.take_sign("}") {
                self.condition(&mut selector)?;
                if !self.take_sign(",") && !self.is_sign("}") {
                    return Err(self.unexpected("label matching", "\",\" or \"}\""));
                }
            }
        }
        let mut named = selector.matchers.iter().filter(|matcher| {
            let is_name = matcher.label == METRIC_NAME && matcher.op == MatcherOp::Equal;
            is_name && !matcher.value.is_empty()
        });
        let first = selector.name.as_deref().or_else(|| named.next().map(|matcher| matcher.value.as_str()));
        if let (Some(first), Some(twice)) = (first, named.next()) {
            let what =
                format!("metric name must not be set twice: {} or {}", quote(first), quote(&twice.value));
            return Err(self.wrong(begins, what));
        }
        if let Some(name) = &selector.name {
            let own = Matcher::new(METRIC_NAME, MatcherOp::Equal, name);
            selector.matchers.push(own.map_err(|error| self.wrong(begins, error.to_string()))?);
        }
        Ok(Node::Selector(selector))
    }

    fn condition(&mut self, selector: &mut VectorSelector) -> Result<(), ParseError> {
        let context = "label matching";
        let lexed = self.next();
        let label = match lexed.token {
            Token::Word { text, .. } => text,
            // `inf` and `nan` are words here.
            Token::Number(_) if lexed.span.end - lexed.span.start == 3 => {
                self.text[lexed.span.start..lexed.span.end].to_owned()
            }
            Token::Text(text) => {
                if matches!(self.peek().token, Token::Sign("," | "}")) {
                    let own = Matcher::new(METRIC_NAME, MatcherOp::Equal, &text);
                    selector.matchers.push(own.map_err(|error| self.wrong(lexed.span, error.to_string()))?);
                    return Ok(());
                }
                text
            }
            _ => {
                let what = super::lex::describe(&lexed, self.text);
                let what = format!("unexpected {what} in {context}, expected identifier or \"}}\"");
                return Err(self.wrong(lexed.span, what));
            }
        };
        let op = match self.peek().token {
            Token::Sign("=") => MatcherOp::Equal,
            Token::Sign("!=") => MatcherOp::NotEqual,
            Token::Sign("=~") => MatcherOp::Matches,
            Token::Sign("!~") => MatcherOp::MatchesNot,
            _ => return Err(self.unexpected(context, "label matching operator")),
        };
        self.next();
        let Token::Text(value) = self.peek().token.clone() else {
            return Err(self.unexpected(context, "string"));
        };
        let span = self.next().span;
        let matcher = Matcher::new(&label, op, &value);
        selector.matchers.push(matcher.map_err(|error| self.wrong(span, error.to_string()))?);
        Ok(())
    }

    /// `[5m]` or `[1h:1m]` behind an expression.
    fn bracket(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let (span, bracket) = (expr.span, self.next().span);
        let range_ms = self.span_of_time("range")?;
        if !self.take_sign(":") {
            self.expect_sign("]", "matrix selector")?;
            return match expr.node {
                Node::Selector(selector) if selector.shift == Shift::default() => {
                    Ok(Expr { node: Node::Range { selector, range_ms }, span })
                }
                Node::Selector(_) => {
                    Err(self.wrong(span, "no offset modifiers or @ modifiers allowed before range"))
                }
                _ => Err(self.wrong(bracket, "ranges only allowed for vector selectors")),
            };
        }
        let step_ms = if self.is_sign("]") { None } else { Some(self.span_of_time("step")?) };
        self.expect_sign("]", "subquery selector")?;
        let node = Node::Subquery { expr: Box::new(expr), range_ms, step_ms, shift: Shift::default() };
        Ok(Expr { node, span })
    }

    /// A duration or a number of seconds, more than nothing.
    fn span_of_time(&mut self, what: &str) -> Result<i64, ParseError> {
        let span = self.peek().span;
        let ms = match self.peek().token {
            Token::Duration(ms) => ms,
            Token::Number(seconds) => self.milliseconds(seconds, span)?,
            _ if self.begins_arithmetic() => return Err(self.unsupported("arithmetic with durations")),
            _ => return Err(self.unexpected(&format!("{what} of a selector"), "duration or number")),
        };
        self.next();
        if SUMS.iter().any(|sign| self.is_sign(sign)) {
            return Err(self.unsupported("arithmetic with durations"));
        }
        if ms <= 0 {
            return Err(self.wrong(span, "duration must be greater than 0"));
        }
        Ok(ms)
    }

    /// Does an expression of durations begin here?
    fn begins_arithmetic(&self) -> bool {
        let named =
            self.word().is_some_and(|word| ["step", "range", "min_of", "max_of"].contains(&word.as_str()));
        let call = matches!(self.peek_second().token, Token::Sign("("));
        self.is_sign("(") || self.is_sign("-") || self.is_sign("+") || named && call
    }

    fn milliseconds(&self, seconds: f64, span: Span) -> Result<i64, ParseError> {
        if seconds.is_finite() && seconds.abs() <= i64::MAX as f64 / 1e9 {
            return Ok((seconds * 1000.0).round() as i64);
        }
        Err(self.wrong(span, "duration out of range"))
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let negative = self.take_sign("-");
        if !negative {
            self.take_sign("+");
        }
        let span = self.peek().span;
        let ms = match self.peek().token {
            Token::Duration(ms) => ms,
            Token::Number(seconds) => self.milliseconds(seconds, span)?,
            _ if self.begins_arithmetic() => return Err(self.unsupported("arithmetic with durations")),
            _ => return Err(self.unexpected("offset", "number, duration, or step()")),
        };
        self.next();
        let shift = self.shift_of(expr, "offset modifier")?;
        if shift.offset_ms.is_some() {
            return Err(self.wrong(expr.span, "offset may not be set multiple times"));
        }
        shift.offset_ms = Some(if negative { -ms } else { ms });
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let negative = self.take_sign("-");
        if !negative {
            self.take_sign("+");
        }
        let lexed = self.peek().clone();
        let at = match lexed.token {
            Token::Number(seconds) if seconds.is_finite() && seconds.abs() < AT_MAX_S => {
                let seconds = if negative { -seconds } else { seconds };
                At::Time((seconds * 1000.0).round() as i64)
            }
            Token::Duration(ms) => At::Time(if negative { -ms } else { ms }),
            Token::Number(seconds) => {
                let what = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
                return Err(self.wrong(lexed.span, what));
            }
            Token::Word { text, .. } if !negative && matches!(text.as_str(), "start" | "end") => {
                self.next();
                self.expect_sign("(", "@")?;
                if !self.is_sign(")") {
                    return Err(self.unexpected("@", "\")\""));
                }
                if text == "start" { At::Start } else { At::End }
            }
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        self.next();
        let shift = self.shift_of(expr, "@ modifier")?;
        if shift.at.is_some() {
            return Err(self.wrong(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        shift.at = Some(at);
        Ok(())
    }

    fn shift_of<'e>(&self, expr: &'e mut Expr, what: &str) -> Result<&'e mut Shift, ParseError> {
        let span = expr.span;
        match &mut expr.node {
            Node::Selector(selector) | Node::Range { selector, .. } => Ok(&mut selector.shift),
            Node::Subquery { shift, .. } => Ok(shift),
            _ => {
                let must =
                    "must be preceded by an instant vector selector or range vector selector or a subquery";
                Err(self.wrong(span, format!("{what} {must}")))
            }
        }
    }
}
