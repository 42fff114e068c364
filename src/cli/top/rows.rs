//! The lower half of the page of `top`: the processes, sorted, filtered, or as a tree.

use std::collections::HashMap;

use fieldpost_model::ProcessRow;

use super::measure::size;
use super::page::{Line, Sort, Style, Tone, cut};

/// As many processes as there is room for, and how many the filter lets through.
pub fn processes(
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
    let command = match process.command.as_str() {
        "" => format!("[{}]", process.name),
        command => without_folder(command).to_owned(),
    };
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

/// The command line without the folder of the program: there is little room.
fn without_folder(command: &str) -> &str {
    let program = command.split(' ').next().unwrap_or_default();
    match program.rfind('/') {
        Some(slash) if command.starts_with(['/', '.']) && slash + 1 < program.len() => &command[slash + 1..],
        _ => command,
    }
}
