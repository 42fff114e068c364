//! `fieldpost run`: runs a command as a run of its own, on this host or through the hub, which goes on if
//! the agent or this client ends; and everything about single runs.

mod about;
pub mod ending;
mod fanout;
mod follow;
mod new;
mod pop;

use std::process::ExitCode;

use fieldpost_model::Period;

use super::Global;
use super::job_door::Whom;

pub use new::{input, pair};

const EXAMPLES: &str = "\
Examples:
  fieldpost run -- make -C /srv/site
  fieldpost run --name backup --timeout 2h --memory 512M -- restic backup /home
  fieldpost run --detach --tag ticket=4711 -- ./reindex.sh
  echo hunter2 | fieldpost run --secret PASSWORD -- ./upload.sh
  fieldpost run logs -f 8f3ac201
  fieldpost run kill 8f3ac201
  fieldpost run --on web-1 -- systemctl restart nginx
  fieldpost run --role web --fanout -- uptime
  fieldpost run result --pop --job reindex --wait 60s

With --on, --role or --label the hub is asked: the one on this machine, or the one named by --hub. A role
alone means any one agent that holds it (* any at all); with --fanout each of them.

Exit codes of a run that is waited for:
  N       the command's own exit code; 128+N if signal N ended it
  120     there is no result to take (run result --pop)
  121     the agent cannot be reached, or went away and did not come back
  122     fan-out: some ended otherwise than others
  123     cancelled, lost, or interrupted by a reboot
  124     over its time, or silent for too long
  125     refused: by the agent, or because a limit cannot be enforced
  126     the command cannot be executed
  127     there is no such command
  130     left alone by Ctrl-C; the run goes on";

/// Run a command that outlives the agent, or look after a run
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[group(skip)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    new: new::New,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show everything that is known of a run
    Show(One),
    /// Show what a run has said
    Logs(LogsArgs),
    /// End a run
    Kill(KillArgs),
    /// Show how a run ended and what it gave, and exit as it did; or take the next result at a hub
    Result(ResultArgs),
    /// Show what a run has cost
    Stats(One),
    /// Forget a run that is over, and its output; through a hub at its agent and there
    Rm(One),
}

/// One run.
#[derive(Debug, clap::Args)]
struct One {
    /// The run: its id, or enough of its beginning or end
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, clap::Args)]
struct LogsArgs {
    #[command(flatten)]
    one: One,
    /// Go on until the run is over
    #[arg(short, long)]
    follow: bool,
    /// Only these levels, such as 1,2,6-9
    #[arg(long, value_name = "LEVELS")]
    levels: Option<String>,
    /// Only rows with this text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Behind the row of this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// When each row was said, before it
    #[arg(short, long)]
    timestamps: bool,
}

#[derive(Debug, clap::Args)]
struct KillArgs {
    #[command(flatten)]
    one: One,
    /// Only send this signal, by name or number
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ResultArgs {
    /// The run: its id, or enough of its beginning or end
    #[arg(value_name = "ID", required_unless_present = "pop")]
    id: Option<String>,
    /// Wait so long for its end
    #[arg(long, value_name = "SPAN")]
    wait: Option<Period>,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    pop: pop::Pop,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.action {
        None => new::run(&args.new, global),
        Some(Action::Show(one)) => about::show(one, global),
        Some(Action::Logs(logs)) => about::logs(logs, global),
        Some(Action::Kill(kill)) => about::kill(&kill.one, kill.signal.as_deref(), global),
        Some(Action::Result(ResultArgs { id: Some(id), wait, whom, .. })) => {
            about::result(id, *wait, whom, global)
        }
        Some(Action::Result(ResultArgs { wait, whom, pop, .. })) => pop::run(pop, *wait, whom, global),
        Some(Action::Stats(one)) => about::stats(one, global),
        Some(Action::Rm(one)) => about::forget(one, global),
    }
}
