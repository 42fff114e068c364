//! `fieldpost jobs` and `fieldpost job`: what runs by itself, and when; and what can be done about it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::job::Plain;

use super::job_door::{JobDoor, Whom};
use super::jobs_at_hub::{at_hub, hub_table};
use super::run::{ending, input, pair};
use super::server::encoded;
use super::{Global, instant, terminal};
use crate::api::{JobList, RunView, TaskList, TriggerRequest};
use crate::jobs::{Origin, TaskView};

const EXAMPLES: &str = "\
Examples:
  fieldpost jobs
  fieldpost job trigger backup
  fieldpost job trigger restore --param day=2026-11-21 --param dry_run=true
  fieldpost job trigger load --stdin rows.csv
  fieldpost job show restore
  fieldpost job disable backup
  fieldpost jobs --all
  fieldpost job trigger backup --on web-1";

/// List jobs that run by themselves: when, and what their newest run came to
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    /// Of all agents, and those of the hub
    #[arg(long, conflicts_with = "on")]
    all: bool,
    #[command(flatten)]
    whom: Whom,
}

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
pub struct One {
    /// The job
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub whom: Whom,
    /// A job that is defined at the hub
    #[arg(long, conflicts_with = "on")]
    pub at_hub: bool,
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
pub fn list(args: &ListArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let door = JobDoor::find(&args.whom, args.all, global)?;
    if door.is_hub {
        let list: JobList = door.get("/jobs", Duration::ZERO)?;
        terminal::out(&if global.json { serde_json::to_string(&list)? } else { hub_table(&list)? })?;
        return Ok(ExitCode::SUCCESS);
    }
    let list: TaskList = door.get("/jobs", Duration::ZERO)?;
    let text = if global.json { serde_json::to_string(&list)? } else { table(&list.jobs) };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(jobs: &[TaskView]) -> String {
    let mut table = terminal::table(["JOB", "SCHEDULE", "STATUS", "NEXT", "LAST", "STATE", "DEFINED"]);
    for job in jobs {
        table.add_row(cells(job));
    }
    terminal::table_text(&table)
}

/// A row of a table.
pub fn cells(job: &TaskView) -> [String; 7] {
    let dash = || "-".to_owned();
    let status = match (job.paused || !job.job.enabled, job.active.len()) {
        (true, _) => "disabled".to_owned(),
        (false, 0) => "enabled".to_owned(),
        (false, n) => format!("{n} running"),
    };
    let defined = match &job.origin {
        Origin::File { path } => path.display().to_string(),
        Origin::Asked => "by command".to_owned(),
        Origin::Hub { .. } => "at the hub".to_owned(),
    };
    [
        job.job.name.clone(),
        job.schedule.clone(),
        status,
        job.next_ms.map_or_else(dash, instant::show),
        job.last.as_ref().map_or_else(dash, |last| instant::show(last.created_ms)),
        job.last.as_ref().map_or_else(dash, |last| last.state.to_string()),
        terminal::printable(&defined).into_owned(),
    ]
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (one, verb, request) = match &args.action {
        Action::Show(one) => return show(one, global),
        Action::Trigger(TriggerArgs { one, param, stdin }) => {
            let params = param.iter().map(|(name, value)| (name.clone(), Plain(value.clone()))).collect();
            (one, "trigger", TriggerRequest { params, stdin: stdin.as_deref().map(input).transpose()? })
        }
        Action::Rm(one) => (one, "", TriggerRequest::default()),
        Action::Disable(one) => (one, "disable", TriggerRequest::default()),
        Action::Enable(one) => (one, "enable", TriggerRequest::default()),
    };
    let door = JobDoor::find(&one.whom, one.at_hub, global)?;
    if door.is_hub {
        return at_hub(one, (verb, request), &door, global);
    }
    let path = format!("/jobs/{}", encoded(&one.name));
    let text = match verb {
        "" => {
            door.tell("DELETE", &path)?;
            return Ok(ExitCode::SUCCESS);
        }
        "trigger" => {
            let view: RunView = door.send("POST", &format!("{path}/trigger"), &request)?;
            if global.json { serde_json::to_string(&view)? } else { view.run.id }
        }
        _ => {
            let task: TaskView = door.send("POST", &format!("{path}/{verb}"), &serde_json::json!({}))?;
            if global.json { serde_json::to_string(&task)? } else { line(&task) }
        }
    };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn show(one: &One, global: &Global) -> anyhow::Result<ExitCode> {
    let (door, name) = (JobDoor::find(&one.whom, one.at_hub, global)?, &one.name);
    let jobs = if door.is_hub {
        let hosts = door.get::<JobList>("/jobs", Duration::ZERO)?.hosts;
        let told = hosts.into_iter().flat_map(|host| host.jobs);
        told.map(serde_json::from_value).collect::<Result<Vec<TaskView>, _>>()?
    } else {
        door.get::<TaskList>("/jobs", Duration::ZERO)?.jobs
    };
    let task = jobs.into_iter().find(|task| task.job.name == *name);
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
