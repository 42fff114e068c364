//! `fieldpost runs`: what ran, what runs, what waits.

mod live;

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Local};
use fieldpost_model::job::{Cause, Run, RunState};
use fieldpost_model::{TimeMs, format_bytes};

use super::job_door::{JobDoor, Whom};
use super::run::ending;
use super::server::encoded;
use super::{Global, instant, terminal};
use crate::api::{HubRunList, RunList};
use crate::hub::{GapView, RunView};

const EXAMPLES: &str = "\
Examples:
  fieldpost runs
  fieldpost runs --job backup --since 1d
  fieldpost runs --state failed,timed_out --json
  fieldpost runs --all --state failed --since 1d
  fieldpost runs --live                      what runs use at this moment; Ctrl-C ends it
  fieldpost runs --live --all --domain shop --job import

With --live on a terminal the table is drawn anew every two seconds, elsewhere told once.";

/// List runs: newest first, with what each came to and cost
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Of this job
    #[arg(long, alias = "name", value_name = "NAME")]
    job: Option<String>,
    /// Of jobs of this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// What runs that go on use at this moment
    #[arg(long, conflicts_with_all = ["state", "since", "tag"])]
    live: bool,
    /// In these states: queued, running, succeeded, failed, timed_out, killed, ...
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<RunState>,
    /// Accepted since: 03:10, 1d (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    since: Option<TimeMs>,
    /// With this tag; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    tag: Vec<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Of all agents, through the hub
    #[arg(long, conflicts_with = "on")]
    all: bool,
    #[command(flatten)]
    whom: Whom,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let door = JobDoor::find(&args.whom, args.all, global)?;
    let mut path = format!("/runs?limit={}", args.limit);
    for (name, word) in [("job", &args.job), ("domain", &args.domain)] {
        if let Some(word) = word {
            path += &format!("&{name}={}", encoded(word));
        }
    }
    if args.live {
        return live::run(args, &door, global);
    }
    if !args.state.is_empty() {
        let words: Vec<&str> = args.state.iter().map(|state| state.as_str()).collect();
        path += &format!("&state={}", words.join(","));
    }
    if let Some(since) = args.since {
        path += &format!("&since={since}");
    }
    if !args.tag.is_empty() {
        path += &format!("&tag={}", encoded(&args.tag.join(",")));
    }
    let text = if door.is_hub {
        let list: HubRunList = door.get(&path, Duration::ZERO)?;
        list.gaps.iter().for_each(|gap| terminal::err(&gap_line(gap)));
        if global.json { serde_json::to_string(&list)? } else { hub_table(&list.runs) }
    } else {
        let list: RunList = door.get(&path, Duration::ZERO)?;
        if global.json { serde_json::to_string(&list)? } else { table(&list.runs) }
    };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(runs: &[Run]) -> String {
    let mut table = terminal::table(["RUN", "JOB", "STATE", "EXIT", "STARTED", "TOOK", "CPU", "PEAK", "WHY"]);
    for run in runs {
        table.add_row(cells(run));
    }
    terminal::table_text(&table)
}

fn dash() -> String {
    "-".to_owned()
}

fn cells(run: &Run) -> [String; 9] {
    let is_counted = !run.usage.source.is_empty();
    [
        ending::short(&run.id).to_owned(),
        if run.job.name.is_empty() { dash() } else { run.job.name.clone() },
        run.state.to_string(),
        run.outcome.as_ref().map_or_else(dash, |outcome| outcome.code().to_string()),
        run.started_ms.map_or_else(dash, started),
        run.took_ms.map_or_else(dash, ending::took),
        if is_counted { format!("{:.2} s", run.usage.cpu_seconds()) } else { dash() },
        if is_counted { format_bytes(run.usage.memory_peak_bytes as f64) } else { dash() },
        why(run),
    ]
}

fn hub_table(runs: &[RunView]) -> String {
    let header = ["RUN", "AGENT", "JOB", "STATE", "EXIT", "STARTED", "TOOK", "CPU", "PEAK", "WHY"];
    let mut table = terminal::table(header);
    for view in runs {
        let [id, job, state, rest @ ..] = cells(&view.run);
        let agent = view.agent.clone().unwrap_or_else(dash);
        let state = match view.unknown_since_ms {
            Some(since_ms) => format!("unknown since {}", started(since_ms)),
            None => state,
        };
        let row = [id, terminal::printable(&agent).into_owned(), job, state];
        table.add_row(row.into_iter().chain(rest));
    }
    terminal::table_text(&table)
}

/// `web-1: 12 runs between ... and ... were forgotten there before the hub had them`.
fn gap_line(gap: &GapView) -> String {
    let at_most = if gap.at_most { "up to " } else { "" };
    format!(
        "{}: {at_most}{} runs between {} and {} were forgotten there before the hub had them",
        terminal::printable(&gap.agent),
        gap.n_runs,
        instant::show(gap.from_ms),
        instant::show(gap.to_ms)
    )
}

/// The time of day, and the day if it is another one.
fn started(time_ms: TimeMs) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).unwrap_or_default().with_timezone(&Local);
    let is_today = time.date_naive() == Local::now().date_naive();
    time.format(if is_today { "%H:%M:%S" } else { "%m-%d %H:%M" }).to_string()
}

fn why(run: &Run) -> String {
    let plain = matches!(run.state, RunState::Succeeded | RunState::Running | RunState::Queued);
    let cause = match &run.cause {
        Cause::Slot { slot_ms, .. } => format!("schedule {}", started(*slot_ms)),
        Cause::Kept => "kept".to_owned(),
        Cause::Retry { number, .. } => format!("try {number}"),
        Cause::Asked => "-".to_owned(),
    };
    let reason = if plain { cause } else { run.reason().to_owned() };
    terminal::printable(if reason.is_empty() { "-" } else { &reason }).into_owned()
}
