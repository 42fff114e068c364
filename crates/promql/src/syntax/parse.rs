//! Tokens into a tree: operators by how tightly they bind. Operands are read in `operand`.

use super::check;
use super::lex::{Lexed, Token, describe, lex};
use super::tree::{Aggregator, BinaryOp, Cardinality, Expr, Matching, Node, Span, VectorSelector};
use crate::ParseError;

/// How deep an expression may be nested: bounds the stack, here and in the evaluation.
const DEPTH_MAX: usize = 200;

/// The longest text that is read, bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// How tightly a sign binds: less than a power, more than a product's second operand.
const SIGN_BINDING: u8 = 6;

/// Reads an expression and checks that it means something.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.peek().token == Token::End {
        return Err(parser.wrong(parser.peek().span, "no expression found in input"));
    }
    let expr = parser.expression(0)?;
    parser.expect_end()?;
    check::check(&expr, text)?;
    Ok(expr)
}

/// Reads `name{label="value"}`: what `match[]` and the like take.
pub fn parse_selector(text: &str) -> Result<VectorSelector, ParseError> {
    let expr = parse(text)?;
    match expr.node {
        Node::Selector(selector) if selector.shift == super::tree::Shift::default() => Ok(selector),
        _ => Err(ParseError::new(text, expr.span, "expected a selector: name{label=\"value\"}")),
    }
}

pub(super) struct Parser<'a> {
    pub text: &'a str,
    tokens: Vec<Lexed>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > TEXT_BYTES_MAX {
            let what = format!("the query has {} bytes; at most {TEXT_BYTES_MAX} are read", text.len());
            return Err(ParseError::new(text, Span::default(), what));
        }
        Ok(Self { text, tokens: lex(text)?, at: 0, depth: 0 })
    }

    pub fn wrong(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }

    pub fn peek(&self) -> &Lexed {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub fn peek_second(&self) -> &Lexed {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    pub fn next(&mut self) -> Lexed {
        let lexed = self.peek().clone();
        self.at += 1;
        lexed
    }

    /// Where the last token stands that was taken.
    pub fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].span
    }

    /// Byte after the last token that was taken.
    pub fn end(&self) -> usize {
        self.last_span().end
    }

    pub fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let lexed = self.peek();
        let mut message = format!("unexpected {}", describe(lexed, self.text));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.wrong(lexed.span, message)
    }

    /// What stands here is of Prometheus' language, but not of ours.
    pub fn unsupported(&self, what: &str) -> ParseError {
        let lexed = self.peek();
        self.wrong(lexed.span, format!("unexpected {}: {what} is not supported", describe(lexed, self.text)))
    }

    fn expect_end(&self) -> Result<(), ParseError> {
        if self.peek().token == Token::End { Ok(()) } else { Err(self.unexpected("", "")) }
    }

    pub fn take_sign(&mut self, sign: &str) -> bool {
        let taken = matches!(self.peek().token, Token::Sign(other) if other == sign);
        self.at += usize::from(taken);
        taken
    }

    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek().token, Token::Sign(other) if other == sign)
    }

    pub fn expect_sign(&mut self, sign: &str, context: &str) -> Result<(), ParseError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(context, &format!("{sign:?}"))) }
    }

    /// The next word in small letters, if there is one.
    pub fn word(&self) -> Option<String> {
        match &self.peek().token {
            Token::Word { text, .. } => Some(text.to_ascii_lowercase()),
            _ => None,
        }
    }

    pub fn take_word(&mut self, words: &[&str]) -> Option<String> {
        let word = self.word().filter(|word| words.contains(&word.as_str()))?;
        self.at += 1;
        Some(word)
    }

    /// One level deeper; an error where it is too deep.
    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        let what = format!("the expression is nested more than {DEPTH_MAX} levels deep; take it apart");
        Err(self.wrong(self.peek().span, what))
    }

    /// An expression whose operators all bind tighter than this.
    pub fn expression(&mut self, binding: u8) -> Result<Expr, ParseError> {
        let depth = self.depth;
        self.deeper()?;
        let mut left = self.signed()?;
        while let Some(op) = self.binary_op().filter(|op| op.binding() > binding) {
            // A chain of operators is as deep a tree as it is long.
            self.deeper()?;
            let op_span = self.next().span;
            let (is_bool, matching) = self.modifiers(op, left.span, op_span)?;
            // Powers are read from the right.
            let right = self.expression(op.binding() - u8::from(op == BinaryOp::Pow))?;
            let span = Span { start: left.span.start, end: right.span.end };
            let (left_side, right_side) = (Box::new(left), Box::new(right));
            left = Expr {
                node: Node::Binary { op, op_span, is_bool, matching, left: left_side, right: right_side },
                span,
            };
        }
        self.depth = depth;
        Ok(left)
    }

    fn signed(&mut self) -> Result<Expr, ParseError> {
        let start = self.peek().span.start;
        let negative = match self.peek().token {
            Token::Sign("-") => true,
            Token::Sign("+") => false,
            _ => return self.operand(),
        };
        self.at += 1;
        let inner = self.expression(SIGN_BINDING - 1)?;
        let span = Span { start, end: inner.span.end };
        let node = match inner.node {
            Node::Number(value) => Node::Number(if negative { -value } else { value }),
            _ => Node::Unary { negative, expr: Box::new(inner) },
        };
        Ok(Expr { node, span })
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match &self.peek().token {
            Token::Sign(sign) => match *sign {
                "+" => BinaryOp::Add,
                "-" => BinaryOp::Sub,
                "*" => BinaryOp::Mul,
                "/" => BinaryOp::Div,
                "%" => BinaryOp::Mod,
                "^" => BinaryOp::Pow,
                "==" => BinaryOp::Equal,
                "!=" => BinaryOp::NotEqual,
                "<" => BinaryOp::Less,
                ">" => BinaryOp::Greater,
                "<=" => BinaryOp::LessEqual,
                ">=" => BinaryOp::GreaterEqual,
                _ => return None,
            },
            Token::Word { text, .. } => match text.to_ascii_lowercase().as_str() {
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right` behind an operator.
    fn modifiers(&mut self, op: BinaryOp, left: Span, op_span: Span) -> Result<(bool, Matching), ParseError> {
        self.refuse_fill()?;
        if matches!(op, BinaryOp::Less | BinaryOp::Greater) && self.is_sign("/") {
            return Err(self.unsupported("an operator of native histograms"));
        }
        let is_bool = self.take_word(&["bool"]).is_some();
        let mut matching = Matching::default();
        if op.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        self.refuse_fill()?;
        let Some(word) = self.take_word(&["on", "ignoring"]) else { return Ok((is_bool, matching)) };
        matching.is_given = true;
        matching.on = word == "on";
        matching.labels = self.label_list()?;
        self.refuse_fill()?;
        if let Some(word) = self.take_word(&["group_left", "group_right"]) {
            if op.is_set() {
                let what = format!("no grouping allowed for {:?} operation", op.text());
                return Err(self.wrong(left, what));
            }
            let is_left = word == "group_left";
            matching.cardinality = if is_left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
            if self.is_sign("(") {
                matching.include = self.label_list()?;
            }
            self.refuse_fill()?;
            let twice = matching.include.iter().find(|label| matching.on && matching.labels.contains(label));
            if let Some(label) = twice {
                let what = format!("label {label:?} must not occur in ON and GROUP clause at once");
                return Err(self.wrong(op_span, what));
            }
        }
        Ok((is_bool, matching))
    }

    /// Values for series that have no counterpart are not known here.
    fn refuse_fill(&self) -> Result<(), ParseError> {
        let is_fill =
            self.word().is_some_and(|word| ["fill", "fill_left", "fill_right"].contains(&word.as_str()));
        match self.peek_second().token {
            Token::Sign("(") if is_fill => Err(self.unsupported("this modifier")),
            _ => Ok(()),
        }
    }

    /// `(a, "b", c)`, also empty and with a comma at its end.
    pub fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        let context = "grouping opts";
        self.expect_sign("(", context)?;
        let mut labels = Vec::new();
        while !self.take_sign(")") {
            match self.peek().token.clone() {
                Token::Word { text, colons: false } => labels.push(text),
                Token::Text(text) if !text.is_empty() && super::text::is_whole_text(&text) => {
                    labels.push(text);
                }
                _ => return Err(self.unexpected(context, "label")),
            }
            self.at += 1;
            if !self.take_sign(",") && !self.is_sign(")") {
                return Err(self.unexpected(context, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    /// Does an aggregation begin here, and not a metric of the same name?
    pub fn aggregator(&self) -> Option<Aggregator> {
        let op = Aggregator::by_name(&self.word()?)?;
        let begins = match &self.peek_second().token {
            Token::Sign("(") => true,
            Token::Word { text, .. } => ["by", "without"].iter().any(|word| text.eq_ignore_ascii_case(word)),
            _ => false,
        };
        begins.then_some(op)
    }
}
