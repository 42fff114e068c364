//! Text into tokens, with their places.

use super::text::{parse_duration, parse_number, unquote};
use super::tree::{Aggregator, Span};
use crate::ParseError;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A word; `colons` if it can only be a metric's name.
    Word { text: String, colons: bool },
    /// A number.
    Number(f64),
    /// A duration, milliseconds.
    Duration(i64),
    /// A quoted text.
    Text(String),
    /// An operator, bracket or comma.
    Sign(&'static str),
    /// Nothing more.
    End,
}

/// A token and its place.
#[derive(Debug, Clone)]
pub(crate) struct Lexed {
    pub token: Token,
    pub span: Span,
}

/// Longer ones first.
const SIGNS: &[&str] = &[
    "==", "=~", "!=", "!~", "<=", ">=", "(", ")", "{", "}", "[", "]", ",", ":", "=", "<", ">", "+", "-", "*",
    "/", "%", "^", "@",
];

/// Words with a meaning of their own, in letters of either case.
pub(crate) const KEYWORDS: &[&str] = &[
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "and",
    "or",
    "unless",
    "atan2",
];

/// Splits the whole text.
pub(crate) fn lex(text: &str) -> Result<Vec<Lexed>, ParseError> {
    let mut lexer = Lexer { text, at: 0, open: Vec::new(), tokens: Vec::new() };
    while lexer.step()? {}
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Open parentheses, braces and brackets.
    open: Vec<char>,
    tokens: Vec<Lexed>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn wrong(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, Span { start, end: self.at.max(start) }, message)
    }

    fn push(&mut self, token: Token, length: usize) {
        let span = Span { start: self.at, end: self.at + length };
        self.tokens.push(Lexed { token, span });
        self.at += length;
    }

    fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            let length = if rest.starts_with('#') {
                rest.find('\n').unwrap_or(rest.len())
            } else {
                rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len()
            };
            if length == 0 {
                return;
            }
            self.at += length;
        }
    }

    /// One token. False after the last one.
    fn step(&mut self) -> Result<bool, ParseError> {
        self.blanks();
        let Some(first) = self.rest().chars().next() else {
            self.end()?;
            self.push(Token::End, 0);
            return Ok(false);
        };
        let second = self.rest().chars().nth(1).unwrap_or_default();
        match first {
            '"' | '\'' | '`' => self.quoted(first)?,
            '0'..='9' => self.number()?,
            '.' if second.is_ascii_digit() => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            ':' if self.colons() && (second.is_ascii_alphabetic() || second == '_' || second == ':') => {
                self.word();
            }
            _ => self.sign(first)?,
        }
        Ok(true)
    }

    /// Are colons part of a word here? In brackets they stand between spans, and labels have none.
    fn colons(&self) -> bool {
        !matches!(self.open.last(), Some('[' | '{'))
    }

    fn end(&self) -> Result<(), ParseError> {
        match self.open.last() {
            None => Ok(()),
            Some('(') => Err(self.wrong(self.at, "unclosed left parenthesis")),
            Some('{') => Err(self.wrong(self.at, "unexpected end of input inside braces")),
            Some(_) => Err(self.wrong(self.at, "unclosed left bracket")),
        }
    }

    fn sign(&mut self, first: char) -> Result<(), ParseError> {
        let Some(sign) = SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) else {
            return Err(self.wrong(
                self.at,
                match first {
                    '!' => "unexpected character after '!': it is != or !~".to_owned(),
                    c => format!("unexpected character: {c:?}"),
                },
            ));
        };
        match (*sign, self.open.last().copied()) {
            ("(" | "{" | "[", _) => self.open.push(first),
            (")", Some('(')) | ("}", Some('{')) | ("]", Some('[')) => drop(self.open.pop()),
            (")", _) => return Err(self.wrong(self.at + 1, "unexpected right parenthesis ')'")),
            ("}", _) => return Err(self.wrong(self.at, "unexpected character: '}'")),
            ("]", _) => return Err(self.wrong(self.at, "unexpected right bracket ']'")),
            (":", Some('{')) => return Err(self.wrong(self.at, "unexpected character inside braces: ':'")),
            _ => {}
        }
        self.push(Token::Sign(sign), sign.len());
        Ok(())
    }

    fn word(&mut self) {
        let colons = self.colons();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || colons && c == ':'));
        let word = rest[..end.unwrap_or(rest.len())].to_owned();
        let length = word.len();
        let token = match word.to_ascii_lowercase().as_str() {
            "inf" => Token::Number(f64::INFINITY),
            "nan" => Token::Number(f64::NAN),
            _ => Token::Word { colons: word.contains(':'), text: word },
        };
        self.push(token, length);
    }

    fn quoted(&mut self, quote: char) -> Result<(), ParseError> {
        let inner = &self.rest()[1..];
        let mut escaped = false;
        let end = inner.char_indices().find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped && quote != '`';
            ends
        });
        let raw = end.map(|(end, _)| &inner[..end]).filter(|raw| quote == '`' || !raw.contains('\n'));
        let kind = if quote == '`' { "unterminated raw string" } else { "unterminated quoted string" };
        let raw = raw.ok_or_else(|| self.wrong(self.at, kind))?;
        let value = unquote(raw, quote).map_err(|what| self.wrong(self.at, what))?;
        let length = raw.len() + 2;
        self.push(Token::Text(value), length);
        Ok(())
    }

    /// A number or a duration: all that could belong to either, then one of them or an error.
    fn number(&mut self) -> Result<(), ParseError> {
        let rest = self.rest();
        let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
        let mut previous = ' ';
        let end = rest.find(|c: char| {
            let exponent = matches!(previous, 'e' | 'E') && !hexadecimal && matches!(c, '+' | '-');
            previous = c;
            !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || exponent)
        });
        let word = &rest[..end.unwrap_or(rest.len())];
        let length = word.len();
        let looks_long = word.contains(|c: char| "smhdwy".contains(c)) && !hexadecimal;
        if looks_long {
            let duration = parse_duration(word)
                .ok_or_else(|| self.wrong(self.at, format!("bad number or duration syntax: {word:?}")))?;
            self.push(Token::Duration(duration), length);
            return Ok(());
        }
        let number = parse_number(word)
            .ok_or_else(|| self.wrong(self.at, format!("bad number or duration syntax: {word:?}")))?;
        self.push(Token::Number(number), length);
        Ok(())
    }
}

/// A token as messages describe it.
pub(crate) fn describe(lexed: &Lexed, text: &str) -> String {
    let raw = &text[lexed.span.start..lexed.span.end];
    let shown = || {
        let start: String = raw.chars().take(10).collect();
        if start.len() < raw.len() {
            format!("{}...", super::text::quote(&start))
        } else {
            super::text::quote(raw)
        }
    };
    match &lexed.token {
        Token::End => "end of input".to_owned(),
        Token::Word { text, .. } if Aggregator::by_name(text).is_some() => format!("<aggr:{raw}>"),
        Token::Word { text, .. } => match text.to_ascii_lowercase().as_str() {
            "and" | "or" | "unless" | "atan2" => format!("<op:{raw}>"),
            word if KEYWORDS.contains(&word) => format!("<{raw}>"),
            word if word.contains(':') => format!("metric identifier {raw:?}"),
            _ => format!("identifier {raw:?}"),
        },
        Token::Number(_) => format!("number {}", shown()),
        Token::Duration(_) => format!("duration {}", shown()),
        Token::Text(_) => format!("string {}", shown()),
        Token::Sign("(" | ")" | "{" | "}" | "[" | "]" | "," | ":" | "=") => format!("{raw:?}"),
        Token::Sign(_) => format!("<op:{raw}>"),
    }
}
