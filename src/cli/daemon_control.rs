//! A face of the program as a process: in the foreground, or as a daemon that is started, stopped
//! and asked. One implementation, whichever face it is.

mod control;
mod work;

use std::process::ExitCode;

use fieldpost_model::TimeMs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{Global, exit};
use crate::config::{Loaded, Request, Root};
use crate::daemon::{self, Ended};
use crate::telemetry::Log;

/// A part of the program that runs for long: the agent, the hub.
pub trait Face {
    /// What can be set of it.
    type Config: Root;
    /// What it says of itself over its Unix socket.
    type Status: Serialize + DeserializeOwned;
    /// What a start came to.
    type Started;
    /// How it ended.
    type Stopped;

    /// Runs it until it is told to end. `on_ready` is called once it is ready, not if the end
    /// comes first.
    fn serve(
        plan: Plan<Self::Config>,
        on_ready: impl FnOnce(&Self::Started, &CancellationToken),
    ) -> anyhow::Result<Self::Stopped>;

    /// What whoever starts a daemon is told, behind its pid.
    fn started_text(started: &Self::Started) -> String;

    /// Tells the terminal that it runs in the foreground.
    fn tell_started(started: &Self::Started, shutdown: &CancellationToken);

    /// Tells the terminal how it ended.
    fn tell_stopped(stopped: &Self::Stopped);

    /// What the pid file keeps of its end.
    fn ended(stopped: &Self::Stopped, time_ms: TimeMs) -> Ended;

    /// Is it to be started anew, for somebody has asked it for that?
    fn starts_again(_: &Self::Stopped) -> bool {
        false
    }

    /// What whoever stops it is told, behind the time that it took.
    fn ended_text(ended: &Ended) -> String;

    /// What is lost if it is killed.
    fn killed_text() -> &'static str;

    /// The line of `--status`.
    fn about(status: &Self::Status) -> About<'_>;
}

/// What is shown of a running process.
pub struct About<'a> {
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_ms: TimeMs,
    /// The config it runs with.
    pub config: &'a str,
    /// What else there is to say of this face.
    pub more: String,
}

/// What a face is started with.
pub struct Plan<R> {
    /// Where the config came from, for reloads.
    pub request: Request,
    /// The config.
    pub loaded: Loaded<R>,
    /// The log.
    pub log: Log,
    /// Config files, for people.
    pub config_name: String,
    /// When the process started.
    pub started_ms: TimeMs,
    /// Called with the config that is in force after a reload.
    pub on_reload: Box<dyn Fn(&R) + Send + Sync>,
}

/// What is asked of a daemon.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Start it as a daemon; returns once it is ready
    #[arg(long, group = "action")]
    start: bool,
    /// Stop it, and wait for its clean end
    #[arg(long, group = "action")]
    stop: bool,
    /// Stop it if it runs, and start it
    #[arg(long, group = "action")]
    restart: bool,
    /// Say whether it runs
    #[arg(long, group = "action")]
    status: bool,
    /// Have it load its config anew, and say what came of it
    #[arg(long, group = "action")]
    reload: bool,
    /// With --stop and --restart: kill it if it does not end within 10 s
    #[arg(long)]
    force: bool,
    /// With --restart: it has been seen to that the agent is in service
    #[arg(long, hide = true)]
    in_service: bool,
    /// End with the process that started this one, and leave alone what is set of other faces
    #[arg(long, hide = true)]
    with_parent: bool,
}

impl Flags {
    /// Is it to be restarted, though not by force?
    pub fn is_plain_restart(&self) -> bool {
        self.restart && !self.force && !self.in_service
    }

    /// Was any given?
    pub fn any(&self) -> bool {
        self.start || self.stop || self.restart || self.status || self.reload || self.force
    }
}

/// Does what was asked for; without a flag, runs in the foreground.
pub fn run<F: Face>(flags: &Flags, global: &Global) -> anyhow::Result<ExitCode> {
    if flags.force && !flags.stop && !flags.restart {
        let text = "error: --force goes with --stop or --restart only\n\nFor more information, try '--help'.";
        return Err(exit::failure(exit::USAGE, text));
    }
    if flags.start || flags.restart {
        // Nothing has been opened yet; the daemon is to inherit nothing.
        daemon::close_inherited();
    }
    match flags {
        Flags { start: true, .. } => control::start::<F>(global),
        Flags { stop: true, .. } => control::stop::<F>(global, flags.force),
        Flags { restart: true, .. } => control::restart::<F>(global, flags.force),
        Flags { status: true, .. } => control::status::<F>(global),
        Flags { reload: true, .. } => control::reload::<F>(global),
        _ => work::in_foreground::<F>(global, flags.with_parent),
    }
}
