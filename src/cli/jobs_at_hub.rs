//! Jobs through the hub: its own, which are changed there, and those of hosts, which are shown, triggered,
//! disabled and enabled.

use std::process::ExitCode;

use anyhow::bail;
use fieldpost_model::hub_state::Target;

use super::job_door::JobDoor;
use super::jobs::{One, cells, line};
use super::server::encoded;
use super::{Global, terminal};
use crate::api::{HubJobView, JobList, NamedJob, RunOrder, RunsOrdered, TriggerRequest};
use crate::jobs::TaskView;

/// The same for a job of the hub's own; or one of a host, whose definition is its owner's.
pub fn at_hub(
    one: &One,
    (verb, request): (&str, TriggerRequest),
    door: &JobDoor,
    global: &Global,
) -> anyhow::Result<ExitCode> {
    let path = format!("/jobs/{}", encoded(&one.name));
    let nothing = serde_json::json!({});
    let ordered: RunsOrdered = match (&one.whom.on, verb) {
        (Some(agent), "trigger") => {
            let params = request.params.into_iter().map(|(name, value)| (name, value.0)).collect();
            let named = NamedJob { name: one.name.clone(), params, stdin: request.stdin };
            let order = RunOrder { named: Some(named), target: Target::agent(agent), ..RunOrder::default() };
            let door = JobDoor::find(&one.whom, true, global)?.of_any();
            door.send("POST", "/runs", &order)?
        }
        (Some(agent), "") => {
            bail!("job {} of {agent} is its owner's; here it is triggered, disabled and enabled", one.name)
        }
        (Some(agent), verb) => {
            let path = format!("/agents/{}/jobs/{}/{verb}", encoded(agent), encoded(&one.name));
            let task: TaskView = door.send("POST", &path, &nothing)?;
            terminal::out(&if global.json { serde_json::to_string(&task)? } else { line(&task) })?;
            return Ok(ExitCode::SUCCESS);
        }
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

/// Of all agents, the hub's own first.
pub fn hub_table(list: &JobList) -> anyhow::Result<String> {
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
