//! Jobs with real processes: runs outlive the agent, begin at most once, end when they have to, and
//! are told as they were.

mod clocks;
mod command_line;
mod ends;
mod failpoints;
mod floods;
mod kills;
mod limits;
mod numbers;
mod params;
mod standing;
mod starts;
mod tasks;
mod traffic;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use fieldpost_bed::{Agent, Response, unix_send, wait_for};
use serde_json::{Value, json};

/// An agent that measures little, so that it starts at once.
const QUICK: &str = "interval: 10s\nstore: {window: 60s}\n";

/// An agent with jobs. Whatever of its runs is left at the end is ended.
pub struct Stage {
    pub agent: Agent,
}

impl Stage {
    pub fn start() -> Self {
        Self::with(QUICK)
    }

    pub fn with(config: &str) -> Self {
        Self { agent: Agent::start(Path::new(crate::fieldpost()), config).unwrap() }
    }

    /// An agent whose owner has defined these jobs.
    pub fn with_jobs(text: &str, environment: &[(&str, &std::ffi::OsStr)]) -> Self {
        let scratch = fieldpost_bed::Scratch::new().unwrap();
        scratch.write("config/jobs.d/10-test.yaml", text).unwrap();
        std::fs::create_dir_all(scratch.path().join("effects")).unwrap();
        let agent = Agent::start_in(scratch, Path::new(crate::fieldpost()), QUICK, environment);
        Self { agent: agent.unwrap() }
    }

    /// Runs of a job, newest first.
    pub fn runs_of(&self, job: &str) -> Vec<Value> {
        let answer = self.agent.api(&format!("/v1/runs?job={job}")).unwrap();
        let list: Value = serde_json::from_str(answer.ok().unwrap()).unwrap();
        list["runs"].as_array().unwrap().clone()
    }

    /// A folder for what commands write.
    pub fn folder(&self) -> PathBuf {
        let folder = self.agent.store().join("../effects");
        std::fs::create_dir_all(&folder).unwrap();
        folder.canonicalize().unwrap()
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Response> {
        unix_send(&self.agent.socket(), method, path, &body.to_string())
    }

    /// Has a job run; answers the id of the run.
    pub fn post(&self, job: Value) -> String {
        self.try_post(&Value::Object([("job".to_owned(), job)].into_iter().collect())).unwrap()
    }

    pub fn try_post(&self, request: &Value) -> anyhow::Result<String> {
        let answer = self.send("POST", "/v1/runs", request)?;
        ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        let run: Value = serde_json::from_slice(&answer.body)?;
        Ok(run["id"].as_str().context("no id")?.to_owned())
    }

    /// Has runs of these ids begin beside each other, each of which adds a line to a file of its
    /// name; notes which the agent has taken on. It may be killed meanwhile.
    pub fn ask_for_all<'s>(
        &self,
        ids: &'s [String],
        accepted: &'s Mutex<BTreeSet<String>>,
        scope: &'s std::thread::Scope<'s, '_>,
    ) {
        for id in ids {
            let (socket, folder) = (self.agent.socket(), self.folder());
            scope.spawn(move || {
                let job = json!({ "shell": format!("echo x >> {id}"), "dir": folder });
                let body = json!({ "id": id, "job": job }).to_string();
                if unix_send(&socket, "POST", "/v1/runs", &body).is_ok_and(|answer| answer.status == 201) {
                    accepted.lock().unwrap().insert(id.clone());
                }
            });
        }
    }

    /// A line for the shell.
    pub fn shell(&self, line: &str) -> String {
        self.post(json!({ "shell": line }))
    }

    pub fn run(&self, id: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(self.agent.api(&format!("/v1/runs/{id}"))?.ok()?)?)
    }

    pub fn state(&self, id: &str) -> anyhow::Result<String> {
        Ok(self.run(id)?["state"].as_str().context("no state")?.to_owned())
    }

    /// The run once it is over.
    pub fn ended(&self, id: &str) -> Value {
        let is_over = |run: &Value| !run["ended_ms"].is_null();
        wait_for(&format!("end of run {id}"), || self.run(id).ok().filter(is_over)).unwrap()
    }

    /// The run once its command runs.
    pub fn running(&self, id: &str) -> Value {
        wait_for(&format!("start of run {id}"), || self.run(id).ok().filter(|run| run["pid"].is_u64()))
            .unwrap()
    }

    /// Everything that a run has said and that is kept.
    pub fn output(&self, id: &str) -> Vec<u8> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let answer = self.agent.api(&format!("/v1/runs/{id}/logs?after={after}")).unwrap();
            let rows: Vec<Value> =
                answer.ok().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let Some(last) = rows.last() else { return all };
            after = last["seq"].as_u64().unwrap();
            for row in &rows {
                assert!(row["base64"].is_null(), "not asked for here");
                all.extend_from_slice(row["text"].as_str().unwrap_or_default().as_bytes());
            }
        }
    }

    pub fn kill(&self, id: &str) -> Response {
        self.send("POST", &format!("/v1/runs/{id}/kill"), &json!({})).unwrap()
    }

    pub fn client(&self, arguments: &[&str]) -> Output {
        self.agent.client(arguments).unwrap()
    }

    /// kill -9 of the agent, and the next one.
    pub fn again(&mut self) {
        self.agent.kill().unwrap();
        self.agent.start_again().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end_runs(&mut self.agent);
    }
}

/// Ends whatever runs of this agent there are.
pub fn end_runs(agent: &mut Agent) {
    // Shims stand in the folders of their runs; their commands end with them.
    let Ok(store) = agent.store().canonicalize() else { return };
    for pid in processes() {
        if std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&store))
            && pid != agent.process().pid()
        {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
    for cgroup in cgroups(&store.join("jobs/runs")) {
        let _none_of_version_1 = std::fs::write(cgroup.join("cgroup.kill"), "1");
        let _removed_by_its_shim = wait_for("end of a run", || {
            (!cgroup.exists() || std::fs::remove_dir(&cgroup).is_ok()).then_some(())
        });
    }
}

/// The cgroups of all runs that were started.
fn cgroups(runs: &Path) -> Vec<PathBuf> {
    let folders =
        |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let starts = folders(runs).flat_map(|run| folders(&run).collect::<Vec<_>>());
    let started = starts.filter_map(|start| std::fs::read_to_string(start.join("started.json")).ok());
    let paths = |text: String| -> Option<Vec<PathBuf>> {
        let started: Value = serde_json::from_str(&text).ok()?;
        started["cgroups"].as_array()?.iter().map(|path| Some(path.as_str()?.into())).collect()
    };
    started.filter_map(paths).flatten().collect()
}

/// The numbers of all processes.
pub fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process' state as one letter, and its parent; none if it is gone.
pub fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Is it there, and no zombie?
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _already_gone = rustix::process::kill_process(pid, signal);
    }
}

/// Lines of a file; 0 if it is not there.
pub fn n_lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
