//! Starts, stops and asks the agent that runs in the background.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, bail};
use chrono::{DateTime, Local};
use fieldpost_model::{TimeMs, format_span};
use serde_json::json;

use super::super::find::{Absent, RunningAgent};
use super::super::{Global, exit, foreground, terminal};
use super::work::{self, Setup, now_ms};
use crate::agent::{Reloaded, Status};
use crate::config::Config;
use crate::daemon::{self, Ended, Ending, Forked, Note, Outcome, State};

/// Starts it as a daemon, unless it runs.
pub fn start(global: &Global) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(global)?;
    let Some(lock) = setup.lock()? else { return already_running(setup.config()) };
    let log_file = setup.log_file()?;
    let log_path = log_file.path().to_owned();
    match daemon::fork(log_file.handle().context("cannot write the log")?)? {
        Forked::Foreground(outcome) => tell_outcome(outcome, &log_path),
        Forked::Background(readiness) => work::in_background(setup, lock, log_file, readiness),
    }
}

fn tell_outcome(outcome: Outcome, log: &Path) -> anyhow::Result<ExitCode> {
    match outcome {
        Outcome::Ready(words) => {
            terminal::out(&words)?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Failed(code, words) => Err(exit::failure(code, words)),
        Outcome::Silent => bail!("the agent ended before it was ready; see {}", log.display()),
        Outcome::Late => bail!("the agent goes on starting, but is not ready yet; see {}", log.display()),
    }
}

fn already_running(config: &Config) -> anyhow::Result<ExitCode> {
    let text = match daemon::look(&config.store.path)? {
        State::Running(Some(note)) => {
            let same = if note.config_digest == config.digest() {
                "same config"
            } else {
                "another config; to change it: fieldpost agent --reload, or --restart"
            };
            format!("already running: pid {}, up {}, {same}", note.pid, up(note.started_ms))
        }
        // It has taken the lock just now.
        _ => "already running: it is just starting".to_owned(),
    };
    terminal::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Stops it, if it runs.
pub fn stop(global: &Global, force: bool) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let ending = daemon::stop(&global.request()?.sound().store.path, force)?;
    terminal::out(&ending_text(ending, begun.elapsed())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Stops it, if it runs, and starts it.
pub fn restart(global: &Global, force: bool) -> anyhow::Result<ExitCode> {
    // A bad config is to be found while the old agent still runs.
    let folder = Setup::new(global)?.config().store.path.clone();
    let begun = Instant::now();
    match daemon::stop(&folder, force)? {
        Ending::NotRunning => {}
        ending => terminal::out(&ending_text(ending, begun.elapsed())?)?,
    }
    start(global)
}

fn ending_text(ending: Ending, took: Duration) -> anyhow::Result<String> {
    let seconds = took.as_secs_f64();
    match ending {
        Ending::NotRunning => Ok("not running".to_owned()),
        Ending::Ended(Some(Ended { n_samples_stored, n_samples_lost, .. })) => {
            let (stored, lost) = (foreground::grouped(n_samples_stored), foreground::grouped(n_samples_lost));
            Ok(format!("stopped  in {seconds:.1} s, {stored} samples stored, {lost} lost"))
        }
        Ending::Ended(None) => Ok(format!("stopped  in {seconds:.1} s, but not cleanly; see its log")),
        Ending::Killed => Ok(format!("killed  after {seconds:.1} s; at most the open window is lost")),
        Ending::GoesOn(pid) => bail!("pid {pid} still runs after {seconds:.0} s; to kill it: --stop --force"),
        Ending::Unproved => bail!(
            "the data folder is locked, but not by the process that its pid file names; nothing was signalled"
        ),
        Ending::NotPermitted(pid) => Err(not_yours(pid)),
    }
}

fn not_yours(pid: Option<u32>) -> anyhow::Error {
    let text = match pid {
        Some(pid) => format!("pid {pid} exists, its socket is not yours; try sudo"),
        None => "an agent may exist, but its data folder is not yours; try sudo".to_owned(),
    };
    exit::failure(exit::NOT_PERMITTED, text)
}

/// Says whether it runs.
pub fn status(global: &Global) -> anyhow::Result<ExitCode> {
    if let Some(socket) = &global.socket {
        return status_at(global, socket);
    }
    let config = global.request()?.sound();
    match daemon::look(&config.store.path)? {
        State::Running(note) => running(global, note, &config),
        State::NotPermitted => Err(not_yours(other_agent())),
        State::Stopped(note) => {
            if !global.is_explicit() {
                for socket in global.sockets(&config).iter().skip(1) {
                    match RunningAgent::at(socket) {
                        Ok(agent) => return tell_running(global, &agent.status()?),
                        Err(Absent::NotPermitted) => return Err(not_yours(other_agent())),
                        Err(Absent::NoAgent) => {}
                    }
                }
            }
            stopped(global, note.as_ref())
        }
    }
}

fn status_at(global: &Global, socket: &Path) -> anyhow::Result<ExitCode> {
    match RunningAgent::at(socket) {
        Ok(agent) => tell_running(global, &agent.status()?),
        Err(Absent::NotPermitted) => Err(not_yours(other_agent())),
        Err(Absent::NoAgent) => stopped(global, None),
    }
}

fn running(global: &Global, note: Option<Note>, config: &Config) -> anyhow::Result<ExitCode> {
    let socket = note.as_ref().map_or_else(|| config.socket(), |note| note.socket.clone());
    match RunningAgent::at(&socket).map(|agent| agent.status()) {
        Ok(Ok(status)) => tell_running(global, &status),
        Err(Absent::NotPermitted) => Err(not_yours(note.map(|note| note.pid))),
        Ok(Err(_)) | Err(Absent::NoAgent) => {
            let who = note.map_or_else(String::new, |note| {
                format!("  pid {}  up {}  config {}", note.pid, up(note.started_ms), note.config)
            });
            let text = format!("running{who}  but does not answer (starting, or stuck)");
            let object = json!({ "state": "running", "answers": false });
            terminal::out(&if global.json { object.to_string() } else { text })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tell_running(global: &Global, status: &Status) -> anyhow::Result<ExitCode> {
    if global.json {
        let mut object = serde_json::to_value(status)?;
        object["state"] = "running".into();
        terminal::out(&serde_json::to_string_pretty(&object)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let last_error = if status.last_error.is_empty() { "none" } else { &status.last_error };
    terminal::out(&format!(
        "running  pid {}  up {}  config {}  store {:.1} MiB  last error {last_error}",
        status.pid,
        up(status.started_ms),
        status.config,
        status.store.bytes as f64 / f64::from(1 << 20),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn stopped(global: &Global, note: Option<&Note>) -> anyhow::Result<ExitCode> {
    let text = match note {
        None => "stopped  never ran here".to_owned(),
        Some(Note { ended: Some(ended), config, .. }) => {
            format!("stopped  last ran until {} (clean)  config {config}", clock(ended.time_ms))
        }
        Some(Note { started_ms, config, .. }) => {
            format!("stopped  last ran from {}, ended unclean  config {config}", clock(*started_ms))
        }
    };
    let object = json!({ "state": "stopped", "last": note });
    terminal::out(&if global.json { object.to_string() } else { text })?;
    Ok(ExitCode::from(exit::STOPPED))
}

/// Has it load its config anew.
pub fn reload(global: &Global) -> anyhow::Result<ExitCode> {
    let request = global.request()?;
    let config = request.sound();
    let note = match daemon::look(&config.store.path)? {
        State::Running(note) => note,
        State::NotPermitted => return Err(not_yours(other_agent())),
        State::Stopped(_) => {
            bail!("no agent runs in {}; start one: fieldpost agent --start", config.store.path.display())
        }
    };
    if let Err(problems) = request.load() {
        let errors: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        return Err(not_reloaded(&errors, note.as_ref()));
    }
    let socket = note.as_ref().map_or_else(|| config.socket(), |note| note.socket.clone());
    let agent = RunningAgent::at(&socket).map_err(|absent| match absent {
        Absent::NotPermitted => not_yours(note.as_ref().map(|note| note.pid)),
        Absent::NoAgent => anyhow::anyhow!("the agent does not answer at {}", socket.display()),
    })?;
    let (_, reloaded): (u16, Reloaded) = agent.post("/v1/reload")?;
    if !reloaded.ok {
        return Err(not_reloaded(&reloaded.errors, note.as_ref()));
    }
    terminal::out(&reloaded_text(&reloaded, global.json)?)?;
    Ok(ExitCode::SUCCESS)
}

fn not_reloaded(errors: &[String], note: Option<&Note>) -> anyhow::Error {
    let goes_on = note.map_or_else(
        || "not reloaded: the agent goes on with its old config".to_owned(),
        |note| {
            let (pid, loaded) = (note.pid, clock(note.loaded_ms));
            format!("not reloaded: pid {pid} goes on with the config it loaded at {loaded}")
        },
    );
    exit::failure(exit::CONFIG, format!("{}\n{goes_on}", errors.join("\n")))
}

fn reloaded_text(reloaded: &Reloaded, as_json: bool) -> anyhow::Result<String> {
    if as_json {
        return Ok(serde_json::to_string_pretty(reloaded)?);
    }
    let changed = match reloaded.changed.as_slice() {
        [] => "reloaded  nothing changed".to_owned(),
        keys => format!("reloaded  changed: {}", keys.join(", ")),
    };
    match reloaded.needs_restart.as_slice() {
        [] => Ok(changed),
        keys => Ok(format!("{changed}\n  needs a restart: {}", keys.join(", "))),
    }
}

/// A time of day; with its date if that is not today's.
fn clock(time_ms: TimeMs) -> String {
    let instant: DateTime<Local> = (UNIX_EPOCH + Duration::from_millis(time_ms.max(0) as u64)).into();
    let is_today = instant.date_naive() == Local::now().date_naive();
    instant.format(if is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// How long ago that was: `4 s`, `2 min 5 s`.
fn up(since_ms: TimeMs) -> String {
    let span = Duration::from_millis((now_ms() - since_ms).max(0) as u64);
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => format_span(span),
    }
}

/// An agent that runs as another user, as far as /proc tells.
fn other_agent() -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        let is_ours = arguments.next().is_some_and(|program| program.ends_with(b"fieldpost"));
        *pid != std::process::id() && is_ours && arguments.any(|argument| argument == b"agent")
    })
}
