//! `fieldpost hub agents`: the list of agents, and what people say and decide about them.

use std::process::ExitCode;
use std::time::Duration;

use fieldpost_model::format_span;
use fieldpost_model::hub_state::{Mode, Status};

use super::RunningHub;
use crate::api::{Pong, RestartAnswer, StatusChange};
use crate::cli::{Global, instant, terminal};
use crate::hub::{AgentView, Coverage, LinkState};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub agents
  fieldpost hub agents set-status web1 web2 maintenance
  fieldpost hub agents set-status db1 offline --comment 'disk is being replaced'
  fieldpost hub agents revoke web9

STATUS is what people set; LINK is what the hub sees. An agent in maintenance goes on reporting.";

/// List agents, and decide about them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether agents are online, offline or in maintenance
    SetStatus {
        /// Names of agents, then the status: online, offline or maintenance
        #[arg(required = true, num_args = 2.., value_name = "NAME... STATUS")]
        words: Vec<String>,
        /// Why; offline needs it
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// Let an agent in that waits for it
    Approve {
        /// Its name
        name: String,
    },
    /// End the trust in an agent for good, and its link at once
    Revoke {
        /// Its name
        name: String,
    },
    /// Take an agent off the list; its data stay
    Forget {
        /// Its name
        name: String,
    },
    /// Give an agent another name
    Rename {
        /// Its name
        name: String,
        /// Its new name
        new_name: String,
    },
    /// Call an agent over its link, and say how long it took
    Ping {
        /// Its name
        name: String,
    },
    /// Have an agent start anew: at once, or as soon as it is online
    Restart {
        /// Its name
        name: String,
    },
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    match &args.action {
        None => show(&hub.get::<Vec<AgentView>>("/api/v1/agents")?, global)?,
        Some(Action::SetStatus { words, comment }) => set_status(&hub, words, comment.clone(), global)?,
        Some(Action::Approve { name }) => tell(&hub, "POST", name, "/approve", "approved")?,
        Some(Action::Revoke { name }) => tell(&hub, "POST", name, "/revoke", "revoked")?,
        Some(Action::Forget { name }) => tell(&hub, "DELETE", name, "", "forgotten")?,
        Some(Action::Rename { name, new_name }) => {
            let path = format!("/api/v1/agents/{name}/name");
            let _: AgentView = hub.send("POST", &path, &serde_json::json!({ "name": new_name }))?;
            terminal::out(&format!("{name} is now {new_name}"))?;
        }
        Some(Action::Ping { name }) => {
            let pong: Pong = hub.ask_for(&format!("/api/v1/agents/{name}/ping"))?;
            let text = format!("{name} answers in {:.1} ms", pong.round_trip_ms);
            terminal::out(&if global.json { serde_json::to_string(&pong)? } else { text })?;
        }
        Some(Action::Restart { name }) => {
            let path = format!("/api/v1/agents/{name}/restart");
            let answer: RestartAnswer = hub.send("POST", &path, &serde_json::json!({}))?;
            let when = if answer.now { "now" } else { "as soon as it is online" };
            terminal::out(&format!("{name} starts anew {when}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(hub: &RunningHub, method: &str, name: &str, path: &str, done: &str) -> anyhow::Result<()> {
    hub.tell(method, &format!("/api/v1/agents/{name}{path}"), None)?;
    Ok(terminal::out(&format!("{name} {done}"))?)
}

fn set_status(
    hub: &RunningHub,
    words: &[String],
    comment: Option<String>,
    global: &Global,
) -> anyhow::Result<()> {
    let (status, agents) = words.split_last().unwrap_or((&words[0], &[]));
    let status: Status = status.parse()?;
    let change = StatusChange { agents: agents.to_vec(), status, comment };
    show(&hub.send::<Vec<AgentView>>("POST", "/api/v1/status", &change)?, global)
}

fn show(agents: &[AgentView], global: &Global) -> anyhow::Result<()> {
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(agents)?)?);
    }
    if agents.is_empty() {
        return Ok(terminal::out("no agent yet; make a join string: fieldpost hub token create")?);
    }
    let header = ["NAME", "STATUS", "LINK", "MODE", "LAG", "COVERAGE (24 h)", "ROLES", "LABELS", "VERSION"];
    let mut table = terminal::table(header);
    for agent in agents {
        let labels: Vec<String> =
            agent.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let roles = agent.roles.iter().cloned().collect::<Vec<_>>().join(" ");
        let cells = [
            agent.name.clone(),
            status(agent),
            link(agent),
            mode(&agent.mode).to_owned(),
            agent.lag_ms.map_or("-".into(), |ms| format_span(Duration::from_millis(ms.max(0) as u64))),
            coverage(agent.coverage),
            roles,
            labels.join(" "),
            agent.version.clone(),
        ];
        table.add_row(cells.map(|cell| match cell.is_empty() {
            true => "-".to_owned(),
            false => terminal::printable(&cell).into_owned(),
        }));
    }
    Ok(terminal::out(&terminal::table_text(&table))?)
}

fn status(agent: &AgentView) -> String {
    let word = agent.status.as_str();
    if agent.comment.is_empty() || agent.comment == word {
        return word.to_owned();
    }
    format!("{word} ({})", agent.comment)
}

/// What the hub sees of an agent's link, in words.
pub fn link(agent: &AgentView) -> String {
    match agent.link {
        _ if agent.revoked => "revoked".to_owned(),
        _ if agent.waits_for_approval => "waits for approval".to_owned(),
        LinkState::Up { .. } => "up".to_owned(),
        LinkState::Late { since_ms } => format!("late since {}", instant::show(since_ms)),
        LinkState::Down { since_ms } => format!("down since {}", instant::show(since_ms)),
        LinkState::Between { since_ms } => format!("between visits, last {}", instant::show(since_ms)),
        LinkState::Never => "never".to_owned(),
    }
}

fn mode(mode: &Mode) -> &'static str {
    match mode {
        Mode::Push => "push",
        Mode::Poll { .. } => "poll",
    }
}

/// `100 %` only if nothing at all is missing: what is nearly whole is not whole.
fn coverage(coverage: Coverage) -> String {
    if coverage.of_ms == 0 {
        return "-".to_owned();
    }
    let percent = (coverage.share * 1_000.0).floor() / 10.0;
    let of = Duration::from_millis(coverage.of_ms.max(0) as u64);
    match coverage.of_ms >= 86_400_000 {
        true => format!("{percent} %"),
        false => format!("{percent} % of {}", format_span(of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_never_rounded_up() {
        let shown = |share, of_ms| coverage(Coverage { share, of_ms });
        assert_eq!(shown(1.0, 86_400_000), "100 %");
        assert_eq!(shown(0.999_99, 86_400_000), "99.9 %");
        assert_eq!(shown(1.0, 41 * 60_000), "100 % of 41 min 0 s");
        assert_eq!(shown(0.0, 0), "-");
    }
}
