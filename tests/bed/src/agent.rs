//! A real agent with a scratch config and a scratch store.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use crate::{Hub, Page, Place, Process, Response, Scratch, free_port, get, unix_get};

/// An agent that runs from the program given, and ends with this value.
pub struct Agent {
    program: PathBuf,
    place: Place,
    scratch: Scratch,
    metrics: SocketAddr,
    process: Process,
    // Behind the process: what goes when it has ended.
    _cgroups: RunCgroups,
}

/// The empty cgroups that an agent which was killed leaves: those below which its runs had theirs.
struct RunCgroups(Option<String>);

impl RunCgroups {
    fn of(jobs: &Path) -> Self {
        Self(std::fs::metadata(jobs).ok().map(|of| format!("fieldpost-runs-{:x}-{:x}", of.dev(), of.ino())))
    }
}

impl Drop for RunCgroups {
    fn drop(&mut self) {
        let (Some(name), root) = (&self.0, Path::new("/sys/fs/cgroup")) else { return };
        let trees = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        let trees: Vec<PathBuf> = trees.chain([root.to_owned()]).collect();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for path in own.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
            for tree in &trees {
                let _not_there = std::fs::remove_dir(tree.join(path.trim_start_matches('/')).join(name));
            }
        }
    }
}

impl Agent {
    /// Starts an agent with this agent.yaml and waits until it is ready. Its store and its port are
    /// the bed's affair; `config` may set anything else.
    pub fn start(program: &Path, config: &str) -> anyhow::Result<Self> {
        Self::start_in(Scratch::new()?, program, config, &[])
    }

    /// The same in a folder that was prepared, where `data` will be the store, with more environment.
    pub fn start_in(
        scratch: Scratch,
        program: &Path,
        config: &str,
        environment: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        Self::start_whole(Place::here(), scratch, program, config, environment)
    }

    /// The same on another host.
    pub fn start_at(place: Place, program: &Path, config: &str) -> anyhow::Result<Self> {
        Self::start_whole(place, Scratch::new()?, program, config, &[])
    }

    fn start_whole(
        place: Place,
        scratch: Scratch,
        program: &Path,
        config: &str,
        environment: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        scratch.write("config/agent.yaml", config)?;
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let process = spawn(program, &place, &scratch, metrics, environment)?;
        let program = program.to_path_buf();
        let mut agent = Self { program, place, scratch, metrics, process, _cgroups: RunCgroups(None) };
        agent.wait_until_ready()?;
        agent._cgroups = RunCgroups::of(&agent.store().join("jobs"));
        Ok(agent)
    }

    /// Starts it again on the same store, after `kill` or `stop`.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.program, &self.place, &self.scratch, self.metrics, &[])?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let (address, socket, is_here) = (self.metrics, self.socket(), self.place.is_here());
        // The page of another host cannot be reached from here; files can.
        let ask = || if is_here { get(address, "/-/ready") } else { unix_get(&socket, "/v1/status") };
        self.process.until("/-/ready", || ask().ok().filter(|answer| answer.status == 200))?;
        Ok(())
    }

    /// Where `/metrics` is.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// GET from the TCP listener.
    pub fn get(&self, path: &str) -> anyhow::Result<Response> {
        get(self.metrics, path)
    }

    /// GET from the Unix socket.
    pub fn api(&self, path: &str) -> anyhow::Result<Response> {
        unix_get(&self.socket(), path)
    }

    /// Its metrics page, read strictly.
    pub fn page(&self) -> anyhow::Result<Page> {
        Ok(Page::parse(self.get("/metrics")?.ok()?)?)
    }

    /// Its data folder.
    pub fn store(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.store().join("fieldpost.sock")
    }

    /// Its config folder.
    pub fn config_dir(&self) -> PathBuf {
        self.scratch.path().join("config")
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A client command beside it, with the same config and store; the agent may be running or not.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(&self.program);
        // What stands behind `--` is somebody else's.
        let own = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        command.args(&arguments[..own]).arg("--config-dir").arg(self.config_dir());
        command.arg("--set").arg(store_setting(&self.scratch)).env_remove("FIELDPOST_CONFIGDIR");
        command.args(&arguments[own..]);
        command
    }

    /// Runs a client command and takes what it says.
    pub fn client(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command(arguments).output().with_context(|| format!("cannot run {arguments:?}"))
    }

    /// `fieldpost join -` with this word on its standard input; the agent may be running or not.
    pub fn join(&self, word: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let all = [&["join", "-"], arguments].concat();
        let mut child = self
            .command(&all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run join")?;
        // One that refuses without reading closes its input first.
        let _refused = child.stdin.take().context("no input")?.write_all(word.as_bytes());
        Ok(child.wait_with_output()?)
    }

    /// Joins a hub, under a name.
    pub fn join_hub(&self, hub: &Hub, name: &str) -> anyhow::Result<()> {
        let output = self.join(&hub.join_string()?, &["--name", name])?;
        ensure!(output.status.success(), "join: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// What it says of its link to its first hub: up, connecting, down.
    pub fn link_state(&self) -> anyhow::Result<String> {
        let hubs: serde_json::Value = serde_json::from_str(self.api("/v1/hubs")?.ok()?)?;
        Ok(hubs[0]["state"].as_str().unwrap_or("none").to_owned())
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

fn spawn(
    program: &Path,
    place: &Place,
    scratch: &Scratch,
    metrics: SocketAddr,
    environment: &[(&str, &OsStr)],
) -> anyhow::Result<Process> {
    let config = scratch.path().join("config").display().to_string();
    let store = store_setting(scratch);
    let listen = format!("metrics.listen={metrics}");
    let arguments = ["agent", "--config-dir", &config, "--set", &store, "--set", &listen];
    Process::start_at(place, "agent", program, &arguments, environment, scratch.path())
}
