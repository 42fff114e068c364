//! `fieldpost jobs` and `fieldpost job`: what runs by itself, and when; and what can be done about it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use fieldpost_model::job::Plain;

use super::find::RunningAgent;
use super::run::{encoded, ending, input, pair};
use super::{Global, instant, terminal};
use crate::api::{RunView, TaskList, TriggerRequest};
use crate::jobs::{Origin, TaskView};

const EXAMPLES: &str = "\
Examples:
  fieldpost jobs
  fieldpost job trigger backup
  fieldpost job trigger restore --param day=2026-11-21 --param dry_run=true
  fieldpost job trigger load --stdin rows.csv
  fieldpost job show restore
  fieldpost job disable backup";

/// List jobs that run by themselves: when, and what their newest run came to
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {}

/// Trigger, disable, enable or remove a job
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show a job: what it runs, when, and which parameters it takes
    Show(One),
    /// Run a job now
    Trigger(TriggerArgs),
    /// Leave its slots out from now on; a kept job is ended
    Disable(One),
    /// Have it run by itself again
    Enable(One),
    /// Forget a job that was defined by a command; its runs stay
    Rm(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// The job
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, clap::Args)]
struct TriggerArgs {
    #[command(flatten)]
    one: One,
    /// A value for a parameter of the job; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    param: Vec<(String, String)>,
    /// What it reads, if it takes that: a file, or - for the standard input
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
}

/// Lists.
pub fn list(_: &ListArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let list: TaskList = RunningAgent::find(global)?.ask_for("/v1/jobs")?;
    let text = if global.json { serde_json::to_string(&list)? } else { table(&list.jobs) };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(jobs: &[TaskView]) -> String {
    let mut table = terminal::table(["JOB", "SCHEDULE", "STATUS", "NEXT", "LAST", "STATE", "DEFINED"]);
    let dash = || "-".to_owned();
    for job in jobs {
        let status = match (job.paused || !job.job.enabled, job.active.len()) {
            (true, _) => "disabled".to_owned(),
            (false, 0) => "enabled".to_owned(),
            (false, n) => format!("{n} running"),
        };
        let defined = match &job.origin {
            Origin::File { path } => path.display().to_string(),
            Origin::Asked => "by command".to_owned(),
        };
        table.add_row([
            job.job.name.clone(),
            job.schedule.clone(),
            status,
            job.next_ms.map_or_else(dash, instant::show),
            job.last.as_ref().map_or_else(dash, |last| instant::show(last.created_ms)),
            job.last.as_ref().map_or_else(dash, |last| last.state.to_string()),
            terminal::printable(&defined).into_owned(),
        ]);
    }
    terminal::table_text(&table)
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let agent = RunningAgent::find(global)?;
    let path = |name: &str, verb: &str| format!("/v1/jobs/{}/{verb}", encoded(name));
    let nothing = serde_json::json!({});
    let (name, verb) = match &args.action {
        Action::Show(one) => return show(&agent, &one.name, global),
        Action::Trigger(TriggerArgs { one, param, stdin }) => {
            let params = param.iter().map(|(name, value)| (name.clone(), Plain(value.clone()))).collect();
            let request = TriggerRequest { params, stdin: stdin.as_deref().map(input).transpose()? };
            let view: RunView = agent.send("POST", &path(&one.name, "trigger"), &request)?;
            let text = if global.json { serde_json::to_string(&view)? } else { view.run.id };
            terminal::out(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Rm(one) => {
            agent.tell("DELETE", &format!("/v1/jobs/{}", encoded(&one.name)), None)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Disable(one) => (&one.name, "disable"),
        Action::Enable(one) => (&one.name, "enable"),
    };
    let task: TaskView = agent.send("POST", &path(name, verb), &nothing)?;
    let text = if global.json { serde_json::to_string(&task)? } else { line(&task) };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn show(agent: &RunningAgent, name: &str, global: &Global) -> anyhow::Result<ExitCode> {
    let list: TaskList = agent.ask_for("/v1/jobs")?;
    let task = list.jobs.into_iter().find(|task| task.job.name == name);
    let task = task.with_context(|| format!("there is no job {name}; see: fieldpost jobs"))?;
    let text = if global.json { serde_json::to_string(&task)? } else { about(&task) };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Its definition, and what may be given for each parameter.
fn about(task: &TaskView) -> String {
    let job = &task.job;
    let mut lines = vec![
        line(task),
        format!("  command   {}", job.argv().join(" ")),
        format!("  stdin     {}", if job.takes_stdin { "what its caller gives" } else { "its own, if any" }),
    ];
    for param in &job.params {
        let about = match (&param.default, param.required) {
            (Some(default), _) => format!(", else {default}"),
            (None, true) => ", required".to_owned(),
            (None, false) => String::new(),
        };
        let help = if param.help.is_empty() { String::new() } else { format!("  {}", param.help) };
        lines.push(format!("  param     {}: {}{about}{help}", param.name, param.allowed()));
    }
    let lines: Vec<_> = lines.iter().map(|line| terminal::printable(line)).collect();
    lines.join("\n")
}

/// `task beat: every 30s, next at 22:40:30`.
pub fn line(task: &TaskView) -> String {
    let next = match (task.paused, task.next_ms) {
        (true, _) => "disabled".to_owned(),
        (false, Some(next)) => format!("next at {}", instant::show(next)),
        (false, None) if task.job.keep => "kept running".to_owned(),
        (false, None) => "no slot to come".to_owned(),
    };
    let last = task
        .last
        .as_ref()
        .map_or_else(String::new, |last| format!(", last {} {}", ending::short(&last.id), last.state));
    format!(
        "task {}: {}, {next}{last}; see: fieldpost runs --job {}",
        task.job.name, task.schedule, task.job.name
    )
}
