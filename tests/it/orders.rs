//! Orders through the hub, with a real hub and real agents: each comes to its agent once and runs once,
//! whoever is killed or cut off meanwhile, and the hub tells what became of it.

mod asked;
mod definitions;
mod faults;
mod results;
mod targets;

use std::path::{Path, PathBuf};
use std::process::Output;

use fieldpost_bed::{Agent, FaultProxy, Hub, Response, unix_send, wait_for};
use serde_json::{Value, json};

/// An agent that measures little, so that it starts at once, and looks for its hub often.
const QUICK: &str = "interval: 10s\nstore: {window: 60s}\nlink: {reconnect_max: 1s}\n";

/// A hub and its agents.
pub struct Field {
    pub hub: Hub,
    pub agents: Vec<Agent>,
}

fn program() -> &'static Path {
    Path::new(crate::fieldpost())
}

impl Field {
    /// A hub, and agents that let it have any command run: names, and what is said to `join` beside.
    pub fn new(agents: &[(&str, &[&str])]) -> Self {
        Self::with(Hub::start(program(), "").unwrap(), agents)
    }

    /// The same behind a proxy that harms connections.
    pub fn behind(front: FaultProxy, agents: &[(&str, &[&str])]) -> Self {
        Self::with(Hub::start_behind(front, program(), "").unwrap(), agents)
    }

    fn with(hub: Hub, agents: &[(&str, &[&str])]) -> Self {
        let mut field = Self { hub, agents: Vec::new() };
        for (name, more) in agents {
            let agent = Agent::start(program(), QUICK).unwrap();
            let word = field.hub.join_string().unwrap();
            let jobs: &[&str] = if more.contains(&"--allow-jobs") { &[] } else { &["--allow-jobs", "any"] };
            let joined = agent.join(&word, &[&["--name", name], jobs, more].concat()).unwrap();
            assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
            field.agents.push(agent);
        }
        agents.iter().for_each(|(name, _)| field.wait_for_link(name, "up"));
        field
    }

    pub fn wait_for_link(&self, name: &str, state: &str) {
        let what = format!("link of {name} to be {state}");
        wait_for(&what, || self.hub.link_of(name).ok().filter(|is| is == state)).unwrap();
    }

    /// A folder for what commands write.
    pub fn effects(&self) -> PathBuf {
        let folder = self.hub.data().join("../effects");
        std::fs::create_dir_all(&folder).unwrap();
        folder.canonicalize().unwrap()
    }

    /// How many lines the commands have written here.
    pub fn n_effects(&self, name: &str) -> usize {
        std::fs::read_to_string(self.effects().join(name)).unwrap_or_default().lines().count()
    }

    /// A job that leaves a line, so that one sees how often it ran, and then does this.
    pub fn marking(&self, name: &str, then: &str) -> Value {
        let file = self.effects().join(name);
        json!({ "name": name, "shell": format!("echo $FIELDPOST_AGENT >> {}; {then}", file.display()) })
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        unix_send(&self.hub.socket(), method, &format!("/api/v1{path}"), &body.to_string()).unwrap()
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, &Value::Null);
        serde_json::from_str(answer.ok().unwrap()).unwrap()
    }

    /// Orders; answers the ids of the runs.
    pub fn order(&self, job: &Value, target: &Value) -> Vec<String> {
        let answer = self.send("POST", "/runs", &json!({ "job": job, "target": target }));
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        let ordered: Value = serde_json::from_slice(&answer.body).unwrap();
        let runs = ordered["runs"].as_array().unwrap();
        runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Orders one run of this agent.
    pub fn order_of(&self, agent: &str, job: &Value) -> String {
        self.order(job, &json!({ "agent": agent })).remove(0)
    }

    pub fn run(&self, id: &str) -> Value {
        self.get(&format!("/runs/{id}"))
    }

    /// The run once the hub says that it is in this state.
    pub fn in_state(&self, id: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let found = wait_for(&format!("run {id} to be {state}"), || {
            last = self.run(id);
            (last["state"] == state).then(|| last.clone())
        });
        let own = || -> Vec<String> {
            let asked = self.agents.iter().map(|agent| agent.api(&format!("/v1/runs/{id}")));
            asked.filter_map(|answer| answer.ok()?.text().ok().map(str::to_owned)).collect()
        };
        found.unwrap_or_else(|error| panic!("{error}: {last:#}\nthe agents say: {:#?}", own()))
    }

    /// `fieldpost ARGUMENTS` beside the hub.
    pub fn client(&self, arguments: &[&str]) -> Output {
        let mut command = std::process::Command::new(crate::fieldpost());
        let own = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        command.args(&arguments[..own]).arg("--config-dir").arg(self.hub.data().join("../config"));
        command.arg("--set").arg(format!("store.path={}", self.hub.data().display()));
        command.args(&arguments[own..]).env_remove("FIELDPOST_CONFIGDIR");
        command.output().unwrap()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            crate::jobs::end_runs(agent);
        }
    }
}
