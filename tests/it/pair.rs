//! A real hub and a real agent that belongs to it, each with scratch folders, for tests of what
//! only both together do.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fieldpost_bed::{Agent, Process, Scratch, free_port, unix_get, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// A hub that runs from a scratch folder.
pub struct HubProcess {
    scratch: Scratch,
    address: SocketAddr,
    process: Option<Process>,
}

impl HubProcess {
    /// Starts one and waits until it is ready.
    pub fn start() -> Self {
        let scratch = Scratch::new().unwrap();
        scratch.write("config/hub.yaml", "log:\n  level: debug\n").unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let mut hub = Self { scratch, address, process: None };
        hub.start_again();
        hub
    }

    /// Starts it again, on the same data and at the same address.
    pub fn start_again(&mut self) {
        let settings = self.settings(&self.data());
        let arguments: Vec<&str> = ["hub"].into_iter().chain(settings.iter().map(String::as_str)).collect();
        let program = Path::new(crate::fieldpost());
        let mut process = Process::start("hub", program, &arguments, &[], self.scratch.path()).unwrap();
        let socket = self.socket();
        let ready = || unix_get(&socket, "/-/ready").ok().filter(|answer| answer.status == 200);
        process.until("the hub", ready).unwrap();
        self.process = Some(process);
    }

    /// Stops it and waits for its end.
    pub fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::TERM).unwrap();
        assert!(process.wait().unwrap().success(), "{}", process.said());
    }

    fn settings(&self, data: &Path) -> [String; 6] {
        let config = self.scratch.path().join("config").display().to_string();
        let set = || "--set".to_owned();
        let store = format!("store.path={}", data.display());
        ["--config-dir".to_owned(), config, set(), store, set(), format!("listen={}", self.address)]
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("hub")
    }

    /// A folder for whatever the test makes.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.data().join("hub.sock")
    }

    /// Runs `fieldpost hub ...` beside it, with this on standard input.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        self.run_on(&self.data(), arguments, input)
    }

    /// The same for a hub with this data folder.
    pub fn run_on(&self, data: &Path, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(crate::fieldpost());
        command.arg("hub").args(arguments).args(self.settings(data));
        output(command, input)
    }

    /// The same; it has to succeed, and gives what it says.
    pub fn ok(&self, arguments: &[&str], input: &str) -> String {
        said(&self.run(arguments, input))
    }

    /// A JSON answer from its Unix socket.
    pub fn get(&self, path: &str) -> Value {
        let answer = unix_get(&self.socket(), path).unwrap();
        serde_json::from_str(answer.ok().unwrap()).unwrap()
    }

    /// Starts an agent with this config and joins it; waits until the hub has something of it.
    pub fn joined_agent(&self, name: &str, config: &str) -> Agent {
        let agent = Agent::start(Path::new(crate::fieldpost()), config).unwrap();
        let word = self.ok(&["token", "create"], "");
        said(&output(agent.command(&["join", "-", "--name", name]), &word));
        let stored = || Some(self.get("/api/v1/agents")).filter(|agents| agents[0]["lag_ms"].is_number());
        wait_for("the first sample at the hub", stored).unwrap();
        agent
    }
}

fn output(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
