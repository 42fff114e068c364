//! `fieldpost hub poll`: agents that must not dial out, so that the hub dials them.

use std::process::ExitCode;
use std::time::Duration;

use fieldpost_link::{AgentAddress, Invitation};
use fieldpost_model::hub_state::Mode;
use fieldpost_model::{Period, format_span};

use super::{RunningHub, key_and_value};
use crate::api::{PollChange, PollRequest};
use crate::cli::join::{Dash, dash, read_word};
use crate::cli::{Global, terminal};
use crate::hub::AgentView;

const EXAMPLES: &str = "\
Examples:
  fieldpost hub poll add -                          (paste the invitation, then Enter)
  ssh web1 sudo fieldpost invite | fieldpost hub poll add - --interval 300s --role web
  fieldpost hub poll list
  fieldpost hub poll set web1 --interval 0

With --interval 0 the hub stays on the link, and everything is as fresh as from agents that dial.
To let go of an agent: fieldpost hub agents revoke NAME, or forget NAME";

/// Take in agents that must not dial out, and say how often they are visited
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Take in the agent of an invitation from standard input
    Add(Add),
    /// List the agents that the hub dials
    List,
    /// Change where or how often an agent is visited
    Set {
        /// Its name
        name: String,
        /// From one visit to the next; 0: the hub stays
        #[arg(long, value_name = "SPAN")]
        interval: Option<Period>,
        /// Where it listens
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<AgentAddress>,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// A dash: the invitation comes from standard input, never from the command line
    #[arg(value_name = "-", value_parser = dash)]
    _word: Dash,
    /// From one visit to the next; 0: the hub stays
    #[arg(long, default_value = "0", value_name = "SPAN")]
    interval: Period,
    /// Role of the agent; may be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Label of the agent; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_and_value)]
    labels: Vec<(String, String)>,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    match &args.action {
        Action::Add(wish) => add(&hub, wish, global)?,
        Action::List => list(&hub, global)?,
        Action::Set { name, interval, address } => {
            let change = PollChange {
                address: address.as_ref().map(ToString::to_string),
                interval_seconds: interval.map(|interval| interval.0.as_secs()),
            };
            anyhow::ensure!(change != PollChange::default(), "say what to change: --interval or --address");
            let view: AgentView = hub.send("POST", &format!("/api/v1/agents/{name}/poll"), &change)?;
            show(&view, global)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(hub: &RunningHub, wish: &Add, global: &Global) -> anyhow::Result<()> {
    let (invitation, _): (String, Invitation) =
        read_word("invitation", "make one on the agent's host: fieldpost invite")?;
    let request = PollRequest {
        invitation,
        interval_seconds: wish.interval.0.as_secs(),
        roles: wish.roles.iter().cloned().collect(),
        labels: wish.labels.iter().cloned().collect(),
    };
    show(&hub.send("POST", "/api/v1/polls", &request)?, global)
}

fn show(agent: &AgentView, global: &Global) -> anyhow::Result<()> {
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(agent)?)?);
    }
    let (address, often) = visits(&agent.mode);
    Ok(terminal::out(&format!("{}  {address}  {often}", terminal::printable(&agent.name)))?)
}

fn visits(mode: &Mode) -> (String, String) {
    match mode {
        Mode::Push => ("-".to_owned(), "dials itself".to_owned()),
        Mode::Poll { address, interval_seconds: 0 } => (address.clone(), "the hub stays".to_owned()),
        Mode::Poll { address, interval_seconds } => {
            let span = format_span(Duration::from_secs(*interval_seconds));
            (address.clone(), format!("every {span}"))
        }
    }
}

fn list(hub: &RunningHub, global: &Global) -> anyhow::Result<()> {
    let mut agents: Vec<AgentView> = hub.get("/api/v1/agents")?;
    agents.retain(|agent| agent.mode != Mode::Push);
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(&agents)?)?);
    }
    if agents.is_empty() {
        return Ok(terminal::out("the hub dials no agent; to be invited by one: fieldpost invite, there")?);
    }
    let mut table = terminal::table(["NAME", "ADDRESS", "VISITED", "LINK"]);
    for agent in &agents {
        let (address, often) = visits(&agent.mode);
        let cells = [agent.name.clone(), address, often, super::agents::link(agent)];
        table.add_row(cells.map(|cell| terminal::printable(&cell).into_owned()));
    }
    Ok(terminal::out(&terminal::table_text(&table))?)
}
