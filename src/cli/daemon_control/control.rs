//! Starts, stops and asks what runs in the background.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, bail};
use chrono::{DateTime, Local};
use fieldpost_model::{TimeMs, format_span};
use serde_json::json;

use super::super::find::{Absent, Running};
use super::super::reloading;
use super::super::{Global, exit, terminal};
use super::work::{self, Setup, look, now_ms};
use super::{About, Face};
use crate::config::Root;
use crate::daemon::{self, Ending, Forked, Note, Outcome, State};

/// Where the status is, on the Unix socket of each face.
const STATUS: &str = "/v1/status";

/// Starts it as a daemon, unless it runs.
pub fn start<F: Face>(global: &Global) -> anyhow::Result<ExitCode> {
    let setup = Setup::<F::Config>::new(global)?;
    let Some(lock) = setup.lock()? else { return already_running(setup.config()) };
    let log_file = setup.log_file()?;
    let log_path = log_file.path().to_owned();
    match daemon::fork(log_file.handle().context("cannot write the log")?)? {
        Forked::Foreground(outcome) => tell_outcome::<F::Config>(outcome, &log_path),
        Forked::Background(readiness) => work::in_background::<F>(setup, lock, log_file, readiness),
    }
}

fn tell_outcome<R: Root>(outcome: Outcome, log: &Path) -> anyhow::Result<ExitCode> {
    let (face, log) = (R::NAMES.face, log.display());
    match outcome {
        Outcome::Ready(words) => {
            terminal::out(&words)?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Failed(code, words) => Err(exit::failure(code, words)),
        Outcome::Silent => bail!("the {face} ended before it was ready; see {log}"),
        Outcome::Late => bail!("the {face} goes on starting, but is not ready yet; see {log}"),
    }
}

fn already_running<R: Root>(config: &R) -> anyhow::Result<ExitCode> {
    let text = match look::<R>(config.data_dir())? {
        State::Running(Some(note)) => {
            let same = if note.config_digest == config.digest() {
                "same config".to_owned()
            } else {
                format!("another config; to change it: fieldpost {} --reload, or --restart", R::NAMES.face)
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
pub fn stop<F: Face>(global: &Global, force: bool) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let config = global.request()?.sound::<F::Config>();
    look::<F::Config>(config.data_dir())?;
    let ending = daemon::stop(config.data_dir(), force)?;
    terminal::out(&ending_text::<F>(ending, begun.elapsed())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Stops it, if it runs, and starts it.
pub fn restart<F: Face>(global: &Global, force: bool) -> anyhow::Result<ExitCode> {
    // A bad config is to be found while the old process still runs.
    let folder = Setup::<F::Config>::new(global)?.config().data_dir().to_owned();
    let begun = Instant::now();
    look::<F::Config>(&folder)?;
    match daemon::stop(&folder, force)? {
        Ending::NotRunning => {}
        ending => terminal::out(&ending_text::<F>(ending, begun.elapsed())?)?,
    }
    start::<F>(global)
}

fn ending_text<F: Face>(ending: Ending, took: Duration) -> anyhow::Result<String> {
    let seconds = took.as_secs_f64();
    match ending {
        Ending::NotRunning => Ok("not running".to_owned()),
        Ending::Ended(Some(ended)) => Ok(format!("stopped  in {seconds:.1} s{}", F::ended_text(&ended))),
        Ending::Ended(None) => Ok(format!("stopped  in {seconds:.1} s, but not cleanly; see its log")),
        Ending::Killed => Ok(format!("killed  after {seconds:.1} s; {}", F::killed_text())),
        Ending::GoesOn(pid) => bail!("pid {pid} still runs after {seconds:.0} s; to kill it: --stop --force"),
        Ending::Unproved => bail!(
            "the data folder is locked, but not by the process that its pid file names; nothing was signalled"
        ),
        Ending::NotPermitted(pid) => Err(not_yours::<F::Config>(pid)),
    }
}

fn not_yours<R: Root>(pid: Option<u32>) -> anyhow::Error {
    let text = match pid {
        Some(pid) => format!("pid {pid} exists, its socket is not yours; try sudo"),
        None => format!("{} may exist, but its data folder is not yours; try sudo", R::NAMES.a_face),
    };
    exit::failure(exit::NOT_PERMITTED, text)
}

/// Says whether it runs.
pub fn status<F: Face>(global: &Global) -> anyhow::Result<ExitCode> {
    if let Some(socket) = &global.socket {
        return status_at::<F>(global, socket)?.map_or_else(|| stopped(global, None), Ok);
    }
    let config = global.request()?.sound::<F::Config>();
    match look::<F::Config>(config.data_dir())? {
        State::Running(note) => running::<F>(global, note, &config),
        State::NotPermitted => Err(not_yours::<F::Config>(other_process::<F::Config>())),
        State::Stopped(note) => {
            let others = if global.is_explicit() { Vec::new() } else { global.sockets(&config) };
            for socket in others.iter().skip(1) {
                if let Some(told) = status_at::<F>(global, socket)? {
                    return Ok(told);
                }
            }
            stopped(global, note.as_ref())
        }
    }
}

/// Nothing if nobody listens there.
fn status_at<F: Face>(global: &Global, socket: &Path) -> anyhow::Result<Option<ExitCode>> {
    match Running::<F::Config>::at(socket) {
        Ok(running) => tell_running::<F>(global, &running.get(STATUS)?).map(Some),
        Err(Absent::NotPermitted) => Err(not_yours::<F::Config>(other_process::<F::Config>())),
        Err(Absent::Nobody) => Ok(None),
    }
}

fn running<F: Face>(global: &Global, note: Option<Note>, config: &F::Config) -> anyhow::Result<ExitCode> {
    let socket = note.as_ref().map_or_else(|| config.socket(), |note| note.socket.clone());
    match Running::<F::Config>::at(&socket).map(|running| running.get(STATUS)) {
        Ok(Ok(status)) => tell_running::<F>(global, &status),
        Err(Absent::NotPermitted) => Err(not_yours::<F::Config>(note.map(|note| note.pid))),
        Ok(Err(_)) | Err(Absent::Nobody) => {
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

fn tell_running<F: Face>(global: &Global, status: &F::Status) -> anyhow::Result<ExitCode> {
    if global.json {
        let mut object = serde_json::to_value(status)?;
        object["state"] = "running".into();
        terminal::out(&serde_json::to_string_pretty(&object)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let About { pid, started_ms, config, more } = F::about(status);
    terminal::out(&format!("running  pid {pid}  up {}  config {config}  {more}", up(started_ms)))?;
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
pub fn reload<F: Face>(global: &Global) -> anyhow::Result<ExitCode> {
    let face = F::Config::NAMES.face;
    let request = global.request()?;
    let config = request.sound::<F::Config>();
    let folder = config.data_dir();
    let note = match look::<F::Config>(folder)? {
        State::Running(note) => note,
        State::NotPermitted => return Err(not_yours::<F::Config>(other_process::<F::Config>())),
        State::Stopped(_) => {
            bail!("no {face} runs in {}; start one: fieldpost {face} --start", folder.display())
        }
    };
    if let Err(problems) = request.load::<F::Config>() {
        let errors: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        return Err(not_reloaded(face, &errors, note.as_ref()));
    }
    let socket = note.as_ref().map_or_else(|| config.socket(), |note| note.socket.clone());
    let running = Running::<F::Config>::at(&socket).map_err(|absent| match absent {
        Absent::NotPermitted => not_yours::<F::Config>(note.as_ref().map(|note| note.pid)),
        Absent::Nobody => anyhow::anyhow!("the {face} does not answer at {}", socket.display()),
    })?;
    let (_, reloaded): (u16, reloading::Outcome) = running.post("/v1/reload")?;
    if !reloaded.ok {
        return Err(not_reloaded(face, &reloaded.errors, note.as_ref()));
    }
    terminal::out(&reloaded_text(&reloaded, global.json)?)?;
    Ok(ExitCode::SUCCESS)
}

fn not_reloaded(face: &str, errors: &[String], note: Option<&Note>) -> anyhow::Error {
    let goes_on = note.map_or_else(
        || format!("not reloaded: the {face} goes on with its old config"),
        |note| {
            let (pid, loaded) = (note.pid, clock(note.loaded_ms));
            format!("not reloaded: pid {pid} goes on with the config it loaded at {loaded}")
        },
    );
    exit::failure(exit::CONFIG, format!("{}\n{goes_on}", errors.join("\n")))
}

fn reloaded_text(reloaded: &reloading::Outcome, as_json: bool) -> anyhow::Result<String> {
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

/// A process of this face that runs as another user, as far as /proc tells.
fn other_process<R: Root>() -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        let is_ours = arguments.next().is_some_and(|program| program.ends_with(b"fieldpost"));
        *pid != std::process::id()
            && is_ours
            && arguments.any(|argument| argument == R::NAMES.face.as_bytes())
    })
}
