//! What is known of one run, and what can be done with it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use fieldpost_model::job::{Cause, Run, RunStat};
use fieldpost_model::{Period, format_bytes};

use super::super::job_door::{JobDoor, Whom};
use super::super::server::encoded;
use super::super::{Global, instant, process_setup, terminal};
use super::follow::{self, Show};
use super::{LogsArgs, One, ending};
use crate::api::{KillAnswer, KillRequest, RunStats, RunView};

/// Samples that are drawn.
const GRAPH_WIDTH: usize = 60;

fn door(one: &One, global: &Global) -> anyhow::Result<JobDoor> {
    JobDoor::find(&one.whom, false, global)
}

fn get(door: &JobDoor, id: &str) -> anyhow::Result<RunView> {
    door.get(&format!("/runs/{}", encoded(id)), Duration::ZERO)
}

/// Everything that is known of a run.
pub fn show(one: &One, global: &Global) -> anyhow::Result<ExitCode> {
    let door = door(one, global)?;
    let told: serde_json::Value = door.get(&format!("/runs/{}", encoded(&one.id)), Duration::ZERO)?;
    if global.json {
        terminal::out(&told.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let RunView { run, position } = serde_json::from_value(told.clone())?;
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push((name.to_owned(), terminal::printable(&value).into_owned()));
        }
    };
    add("run", run.id.clone());
    add("agent", told["agent"].as_str().unwrap_or_default().to_owned());
    if let Some(since_ms) = told["unknown_since_ms"].as_i64() {
        add("unknown", format!("since {}: its agent is gone", instant::show(since_ms)));
    }
    add("job", run.job.name.clone());
    add("domain", run.job.domain.clone());
    add("command", run.argv().join(" "));
    for (name, value) in &run.params {
        add("param", format!("{name}={value}"));
    }
    add("cause", cause(&run));
    for (name, value) in &run.job.tags {
        add("tag", format!("{name}={value}"));
    }
    add("secrets", run.secret_names.join(", "));
    if let Some(position) = position {
        add("queue", format!("place {position}"));
    }
    add("pid", run.pid.map_or_else(String::new, |pid| pid.to_string()));
    for limit in &run.limits {
        let by = limit.by.as_deref().unwrap_or("not enforced");
        let reason = if limit.reason.is_empty() { String::new() } else { format!(": {}", limit.reason) };
        add("limit", format!("{} by {by}{reason}", limit.limit));
    }
    add("cost", cost(&run));
    add("output", output(&run));
    for mark in &run.marks {
        add("mark", mark.clone());
    }
    for change in &run.changes {
        let reason = if change.reason.is_empty() { String::new() } else { format!("  {}", change.reason) };
        add("state", format!("{}  {}{reason}", instant::show(change.time_ms), change.state));
    }
    if let Some(data) = &run.data {
        add("result", data.text.clone());
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let text: String = lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Why there is this run.
fn cause(run: &Run) -> String {
    match &run.cause {
        Cause::Asked => format!("asked for by {}", run.asked_by),
        Cause::Slot { slot_ms, late } => {
            let late = if *late { ", made up for" } else { "" };
            format!("schedule {}{late}", instant::show(*slot_ms))
        }
        Cause::Kept => "kept running".to_owned(),
        Cause::Retry { of, number } => format!("try {number} after {}", ending::short(of)),
    }
}

fn cost(run: &Run) -> String {
    let usage = &run.usage;
    if usage.source.is_empty() {
        return String::new();
    }
    let bytes = |bytes: u64| format_bytes(bytes as f64);
    let network =
        usage.net_received_bytes.zip(usage.net_sent_bytes).map_or_else(String::new, |(received, sent)| {
            format!(", received {}, sent {}", bytes(received), bytes(sent))
        });
    format!(
        "cpu {:.2} s (user {:.2}, system {:.2}), memory peak {}, read {}, written {}{network} (by {})",
        usage.cpu_seconds(),
        usage.cpu_user_seconds,
        usage.cpu_system_seconds,
        bytes(usage.memory_peak_bytes),
        bytes(usage.io_read_bytes),
        bytes(usage.io_write_bytes),
        usage.source
    )
}

fn output(run: &Run) -> String {
    if !run.state.is_final() {
        return run.started_ms.map_or_else(String::new, |_| "counted at its end".to_owned());
    }
    let output = &run.output;
    let said = output.stdout_bytes + output.stderr_bytes;
    let mut text = format!("{said} bytes, {} lines", output.lines);
    for (n_bytes, what) in [(output.dropped_bytes, "dropped from the middle"), (output.lost_bytes, "lost")] {
        if n_bytes > 0 {
            text += &format!(", {n_bytes} bytes {what}");
        }
    }
    text
}

/// What a run has said.
pub fn logs(args: &LogsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let door = door(&args.one, global)?;
    let id = get(&door, &args.one.id)?.run.id;
    let mut query = String::new();
    if let Some(levels) = &args.levels {
        query += &format!("&levels={}", encoded(levels));
    }
    if let Some(text) = &args.text {
        query += &format!("&text={}", encoded(text));
    }
    let show = Show { query, timestamps: args.timestamps, json: global.json };
    let runtime = process_setup::client_runtime()?;
    runtime.block_on(async {
        if args.follow {
            return follow::rows(&door, &id, args.after, &show).await;
        }
        let mut after = args.after;
        loop {
            let began = after;
            let path = format!("/runs/{id}/logs?after={after}");
            // All rows are asked for and chosen from here, so that one knows how far one is.
            follow::stream(&door, &path, |row| {
                after = row.seq;
                if chosen(args, row)? { follow::put(row, &show) } else { Ok(()) }
            })
            .await?;
            if after == began {
                return Ok(());
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn chosen(args: &LogsArgs, row: &crate::jobs::LogRow) -> anyhow::Result<bool> {
    let levels: Option<crate::jobs::Levels> =
        args.levels.as_deref().map(str::parse).transpose().map_err(anyhow::Error::msg)?;
    let by_level = levels.is_none_or(|levels| levels.contains(row.level));
    Ok(by_level && args.text.as_ref().is_none_or(|text| row.text.contains(text)))
}

/// Ends a run.
pub fn kill(one: &One, signal: Option<&str>, global: &Global) -> anyhow::Result<ExitCode> {
    let request = KillRequest { signal: signal.map(str::to_owned) };
    let path = format!("/runs/{}/kill", encoded(&one.id));
    let answer: KillAnswer = door(one, global)?.send("POST", &path, &request)?;
    let text = if global.json {
        serde_json::to_string(&answer)?
    } else {
        format!("run {}: {}", ending::short(&answer.id), answer.text)
    };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// How a run ended, and what it gave.
pub fn result(id: &str, wait: Option<Period>, whom: &Whom, global: &Global) -> anyhow::Result<ExitCode> {
    let wait = wait.unwrap_or_default();
    let path = format!("/runs/{}/result?wait={wait}", encoded(id));
    let run = JobDoor::find(whom, false, global)?.get::<RunView>(&path, wait.0)?.run;
    if global.json {
        terminal::out(&serde_json::to_string(&run)?)?;
    } else {
        if let Some(data) = &run.data {
            terminal::out(&data.text)?;
        }
        terminal::err(&ending::line(&run));
    }
    let code = if run.state.is_final() { ending::code(&run) } else { ending::NO_OUTCOME };
    Ok(ExitCode::from(code))
}

/// What a run has cost, and while it goes on how that came to be.
pub fn stats(one: &One, global: &Global) -> anyhow::Result<ExitCode> {
    let path = format!("/runs/{}/stats", encoded(&one.id));
    let stats: RunStats = door(one, global)?.get(&path, Duration::ZERO)?;
    let text = if global.json { serde_json::to_string(&stats)? } else { stats_text(&stats) };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn stats_text(stats: &RunStats) -> String {
    let usage = &stats.usage;
    let newest = stats.samples.last();
    let cpu = newest.map_or(usage.cpu_seconds(), |sample| sample.cpu_seconds);
    let counted_by = if usage.source.is_empty() { "samples, until its end" } else { &usage.source };
    let mut rows = vec![
        ("state", stats.state.to_string()),
        ("cpu", format!("{cpu:.3} s")),
        ("memory peak", format_bytes(usage.memory_peak_bytes as f64)),
        (
            "read",
            format_bytes(usage.io_read_bytes.max(newest.map_or(0, |sample| sample.io_read_bytes)) as f64),
        ),
        (
            "written",
            format_bytes(usage.io_write_bytes.max(newest.map_or(0, |sample| sample.io_write_bytes)) as f64),
        ),
        ("processes", format!("{} at most", usage.processes_max)),
        ("threads", format!("{} at most", usage.threads_max)),
        ("open files", format!("{} at most", usage.files_max)),
        ("oom kills", usage.oom_kills.to_string()),
        ("counted by", counted_by.to_owned()),
    ];
    for (name, sampled, known) in [
        ("received", newest.and_then(|sample| sample.net_received_bytes), usage.net_received_bytes),
        ("sent", newest.and_then(|sample| sample.net_sent_bytes), usage.net_sent_bytes),
    ] {
        rows.extend(sampled.max(known).map(|bytes| (name, format_bytes(bytes as f64))));
    }
    if stats.samples.len() > 1 {
        let shares = stats.samples.windows(2).map(|pair| {
            let span = (pair[1].time_ms - pair[0].time_ms).max(1) as f64 / 1e3;
            (pair[1].cpu_seconds - pair[0].cpu_seconds).max(0.0) / span
        });
        rows.push(("cpu now", graph(&shares.collect::<Vec<f64>>())));
        let memory: Vec<f64> = stats.samples.iter().map(|sample| sample.memory_bytes as f64).collect();
        rows.push(("memory now", graph(&memory)));
    }
    let mut text: String = rows.iter().map(|(name, value)| format!("{name:<11}  {value}\n")).collect();
    if !stats.stats.is_empty() {
        text += &told(&stats.stats);
    }
    text
}

/// What the command told of itself.
fn told(stats: &BTreeMap<String, RunStat>) -> String {
    let mut table = terminal::table(["KEY", "LAST", "MIN", "MEAN", "MAX", "SUM", "P95", "VALUES"]);
    let number = |value: f64| format!("{}", (value * 1e3).round() / 1e3);
    for (key, stat) in stats {
        table.add_row([
            key.clone(),
            number(stat.last),
            number(stat.min),
            number(stat.mean()),
            number(stat.max),
            number(stat.sum),
            stat.p95.map_or_else(|| "-".to_owned(), number),
            stat.count.to_string(),
        ]);
    }
    terminal::table_text(&table)
}

/// The newest values as bars between nothing and the largest.
fn graph(values: &[f64]) -> String {
    const BARS: [char; 8] =
        ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    let shown = &values[values.len().saturating_sub(GRAPH_WIDTH)..];
    let most = shown.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let bar = |value: &f64| BARS[((value / most * 7.0).round() as usize).min(7)];
    shown.iter().map(bar).collect()
}

/// Forgets a run.
pub fn forget(one: &One, global: &Global) -> anyhow::Result<ExitCode> {
    door(one, global)?.tell("DELETE", &format!("/runs/{}", encoded(&one.id)))?;
    Ok(ExitCode::SUCCESS)
}
