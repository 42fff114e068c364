//! `fieldpost jobs` and `fieldpost job`: what runs by itself, and when; and what can be done about it.

use std::process::ExitCode;
use std::time::Duration;

use super::job_door::{JobDoor, Whom};
use super::run::{encoded, ending};
use super::{Global, instant, terminal};
use crate::api::{HubJobView, JobList, NamedJob, RunOrder, RunView, RunsOrdered, TaskList};
use crate::jobs::{Origin, TaskView};
use anyhow::bail;
use fieldpost_model::hub_state::Target;

const EXAMPLES: &str = "\
Examples:
  fieldpost jobs
  fieldpost job trigger backup
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
    #[command(flatten)]
    whom: Whom,
    /// A job that is defined at the hub
    #[arg(long, conflicts_with = "on")]
    at_hub: bool,
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

fn cells(job: &TaskView) -> [String; 7] {
    let dash = || "-".to_owned();
    let status = match (job.paused || !job.job.enabled, job.active.len()) {
        (true, _) => "disabled".to_owned(),
        (false, 0) => "enabled".to_owned(),
        (false, n) => format!("{n} running"),
    };
    let defined = match &job.origin {
        Origin::File { path } => path.display().to_string(),
        Origin::Asked => "by command".to_owned(),
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
    let (one, verb) = match &args.action {
        Action::Trigger(one) => (one, "trigger"),
        Action::Rm(one) => (one, ""),
        Action::Disable(one) => (one, "disable"),
        Action::Enable(one) => (one, "enable"),
    };
    let door = JobDoor::find(&one.whom, one.at_hub, global)?;
    if door.is_hub {
        return at_hub(one, verb, &door, global);
    }
    let nothing = serde_json::json!({});
    let path = format!("/jobs/{}", encoded(&one.name));
    let text = match verb {
        "" => {
            door.tell("DELETE", &path)?;
            return Ok(ExitCode::SUCCESS);
        }
        "trigger" => {
            let view: RunView = door.send("POST", &format!("{path}/trigger"), &nothing)?;
            if global.json { serde_json::to_string(&view)? } else { view.run.id }
        }
        _ => {
            let task: TaskView = door.send("POST", &format!("{path}/{verb}"), &nothing)?;
            if global.json { serde_json::to_string(&task)? } else { line(&task) }
        }
    };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The same for a job of the hub's own; or one of a host, which is only triggered.
fn at_hub(one: &One, verb: &str, door: &JobDoor, global: &Global) -> anyhow::Result<ExitCode> {
    let path = format!("/jobs/{}", encoded(&one.name));
    let nothing = serde_json::json!({});
    let ordered: RunsOrdered = match (&one.whom.on, verb) {
        (Some(agent), "trigger") => {
            let named = NamedJob { name: one.name.clone(), ..NamedJob::default() };
            let order = RunOrder { named: Some(named), target: Target::agent(agent), ..RunOrder::default() };
            let door = JobDoor::find(&one.whom, true, global)?.of_any();
            door.send("POST", "/runs", &order)?
        }
        (Some(agent), _) => bail!("job {} of {agent} is its owner's; here it is only triggered", one.name),
        (None, "trigger") => door.send("POST", &format!("{path}/trigger"), &nothing)?,
        (None, "") => {
            door.tell("DELETE", &path)?;
            return Ok(ExitCode::SUCCESS);
        }
        (None, verb) => {
            let job: HubJobView = door.send("POST", &format!("{path}/{verb}"), &nothing)?;
            terminal::out(&if global.json { serde_json::to_string(&job)? } else { hub_line(&job) })?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let ids: Vec<&str> = ordered.runs.iter().map(|view| view.run.id.as_str()).collect();
    terminal::out(&if global.json { serde_json::to_string(&ordered)? } else { ids.join("\n") })?;
    Ok(ExitCode::SUCCESS)
}

/// `job beat at the hub: every 30s, for agent web-1`.
pub fn hub_line(job: &HubJobView) -> String {
    let defined = &job.defined;
    let paused = if defined.paused { "; disabled" } else { "" };
    let chosen = job.chosen_agent.as_ref().map_or_else(String::new, |agent| format!(", now {agent}"));
    format!("job {} at the hub: {}, for {}{chosen}{paused}", defined.job.name, job.schedule, defined.target)
}

fn hub_table(list: &JobList) -> anyhow::Result<String> {
    let mut table =
        terminal::table(["AGENT", "JOB", "SCHEDULE", "STATUS", "NEXT", "LAST", "STATE", "DEFINED"]);
    for job in &list.hub {
        let defined = &job.defined;
        let status = if defined.paused { "disabled" } else { "enabled" };
        let row =
            ["(hub)", &defined.job.name, &job.schedule, status, "-", "-", "-", &defined.target.to_string()];
        table.add_row(row.map(|cell| terminal::printable(cell).into_owned()));
    }
    for host in &list.hosts {
        for job in &host.jobs {
            let task: TaskView = serde_json::from_value(job.clone())?;
            let row = std::iter::once(host.agent.clone()).chain(cells(&task));
            table.add_row(row.map(|cell| terminal::printable(&cell).into_owned()));
        }
    }
    Ok(terminal::table_text(&table))
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
