//! `fieldpost hub`: in the foreground, or as a daemon that is started, stopped and asked.

mod agents;
mod api_token;
mod audit;
mod backup;
mod poll;
mod token;
mod user;

use std::process::ExitCode;

use fieldpost_model::TimeMs;
use tokio_util::sync::CancellationToken;

use super::daemon_control::{self, About, Face, Flags, Plan};
use super::find::Running;
use super::hub_serve::{Started, Stopped, serve};
use super::{Global, exit, foreground, terminal};
use crate::daemon::Ended;
use crate::hub::{Config, Status};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub                            (foreground, for systemd and containers)
  fieldpost hub --start
  fieldpost hub --status
  fieldpost hub --stop --force
  fieldpost hub --set store.path=./hub --set listen=127.0.0.1:0
  fieldpost hub token create --role web    (a join string for one host)
  fieldpost hub agents                     (the list of agents)";

/// A running hub.
pub type RunningHub = Running<Config>;

pub use token::key_and_value;

/// Run the hub: in the foreground, or as a daemon with --start; or ask the one that runs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Agents(agents::Args),
    Poll(poll::Args),
    ApiToken(api_token::Args),
    Audit(audit::Args),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Token(token::Args),
    User(user::Args),
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => daemon_control::run::<HubFace>(&args.flags, global),
        Some(_) if args.flags.any() => {
            Err(exit::failure(exit::USAGE, "error: --start, --stop and so on go without a subcommand"))
        }
        Some(Command::Agents(args)) => agents::run(args, global),
        Some(Command::Poll(args)) => poll::run(args, global),
        Some(Command::ApiToken(args)) => api_token::run(args, global),
        Some(Command::Audit(args)) => audit::run(args, global),
        Some(Command::Backup(args)) => backup::back_up(args, global),
        Some(Command::Restore(args)) => backup::restore(args, global),
        Some(Command::Token(args)) => token::run(args, global),
        Some(Command::User(args)) => user::run(args, global),
    }
}

/// The hub, as something that runs.
pub struct HubFace;

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
        terminal::err(&started_lines(started));
    }

    fn tell_stopped(stopped: &Stopped) {
        let stored = foreground::grouped(stopped.n_items_stored);
        terminal::err(&format!("stopped  {stored} items stored, store closed clean"));
    }

    fn ended(stopped: &Stopped, time_ms: TimeMs) -> Ended {
        Ended { time_ms, n_samples_stored: stopped.n_items_stored, n_samples_lost: 0 }
    }

    fn ended_text(ended: &Ended) -> String {
        format!(", {} items stored, closed clean", foreground::grouped(ended.n_samples_stored))
    }

    fn killed_text() -> &'static str {
        "what it had not acknowledged, the agents still have"
    }

    fn about(status: &Status) -> About<'_> {
        About {
            pid: status.pid,
            started_ms: status.started_ms,
            config: &status.config,
            more: format!("listens {}  data {}{}", status.listen, status.data.display(), scraping(status)),
        }
    }
}

/// What is wrong with what it scrapes, a line each.
fn scraping(status: &Status) -> String {
    status.scrape_faults.iter().map(|fault| format!("\n  scrape  {fault}")).collect()
}

/// What the terminal is told of a hub that has started.
pub fn started_lines(started: &Started) -> String {
    let status = &started.status;
    let found = if started.opened.new { "new".to_owned() } else { known_agents(started) };
    let mut text = format!(
        "hub    {}  pid {}  data {} ({found})  config {}  ready in {:.1} s",
        status.listen,
        status.pid,
        foreground::near(&status.data.display().to_string()),
        foreground::near(&status.config),
        started.took.as_secs_f64(),
    );
    text += &match &started.first_admin {
        Some(secret) => {
            format!("\n  sign in  {}/#{secret}  (once, for 15 min; makes the first admin)", status.listen)
        }
        None => format!("\n  sign in  {}", status.listen),
    };
    text + "\n  add a host  fieldpost hub token create"
}

fn known_agents(started: &Started) -> String {
    match started.hub.state.agents().map(|agents| agents.len()) {
        Ok(1) => "1 agent".to_owned(),
        Ok(n) => format!("{n} agents"),
        Err(error) => error.to_string(),
    }
}
