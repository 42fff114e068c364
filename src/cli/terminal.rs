//! The terminal: what goes to which stream, and whether colours may be used.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};

use super::Global;

/// Prints what was asked for.
pub fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Prints what there is to say about it. A closed standard error is no reason to fail.
pub fn err(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// A name or text from outside as it may be shown to a person: control characters, with which
/// a terminal could be told to do things, become spaces.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => Cow::Owned(text.replace(char::is_control, " ")),
        false => Cow::Borrowed(text),
    }
}

/// Is a person reading the standard output?
pub fn is_interactive() -> bool {
    io::stdout().is_terminal()
}

/// Is a person reading the standard error?
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Is a person typing the standard input?
pub fn asks() -> bool {
    io::stdin().is_terminal()
}

/// Columns and lines of the window; those of an old terminal where there is none.
pub fn size() -> (usize, usize) {
    let asked = if is_interactive() { ratatui::crossterm::terminal::size().ok() } else { None };
    let (width, height) = asked.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or((80, 24));
    (usize::from(width), usize::from(height))
}

/// A table without lines.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

/// The text of a table, without spaces at the ends of its lines.
pub fn table_text(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// May the standard output be coloured? Not if `NO_COLOR` is set to anything (no-color.org).
pub fn has_colour(global: &Global) -> bool {
    !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && is_interactive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_give_a_terminal_no_orders() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}31mc\r\n"), "a [2Jb 31mc  ");
        assert_eq!(printable("caf\u{e9}"), "caf\u{e9}");
    }
}
