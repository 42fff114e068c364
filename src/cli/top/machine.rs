//! The upper half of the page of `top`: the machine as a whole, a line or two for each resource.

use std::collections::BTreeMap;

use super::look::{Looks, Over, label};
use super::measure::{size, span};
use super::page::{Line, Tone};
use crate::api::Value;

/// Rows of cores, disks and interfaces that are shown at most.
const MAX_CPU_ROWS: usize = 4;
const MAX_DISKS: usize = 2;
const MAX_INTERFACES: usize = 2;
/// From this share of stalled time on, a resource is pointed at.
const STALLS_WORTH_NAMING: f64 = 5.0;

/// Each core's busy share; of many cores the mean and the busiest.
pub fn cpus(looks: &Looks, width: usize) -> Vec<Line> {
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

/// Memory and swap in use.
pub fn memory(looks: &Looks) -> Line {
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

/// Shares of time in which tasks waited, over the last ten seconds.
pub fn pressure(looks: &Looks) -> Line {
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

/// The busiest disks.
pub fn disks(looks: &Looks) -> Vec<Line> {
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

/// The fullest file systems; those that do not answer come first.
pub fn filesystems(looks: &Looks, width: usize) -> Line {
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

/// The busiest interfaces, and TCP.
pub fn interfaces(looks: &Looks) -> Vec<Line> {
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
