//! `fieldpost hub`: in the foreground, or as a daemon that is started, stopped and asked.

use std::process::ExitCode;

use fieldpost_model::TimeMs;
use tokio_util::sync::CancellationToken;

use super::daemon_control::{self, About, Face, Flags, Plan};
use super::hub_serve::{Started, Stopped, serve};
use super::{Global, foreground, terminal};
use crate::daemon::Ended;
use crate::hub::{Config, Status};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub                            (foreground, for systemd and containers)
  fieldpost hub --start
  fieldpost hub --status
  fieldpost hub --stop --force
  fieldpost hub --set store.path=./hub --set listen=127.0.0.1:0";

/// Run the hub: in the foreground, or as a daemon with --start
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    daemon_control::run::<HubFace>(&args.flags, global)
}

/// The hub, as something that runs.
struct HubFace;

impl Face for HubFace {
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
        format!("ready in {:.1} s, {}", started.took.as_secs_f64(), started.status.listen)
    }

    fn tell_started(started: &Started, _shutdown: &CancellationToken) {
        let status = &started.status;
        terminal::err(&format!(
            "hub    {}  pid {}  data {}  config {}  ready in {:.1} s",
            status.listen,
            status.pid,
            foreground::near(&status.data.display().to_string()),
            foreground::near(&status.config),
            started.took.as_secs_f64(),
        ));
    }

    fn tell_stopped(_stopped: &Stopped) {
        terminal::err("stopped  closed clean");
    }

    fn ended(_stopped: &Stopped, time_ms: TimeMs) -> Ended {
        Ended { time_ms, n_samples_stored: 0, n_samples_lost: 0 }
    }

    fn ended_text(_ended: &Ended) -> String {
        ", closed clean".to_owned()
    }

    fn killed_text() -> &'static str {
        "what it had not acknowledged, the agents still have"
    }

    fn about(status: &Status) -> About<'_> {
        About {
            pid: status.pid,
            started_ms: status.started_ms,
            config: &status.config,
            more: format!("listens {}  data {}", status.listen, status.data.display()),
        }
    }
}
