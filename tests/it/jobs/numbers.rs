//! Numbers of processes are used again: in a PID namespace of its own each number that a run had is given
//! to somebody else, who must never be signalled.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fieldpost_bed::{Agent, Scratch, soaked, wait_for};
use serde_json::{Value, json};

use super::{QUICK, Stage};

/// Rounds, and those of `make soak`: forty numbers each.
const N_ROUNDS: (u64, u64) = (2, 25);
/// Runs in each; two numbers of each are given away.
const N_RUNS: usize = 20;

/// A namespace whose first process takes all that ends; everything in it ends with this value.
struct Namespace {
    first: Child,
    target: u32,
}

impl Namespace {
    /// None where none can be made: what is missing is said.
    fn new() -> Option<Self> {
        let script = "while :; do sleep 0.02; done";
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]);
        let first = command.stderr(Stdio::null()).spawn().ok()?;
        let file = format!("/proc/{0}/task/{0}/children", first.id());
        let child = || std::fs::read_to_string(&file).ok()?.trim().parse().ok();
        let mut namespace = Self { target: 0, first };
        namespace.target = wait_for("a namespace", child).ok()?;
        let is_ready = || (namespace.run("cat /proc/1/comm").trim() == "sh").then_some(());
        let may_choose = "echo 300 > /proc/sys/kernel/ns_last_pid && echo fine";
        let is_fine = wait_for("its /proc", is_ready).is_ok() && namespace.run(may_choose).trim() == "fine";
        is_fine.then_some(namespace)
    }

    /// What a line of the shell says in there.
    fn run(&self, line: &str) -> String {
        let target = self.target.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--pid", "--mount", "sh", "-c", line]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A program that runs ours in there.
    fn program(&self, folder: &Path) -> std::path::PathBuf {
        let path = folder.join("inside");
        let text = format!(
            "#!/bin/sh\nexec nsenter --target {} --pid --mount {} \"$@\"\n",
            self.target,
            crate::fieldpost()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _already_gone = self.first.kill();
        let _already_waited = self.first.wait();
    }
}

/// The numbers that a run has been given: of its shim and of its command.
fn numbers(stage: &Stage, id: &str) -> [u64; 2] {
    let file = stage.agent.store().join(format!("jobs/runs/{id}/1/started.json"));
    let started: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    ["shim", "child"].map(|who| started[who]["pid"].as_u64().unwrap())
}

#[test]
fn whoever_gets_the_number_of_a_run_is_left_alone() {
    let Some(namespace) = Namespace::new() else {
        println!("skipped: no PID namespace can be made here, or its next number not be chosen (needs root)");
        return;
    };
    let scratch = Scratch::new().unwrap();
    let program = namespace.program(scratch.path());
    let mut stage = Stage { agent: Agent::start_in(scratch, &program, QUICK, &[]).unwrap() };
    let mut n_reused = 0;
    for _ in 0..soaked(N_ROUNDS.0, N_ROUNDS.1) {
        let job = json!({ "command": "sleep", "args": ["600"] });
        let ids: Vec<String> = (0..N_RUNS).map(|_| stage.post(job.clone())).collect();
        ids.iter().for_each(|id| drop(stage.running(id)));
        let given: Vec<String> =
            ids.iter().flat_map(|id| numbers(&stage, id)).map(|n| n.to_string()).collect();
        let given = given.join(" ");
        let status: Value = serde_json::from_slice(&stage.agent.api("/v1/status").unwrap().body).unwrap();
        // All at once: a shim that saw its command end would say how.
        namespace.run(&format!("kill -9 {} {given}", status["pid"]));
        let _gone_already = stage.agent.kill();
        let is_free = || namespace.run(&format!("for n in {given}; do test -e /proc/$n && echo $n; done"));
        wait_for("numbers that are free", || is_free().trim().is_empty().then_some(())).unwrap();
        let reuse = format!(
            "for n in {given}; do echo $((n - 1)) > /proc/sys/kernel/ns_last_pid; sleep 600 >/dev/null & \
             test $! = $n && echo $n; done"
        );
        let innocent: Vec<String> = namespace.run(&reuse).lines().map(str::to_owned).collect();
        n_reused += innocent.len();
        stage.agent.start_again().unwrap();
        for id in &ids {
            assert_eq!(stage.ended(id)["state"], "lost");
        }
        let innocent = innocent.join(" ");
        let alive = namespace.run(&format!("for n in {innocent}; do kill -0 $n && echo $n; done"));
        assert_eq!(
            alive.split_whitespace().collect::<Vec<_>>().join(" "),
            innocent,
            "an innocent process was signalled"
        );
        namespace.run(&format!("kill -9 {innocent}"));
    }
    println!("{n_reused} numbers were used again");
    assert!(n_reused >= N_RUNS, "the test could not give numbers away: {n_reused}");
}
