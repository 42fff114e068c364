//! One line of the log, in each of its forms.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `time level message key=value`.
    Text,
    /// `<6>message key=value`, the form of sd-daemon(3): the journal keeps time and level itself.
    Journal,
    /// One JSON object.
    Json,
}

/// What an event says.
#[derive(Debug, Default)]
pub struct Content {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Content {
    /// Takes it out of an event.
    pub fn of(event: &Event<'_>) -> Self {
        let mut content = Self::default();
        event.record(&mut content);
        content
    }

    /// Adds a field of our own.
    pub fn add(&mut self, name: &'static str, value: String) {
        self.fields.push((name, value));
    }

    /// The line, with its newline; `time` is as it is to be shown.
    pub fn line(&self, style: Style, level: Level, target: &str, time: &str) -> String {
        let mut line = match style {
            Style::Json => return self.json(level, target, time),
            Style::Journal => format!("<{}>", priority(level)),
            Style::Text => format!("{time} {:<5} ", level.as_str().to_ascii_lowercase()),
        };
        push_one_line(&mut line, &self.message);
        for (name, value) in &self.fields {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            push_value(&mut line, value);
        }
        line.push('\n');
        line
    }

    fn json(&self, level: Level, target: &str, time: &str) -> String {
        let mut object = serde_json::Map::new();
        for (name, value) in &self.fields {
            object.insert((*name).to_owned(), value.as_str().into());
        }
        object.insert("time".to_owned(), time.into());
        object.insert("level".to_owned(), level.as_str().to_ascii_lowercase().into());
        object.insert("target".to_owned(), target.into());
        object.insert("message".to_owned(), self.message.as_str().into());
        format!("{}\n", serde_json::Value::Object(object))
    }
}

impl Visit for Content {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}

/// The level as syslog counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// A line stays one line, and a terminal is sent no control codes, whatever a name holds.
fn push_one_line(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(line, "\\x{:02x}", c as u32);
            }
            c => line.push(c),
        }
    }
}

fn push_value(line: &mut String, value: &str) {
    if !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=') {
        return push_one_line(line, value);
    }
    line.push('"');
    push_one_line(line, &value.replace('"', "\\\""));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        let fields = vec![("path", "/a b".to_owned()), ("n", "3".to_owned())];
        Content { message: "one\ntwo".to_owned(), fields }
    }

    #[test]
    fn lines_stay_one_line_in_every_style() {
        let line = |style| content().line(style, Level::WARN, "t", "T");
        assert_eq!(line(Style::Text), "T warn  one\\ntwo path=\"/a b\" n=3\n");
        assert_eq!(line(Style::Journal), "<4>one\\ntwo path=\"/a b\" n=3\n");
        let json: serde_json::Value = serde_json::from_str(&line(Style::Json)).unwrap();
        assert_eq!((json["message"].as_str(), json["n"].as_str()), (Some("one\ntwo"), Some("3")));
    }

    #[test]
    fn control_codes_do_not_reach_the_terminal() {
        let evil = Content { message: "\u{1b}[2J".to_owned(), fields: Vec::new() };
        assert_eq!(evil.line(Style::Journal, Level::INFO, "t", ""), "<6>\\x1b[2J\n");
    }
}
