//! A run that is asked for on the command line.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use fieldpost_model::hub_state::Target;
use fieldpost_model::job::{CpuShare, Job, Limits, Queue};
use fieldpost_model::{ByteSize, Period};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::job_door::{JobDoor, Whom};
use super::super::jobs::line;
use super::super::jobs_at_hub::hub_line;
use super::super::{Global, exit, process_setup, terminal};
use super::follow::Show;
use super::{ending, fanout, follow};
use crate::api::{
    HubJobView, JobWish, KillRequest, Problem, RunOrder, RunRequest, RunView, RunsOrdered, TargetQuestion,
};
use crate::hub::Matches;
use crate::jobs::TaskView;

/// What a run reads is held in memory, bytes.
const STDIN_BYTES_MAX: u64 = 1 << 20;

/// A new run.
#[derive(Debug, clap::Args)]
pub struct New {
    /// A name, by which its runs are found and counted
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Whose it is: a label of its series
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// An id of your own: asked for twice it is refused, not run twice
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// End it after so long
    #[arg(long, value_name = "SPAN")]
    timeout: Option<Period>,
    /// End it when it has said nothing for so long
    #[arg(long, value_name = "SPAN")]
    output_timeout: Option<Period>,
    /// Between the request to end and the kill
    #[arg(long, value_name = "SPAN")]
    kill_grace: Option<Period>,
    /// Wait for the other runs of this queue: NAME or NAME:WIDTH
    #[arg(long, value_name = "QUEUE", value_parser = queue)]
    queue: Option<Queue>,
    /// Processor time, in percent of one core
    #[arg(long, value_name = "SHARE")]
    cpu: Option<CpuShare>,
    /// The cores that it may run on, such as 0-3
    #[arg(long, value_name = "CORES")]
    cores: Option<String>,
    /// Memory of all its processes
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Processes and threads at a time
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// Refuse it where a limit cannot be enforced
    #[arg(long)]
    limits_required: bool,
    /// A variable of its environment; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A secret variable: NAME (from the environment, or else the standard input) or NAME=@FILE
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    /// What it reads: a file, or - for the standard input
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// The folder that it runs in
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// As whom it runs
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A word to find it by; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    tag: Vec<(String, String)>,
    /// Run it once, then: 2026-11-24 03:00
    #[arg(long, value_name = "TIME", group = "when", requires = "name")]
    at: Option<String>,
    /// Run it again and again, each so often
    #[arg(long, value_name = "SPAN", group = "when", requires = "name")]
    every: Option<Period>,
    /// Run it at times of five or six fields, or @daily
    #[arg(long, value_name = "LINE", group = "when", requires = "name")]
    cron: Option<String>,
    /// The time zone of --at and --cron, such as Europe/Berlin; UTC without it
    #[arg(long, value_name = "ZONE", requires = "when")]
    tz: Option<String>,
    /// Start it whenever the agent runs, and again when it ends
    #[arg(long, group = "when", requires = "name")]
    keep: bool,
    /// Say its id and do not wait for it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    whom: Whom,
    /// On an agent that holds this role, through the hub; may be given again
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// On an agent that has this label; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// On each agent that matches, instead of any one
    #[arg(long)]
    fanout: bool,
    /// Do not ask, however many agents match
    #[arg(long)]
    yes: bool,
    /// How long the hub keeps it for an agent that is away; a day without it
    #[arg(long, value_name = "SPAN")]
    expires: Option<Period>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Reads NAME=VALUE.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn queue(text: &str) -> Result<Queue, String> {
    let (name, width) = text.split_once(':').unwrap_or((text, "1"));
    let width = width.parse().map_err(|_| format!("\"{width}\" is no width; write NAME:4"))?;
    Ok(Queue { name: name.to_owned(), width, priority: 0 })
}

impl New {
    fn job(&self) -> anyhow::Result<Job> {
        let (command, args) = self.command.split_first().context("there is no command")?;
        let defaults = Job::default();
        let dir = self.dir.as_ref().map(std::path::absolute).transpose()?;
        Ok(Job {
            name: self.name.clone().unwrap_or_default(),
            domain: self.domain.clone().unwrap_or_default(),
            command: command.clone(),
            args: args.to_vec(),
            env: self.env.iter().cloned().collect(),
            stdin: self.stdin.as_deref().map(input).transpose()?,
            dir,
            user: self.user.clone(),
            tags: self.tag.iter().cloned().collect(),
            timeout: self.timeout.unwrap_or_default(),
            output_timeout: self.output_timeout.unwrap_or_default(),
            kill_grace: self.kill_grace.unwrap_or(defaults.kill_grace),
            queue: self.queue.clone(),
            limits: Limits {
                cpu: self.cpu,
                cores: self.cores.clone(),
                memory: self.memory,
                pids: self.pids,
                ..Limits::default()
            },
            limits_required: self.limits_required,
            at: self.at.clone(),
            every: self.every,
            cron: self.cron.clone(),
            tz: self.tz.clone(),
            keep: self.keep,
            ..defaults
        })
    }

    /// For whom it is; none: for this host.
    fn target(&self) -> anyhow::Result<Option<Target>> {
        let target = Target {
            agent: self.whom.on.clone(),
            roles: self.role.iter().cloned().collect(),
            labels: self.label.iter().cloned().collect(),
            fanout: self.fanout,
        };
        if target == Target::default() {
            return Ok(None);
        }
        match target.fault() {
            Some(fault) => Err(exit::failure(exit::USAGE, format!("error: the target {fault}"))),
            None => Ok(Some(target)),
        }
    }

    /// Values never come from the command line, where everybody on the host could read them.
    fn secrets(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut secrets = BTreeMap::new();
        for word in &self.secret {
            let (name, value) = match word.split_once('=') {
                Some((name, file)) => {
                    let file = file.strip_prefix('@').with_context(|| {
                        format!("--secret {name}: a value on the command line can be read by everybody; write {name}=@FILE, or only {name}")
                    })?;
                    let text =
                        std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
                    (name, text)
                }
                None => match std::env::var(word) {
                    Ok(value) => (word.as_str(), value),
                    Err(_) if self.stdin.as_deref() == Some(Path::new("-")) || self.secret.len() > 1 => {
                        bail!(
                            "--secret {word}: there is no variable of that name; set it, or write {word}=@FILE"
                        )
                    }
                    Err(_) => (word.as_str(), input(Path::new("-"))?),
                },
            };
            secrets.insert(name.to_owned(), value.trim_end_matches('\n').to_owned());
        }
        Ok(secrets)
    }
}

/// A file as text, or the standard input where it is called `-`.
pub fn input(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(STDIN_BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {} as text", path.display()))?;
    if text.len() as u64 > STDIN_BYTES_MAX {
        bail!("{} is longer than {} MiB; give the command a file", path.display(), STDIN_BYTES_MAX >> 20);
    }
    Ok(text)
}

/// Starts the run and, unless it is to be left alone, follows it to its end.
pub fn run(new: &New, global: &Global) -> anyhow::Result<ExitCode> {
    let job = new.job()?;
    let target = new.target()?;
    let unreachable =
        |error: anyhow::Error| exit::failure(ending::UNREACHABLE, exit::code_and_text(&error).1);
    let door = JobDoor::find(&new.whom, target.is_some(), global).map_err(unreachable)?;
    let target = match (target, door.is_hub) {
        (None, true) => bail!("only a hub is here: say who runs it, by --on NAME or --role ROLE"),
        (target, _) => target,
    };
    // Ids name the run; of which agent it is need not be said again.
    let door = Arc::new(door.of_any());
    if job.is_scheduled() || job.keep {
        return define(new, job, target, &door, global);
    }
    let runtime = process_setup::client_runtime()?;
    runtime.block_on(async {
        let (id, line) = match target {
            None => {
                let request = RunRequest { id: new.id.clone(), job, secrets: new.secrets()? };
                let run: RunView = post(&door, &request).await?;
                (run.run.id.clone(), serde_json::to_string(&run)?)
            }
            Some(target) => {
                let mut ordered = order(new, job, target, &door).await?;
                let text = serde_json::to_string(&ordered)?;
                if new.fanout && !new.detach {
                    return Ok(ExitCode::from(fanout::wait(door, ordered).await?));
                }
                let ids: Vec<String> = ordered.runs.iter().map(|view| view.run.id.clone()).collect();
                if let Some(view) = ordered.runs.pop().filter(|view| !view.run.reason().is_empty()) {
                    terminal::err(&format!("waits: {}", terminal::printable(view.run.reason())));
                }
                (ids.join("\n"), text)
            }
        };
        if new.detach {
            terminal::out(if global.json { &line } else { &id })?;
            return Ok(ExitCode::SUCCESS);
        }
        let left = tokio::select! {
            done = waited_for(&door, &id, global) => return done,
            left = asked_at_interrupt(&door, &id) => left?,
        };
        Ok(ExitCode::from(left))
    })
}

/// Has the hub order it; with fan-out who is meant is shown before.
async fn order(new: &New, job: Job, target: Target, door: &JobDoor) -> anyhow::Result<RunsOrdered> {
    if new.fanout {
        let question = TargetQuestion { target: target.clone(), named: false };
        let body = Some(serde_json::to_vec(&question)?);
        let found: Matches = door.json("POST", "/targets", body, Duration::ZERO).await?;
        fanout::confirm(&found, new.yes)?;
    }
    let order = RunOrder {
        id: new.id.clone(),
        job: Some(job),
        named: None,
        target,
        secrets: new.secrets()?,
        expires: new.expires,
    };
    post(door, &order).await
}

/// A job that runs by itself from now on.
fn define(
    new: &New,
    job: Job,
    target: Option<Target>,
    door: &JobDoor,
    global: &Global,
) -> anyhow::Result<ExitCode> {
    if !new.secret.is_empty() {
        bail!(
            "a job that runs by itself takes its secrets from files: write it into jobs.d, with secret_files"
        );
    }
    if new.id.is_some() {
        bail!("--id is for one run; a job that runs by itself goes by its --name");
    }
    let text = match target {
        Some(target) => {
            let wish = JobWish { job, target, paused: false };
            let defined: HubJobView = door.send("POST", "/jobs", &wish)?;
            if global.json { serde_json::to_string(&defined)? } else { hub_line(&defined) }
        }
        None => {
            let task: TaskView = door.send("POST", "/jobs", &job)?;
            if global.json { serde_json::to_string(&task)? } else { line(&task) }
        }
    };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn post<T: DeserializeOwned>(door: &JobDoor, request: &impl Serialize) -> anyhow::Result<T> {
    let asked = door.ask("POST", "/runs", Some(serde_json::to_vec(request)?), Duration::ZERO).await;
    let unreachable = |error: anyhow::Error| exit::failure(ending::UNREACHABLE, format!("error: {error:#}"));
    let (code, body) = asked.map_err(unreachable)?;
    if code == 201 {
        return serde_json::from_slice(&body).context("the answer is of another version");
    }
    let text = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    Err(exit::failure(ending::REFUSED, format!("refused: {text}")))
}

/// Shows what it says, and its end.
async fn waited_for(door: &JobDoor, id: &str, global: &Global) -> anyhow::Result<ExitCode> {
    let show = Show { json: false, ..Show::default() };
    if global.json {
        // The answer is the run; what it said is asked for by `run logs`.
    } else if let Err(error) = follow::rows(door, id, 0, &show).await {
        return Err(exit::failure(ending::UNREACHABLE, format!("error: {error:#}")));
    }
    let run = follow::end(door, id).await?;
    if global.json {
        terminal::out(&serde_json::to_string(&run)?)?;
    } else {
        terminal::err(&ending::line(&run));
    }
    Ok(ExitCode::from(ending::code(&run)))
}

/// Waits for Ctrl-C; then a person says what is to become of the run. Who is no person leaves it.
async fn asked_at_interrupt(door: &JobDoor, id: &str) -> anyhow::Result<u8> {
    loop {
        tokio::signal::ctrl_c().await.context("cannot listen to Ctrl-C")?;
        let short = ending::short(id);
        if terminal::asks() && terminal::is_watched() {
            terminal::err(&format!("\nrun {short} goes on; kill it? [y/N]"));
            let answer = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).map(|_| line)
            });
            if answer.await??.trim().eq_ignore_ascii_case("y") {
                let body = serde_json::to_vec(&KillRequest::default())?;
                door.ask("POST", &format!("/runs/{id}/kill"), Some(body), Duration::ZERO).await?;
                // Its end is told as any other is.
                continue;
            }
        }
        terminal::err(&format!("run {short} goes on: fieldpost run logs -f {short}"));
        return Ok(ending::LEFT);
    }
}
