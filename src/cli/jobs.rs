//! `fieldpost jobs` and `fieldpost job`: what runs by itself, and when; and what can be done about it.

use std::process::ExitCode;

use super::find::RunningAgent;
use super::run::{encoded, ending};
use super::{Global, instant, terminal};
use crate::api::{RunView, TaskList};
use crate::jobs::{Origin, TaskView};

const EXAMPLES: &str = "\
Examples:
  fieldpost jobs
  fieldpost job trigger backup
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
    /// Run a job now
    Trigger(One),
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
        Action::Trigger(one) => {
            let view: RunView = agent.send("POST", &path(&one.name, "trigger"), &nothing)?;
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
