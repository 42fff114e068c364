//! `fieldpost check`: is the config sound, who gave each value, and what can the present user not serve?

use std::process::ExitCode;

use fieldpost_collectors::COLLECTORS;
use serde_json::{Value, json};

use super::{Global, global, terminal};
use crate::config::{Config, KeyPath, Loaded, Problem, Problems, Request, Root, Row, job_files, yaml};
use crate::hub;

const EXAMPLES: &str = "\
Examples:
  fieldpost check
  fieldpost check --config-dir ./cfg --set interval=5s
  fieldpost check hub
  fieldpost check --json";

/// Columns are at most so wide; a longer value pushes the next one aside.
const COLUMN_MAX: usize = 44;

/// Whose config is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Whose {
    /// agent.yaml and conf.d.
    Agent,
    /// hub.yaml and hub.d.
    Hub,
}

/// Check the config, and show every value with who gave it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// agent or hub; without it the agent's, and the hub's too where there is one
    #[arg(value_enum, value_name = "WHOSE", hide_possible_values = true)]
    whose: Option<Whose>,
}

/// Checks and shows it. A bad config is an error, which tells everything that is wrong.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let request = global.request()?;
    let files = request.files.clone();
    let shown = match args.whose {
        Some(Whose::Agent) => Shown { agent: Some(request.load()?), hub: None },
        Some(Whose::Hub) => Shown { agent: None, hub: Some(request.load()?) },
        None if has_hub(&request) => both(request)?,
        None => Shown { agent: Some(request.load()?), hub: None },
    };
    let dir = shown.agent.as_ref().map(|agent| agent.config.jobs.dir.clone());
    if let Some(problems) = dir.and_then(|dir| job_files(&files, dir.as_deref()).1) {
        return Err(problems.into());
    }
    if global.json {
        terminal::out(&serde_json::to_string_pretty(&shown.as_json()?)?)?;
    } else {
        terminal::out(&shown.as_text())?;
        for (collector, lacks) in shown.unserved() {
            terminal::err(&format!("as this user: {collector} {lacks}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Is a hub configured in the folder that is used? One file that was named is the agent's.
fn has_hub(request: &Request) -> bool {
    let (files, _) = request.files.list(&hub::Config::NAMES);
    request.files.named_file.is_none() && !files.is_empty()
}

/// Both configs, or everything that is wrong with either; once, where both find the same fault.
fn both(request: Request) -> anyhow::Result<Shown> {
    let request = Request { for_both: true, ..request };
    match (request.load(), request.load()) {
        (Ok(agent), Ok(hub)) => match shared_folder(&agent, &hub) {
            Some(problem) => Err(Problems(vec![problem]).into()),
            None => Ok(Shown { agent: Some(agent), hub: Some(hub) }),
        },
        (agent, hub) => {
            let mut problems = agent.err().map_or_else(Vec::new, |problems: Problems| problems.0);
            let same = |one: &Problem, other: &Problem| one.source == other.source && one.key == other.key;
            let of_hub = hub.err().map_or_else(Vec::new, |problems: Problems| problems.0);
            for problem in of_hub {
                if !problems.iter().any(|known| same(known, &problem)) {
                    problems.push(problem);
                }
            }
            Err(Problems(problems).into())
        }
    }
}

/// Two processes that write to one folder would end each other.
fn shared_folder(agent: &Loaded<Config>, hub: &Loaded<hub::Config>) -> Option<Problem> {
    let is_path = |row: &Row| row.key == "store.path";
    let origin = hub.rows().into_iter().find(is_path)?.origin;
    let is_shared = agent.config.data_dir() == hub.config.data_dir();
    is_shared.then(|| Problem {
        source: origin.source,
        place: origin.place,
        key: KeyPath::dotted("store.path"),
        text: "is the folder of the agent and of the hub; each needs one of its own".to_owned(),
    })
}

/// What is shown.
struct Shown {
    agent: Option<Loaded<Config>>,
    hub: Option<Loaded<hub::Config>>,
}

impl Shown {
    /// A table each; where there are two, each below the name of its face.
    fn as_text(&self) -> String {
        match (&self.agent, &self.hub) {
            (Some(agent), Some(hub)) => {
                let (of_agent, of_hub) = (Config::NAMES.face, hub::Config::NAMES.face);
                let (agent, hub) = (table(&agent.rows()), table(&hub.rows()));
                format!("{of_agent}:\n{agent}\n{of_hub}:\n{hub}")
            }
            (Some(agent), None) => table(&agent.rows()),
            (None, Some(hub)) => table(&hub.rows()),
            (None, None) => String::new(),
        }
    }

    /// What was asked for stands at the top; the hub's beside it where both are shown.
    fn as_json(&self) -> anyhow::Result<Value> {
        let Some(agent) = &self.agent else {
            return self.hub.as_ref().map_or(Ok(Value::Null), sources_and_values);
        };
        let mut object = sources_and_values(agent)?;
        let lacks = |(collector, text): (&str, &str)| json!({ "collector": collector, "text": text });
        object["not_served"] = self.unserved().into_iter().map(lacks).collect();
        if let Some(hub) = &self.hub {
            object["hub"] = sources_and_values(hub)?;
        }
        Ok(object)
    }

    fn unserved(&self) -> Vec<(&'static str, &'static str)> {
        self.agent.as_ref().map_or_else(Vec::new, |agent| unserved(&agent.config, global::is_root()))
    }
}

fn sources_and_values<R: Root>(loaded: &Loaded<R>) -> anyhow::Result<Value> {
    let values = loaded.rows().into_iter().map(|row| {
        let origin = row.origin.to_string();
        Ok(json!({ "key": row.key, "value": serde_json::to_value(&row.value)?, "origin": origin }))
    });
    let values = values.collect::<Result<Vec<_>, serde_json::Error>>()?;
    Ok(json!({ "files": loaded.files, "values": values }))
}

fn table(rows: &[Row]) -> String {
    let shown: Vec<_> = rows.iter().map(|row| (&row.key, yaml::show(&row.value), &row.origin)).collect();
    let width =
        |lengths: &mut dyn Iterator<Item = usize>| lengths.filter(|n| *n <= COLUMN_MAX).max().unwrap_or(0);
    let key_width = width(&mut shown.iter().map(|(key, ..)| key.chars().count()));
    let value_width = width(&mut shown.iter().map(|(_, value, _)| value.chars().count()));
    let line = |(key, value, origin): &(&String, String, _)| {
        format!("{key:<key_width$}  {value:<value_width$}  {origin}\n")
    };
    shown.iter().map(line).collect()
}

/// What collectors cannot read without being root, or the capability that is named.
const NEED_ROOT: [(&str, &str); 5] = [
    ("process_table", "sees no IO and no open files of other users' processes (CAP_SYS_PTRACE)"),
    ("dmi", "sees no serial numbers (CAP_DAC_READ_SEARCH)"),
    ("rapl", "sees no energy counters (CAP_DAC_READ_SEARCH)"),
    ("slabinfo", "sees nothing (CAP_DAC_READ_SEARCH)"),
    ("btrfs", "sees no device errors (CAP_SYS_ADMIN)"),
];

fn unserved(config: &Config, is_root: bool) -> Vec<(&'static str, &'static str)> {
    let is_on =
        |name: &str| COLLECTORS.iter().any(|entry| entry.name == name && config.collectors.is_on(entry));
    NEED_ROOT.into_iter().filter(|(name, _)| !is_root && is_on(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_that_need_root_exist_and_are_told_only_where_they_are_on() {
        for (name, _) in NEED_ROOT {
            assert!(COLLECTORS.iter().any(|entry| entry.name == name), "{name}");
        }
        assert!(unserved(&Config::default(), true).is_empty());
        let told = unserved(&Config::default(), false);
        assert!(told.iter().any(|(name, _)| *name == "dmi"));
        assert!(!told.iter().any(|(name, _)| *name == "slabinfo"));
    }
}
