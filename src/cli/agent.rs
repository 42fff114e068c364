//! `fieldpost agent`: in the foreground, or as a daemon that is started, stopped and asked.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::hub_state::{AgentStatus, Status as AgentStatusWord};
use fieldpost_model::{TimeMs, format_span};
use tokio_util::sync::CancellationToken;

use super::daemon_control::{self, About, Face, Flags, Plan};
use super::find::RunningAgent;
use super::serve::{Started, Stopped, serve};
use super::{Global, foreground, instant, terminal};
use crate::agent::{Status, UplinkStatus};
use crate::api::{RestartAnswer, StatusRequest};
use crate::config::Config;
use crate::daemon::Ended;

const EXAMPLES: &str = "\
Examples:
  fieldpost agent                          (foreground, for systemd and containers)
  fieldpost agent --start
  fieldpost agent --status
  fieldpost agent --stop --force
  fieldpost agent set-status maintenance --comment 'disk is being replaced'
  fieldpost agent --set store.path=./data --set metrics.listen=127.0.0.1:0";

/// Run the agent: in the foreground, or as a daemon with --start
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[group(skip)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether this agent is online, offline or in maintenance
    SetStatus {
        /// The status: online, offline or maintenance
        #[arg(value_name = "STATUS")]
        status: AgentStatusWord,
        /// Why; offline needs it
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.action {
        Some(Action::SetStatus { status, comment }) => set_status(*status, comment.clone(), global),
        None if args.flags.is_plain_restart() => restart(global),
        None => daemon_control::run::<AgentFace>(&args.flags, global),
    }
}

fn set_status(status: AgentStatusWord, comment: Option<String>, global: &Global) -> anyhow::Result<ExitCode> {
    let request = StatusRequest { status, comment };
    let status: AgentStatus = RunningAgent::find(global)?.send("POST", "/v1/agent/status", &request)?;
    terminal::out(&if global.json { serde_json::to_string(&status)? } else { said(&status) })?;
    Ok(ExitCode::SUCCESS)
}

/// `maintenance since 22:40:30 by uid 0: disk is being replaced`.
fn said(status: &AgentStatus) -> String {
    let AgentStatus { status, comment, since_ms, by } = status;
    let is_new = !comment.is_empty() && comment != status.as_str();
    let why = if is_new { format!(": {comment}") } else { String::new() };
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    terminal::printable(&format!("{status} since {}{by}{why}", instant::show(*since_ms))).into_owned()
}

/// A daemon begins with nothing opened, and who has asked an agent has opened much: it begins as a
/// process of its own.
fn restart(global: &Global) -> anyhow::Result<ExitCode> {
    if is_deferred(global)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = std::process::Command::new("/proc/self/exe");
    let program = std::env::args_os().next().unwrap_or_else(|| "fieldpost".into());
    command.arg0(program).args(std::env::args_os().skip(1)).arg("--in-service");
    Err(command.exec()).context("cannot go on with the restart")
}

/// An agent that is out of service is started anew when it is back; answers whether it was told so.
fn is_deferred(global: &Global) -> anyhow::Result<bool> {
    let Ok(agent) = RunningAgent::find(global) else { return Ok(false) };
    // One that does not answer, or is of another version, is not in the way of its restart.
    let Ok(status) = agent.ask_for::<AgentStatus>("/v1/agent/status") else { return Ok(false) };
    if status.status == AgentStatusWord::Online {
        return Ok(false);
    }
    let answer: RestartAnswer = agent.send("POST", "/v1/agent/restart", &serde_json::json!({}))?;
    let text = format!(
        "not yet: the agent is {}; it starts anew once it is online. To do it now: --restart --force",
        said(&answer.status)
    );
    terminal::out(&if global.json { serde_json::to_string(&answer)? } else { text })?;
    Ok(true)
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

    fn starts_again(stopped: &Stopped) -> bool {
        stopped.again
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
            more: format!(
                "{}store {megabytes:.1} MiB  last error {last_error}{}",
                out_of_service(status),
                hubs(status)
            ),
        }
    }
}

/// Nothing while the agent is online.
fn out_of_service(status: &Status) -> String {
    let set = status.set.as_ref().filter(|set| set.status != AgentStatusWord::Online);
    set.map_or_else(String::new, |set| format!("{}  ", said(set)))
}

/// A line for each hub.
fn hubs(status: &Status) -> String {
    status.hubs.iter().map(|hub| format!("\n  hub  {}", hub_line(hub, status.now_ms))).collect()
}

fn hub_line(hub: &UplinkStatus, now_ms: TimeMs) -> String {
    let place = if hub.url.is_empty() { format!("{} (dials)", hub.hub_id) } else { hub.url.clone() };
    let since = match hub.since_ms {
        0 => String::new(),
        since_ms => format!(" since {}", instant::show(since_ms)),
    };
    let why = if hub.reason.is_empty() { String::new() } else { format!(": {}", hub.reason) };
    let age = |from_ms: TimeMs| format_span(Duration::from_millis((now_ms - from_ms).max(0) as u64));
    let lag = match hub.oldest_unacked_ms {
        Some(from_ms) if hub.lag_items > 0 => {
            format!("{} items, the oldest of {}", hub.lag_items, age(from_ms))
        }
        _ if hub.lag_items > 0 => format!("{} items", hub.lag_items),
        _ => "none".to_owned(),
    };
    let UplinkStatus { name, state, allow_jobs, .. } = hub;
    let line = format!("{place}  as {name}  {state}{since}{why}  lag {lag}  jobs {allow_jobs}");
    terminal::printable(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use fieldpost_model::RemoteJobs;

    use super::*;

    #[test]
    fn line_of_a_hub_says_what_is_so_and_what_is_owed() {
        let hub = UplinkStatus {
            hub_id: "ab".into(),
            url: "https://hub:7700".into(),
            name: "web1".into(),
            state: "connecting".into(),
            since_ms: 0,
            reason: String::new(),
            allow_jobs: RemoteJobs::Named,
            lag_items: 2,
            oldest_unacked_ms: Some(0),
        };
        let line = hub_line(&hub, 120_000);
        let lag = "lag 2 items, the oldest of 2 min 0 s";
        assert_eq!(line, format!("https://hub:7700  as web1  connecting  {lag}  jobs named"));
        let inbound = UplinkStatus { url: String::new(), state: "waiting".into(), lag_items: 0, ..hub };
        assert_eq!(hub_line(&inbound, 0), "ab (dials)  as web1  waiting  lag none  jobs named");
    }
}
