//! `fieldpost join -`: makes this host's agent one of a hub's, by a join string from the standard
//! input, so that the secret stands in no argv and no shell history.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use fieldpost_link::{
    JoinAnswer, JoinRequest, JoinString, KeyRequest, LinkError, Proxy, WordError, join_hub,
};
use fieldpost_model::hub_state::{Labels, Roles};
use fieldpost_model::{RemoteJobs, format_span};
use serde_json::json;

use super::find::RunningAgent;
use super::hub::key_and_value;
use super::{Global, exit, instant, terminal};
use crate::agent::{Hubs, Membership};
use crate::config::Config;
use crate::hub::JoinedDetails;

/// The longest join string that is read.
const WORD_BYTES_MAX: u64 = 16 << 10;

const EXAMPLES: &str = "\
Examples:
  sudo fieldpost join -                        (paste the join string, then Enter)
  sudo fieldpost join - < string
  ssh hub fieldpost hub token create | sudo fieldpost join - --role web --label site=berlin
  sudo fieldpost join - --allow-jobs named < string

The key is made on this host and stays here. remote_jobs in agent.yaml, if it is set, wins over
--allow-jobs.";

/// Join a hub by a join string from standard input
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A dash: the join string comes from standard input, never from the command line
    #[arg(value_name = "-", value_parser = dash)]
    _word: Dash,
    /// The name of this host at the hub; its host name if not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The jobs that the hub may have run here: off, named (those of this host's jobs.d) or any
    #[arg(long, value_name = "WHICH", default_value_t)]
    allow_jobs: RemoteJobs,
    /// A role of this host; may be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A label of this host; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_and_value)]
    labels: Vec<(String, String)>,
}

/// A secret word comes from the standard input: a dash stands for it.
#[derive(Debug, Clone, Copy)]
pub struct Dash;

/// Takes the dash, and nothing that might be a secret.
pub fn dash(text: &str) -> Result<Dash, String> {
    match text {
        "-" => Ok(Dash),
        _ => Err("the word is a secret: give it on standard input, as in `fieldpost join - < word`".into()),
    }
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config: Config = global.load()?.config;
    allowed(config.remote_jobs, args.allow_jobs)?;
    let (_, word) = read_word("join string", "make one at the hub: fieldpost hub token create")?;
    let wish = Wish {
        name: args.name.clone().unwrap_or_else(host_name),
        roles: args.roles.iter().cloned().collect(),
        labels: args.labels.iter().cloned().collect(),
        allow_jobs: args.allow_jobs,
    };
    let data = &config.store.path;
    let joined = join_through(config.link.dialled_by()?.as_ref(), data, &word, &wish)?;
    tell(&joined, &config, global)?;
    // An agent that runs dials at once; one that does not will when it starts.
    let running = RunningAgent::find(global).and_then(|agent| agent.tell("POST", "/v1/hubs/refresh", None));
    if running.is_err() {
        terminal::err("the agent does not run, or is not yours; it dials the hub when it starts");
    }
    Ok(ExitCode::SUCCESS)
}

/// What a host would like to be at the hub, and lets it do here.
#[derive(Default)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Roles,
    /// Its labels.
    pub labels: Labels,
    /// The jobs that the hub is granted.
    pub allow_jobs: RemoteJobs,
}

/// Is what is granted within what the config lets every hub do?
pub fn allowed(most: Option<RemoteJobs>, granted: RemoteJobs) -> anyhow::Result<()> {
    match most {
        Some(most) if granted > most => bail!(
            "--allow-jobs {granted} is more than remote_jobs: {most} in the config, which counts for every hub; \
             raise it there, or take it out"
        ),
        _ => Ok(()),
    }
}

/// What became of it.
pub struct Joined {
    /// The membership that is kept from now on.
    pub membership: Membership,
    /// What the hub told.
    pub details: JoinedDetails,
    /// How far this host's clock is ahead of the hub's, ms.
    pub ahead_ms: i64,
}

/// Joins and keeps the membership in this data folder. Nothing is kept if the hub refuses.
pub fn join(data: &Path, word: &JoinString, wish: &Wish) -> anyhow::Result<Joined> {
    join_through(None, data, word, wish)
}

/// The same through a proxy, if there is one.
fn join_through(
    proxy: Option<&Proxy>,
    data: &Path,
    word: &JoinString,
    wish: &Wish,
) -> anyhow::Result<Joined> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agent_id = crate::agent::agent_id(data)?;
    let key = KeyRequest::new(&agent_id)?;
    let request = JoinRequest {
        token: word.token.clone(),
        request: key.request.clone(),
        agent_id: agent_id.clone(),
        name: wish.name.clone(),
        details: json!({
            "version": env!("CARGO_PKG_VERSION"), "roles": wish.roles, "labels": wish.labels,
            "allow_jobs": wish.allow_jobs,
        }),
    };
    let (answer, url) = runtime.block_on(join_hub(word, proxy, &request)).map_err(|error| told(&error))?;
    let JoinAnswer { chain, ca, hub_id, details } = answer;
    let details: JoinedDetails = serde_json::from_value(details).unwrap_or_default();
    let identity = key.accept(chain, ca, &agent_id, &word.pin).context("what the hub gave cannot be used")?;
    let now_ms = instant::parse_now("now").map_err(anyhow::Error::msg)?;
    let mut urls = word.urls.clone();
    urls.sort_by_key(|other| *other != url);
    let membership = Membership {
        hub_id,
        urls,
        name: details.name.clone(),
        joined_ms: now_ms,
        allow_jobs: wish.allow_jobs,
        identity,
        previous: None,
    };
    Hubs::of(data).save(&membership)?;
    Ok(Joined { membership, ahead_ms: now_ms - details.time_ms, details })
}

fn told(error: &LinkError) -> anyhow::Error {
    let advice = match error {
        LinkError::Refused(_) => "",
        _ => "\n  nothing was sent that could be misused, and nothing changed here",
    };
    exit::failure(exit::FAILED, format!("error: {error}{advice}"))
}

/// Reads a secret word from the standard input: as it is, and understood. `what`: its name for
/// people; `advice`: where it comes from.
pub fn read_word<W>(what: &str, advice: &str) -> anyhow::Result<(String, W)>
where
    W: FromStr<Err = WordError>,
{
    if terminal::asks() {
        terminal::err(&format!("paste the {what}, then press Enter:"));
    }
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(WORD_BYTES_MAX);
    if terminal::asks() {
        std::io::BufRead::read_line(&mut input, &mut text)?;
    } else {
        input.read_to_string(&mut text).with_context(|| format!("the {what} is no text"))?;
    }
    let Some(word) = text.split_whitespace().find(|word| word.starts_with("fp")) else {
        bail!("there is no {what} on standard input; {advice}");
    };
    Ok((word.to_owned(), word.parse()?))
}

/// What this host calls itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What a hub may do on this host, and what not.
fn rights(jobs: RemoteJobs) -> &'static str {
    match jobs {
        RemoteJobs::Off => "read metrics, events, processes.  may not: run jobs, move files, open tunnels",
        RemoteJobs::Named => {
            "read metrics, events, processes, run the jobs of jobs.d here.  \
             may not: run other commands, move files, open tunnels"
        }
        RemoteJobs::Any => {
            "read metrics, events, processes, run any command.  may not: move files, open tunnels"
        }
    }
}

fn tell(joined: &Joined, config: &Config, global: &Global) -> anyhow::Result<()> {
    let Joined { membership, details, ahead_ms } = joined;
    let hub = membership.urls.first().map(ToString::to_string).unwrap_or_default();
    let jobs = config.remote_jobs.unwrap_or(membership.allow_jobs);
    if global.json {
        let object = json!({
            "hub_id": membership.hub_id, "hub": hub, "name": details.name, "roles": details.roles,
            "waits_for_approval": details.waits_for_approval, "clock_ahead_ms": ahead_ms, "allow_jobs": jobs,
        });
        return Ok(terminal::out(&serde_json::to_string_pretty(&object)?)?);
    }
    let differ = format_span(Duration::from_millis(ahead_ms.unsigned_abs()));
    let roles = match details.roles.is_empty() {
        true => "no roles".to_owned(),
        false => format!("roles: {}", details.roles.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    let mut text = format!(
        "hub    {hub} is the one that made this string; clocks differ by {differ}\n\
         joined as {}, {roles}; key made here and kept here\n\
         this hub may: {}\n  to change: remote_jobs in the agent's config (off, named, any)",
        terminal::printable(&details.name),
        rights(jobs),
    );
    if details.waits_for_approval {
        text += "\nsomebody at the hub has to approve this host first: fieldpost hub agents approve ";
        text += &terminal::printable(&details.name);
    }
    Ok(terminal::out(&text)?)
}
