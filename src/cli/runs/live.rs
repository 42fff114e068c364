//! `fieldpost runs --live`: what runs that go on use at this moment, of this host or of all.

use std::process::ExitCode;
use std::time::Duration;

use fieldpost_model::hub_runs::{LiveRun, LiveRuns};
use fieldpost_model::{TimeMs, format_bytes, format_span};

use super::{Args, dash};
use crate::cli::job_door::JobDoor;
use crate::cli::run::ending;
use crate::cli::server::encoded;
use crate::cli::{Global, terminal};
use crate::hub::{FleetRun, FleetRuns, SilentAgent};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// Puts what follows in the place of what is on the terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Tells once, or on a terminal again and again.
pub fn run(args: &Args, door: &JobDoor, global: &Global) -> anyhow::Result<ExitCode> {
    let mut path = "/runs/live?".to_owned();
    for (name, word) in [("job", &args.job), ("domain", &args.domain)] {
        if let Some(word) = word {
            path += &format!("{name}={}&", encoded(word));
        }
    }
    let path = path.trim_end_matches(['&', '?']);
    let goes_on = terminal::is_interactive() && !global.json;
    loop {
        let text = if door.is_hub {
            let told: FleetRuns = door.get(path, Duration::ZERO)?;
            if global.json { serde_json::to_string(&told)? } else { of_fleet(&told, args.limit) }
        } else {
            let told: LiveRuns = door.get(path, Duration::ZERO)?;
            if global.json { serde_json::to_string(&told)? } else { of_host(told, args.limit) }
        };
        if !goes_on {
            terminal::out(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        terminal::out(&format!("{CLEAR}{text}"))?;
        std::thread::sleep(EVERY);
    }
}

const HEADER: [&str; 11] =
    ["RUN", "AGENT", "JOB", "SINCE", "CPU%", "CPU", "RSS", "READ/s", "WRITE/s", "PROCS", "TOLD"];

fn of_fleet(told: &FleetRuns, limit: usize) -> String {
    let mut table = terminal::table(HEADER);
    for FleetRun { agent, run } in told.runs.iter().take(limit) {
        table.add_row(cells(agent, run, told.now_ms));
    }
    let n_left_out = told.n_left_out + told.runs.len().saturating_sub(limit);
    let mut text = terminal::table_text(&table) + &left_out(n_left_out);
    for SilentAgent { agent, n_runs, reason } in &told.silent {
        let (agent, reason) = (terminal::printable(agent), terminal::printable(reason));
        text += &format!("\n{agent}: {n_runs} runs, as far as is known: {reason}");
    }
    text
}

fn of_host(told: LiveRuns, limit: usize) -> String {
    let mut runs = told.runs;
    let cores = |run: &LiveRun| run.cpu_cores.unwrap_or(0.0);
    runs.sort_by(|a, b| cores(b).total_cmp(&cores(a)));
    let [run, _, job, since, cpu, seconds, rss, read, write, processes, told_of] = HEADER;
    let mut table = terminal::table([run, job, since, cpu, seconds, rss, read, write, processes, told_of]);
    for run in runs.iter().take(limit) {
        let [id, _, rest @ ..] = cells("", run, told.now_ms);
        table.add_row([id].into_iter().chain(rest));
    }
    let n_left_out = told.n_left_out + runs.len().saturating_sub(limit);
    terminal::table_text(&table) + &left_out(n_left_out)
}

fn left_out(n_runs: usize) -> String {
    if n_runs == 0 { String::new() } else { format!("\nand {n_runs} more; see --limit") }
}

fn cells(agent: &str, run: &LiveRun, now_ms: TimeMs) -> [String; 11] {
    let is_sampled = run.time_ms > 0;
    let if_sampled = |text: String| if is_sampled { text } else { dash() };
    let rate = |rate: Option<f64>| rate.map_or_else(dash, format_bytes);
    let since = |started_ms: TimeMs| {
        format_span(Duration::from_millis(now_ms.saturating_sub(started_ms).max(0).unsigned_abs()))
    };
    // What a run tells of itself, the newest of each: as much as fits.
    let told = run.stats.iter().take(3).map(|(key, stat)| format!("{key}={}", stat.last));
    let told = told.collect::<Vec<_>>().join(" ");
    [
        ending::short(&run.id).to_owned(),
        terminal::printable(agent).into_owned(),
        if run.job.is_empty() { dash() } else { terminal::printable(&run.job).into_owned() },
        run.started_ms.map_or_else(dash, since),
        run.cpu_cores.map_or_else(dash, |cores| format!("{:.1}", cores * 100.0)),
        if_sampled(format!("{:.2} s", run.cpu_seconds)),
        if_sampled(format_bytes(run.memory_bytes as f64)),
        rate(run.read_bytes_per_second),
        rate(run.written_bytes_per_second),
        if_sampled(run.processes.to_string()),
        if told.is_empty() { dash() } else { terminal::printable(&told).into_owned() },
    ]
}
