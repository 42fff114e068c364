//! `fieldpost messages`: what runs had to say to people: warnings, errors, public messages.

use std::process::ExitCode;

use fieldpost_model::TimeMs;

use super::job_door::{JobDoor, Whom};
use super::run::ending;
use super::server::encoded;
use super::{Global, instant, terminal};
use crate::api::MessageList;

const EXAMPLES: &str = "\
Examples:
  fieldpost messages
  fieldpost messages --levels 7-9 --from 1d
  fieldpost messages --job backup --text refused
  fieldpost messages --run 8f3ac201 --limit 20
  fieldpost messages --on web-1 --levels 7-9

What an agent keeps for itself (loglevels_hub) is not told through the hub. With --json there is a cursor,
`next`, for --after.";

/// List messages of runs by the level protocol: warnings, errors, results
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Of one run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Of runs of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Of runs of this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// With this text in them
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Said since: 03:10, 1h (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    from: Option<TimeMs>,
    /// Said until
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    to: Option<TimeMs>,
    /// Of these levels
    #[arg(long, value_name = "LEVELS", default_value = "3-9")]
    levels: String,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Behind this cursor: the `next` of an answer before
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    whom: Whom,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let door = JobDoor::find(&args.whom, !args.whom.is_here(), global)?;
    let list = gathered(args, &door)?;
    if global.json {
        terminal::out(&serde_json::to_string(&list)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for gap in &list.gaps {
        let whose = if gap.run.is_empty() {
            format!("{} runs", gap.n_runs)
        } else {
            format!("run {}", ending::short(&gap.run))
        };
        terminal::err(&format!(
            "messages of {whose} from {} to {} are not all kept: {}",
            instant::show(gap.from_ms),
            instant::show(gap.to_ms),
            terminal::printable(&gap.reason)
        ));
    }
    for message in list.messages {
        let bytes = message.row.bytes();
        let text = String::from_utf8_lossy(&bytes);
        let job = if message.job.is_empty() { "-" } else { &message.job };
        let time = instant::show(message.row.time_ms);
        let text = terminal::printable(text.trim_end());
        terminal::out(&format!(
            "{time}  {:>2}  {}  {job:<14}  {text}",
            message.row.level,
            ending::short(&message.run)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As many as are wanted, from as many pages as that takes.
fn gathered(args: &Args, door: &JobDoor) -> anyhow::Result<MessageList> {
    let mut list = MessageList { next: args.after.clone(), ..MessageList::default() };
    loop {
        let wanted = args.limit - list.messages.len();
        let page: MessageList = door.of_agent(&question(args, wanted, list.next.as_deref()))?;
        list.messages.extend(page.messages);
        list.gaps.extend(page.gaps);
        list.next = page.next;
        if list.messages.len() >= args.limit || list.next.is_none() {
            return Ok(list);
        }
    }
}

fn question(args: &Args, limit: usize, after: Option<&str>) -> String {
    let mut path = format!("/messages?levels={}&limit={limit}", encoded(&args.levels));
    let words = [("run", &args.run), ("job", &args.job), ("domain", &args.domain), ("text", &args.text)];
    let words = words.into_iter().map(|(name, word)| (name, word.as_deref()));
    for (name, word) in words.chain([("after", after)]) {
        if let Some(word) = word {
            path += &format!("&{name}={}", encoded(word));
        }
    }
    for (name, time) in [("from", args.from), ("to", args.to)] {
        if let Some(time) = time {
            path += &format!("&{name}={time}");
        }
    }
    path
}
