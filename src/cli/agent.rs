//! `fieldpost agent`: in the foreground, or as a daemon that is started, stopped and asked.

use std::process::ExitCode;

use fieldpost_model::TimeMs;
use tokio_util::sync::CancellationToken;

use super::daemon_control::{self, About, Face, Flags, Plan};
use super::serve::{Started, Stopped, serve};
use super::{Global, foreground};
use crate::agent::Status;
use crate::config::Config;
use crate::daemon::Ended;

const EXAMPLES: &str = "\
Examples:
  fieldpost agent                          (foreground, for systemd and containers)
  fieldpost agent --start
  fieldpost agent --status
  fieldpost agent --stop --force
  fieldpost agent --set store.path=./data --set metrics.listen=127.0.0.1:0";

/// Run the agent: in the foreground, or as a daemon with --start
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    daemon_control::run::<AgentFace>(&args.flags, global)
}

/// The agent, as something that runs.
struct AgentFace;

impl Face for AgentFace {
    type Config = Config;
    type Status = Status;
    type Started = Started;
    type Stopped = Stopped;

    fn serve(
        plan: Plan<Config>,
        on_ready: impl FnOnce(&Started, &CancellationToken),
    ) -> anyhow::Result<Stopped> {
        serve(plan, on_ready)
    }

    fn started_text(started: &Started) -> String {
        let (took, metrics) = (started.took.as_secs_f64(), &started.agent.identity.metrics);
        format!("ready in {took:.1} s, metrics {metrics}")
    }

    fn tell_started(started: &Started, shutdown: &CancellationToken) {
        foreground::tell_started(started, shutdown);
    }

    fn tell_stopped(stopped: &Stopped) {
        foreground::tell_stopped(stopped);
    }

    fn ended(stopped: &Stopped, time_ms: TimeMs) -> Ended {
        let closed = &stopped.closed;
        Ended { time_ms, n_samples_stored: closed.n_samples_stored, n_samples_lost: closed.n_samples_lost }
    }

    fn ended_text(ended: &Ended) -> String {
        let (stored, lost) =
            (foreground::grouped(ended.n_samples_stored), foreground::grouped(ended.n_samples_lost));
        format!(", {stored} samples stored, {lost} lost")
    }

    fn killed_text() -> &'static str {
        "at most the open window is lost"
    }

    fn about(status: &Status) -> About<'_> {
        let last_error = if status.last_error.is_empty() { "none" } else { &status.last_error };
        let megabytes = status.store.bytes as f64 / f64::from(1 << 20);
        About {
            pid: status.pid,
            started_ms: status.started_ms,
            config: &status.config,
            more: format!("store {megabytes:.1} MiB  last error {last_error}"),
        }
    }
}
