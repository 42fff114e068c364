//! `fieldpost query`: PromQL from the command line, to a hub or an agent: a table, CSV, JSON, or a plot.

mod answer;
mod door;
mod plot;
mod table;
mod unit;

use std::process::ExitCode;

use fieldpost_model::{Period, TimeMs};

use self::answer::{Answer, Outcome};
use self::door::Door;
use self::unit::Unit;
use super::server::HubAddress;
use super::{Global, exit, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost query node_load1
  fieldpost query 'topk(5, rate(node_cpu_seconds_total{mode!=\"idle\"}[1m]))' --at 03:12
  fieldpost query 'node_memory_MemAvailable_bytes' --from 1h --plot
  fieldpost query 'sum by (mode) (rate(node_cpu_seconds_total[1m]))' --from 03:00 --to 04:00 --step 10s --csv
  fieldpost query up --hub https://hub.example:7700 --token-file token

Without --hub the hub on this machine is asked, or, where there is none, the agent.";

/// Points of a range where no step is given and nothing else says how many.
const N_POINTS: i64 = 240;

/// Ask in PromQL, of a moment or over a span: a table, CSV, JSON or a plot
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The question, such as rate(node_network_receive_bytes_total[1m])
    #[arg(value_name = "EXPR")]
    expr: String,
    /// Values at this moment: 03:12, 5m (ago), 2026-11-21 03:12; now if nothing is said
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now, conflicts_with = "from")]
    at: Option<TimeMs>,
    /// Values over a span: from then
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    from: Option<TimeMs>,
    /// Until then; now if nothing is said
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now, requires = "from")]
    to: Option<TimeMs>,
    /// Time between two values of a span: 10s, 5m
    #[arg(long, value_name = "SPAN", requires = "from")]
    step: Option<Period>,
    /// Ask this agent itself, through its hub
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    #[command(flatten)]
    hub: HubAddress,
    /// Print a line of CSV for each value
    #[arg(long, conflicts_with_all = ["plot", "json"])]
    csv: bool,
    /// Draw the span, the last hour if nothing is said
    #[arg(long, conflicts_with_all = ["at", "json"])]
    plot: bool,
}

/// The span that is asked for, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from_ms: TimeMs,
    to_ms: TimeMs,
    step_ms: i64,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let now_ms = instant::parse_now("now").map_err(anyhow::Error::msg)?;
    let (width, height) = terminal::size();
    let span = span(args, now_ms, plot::n_points(width))?;
    let door = Door::find(args, global)?;
    let body = door.ask(&args.expr, span.as_ref(), args.at)?;
    if global.json {
        terminal::out(&String::from_utf8_lossy(&body))?;
    }
    let (answer, notes) = match answer::read(&body)? {
        Answer::Refused(what) => return Err(exit::failure(exit::FAILED, format!("error: {what}"))),
        Answer::Given(outcome, notes) => (outcome, notes),
    };
    if !global.json {
        let unit = Unit::of(&args.expr);
        let text = match (&answer, span) {
            _ if args.csv => table::csv(&answer),
            (Outcome::Matrix(series), Some(span)) if args.plot => {
                plot::draw(series, span, unit, (width, height), terminal::has_colour(global))
            }
            _ => table::text(&answer, unit, width),
        };
        if !text.is_empty() {
            terminal::out(&text)?;
        }
        if answer.is_empty() {
            terminal::err(
                "no series at that time; `fieldpost query 'count by (__name__) ({__name__!=\"\"})'` lists what there is",
            );
        }
    }
    notes.iter().for_each(|note| terminal::err(&terminal::printable(note)));
    Ok(ExitCode::SUCCESS)
}

fn span(args: &Args, now_ms: TimeMs, n_plotted: i64) -> anyhow::Result<Option<Span>> {
    let from_ms = match args.from {
        None if args.plot => now_ms - 3_600_000,
        None => return Ok(None),
        Some(from_ms) => from_ms,
    };
    let to_ms = args.to.unwrap_or(now_ms);
    anyhow::ensure!(
        from_ms < to_ms,
        "--from ({}) is not before --to ({}); a time of day alone is the last one that has been",
        instant::show(from_ms),
        instant::show(to_ms)
    );
    let n_points = if args.plot { n_plotted } else { N_POINTS };
    let fitting_ms = ((to_ms - from_ms) / n_points).max(1_000) / 1_000 * 1_000;
    let step_ms = args.step.map_or(fitting_ms, |step| step.as_ms().max(1));
    Ok(Some(Span { from_ms, to_ms, step_ms }))
}
