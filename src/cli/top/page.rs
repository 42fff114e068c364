//! The page of `top`: pure functions from looks to lines of text, at most 80 columns wide where
//! the terminal is not wider.

use std::collections::HashMap;

use super::look::Looks;
use super::machine::{cpus, disks, filesystems, interfaces, memory, pressure};
use super::measure::{size, span};
use super::rows::processes;
use crate::cli::terminal;

/// What the processes are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Sort {
    /// CPU time.
    #[default]
    Cpu,
    /// Resident memory.
    Rss,
    /// Bytes read and written.
    Io,
}

/// How the page is to look.
#[derive(Debug, Clone, Default)]
pub struct Style {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Order of processes.
    pub sort: Sort,
    /// Only processes whose command, name, unit or pid holds this.
    pub filter: String,
    /// Children under their parents.
    pub tree: bool,
    /// Does it stand still?
    pub paused: bool,
    /// Is a filter being typed?
    pub typing: bool,
}

/// What a line is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// First line and table head.
    Head,
    /// Everything fine.
    Plain,
    /// Worth a look.
    Warn,
    /// Keys.
    Foot,
}

/// One line of the page.
pub type Line = (Tone, String);

/// The whole page.
pub fn page(looks: &Looks, users: &HashMap<u32, String>, style: &Style) -> Vec<Line> {
    let mut lines = vec![header(looks, style.width)];
    lines.extend(cpus(looks, style.width));
    lines.push(memory(looks));
    lines.push(pressure(looks));
    lines.extend(disks(looks));
    lines.push(filesystems(looks, style.width));
    lines.extend(interfaces(looks));
    lines.push((
        Tone::Head,
        "    PID USER      CPU%   RSS  READ/s WRITE/s  THR   FD S UNIT         COMMAND".into(),
    ));
    let room = style.height.saturating_sub(lines.len() + 1);
    let (rows, shown) = processes(&looks.processes, users, style, room);
    lines.extend(rows);
    lines.push(footer(style, shown));
    for (_, line) in &mut lines {
        *line = cut(&terminal::printable(line), style.width);
    }
    lines
}

fn header(looks: &Looks, width: usize) -> Line {
    let status = &looks.status;
    let up = looks.value("node_time_seconds", &[]).zip(looks.value("node_boot_time_seconds", &[]));
    let up = up.map_or("-".into(), |(now, boot)| span(now - boot));
    let load = |name| looks.value(name, &[]).unwrap_or(0.0);
    let own = looks.processes.iter().find(|process| process.pid == status.pid);
    let cpu = own.and_then(|process| process.cpu_cores).unwrap_or(0.0) * 100.0;
    let rss = own.map_or(0, |process| process.rss_bytes);
    let interval = status.collectors.iter().map(|state| state.interval_seconds).fold(f64::INFINITY, f64::min);
    let left = format!(
        "{}  up {up}  load {:.2} {:.2} {:.2}  {} series @ {interval} s  agent {cpu:.1}% {}",
        status.name,
        load("node_load1"),
        load("node_load5"),
        load("node_load15"),
        status.n_series,
        size(rss as f64),
    );
    let clock = clock(looks.now_ms());
    let gap = width.saturating_sub(left.chars().count() + clock.len()).max(1);
    (Tone::Head, format!("{left}{}{clock}", " ".repeat(gap)))
}

fn footer(style: &Style, shown: usize) -> Line {
    if style.typing {
        return (Tone::Foot, format!(" filter: {}_   (Enter to keep, Esc to drop)", style.filter));
    }
    let paused = if style.paused { "paused" } else { "pause" };
    let filter = if style.filter.is_empty() { "filter".into() } else { format!("filter={}", style.filter) };
    (
        Tone::Foot,
        format!(" c cpu  m mem  i io  / {filter}  t tree  space {paused}  ? help  q quit      {shown} shown"),
    )
}

/// At most `width` characters of a text.
pub fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.max(1)).collect()
}

fn clock(now_ms: i64) -> String {
    let local =
        chrono::DateTime::from_timestamp_millis(now_ms).map(|time| time.with_timezone(&chrono::Local));
    local.map_or_else(String::new, |time| time.format("%H:%M:%S").to_string())
}
