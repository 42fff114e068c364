//! Tokens of one line of Prometheus text.

/// A place within a line. Blank means blank or tab.
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn at_blank(&self) -> bool {
        self.peek().is_some_and(is_blank)
    }

    pub(crate) fn skip_blanks(&mut self) {
        self.take_while(is_blank);
    }

    /// Takes the byte if it is next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.rest = &self.rest[usize::from(is_next)..];
        is_next
    }

    /// Everything up to the next blank.
    pub(crate) fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| !is_blank(byte))
    }

    /// Everything up to the end.
    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A name of a metric (with colons) or of a label; empty where none begins here.
    pub(crate) fn name(&mut self, colons: bool) -> &'a str {
        let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || colons && byte == b':';
        if !self.peek().is_some_and(begins) {
            return "";
        }
        let name = self.take_while(|byte| begins(byte) || byte.is_ascii_digit());
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// A label's value, unescaped, after its opening quote and with the closing one taken.
    pub(crate) fn quoted(&mut self) -> Result<String, String> {
        let mut value = Vec::new();
        loop {
            value.extend_from_slice(self.take_while(|byte| !matches!(byte, b'"' | b'\\')));
            if self.take(b'"') {
                break;
            }
            if !self.take(b'\\') {
                return Err(
                    "expected '\"' at the end of a label's value; write \\n for a newline in it".into()
                );
            }
            value.push(self.escape()?);
        }
        let wrong = |error: std::string::FromUtf8Error| {
            format!("label value {:?} is not UTF-8", String::from_utf8_lossy(error.as_bytes()))
        };
        String::from_utf8(value).map_err(wrong)
    }

    /// Help up to the end of the line, unescaped.
    pub(crate) fn help(&mut self) -> Result<String, String> {
        let mut help = Vec::new();
        while !self.at_end() {
            help.extend_from_slice(self.take_while(|byte| byte != b'\\'));
            if self.take(b'\\') {
                help.push(self.escape()?);
            }
        }
        Ok(String::from_utf8_lossy(&help).into_owned())
    }

    /// What is left, for error messages: the next bytes, cut short.
    pub(crate) fn found(&self) -> String {
        const SHOWN_BYTES: usize = 40;
        match self.rest {
            [] => "the end of the line".into(),
            rest => format!("{:?}", String::from_utf8_lossy(&rest[..rest.len().min(SHOWN_BYTES)])),
        }
    }

    fn escape(&mut self) -> Result<u8, String> {
        let byte = match self.peek() {
            Some(b'n') => b'\n',
            Some(byte @ (b'\\' | b'"')) => byte,
            _ => {
                return Err(format!("expected \\\\, \\\" or \\n, found a backslash before {}", self.found()));
            }
        };
        self.rest = &self.rest[1..];
        Ok(byte)
    }

    fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !accepts(*byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
