//! A real hub with a scratch config and a scratch store.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{FaultProxy, Place, Process, Scratch, unix_get};

/// Any free port of loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How the kernel's table of sockets writes that one listens.
const LISTENS: &str = "0A";

/// A hub that runs from the program given, and ends with this value.
pub struct Hub {
    program: PathBuf,
    place: Place,
    scratch: Scratch,
    process: Process,
    listen: SocketAddr,
    front: Option<FaultProxy>,
}

impl Hub {
    /// Starts a hub with this hub.yaml on a free port of loopback, and waits until it is ready.
    pub fn start(program: &Path, config: &str) -> anyhow::Result<Self> {
        Self::start_whole(Place::here(), ANY_PORT, None, program, config)
    }

    /// The same behind a proxy: join strings name the proxy, and it leads to wherever the hub
    /// listens after each start.
    pub fn start_behind(front: FaultProxy, program: &Path, config: &str) -> anyhow::Result<Self> {
        let config = format!("{config}\npublic_url: http://{}\n", front.address());
        Self::start_whole(Place::here(), ANY_PORT, Some(front), program, &config)
    }

    /// The same on another host, and at another address.
    pub fn start_at(place: Place, listen: SocketAddr, program: &Path, config: &str) -> anyhow::Result<Self> {
        Self::start_whole(place, listen, None, program, config)
    }

    fn start_whole(
        place: Place,
        listen: SocketAddr,
        front: Option<FaultProxy>,
        program: &Path,
        config: &str,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        scratch.write("config/hub.yaml", config)?;
        let process = spawn(program, &place, &scratch, listen)?;
        let mut hub = Self { program: program.to_path_buf(), place, scratch, process, listen, front };
        hub.wait_until_ready()?;
        Ok(hub)
    }

    /// Starts it again on the same store, after `kill` or `stop`; where there is no proxy before
    /// it, at the same address.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let listen = if self.front.is_some() { ANY_PORT } else { self.listen };
        self.process = spawn(&self.program, &self.place, &self.scratch, listen)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let (socket, pid) = (self.socket(), self.process.pid());
        let ready = || {
            let answer = unix_get(&socket, "/v1/status").ok()?;
            let status: Value = serde_json::from_str(answer.ok().ok()?).ok()?;
            (status["pid"] == pid).then_some(())
        };
        self.process.until("the hub's status", ready)?;
        self.listen.set_port(listening_port(pid)?);
        if let Some(front) = &self.front {
            front.lead_to(self.listen);
        }
        Ok(())
    }

    /// The proxy before it.
    pub fn front(&self) -> &FaultProxy {
        self.front.as_ref().expect("this hub was started behind a proxy")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.data().join("hub.sock")
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A client command beside it: `command(&["agents"])` is `fieldpost hub agents`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(&self.program);
        command.arg("hub").args(arguments).arg("--config-dir").arg(self.scratch.path().join("config"));
        command.arg("--set").arg(store_setting(&self.scratch)).env_remove("FIELDPOST_CONFIGDIR");
        command
    }

    /// Runs a client command that must succeed, and takes what it says.
    pub fn client(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments).output().with_context(|| format!("cannot run {arguments:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "fieldpost hub {}: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A new join string.
    pub fn join_string(&self) -> anyhow::Result<String> {
        Ok(self.client(&["token", "create"])?.trim().to_owned())
    }

    /// The list of agents, as its API has it.
    pub fn agents(&self) -> anyhow::Result<Vec<Value>> {
        Ok(serde_json::from_str(unix_get(&self.socket(), "/api/v1/agents")?.ok()?)?)
    }

    /// The agent of this name.
    pub fn agent(&self, name: &str) -> anyhow::Result<Value> {
        let agents = self.agents()?;
        let agent = agents.iter().find(|agent| agent["name"] == name);
        agent.cloned().with_context(|| format!("no agent {name}: {agents:?}"))
    }

    /// What it sees of the link of the agent of this name: up, late, down, never.
    pub fn link_of(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.agent(name)?["link"]["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait()
    }

    /// kill -9.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }
}

fn store_setting(scratch: &Scratch) -> String {
    format!("store.path={}", scratch.path().join("data").display())
}

fn spawn(program: &Path, place: &Place, scratch: &Scratch, listen: SocketAddr) -> anyhow::Result<Process> {
    let config = scratch.path().join("config").display().to_string();
    let (store, listen) = (store_setting(scratch), format!("listen={listen}"));
    let arguments = ["hub", "--config-dir", &config, "--set", &store, "--set", &listen];
    Process::start_at(place, "hub", program, &arguments, &[], scratch.path())
}

/// The port at which a process listens, by the kernel's own word.
fn listening_port(pid: u32) -> anyhow::Result<u16> {
    let mut sockets = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed meanwhile.
        let target = std::fs::read_link(entry?.path()).unwrap_or_default();
        sockets.insert(target.display().to_string());
    }
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let port = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let is_its = *state == LISTENS && sockets.contains(&format!("socket:[{inode}]"));
        is_its.then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok()).flatten()
    });
    port.with_context(|| format!("process {pid} listens nowhere"))
}
