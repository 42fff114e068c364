//! A process' life: takes the lock, says who it is, serves until it is told to end.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::Local;
use fieldpost_model::TimeMs;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::super::beacon::Beacon;
use super::super::{Global, exit, global, terminal};
use super::{Face, Plan};
use crate::config::{Loaded, Names, Request, Root};
use crate::daemon::{self, Lock, Note, Readiness, State};
use crate::telemetry::{Log, LogSink, RotatingFile, is_journal};

/// Name of a daemon's log in the data folder.
const LOG_FILE: &str = "fieldpost.log";
/// Others may see that there is an agent or a hub, though not ask it.
const ROOT_RUNTIME_MODE: u32 = 0o755;
const OWN_RUNTIME_MODE: u32 = 0o700;

/// What a face is started with. Its paths are absolute: a daemon leaves its folder.
pub struct Setup<R> {
    request: Request,
    loaded: Loaded<R>,
    config_name: String,
    base: PathBuf,
}

impl<R: Root> Setup<R> {
    /// Loads the config.
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        Self::of(&global.request()?)
    }

    /// Loads the config that is asked for.
    pub fn of(request: &Request) -> anyhow::Result<Self> {
        let base = std::env::current_dir().context("the present folder is gone; change to another")?;
        // Faults are told with the paths as they were given, so they are looked for first.
        request.load::<R>()?;
        let request = request.absolute(&base);
        let loaded = request.load()?;
        let config_name = config_name(&loaded.files);
        Ok(Self { request, loaded, config_name, base })
    }

    /// The config.
    pub fn config(&self) -> &R {
        &self.loaded.config
    }

    /// Takes the lock of the data folder; nothing if another process has it.
    pub fn lock(&self) -> anyhow::Result<Option<Lock>> {
        let folder = self.config().data_dir();
        look::<R>(folder)?;
        Lock::take(folder).with_context(|| cannot_use(folder))
    }

    /// Opens the log of a daemon.
    pub fn log_file(&self) -> anyhow::Result<RotatingFile> {
        let config = self.config();
        let path = config.log().file.clone().unwrap_or_else(|| config.data_dir().join(LOG_FILE));
        RotatingFile::open(&path).with_context(|| format!("cannot write the log {}", path.display()))
    }
}

/// Looks whether this face runs there. A folder that another face uses, or used, is an error: each
/// needs one of its own, and nobody is to stop the agent when they mean the hub.
pub fn look<R: Root>(folder: &Path) -> anyhow::Result<State> {
    let state = daemon::look(folder).with_context(|| cannot_use(folder))?;
    if let State::Running(Some(note)) | State::Stopped(Some(note)) = &state {
        let Names { face, a_face, .. } = R::NAMES;
        if !note.face.is_empty() && note.face != face {
            let (folder, other) = (folder.display(), terminal::printable(&note.face));
            bail!("{folder} is the data folder of the {other}; {a_face} needs another: --set store.path=DIR");
        }
    }
    Ok(state)
}

fn cannot_use(folder: &Path) -> String {
    format!("cannot use store.path {}", folder.display())
}

/// The main file stands for all; how many more there are is said.
fn config_name(files: &[PathBuf]) -> String {
    match files {
        [] => "defaults".to_owned(),
        [file] => file.display().to_string(),
        [file, more @ ..] => format!("{} (+{})", file.display(), more.len()),
    }
}

/// The time of the wall clock.
pub fn now_ms() -> TimeMs {
    Local::now().timestamp_millis()
}

/// Runs until a signal comes, and tells the terminal.
pub fn in_foreground<F: Face>(global: &Global, with_parent: bool) -> anyhow::Result<ExitCode> {
    let mut request = global.request()?;
    if with_parent {
        request.for_both = true;
        daemon::end_with_parent().context("cannot tie this process to the one that started it")?;
    }
    let setup = Setup::<F::Config>::of(&request)?;
    let Some(lock) = setup.lock()? else {
        let folder = setup.config().data_dir().display();
        let (a_face, face) = (F::Config::NAMES.a_face, F::Config::NAMES.face);
        let text = format!("error: {a_face} runs already in {folder}; see: fieldpost {face} --status");
        return Err(exit::failure(exit::FAILED, text));
    };
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let log = Log::start(setup.config().log(), LogSink::Stderr { journal: is_journal(stream.as_deref()) })?;
    let again = Again::prepare()?;
    let stopped = work::<F>(setup, lock, log, F::tell_started)?;
    F::tell_stopped(&stopped);
    if F::starts_again(&stopped) { again.start() } else { Ok(ExitCode::SUCCESS) }
}

/// Runs until a signal comes; whoever waits in the foreground is told how the start went.
pub fn in_background<F: Face>(
    setup: Setup<F::Config>,
    lock: Lock,
    log_file: RotatingFile,
    readiness: Readiness,
) -> anyhow::Result<ExitCode> {
    let readiness = RefCell::new(Some(readiness));
    let again = Again { folder: setup.base.clone(), ..Again::prepare()? };
    let done = Log::start(setup.config().log(), LogSink::File(log_file)).and_then(|log| {
        work::<F>(setup, lock, log, |started, _| {
            let words = format!("started  pid {}, {}", std::process::id(), F::started_text(started));
            tracing::info!("{words}");
            if let Some(readiness) = readiness.take() {
                readiness.ready(&words);
            }
        })
    });
    match done {
        Ok(stopped) => {
            let ended = F::ended(&stopped, now_ms());
            tracing::info!(stored = ended.n_samples_stored, lost = ended.n_samples_lost, "stopped");
            if F::starts_again(&stopped) { again.start() } else { Ok(ExitCode::SUCCESS) }
        }
        Err(error) => {
            let (code, text) = exit::code_and_text(&error);
            tracing::error!("not started, or ended: {}", text.trim_start_matches("error: "));
            if let Some(readiness) = readiness.take() {
                readiness.failed(code, &text);
            }
            Ok(ExitCode::from(code))
        }
    }
}

/// This very command once more, from the file that it was started from: a newer version may lie
/// there by now.
struct Again {
    program: PathBuf,
    folder: PathBuf,
}

impl Again {
    fn prepare() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let folder = std::env::current_dir().context("the present folder is gone; change to another")?;
        Ok(Self { program, folder })
    }

    /// Becomes it. What is open is closed by that, the lock of the data folder as well.
    fn start(self) -> anyhow::Result<ExitCode> {
        let mut command = std::process::Command::new(&self.program);
        let error = command.args(std::env::args_os().skip(1)).current_dir(&self.folder).exec();
        Err(error).with_context(|| format!("cannot start {} anew", self.program.display()))
    }
}

/// What the pid file says, kept true for as long as the process runs.
struct Papers {
    lock: Lock,
    note: Mutex<Note>,
}

impl Papers {
    fn change(&self, change: impl FnOnce(&mut Note)) {
        let mut note = self.note.lock();
        change(&mut note);
        if let Err(error) = self.lock.write(&note) {
            tracing::warn!(%error, "cannot write the pid file; --status knows less");
        }
    }
}

fn work<F: Face>(
    setup: Setup<F::Config>,
    lock: Lock,
    log: Log,
    on_ready: impl FnOnce(&F::Started, &CancellationToken),
) -> anyhow::Result<F::Stopped> {
    let Setup { request, loaded, config_name, .. } = setup;
    let socket = loaded.config.socket();
    let started_ms = now_ms();
    let note = Note::of_this_process(
        F::Config::NAMES.face,
        started_ms,
        &config_name,
        loaded.config.digest(),
        &socket,
    );
    let papers = Arc::new(Papers { lock, note: Mutex::new(note) });
    papers.change(|_| {});
    let on_reload = {
        let papers = Arc::clone(&papers);
        move |config: &F::Config| {
            papers.change(|note| (note.config_digest, note.loaded_ms) = (config.digest(), now_ms()));
        }
    };
    let plan = Plan { request, loaded, log, config_name, started_ms, on_reload: Box::new(on_reload) };
    let mut beacon = None;
    let stopped = F::serve(plan, |started, shutdown| {
        beacon = raise_beacon::<F::Config>(&socket);
        on_ready(started, shutdown);
    })?;
    drop(beacon);
    papers.change(|note| note.ended = Some(F::ended(&stopped, now_ms())));
    Ok(stopped)
}

/// Clients find the process without it too, once they are told where its data are.
fn raise_beacon<R: Root>(socket: &Path) -> Option<Beacon> {
    let dir = global::runtime_dirs().into_iter().next()?;
    let mode = if global::is_root() { ROOT_RUNTIME_MODE } else { OWN_RUNTIME_MODE };
    match Beacon::raise::<R>(&dir, mode, socket) {
        Ok(beacon) => beacon,
        Err(error) => {
            tracing::debug!(%error, dir = %dir.display(), "cannot show the socket there");
            None
        }
    }
}
