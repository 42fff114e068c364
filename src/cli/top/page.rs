//! The page of `top`: pure functions from looks to lines of text, at most 80 columns wide where
//! the terminal is not wider.

use std::collections::{BTreeMap, HashMap};

use fieldpost_model::ProcessRow;

use super::look::{Looks, Over, label};
use crate::api::Value;

/// Rows of cores, disks and interfaces that are shown at most.
const MAX_CPU_ROWS: usize = 4;
const MAX_DISKS: usize = 2;
const MAX_INTERFACES: usize = 2;
/// From this share of stalled time on, a resource is pointed at.
const STALLS_WORTH_NAMING: f64 = 5.0;

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
        *line = cut(line, style.width);
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

fn cpus(looks: &Looks, width: usize) -> Vec<Line> {
    let idle: Vec<&Value> =
        looks.all("node_cpu_seconds_total").iter().filter(|v| label(v, "mode") == Some("idle")).collect();
    let mut busy: Vec<(u32, f64)> = idle.iter().filter_map(|value| busy(looks, value)).collect();
    busy.sort_by_key(|(cpu, _)| *cpu);
    let steal: f64 = idle
        .iter()
        .filter_map(|value| {
            looks.rate(
                "node_cpu_seconds_total",
                &[("cpu", label(value, "cpu")?), ("mode", "steal")],
                Over::Last,
            )
        })
        .sum();
    let bar_width = (width.saturating_sub(22) / 2).clamp(10, 40);
    let rows: Vec<String> = if busy.len() > 2 * MAX_CPU_ROWS {
        let mean = busy.iter().map(|(_, share)| share).sum::<f64>() / busy.len() as f64;
        let hottest = busy.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
        vec![format!("{:>3}x {}  max {} {:.1}%", busy.len(), bar(mean, bar_width), hottest.0, hottest.1)]
    } else {
        busy.chunks(2)
            .map(|pair| {
                pair.iter()
                    .map(|(cpu, share)| format!("{cpu} {}", bar(*share, bar_width)))
                    .collect::<Vec<_>>()
                    .join("  ")
            })
            .collect()
    };
    let lines = rows.into_iter().enumerate().map(|(row, text)| match row {
        0 => (Tone::Plain, format!("CPU {text}  st {steal:.1}")),
        _ => (Tone::Plain, format!("    {text}")),
    });
    lines.collect()
}

fn busy(looks: &Looks, idle: &Value) -> Option<(u32, f64)> {
    let cpu = label(idle, "cpu")?;
    let rest = |mode| looks.rate("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], Over::Last);
    let idle = rest("idle")? + rest("iowait").unwrap_or(0.0);
    Some((cpu.parse().ok()?, (1.0 - idle).clamp(0.0, 1.0) * 100.0))
}

fn bar(percent: f64, width: usize) -> String {
    let figure = format!("{percent:.1}%");
    let room = width.saturating_sub(figure.len());
    let full = ((percent / 100.0 * width as f64).round() as usize).min(room);
    format!("[{}{}{figure}]", "|".repeat(full), " ".repeat(room - full))
}

fn memory(looks: &Looks) -> Line {
    let get = |name| looks.value(name, &[]).unwrap_or(0.0);
    let part = |total: f64, free: f64| {
        let used = (total - free).max(0.0);
        let share = if total > 0.0 { used / total } else { 0.0 };
        let figure = format!("{}/{}", size(used), size(total));
        let room = 24_usize.saturating_sub(figure.len());
        let full = ((share * 24.0).round() as usize).min(room);
        (format!("[{}{}{figure}]", "|".repeat(full), " ".repeat(room - full)), share)
    };
    let (memory, share) = part(get("node_memory_MemTotal_bytes"), get("node_memory_MemAvailable_bytes"));
    let (swap, _) = part(get("node_memory_SwapTotal_bytes"), get("node_memory_SwapFree_bytes"));
    let tone = if share > 0.9 { Tone::Warn } else { Tone::Plain };
    (tone, format!("MEM   {memory}  SWAP {swap}"))
}

fn pressure(looks: &Looks) -> Line {
    let stalled = |name: &str| looks.rate(name, &[], Over::All).map(|share| share * 100.0);
    let show = |share: Option<f64>| share.map_or("-".into(), |share| format!("{share:.1}"));
    let cpu = stalled("node_pressure_cpu_waiting_seconds_total");
    let memory = stalled("node_pressure_memory_waiting_seconds_total");
    let memory_full = stalled("node_pressure_memory_stalled_seconds_total");
    let io = stalled("node_pressure_io_waiting_seconds_total");
    let io_full = stalled("node_pressure_io_stalled_seconds_total");
    let worst = [(cpu, "cpu"), (memory, "memory"), (io, "io")]
        .into_iter()
        .filter_map(|(share, name)| Some((share?, name)));
    let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(share, _)| *share >= STALLS_WORTH_NAMING);
    let remark = worst.map(|(_, name)| format!("  <- {name} stalls")).unwrap_or_default();
    let tone = if remark.is_empty() { Tone::Plain } else { Tone::Warn };
    (
        tone,
        format!(
            "PSI   cpu some {}   mem some {} full {}   io some {} full {}{remark}",
            show(cpu),
            show(memory),
            show(memory_full),
            show(io),
            show(io_full)
        ),
    )
}

fn disks(looks: &Looks) -> Vec<Line> {
    let mut rows: Vec<(f64, String)> = looks
        .all("node_disk_io_time_seconds_total")
        .iter()
        .filter_map(|value| disk(looks, label(value, "device")?))
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    rows.truncate(MAX_DISKS);
    rows.into_iter().map(|(busy, text)| (if busy > 0.8 { Tone::Warn } else { Tone::Plain }, text)).collect()
}

fn disk(looks: &Looks, device: &str) -> Option<(f64, String)> {
    let rate = |name: &str| {
        looks.rate(&format!("node_disk_{name}"), &[("device", device)], Over::Last).unwrap_or(0.0)
    };
    let (reads, writes) = (rate("reads_completed_total"), rate("writes_completed_total"));
    let waited = rate("read_time_seconds_total") + rate("write_time_seconds_total");
    let await_ms = if reads + writes > 0.0 { waited / (reads + writes) * 1_000.0 } else { 0.0 };
    let busy = rate("io_time_seconds_total");
    let text = format!(
        "DISK  {device:<7} r {}/s {reads:.0}/s  w {}/s {writes:.0}/s  await {await_ms:.1}ms  util {:.0}%  queue {:.0}",
        size(rate("read_bytes_total")),
        size(rate("written_bytes_total")),
        (busy * 100.0).min(100.0),
        rate("io_time_weighted_seconds_total"),
    );
    Some((busy, text))
}

fn filesystems(looks: &Looks, width: usize) -> Line {
    let (mut text, mut tone) = (String::from("FS   "), Tone::Plain);
    for value in looks.all("fieldpost_filesystem_stuck_seconds") {
        let age = value.value.unwrap_or(0.0);
        if age > 0.0 {
            text += &format!(" {} stuck for {}  ", label(value, "mountpoint").unwrap_or("?"), span(age));
            tone = Tone::Warn;
        }
    }
    let mut parts: BTreeMap<&str, (f64, String)> = BTreeMap::new();
    for value in looks.all("node_filesystem_size_bytes") {
        let (Some(mount), Some(device)) = (label(value, "mountpoint"), label(value, "device")) else {
            continue;
        };
        let get = |name| looks.value(name, &[("mountpoint", mount), ("device", device)]).unwrap_or(0.0);
        let (size, free) = (value.value.unwrap_or(0.0), get("node_filesystem_free_bytes"));
        let (files, files_free) = (get("node_filesystem_files"), get("node_filesystem_files_free"));
        if size > 0.0 {
            let used = 1.0 - free / size;
            let inodes = if files > 0.0 {
                format!(" (inodes {:.0}%)", (1.0 - files_free / files) * 100.0)
            } else {
                String::new()
            };
            parts.insert(mount, (used, format!(" {mount} {:.0}%{inodes}  ", used * 100.0)));
        }
    }
    let mut sorted: Vec<_> = parts.into_values().collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    if sorted.first().is_some_and(|(used, _)| *used > 0.9) {
        tone = Tone::Warn;
    }
    for (_, part) in sorted {
        if text.chars().count() + part.chars().count() <= width {
            text += &part;
        }
    }
    (tone, text.trim_end().into())
}

fn interfaces(looks: &Looks) -> Vec<Line> {
    let row = |value: &Value| {
        let device = label(value, "device")?;
        let rate = |name: &str| {
            looks
                .rate(&format!("node_network_{name}_total"), &[("device", device)], Over::Last)
                .unwrap_or(0.0)
        };
        let (rx, tx) = (rate("receive_bytes"), rate("transmit_bytes"));
        let drops = rate("receive_drop") + rate("transmit_drop");
        let errors = rate("receive_errs") + rate("transmit_errs");
        let text = format!(
            "NET   {device:<7} rx {}/s {:.0}/s  tx {}/s {:.0}/s  drop {drops:.0}  err {errors:.0}",
            size(rx),
            rate("receive_packets"),
            size(tx),
            rate("transmit_packets"),
        );
        Some((rx + tx, if drops + errors > 0.0 { Tone::Warn } else { Tone::Plain }, text))
    };
    let mut rows: Vec<_> = looks.all("node_network_receive_bytes_total").iter().filter_map(row).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    // What stands still is left out, but for one, so that the line of TCP has a place.
    let moving = rows.iter().take_while(|(traffic, ..)| *traffic > 0.0).count();
    rows.truncate(moving.clamp(1, MAX_INTERFACES));
    let established = looks.value("node_netstat_Tcp_CurrEstab", &[]);
    let resent = looks.rate("node_netstat_Tcp_RetransSegs", &[], Over::Last);
    if let (Some(first), Some(established)) = (rows.first_mut(), established) {
        first.2 += &format!("  tcp est {established:.0} rtx {:.0}", resent.unwrap_or(0.0));
    }
    rows.into_iter().map(|(_, tone, text)| (tone, text)).collect()
}

fn processes(
    all: &[ProcessRow],
    users: &HashMap<u32, String>,
    style: &Style,
    room: usize,
) -> (Vec<Line>, usize) {
    let filter = style.filter.to_lowercase();
    let wanted = |process: &&ProcessRow| {
        filter.is_empty()
            || [&process.command, &process.name, &process.unit, &process.pid.to_string()]
                .iter()
                .any(|text| text.to_lowercase().contains(&filter))
    };
    let mut shown: Vec<&ProcessRow> = all.iter().filter(wanted).collect();
    shown.sort_by(|a, b| weight(b, style.sort).total_cmp(&weight(a, style.sort)).then(a.pid.cmp(&b.pid)));
    let count = shown.len();
    let ordered =
        if style.tree { as_tree(&shown) } else { shown.into_iter().map(|process| (0, process)).collect() };
    let line = |(depth, process): &(usize, &ProcessRow)| (Tone::Plain, process_line(process, users, *depth));
    (ordered.iter().take(room).map(line).collect(), count)
}

/// What a process weighs in this order.
pub fn weight(process: &ProcessRow, sort: Sort) -> f64 {
    match sort {
        Sort::Cpu => process.cpu_cores.unwrap_or(0.0),
        Sort::Rss => process.rss_bytes as f64,
        Sort::Io => {
            process.read_bytes_per_second.unwrap_or(0.0) + process.written_bytes_per_second.unwrap_or(0.0)
        }
    }
}

/// Children right after their parent, one deeper; the order among siblings is kept.
fn as_tree<'a>(shown: &[&'a ProcessRow]) -> Vec<(usize, &'a ProcessRow)> {
    let mut children: HashMap<u32, Vec<&ProcessRow>> = HashMap::new();
    let known: std::collections::HashSet<u32> = shown.iter().map(|process| process.pid).collect();
    let is_root = |process: &ProcessRow| !known.contains(&process.parent) || process.parent == process.pid;
    for process in shown.iter().filter(|process| !is_root(process)) {
        children.entry(process.parent).or_default().push(process);
    }
    let mut waiting: Vec<(usize, &ProcessRow)> =
        shown.iter().rev().filter(|process| is_root(process)).map(|process| (0, *process)).collect();
    let mut ordered = Vec::with_capacity(shown.len());
    while let Some((depth, process)) = waiting.pop() {
        ordered.push((depth, process));
        let below = children.remove(&process.pid).unwrap_or_default();
        waiting.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
    ordered
}

fn process_line(process: &ProcessRow, users: &HashMap<u32, String>, depth: usize) -> String {
    let user = users.get(&process.uid).cloned().unwrap_or_else(|| process.uid.to_string());
    let rate = |rate: Option<f64>| rate.map_or("-".into(), size);
    let unit = process.unit.rsplit('/').next().unwrap_or_default().trim_end_matches(".service");
    let unit = if unit.is_empty() { "-" } else { unit };
    let command =
        if process.command.is_empty() { format!("[{}]", process.name) } else { process.command.clone() };
    format!(
        "{:>7} {:<8} {:>5} {:>5} {:>7} {:>7} {:>4} {:>4} {} {:<12} {}{}",
        process.pid,
        cut(&user, 8),
        process.cpu_cores.map_or("-".into(), |cores| format!("{:.1}", cores * 100.0)),
        size(process.rss_bytes as f64),
        rate(process.read_bytes_per_second),
        rate(process.written_bytes_per_second),
        process.threads,
        process.open_files.map_or("-".into(), |n| n.to_string()),
        process.state,
        cut(unit, 12),
        "  ".repeat(depth.min(8)),
        command.replace(|c: char| c.is_control(), " "),
    )
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
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.max(1)).collect()
}

/// A size in three figures and a letter: `0`, `512`, `3.1K`, `212M`, `23.5G`.
pub fn size(bytes: f64) -> String {
    let mut value = bytes.max(0.0);
    for unit in ["", "K", "M", "G", "T"] {
        if value < 999.5 || unit == "T" {
            let digits = usize::from(value < 99.95 && !unit.is_empty());
            return format!("{value:.digits$}{unit}");
        }
        value /= 1024.0;
    }
    unreachable!("the last unit always returns")
}

/// A span in its largest unit: `14 s`, `7 min`, `5 h`, `41d`.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3_600.0 => format!("{:.0} min", (s / 60.0).floor()),
        s if s < 86_400.0 => format!("{:.0} h", (s / 3_600.0).floor()),
        s => format!("{:.0}d", (s / 86_400.0).floor()),
    }
}

fn clock(now_ms: i64) -> String {
    let local =
        chrono::DateTime::from_timestamp_millis(now_ms).map(|time| time.with_timezone(&chrono::Local));
    local.map_or_else(String::new, |time| time.format("%H:%M:%S").to_string())
}
