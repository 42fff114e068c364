//! `fieldpost up`: a hub and an agent in one go, on loopback, enrolled with each other without a
//! question. Each is a process of its own; this one starts them, watches them, and ends them in
//! the order in which nothing is lost: the agent hands over the last window, then the hub closes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fieldpost_model::{TimeMs, format_bytes, format_span};
use rustix::process::{Pid, Signal, kill_process};

use super::find::{Running, RunningAgent};
use super::hub::RunningHub;
use super::join::{Wish, host_name, join};
use super::{Global, exit, global, instant, terminal};
use crate::agent::{self, Hubs, UplinkStatus};
use crate::api::{TokenMade, TokenRequest};
use crate::config::Root;
use crate::hub::{AgentView, LinkState, Status};
use crate::telemetry::Cost;

/// Folders of the two within the data folder.
const HUB: &str = "hub";
const AGENT: &str = "agent";
/// The longest that either may take to be ready; a store of a gigabyte opens within two seconds.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest that either may take to end; then it is killed.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How often a watched terminal gets a line.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  fieldpost up
  fieldpost up --data ./data
  fieldpost up --data ./data --listen 127.0.0.1:0 --set metrics.listen=127.0.0.1:0

The data are kept in --data, else in $XDG_STATE_HOME/fieldpost or ~/.local/state/fieldpost.";

/// Run a hub and an agent on this machine, enrolled with each other
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where both keep their data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the hub listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    if !args.listen.ip().is_loopback() {
        let text = "error: `up` is for this machine alone; for others: fieldpost hub, and fieldpost join on each host";
        return Err(exit::failure(exit::USAGE, text));
    }
    let base = std::env::current_dir().context("the present folder is gone; change to another")?;
    let data = base.join(args.data.clone().unwrap_or_else(global::own_state_dir));
    let (hub_data, agent_data) = (data.join(HUB), data.join(AGENT));
    let signals = Signals::listen()?;
    let mut hub = Part::start("hub", &hub_data, &[format!("listen={}", args.listen)], global)?;
    let running: RunningHub = hub.ready(&signals)?;

    enrol(&running, &agent_data)?;
    let mut agent = Part::start("agent", &agent_data, &[], global)?;
    let asked: RunningAgent = agent.ready(&signals)?;
    tell_linked(&asked);
    let asked = Asked { hub: running, agent: asked };
    let ended = watch(&signals, &mut hub, &mut agent, &asked);
    let agent_end = agent.end()?;
    let newest = newest(&asked.hub);
    let hub_end = hub.end()?;

    finish(ended, agent_end, hub_end, newest)
}

fn finish(
    ended: Option<&'static str>,
    agent: ExitStatus,
    hub: ExitStatus,
    newest: Option<TimeMs>,
) -> anyhow::Result<ExitCode> {
    if let Some(face) = ended {
        bail!("the {face} ended by itself; what it said stands above");
    }
    if !agent.success() || !hub.success() {
        bail!("the agent or the hub did not end cleanly; what they said stands above");
    }
    let newest =
        newest.map_or_else(String::new, |time_ms| format!(" (metrics up to {})", instant::show(time_ms)));
    terminal::err(&format!("stopped  agent flushed, hub has all of it{newest}, both stores closed clean"));
    Ok(ExitCode::SUCCESS)
}

/// Enrols the agent of this folder with the hub, unless it is. The hub may listen elsewhere than
/// the last time.
fn enrol(hub: &RunningHub, agent_data: &Path) -> anyhow::Result<()> {
    let known: Vec<AgentView> = hub.get("/api/v1/agents")?;
    let id = agent::agent_id(agent_data)?;
    let status: Status = hub.get("/v1/status")?;
    let hubs = Hubs::of(agent_data);
    let membership = hubs.load()?.into_iter().find(|membership| membership.hub_id == status.hub_id);
    if let Some(mut membership) = membership
        && known.iter().any(|agent| agent.id == id && !agent.revoked)
    {
        membership.urls = vec![status.listen.parse()?];
        return hubs.replace(&membership);
    }
    let request = TokenRequest {
        ttl_seconds: 60,
        uses: 1,
        roles: Default::default(),
        labels: Default::default(),
        needs_approval: false,
    };
    let made: TokenMade = hub.send("POST", "/api/v1/tokens", &request)?;
    let wish = Wish { name: host_name(), ..Wish::default() };
    join(agent_data, &made.join_string.parse()?, &wish)?;
    Ok(())
}

/// Says whether the agent's link is up, once it is, or soon.
fn tell_linked(agent: &RunningAgent) {
    let begun = Instant::now();
    while begun.elapsed() < READY_DEADLINE / 10 {
        let hubs: Vec<UplinkStatus> = agent.get("/v1/hubs").unwrap_or_default();
        if let Some(hub) = hubs.iter().find(|hub| hub.state == "up") {
            let name = terminal::printable(&hub.name).into_owned();
            terminal::err(&format!("  {name} is enrolled with this hub, link up, remote jobs off"));
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    terminal::err("  the agent is enrolled; its link is not up yet, see: fieldpost hub agents");
}

/// Waits for a signal; tells which of the two ended by itself, if one did.
fn watch(signals: &Signals, hub: &mut Part, agent: &mut Part, asked: &Asked) -> Option<&'static str> {
    let mut before = Look::of(hub, agent, asked);
    loop {
        if signals.asked() {
            return None;
        }
        for part in [&mut *hub, &mut *agent] {
            if part.has_ended() {
                return Some(part.face);
            }
        }
        if terminal::is_watched() && before.at.elapsed() >= SUMMARY_EVERY {
            let now = Look::of(hub, agent, asked);
            terminal::err(&summary(&before, &now));
            before = now;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The two, as they are asked.
struct Asked {
    hub: RunningHub,
    agent: RunningAgent,
}

/// What there is to see of both at one moment.
struct Look {
    at: Instant,
    agents: Vec<AgentView>,
    status: Option<agent::Status>,
    cost: [Cost; 2],
    /// Bytes of both data folders.
    store_bytes: u64,
}

impl Look {
    fn of(hub: &Part, agent: &Part, asked: &Asked) -> Self {
        let cost = [hub, agent].map(|part| Cost::of(part.child.id()).unwrap_or_default());
        let agents = asked.hub.get("/api/v1/agents").unwrap_or_default();
        let store_bytes = bytes_below(&hub.data) + bytes_below(&agent.data);
        Self { at: Instant::now(), agents, status: asked.agent.status().ok(), cost, store_bytes }
    }

    /// CPU seconds and resident bytes of both together.
    fn cost(&self) -> (f64, f64) {
        let [hub, agent] = self.cost;
        (hub.cpu_seconds + agent.cpu_seconds, hub.rss_bytes + agent.rss_bytes)
    }
}

fn summary(before: &Look, now: &Look) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let up = now.agents.iter().filter(|agent| matches!(agent.link, LinkState::Up { .. })).count();
    let lag = now.agents.iter().filter_map(|agent| agent.lag_ms).max();
    let lag = lag.map_or_else(|| "-".to_owned(), |ms| format_span(Duration::from_millis(ms.max(0) as u64)));
    let stored = |look: &Look| look.status.as_ref().map_or(0, |status| status.store.samples_stored);
    let (n_series, lost) =
        now.status.as_ref().map_or((0, 0), |status| (status.n_series, status.store.samples_lost));
    format!(
        "{}  agents {up} of {} up  {n_series} series  {:.0} samples/s  lag {lag}  cpu {:.2} %  rss {}  store {}  lost {lost}",
        chrono::Local::now().format("%H:%M:%S"),
        now.agents.len(),
        stored(now).saturating_sub(stored(before)) as f64 / seconds,
        (now.cost().0 - before.cost().0) / seconds * 100.0,
        format_bytes(now.cost().1),
        format_bytes(now.store_bytes as f64),
    )
}

/// Bytes of the files in a folder and the folders below it, as far as they can be seen.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    };
    entries.map(of).sum()
}

/// The instant of the newest sample that the hub has.
fn newest(hub: &RunningHub) -> Option<TimeMs> {
    let agents: Vec<AgentView> = hub.get("/api/v1/agents").ok()?;
    agents.iter().filter_map(|agent| agent.newest_ms).max()
}

/// One of the two processes.
struct Part {
    face: &'static str,
    data: PathBuf,
    child: Child,
}

impl Part {
    /// Starts it, in a process group of its own: Ctrl-C is for this process, which knows the order.
    fn start(face: &'static str, data: &Path, settings: &[String], global: &Global) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let program = std::env::current_exe().context("cannot find this program itself")?;
        let mut command = Command::new(program);
        command.arg(face).arg("--with-parent");
        command.arg("--set").arg(format!("store.path={}", data.display()));
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        // Each takes the keys that are its own.
        for (key, value) in &global.set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        if let Some(level) = global.log_level {
            command.arg("--log-level").arg(level.to_string());
        }
        let files = [("--config-dir", &global.config_dir), ("--config", &global.config)];
        for (flag, path) in files {
            // One file cannot be both; it is the agent's, as everywhere.
            if let Some(path) = path.as_ref().filter(|_| flag == "--config-dir" || face == "agent") {
                command.arg(flag).arg(path);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start the {face}"))?;
        if let Some(said) = child.stderr.take() {
            // What it says is said on; it ends with the process.
            std::thread::spawn(move || {
                BufReader::new(said).lines().map_while(Result::ok).for_each(|line| terminal::err(&line));
            });
        }
        Ok(Self { face, data: data.to_owned(), child })
    }

    /// Waits until it answers on its socket.
    fn ready<R: Root>(&mut self, signals: &Signals) -> anyhow::Result<Running<R>> {
        let begun = Instant::now();
        let socket = self.data.join(R::NAMES.socket);
        loop {
            if let Ok(running) = Running::<R>::at(&socket)
                && running.get::<serde_json::Value>("/v1/status").is_ok()
            {
                return Ok(running);
            }
            let face = self.face;
            if self.has_ended() {
                bail!("the {face} could not start; what it said stands above");
            }
            if signals.asked() || begun.elapsed() > READY_DEADLINE {
                self.end()?;
                bail!("the {face} was not ready");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end and waits; kills it if it does not.
    fn end(&mut self) -> anyhow::Result<ExitStatus> {
        if let (false, Some(pid)) = (self.has_ended(), Pid::from_raw(self.child.id() as i32)) {
            // It may end by itself in this very moment.
            let _ = kill_process(pid, Signal::TERM);
        }
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < END_DEADLINE {
            std::thread::sleep(LOOK_EVERY);
        }
        if !self.has_ended() {
            self.child.kill()?;
        }
        Ok(self.child.wait()?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // On the way out of an error nothing stays behind.
        let _ = self.end();
    }
}

/// Ctrl-C and SIGTERM, as a flag to look at.
struct Signals {
    _runtime: tokio::runtime::Runtime,
    shutdown: tokio_util::sync::CancellationToken,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let inside = runtime.enter();
        let shutdown = crate::shutdown::Signals::listen()?.shutdown;
        drop(inside);
        Ok(Self { _runtime: runtime, shutdown })
    }

    fn asked(&self) -> bool {
        self.shutdown.is_cancelled()
    }
}
