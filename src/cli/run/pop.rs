//! `fieldpost run result --pop`: takes the next result at a hub that nobody has taken, for scripts that
//! hand out work and collect what comes of it.

use std::process::ExitCode;

use fieldpost_model::Period;

use super::super::job_door::{JobDoor, Whom};
use super::super::server::encoded;
use super::super::{Global, process_setup, terminal};
use super::{ending, pair};
use crate::api::ResultList;

/// Which result.
#[derive(Debug, clap::Args)]
pub struct Pop {
    /// Take the next result of what was ordered through the hub: each is given once. Needs the role operator
    #[arg(long, conflicts_with = "id")]
    pub pop: bool,
    /// Of this job
    #[arg(long, value_name = "NAME", requires = "pop")]
    job: Option<String>,
    /// Of this domain
    #[arg(long, value_name = "NAME", requires = "pop")]
    domain: Option<String>,
    /// With this tag; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "pop")]
    tag: Vec<(String, String)>,
    /// Of this order: the `batch` that it was answered with
    #[arg(long, value_name = "ID", requires = "pop")]
    batch: Option<String>,
}

/// Takes one, shows it, and exits as it did.
pub fn run(pop: &Pop, wait: Option<Period>, whom: &Whom, global: &Global) -> anyhow::Result<ExitCode> {
    let wait = wait.unwrap_or_default();
    let door = JobDoor::find(whom, true, global)?;
    let mut path = format!("/results/pop?wait={wait}");
    for (name, word) in [("job", &pop.job), ("domain", &pop.domain), ("batch", &pop.batch)] {
        if let Some(word) = word {
            path += &format!("&{name}={}", encoded(word));
        }
    }
    if !pop.tag.is_empty() {
        let tags: Vec<String> = pop.tag.iter().map(|(name, value)| format!("{name}={value}")).collect();
        path += &format!("&tag={}", encoded(&tags.join(",")));
    }
    let taken: ResultList =
        process_setup::client_runtime()?.block_on(door.json("POST", &path, None, wait.0))?;
    let Some(result) = taken.results.into_iter().next() else {
        terminal::err("no result waits to be taken");
        return Ok(ExitCode::from(ending::NO_RESULT));
    };
    let run = &result.view.run;
    if global.json {
        terminal::out(&serde_json::to_string(&result)?)?;
    } else {
        if let Some(data) = &run.data {
            terminal::out(&data.text)?;
        }
        let agent = result.view.agent.as_deref().unwrap_or("(no agent)");
        terminal::err(&format!("{}: {}", terminal::printable(agent), ending::line(run)));
    }
    Ok(ExitCode::from(ending::code(run)))
}
