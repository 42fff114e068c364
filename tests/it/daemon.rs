//! The agent and the hub as daemons: start, stop, restart, status and reload keep their promises, and no
//! innocent process is ever signalled.

mod hub;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fieldpost_bed::{get, wait_for};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::fieldpost;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// A folder with a config and a data folder, and whatever agent or hub runs there; it ends with the
/// test.
struct Host {
    dir: tempfile::TempDir,
    face: &'static str,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Host {
    /// Of an agent.
    fn new() -> Self {
        Self::of("agent")
    }

    fn of(face: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cfg")).unwrap();
        let host = Self { dir, face };
        host.write_config("");
        host
    }

    fn write_config(&self, more: &str) {
        let listen = if self.face == "agent" { "metrics:\n  listen" } else { "listen" };
        let text = format!("{listen}: 127.0.0.1:0\nstore:\n  path: data\n{more}");
        std::fs::write(self.dir.path().join("cfg").join(self.face).with_extension("yaml"), text).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(fieldpost());
        command.args([self.face, "--config-dir", "cfg"]).args(arguments).current_dir(self.dir.path());
        command.env_clear().env("RUNTIME_DIRECTORY", self.dir.path().join("run")).stdin(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Said {
        said(&self.command(arguments).output().unwrap())
    }

    fn note(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.data().join("fieldpost.pid")).unwrap()).unwrap()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.note()["pid"].as_i64().unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let stopped = self.ask(&["--stop", "--force"]);
        assert!(std::thread::panicking() || stopped.code == 0, "{}", stopped.err);
    }
}

fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Numbers become N, so that sentences can be compared.
fn blanked(text: &str) -> String {
    let mut blank = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if blank.ends_with('N') => {}
            '0'..='9' => blank.push('N'),
            c => blank.push(c),
        }
    }
    blank
}

fn innocent() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

fn end_innocent(mut child: Child) {
    assert!(child.try_wait().unwrap().is_none(), "an innocent process was signalled");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn life_of_a_daemon_reads_as_it_should() {
    let host = Host::new();
    let started = host.ask(&["--start"]);
    assert_eq!(
        blanked(&started.out),
        "started  pid N, ready in N.N s, metrics http://N.N.N.N:N/metrics\n",
        "{}",
        started.err
    );
    assert_eq!((started.code, started.err.as_str()), (0, ""));
    let address = started.out.trim().split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    assert!(get(address.parse().unwrap(), "/metrics").unwrap().ok().unwrap().contains("node_load1 "));
    let again = host.ask(&["--start"]);
    assert_eq!(
        (again.code, blanked(&again.out)),
        (0, "already running: pid N, up N s, same config\n".to_owned())
    );
    let status = host.ask(&["--status"]);
    let config = host.dir.path().canonicalize().unwrap().join("cfg/agent.yaml");
    let config = blanked(&config.display().to_string());
    let expected = format!("running  pid N  up N s  config {config}  store N.N MiB  last error none\n");
    assert_eq!((status.code, blanked(&status.out)), (0, expected));
    let stopped = host.ask(&["--stop"]);
    let text = blanked(&stopped.out).replace("N N samples", "N samples");
    assert_eq!((stopped.code, text.as_str()), (0, "stopped  in N.N s, N samples stored, N lost\n"));
    let status = host.ask(&["--status"]);
    let expected = format!("stopped  last ran until N:N:N (clean)  config {config}\n");
    assert_eq!((status.code, blanked(&status.out)), (3, expected));
    let stopped = host.ask(&["--stop"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (0, "not running\n"));
}

#[test]
fn bad_config_starts_nothing() {
    let host = Host::new();
    host.write_config("intervall: 1s\n");
    let started = host.ask(&["--start"]);
    assert_eq!(started.code, 78);
    assert!(started.err.starts_with("cfg/agent.yaml:5:1: intervall: no such key; did you mean interval?\n"));
    assert!(!host.data().exists());
}

#[test]
fn port_in_use_is_told_with_its_holder() {
    let host = Host::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let started = host.ask(&["--start", "--set", &format!("metrics.listen={address}")]);
    assert_eq!((started.code, started.out.as_str()), (1, ""));
    let pid = std::process::id();
    let begin = format!("error: cannot listen on metrics.listen {address}: in use by pid {pid} (");
    assert!(started.err.starts_with(&begin), "{}", started.err);
    assert!(started.err.contains("\n  choose another: --set metrics.listen=127.0.0.1:"), "{}", started.err);
    assert_eq!(host.ask(&["--status"]).code, 3);
}

#[test]
fn killed_agent_is_known_to_be_stopped_and_starts_again() {
    let host = Host::new();
    assert_eq!(host.ask(&["--start"]).code, 0);
    host.signal(Signal::KILL);
    let status = wait_for("the end", || Some(host.ask(&["--status"])).filter(|said| said.code == 3)).unwrap();
    assert!(status.out.contains("ended unclean"), "{}", status.out);
    let started = host.ask(&["--start"]);
    assert_eq!(started.code, 0, "{}", started.err);
}

#[test]
fn innocent_process_with_the_pid_of_the_file_is_never_signalled() {
    let host = Host::new();
    let child = innocent();
    std::fs::create_dir(host.data()).unwrap();
    std::fs::set_permissions(host.data(), PermissionsExt::from_mode(0o700)).unwrap();
    for text in [format!("{}\n", child.id()), format!("{{\"pid\":{}}}\n", child.id())] {
        std::fs::write(host.data().join("fieldpost.pid"), text).unwrap();
        let stopped = host.ask(&["--stop", "--force"]);
        assert_eq!((stopped.code, stopped.out.as_str()), (0, "not running\n"));
    }
    assert_eq!(host.ask(&["--start"]).code, 0);
    host.signal(Signal::KILL);
    wait_for("the end", || (host.ask(&["--status"]).code == 3).then_some(())).unwrap();
    // The whole note of an agent, with the pid of somebody else.
    let mut note = host.note();
    note["pid"] = child.id().into();
    std::fs::write(host.data().join("fieldpost.pid"), note.to_string()).unwrap();
    assert_eq!(host.ask(&["--stop", "--force"]).out, "not running\n");
    assert_eq!(host.ask(&["--restart", "--force"]).code, 0);
    assert_eq!(host.ask(&["--stop"]).code, 0);
    end_innocent(child);
}

#[test]
fn pid_file_that_was_changed_under_a_running_agent_harms_nobody() {
    let host = Host::new();
    let child = innocent();
    assert_eq!(host.ask(&["--start"]).code, 0);
    let true_note = host.note();
    let mut note = true_note.clone();
    note["pid"] = child.id().into();
    std::fs::write(host.data().join("fieldpost.pid"), note.to_string()).unwrap();
    let stopped = host.ask(&["--stop", "--force"]);
    assert_eq!(stopped.code, 1);
    assert!(stopped.err.ends_with("nothing was signalled\n"), "{}", stopped.err);
    std::fs::write(host.data().join("fieldpost.pid"), true_note.to_string()).unwrap();
    end_innocent(child);
}

#[test]
fn agent_that_does_not_end_is_killed_only_by_force() {
    let host = Host::new();
    assert_eq!(host.ask(&["--start"]).code, 0);
    host.signal(Signal::STOP);
    let stopped = host.ask(&["--stop"]);
    assert_eq!(stopped.code, 1);
    assert_eq!(blanked(&stopped.err), "error: pid N still runs after N s; to kill it: --stop --force\n");
    let killed = host.ask(&["--stop", "--force"]);
    assert_eq!((killed.code, killed.out.starts_with("killed  after ")), (0, true), "{}", killed.out);
    assert_eq!(host.ask(&["--status"]).code, 3);
}

#[test]
fn restart_replaces_the_agent() {
    let host = Host::new();
    assert_eq!(host.ask(&["--restart"]).code, 0);
    let first = host.pid();
    let restarted = host.ask(&["--restart"]);
    let lines: Vec<&str> = restarted.out.lines().collect();
    assert!(
        lines[0].starts_with("stopped  in ") && lines[1].starts_with("started  pid "),
        "{}",
        restarted.out
    );
    assert_ne!(host.pid(), first);
    host.write_config("interval: fast\n");
    let second = host.pid();
    assert_eq!(host.ask(&["--restart"]).code, 78);
    assert_eq!((host.pid(), host.ask(&["--status"]).code), (second, 0));
}

#[test]
fn flags_that_do_not_go_together_are_a_usage_error() {
    let host = Host::new();
    for arguments in [["--start", "--force"], ["--status", "--force"], ["--start", "--stop"]] {
        assert_eq!(host.ask(&arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn reload_of_a_bad_config_changes_nothing() {
    let host = Host::new();
    assert_eq!(host.ask(&["--start"]).code, 0);
    let before = host.note();
    host.write_config("interval: fast\nlog:\n  levle: debug\n");
    let reloaded = host.ask(&["--reload"]);
    assert_eq!(reloaded.code, 78);
    let lines: Vec<&str> = reloaded.err.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "cfg/agent.yaml:5:11: interval: \"fast\" is no duration; write 500ms, 5s, 2m, 1h30m",
            "cfg/agent.yaml:7:3: log.levle: no such key; did you mean level?"
        ]
    );
    assert_eq!(blanked(lines[2]), "not reloaded: pid N goes on with the config it loaded at N:N:N");
    host.signal(Signal::HUP);
    let log = || std::fs::read_to_string(host.data().join("fieldpost.log")).unwrap();
    wait_for("the log of the refusal", || log().contains("log.levle: no such key").then_some(())).unwrap();
    assert_eq!(host.note(), before);
    assert_eq!(host.ask(&["--status"]).code, 0);
}

#[test]
fn reload_tells_what_changed_and_what_needs_a_restart() {
    let host = Host::new();
    assert_eq!(host.ask(&["--start"]).code, 0);
    assert_eq!(host.ask(&["--reload"]).out, "reloaded  nothing changed\n");
    host.write_config("interval: 2s\nlog:\n  file: /tmp/elsewhere.log\n");
    let reloaded = host.ask(&["--reload"]);
    assert_eq!(reloaded.out, "reloaded  changed: interval\n  needs a restart: log.file\n");
    assert_eq!(reloaded.code, 0);
}

#[test]
fn reload_without_an_agent_says_how_to_start_one() {
    let host = Host::new();
    let reloaded = host.ask(&["--reload"]);
    assert_eq!(reloaded.code, 1);
    assert!(reloaded.err.ends_with("; start one: fieldpost agent --start\n"), "{}", reloaded.err);
}

/// Its name would be in /proc/PID/fd of the daemon, had that one kept it.
#[test]
fn daemon_keeps_nothing_of_the_shell_that_started_it() {
    let host = Host::new();
    let script = "exec 9>shell-owns-this; \"$0\" agent --config-dir cfg --start | cat";
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", script, fieldpost()])
        .current_dir(host.dir.path())
        .env("RUNTIME_DIRECTORY", host.dir.path().join("run"));
    // The pipe to cat ends, or this would wait for ever.
    assert!(said(&shell.output().unwrap()).out.starts_with("started  pid "));
    let fds = std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
    let targets: Vec<PathBuf> = fds.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    assert!(targets.iter().any(|target| target.ends_with("fieldpost.pid")));
    assert!(!targets.iter().any(|target| target.ends_with("shell-owns-this")));
    assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", host.pid())).unwrap(), Path::new("/"));
}

#[test]
fn data_and_log_are_for_their_owner_only() {
    let host = Host::new();
    assert_eq!(host.ask(&["--start"]).code, 0);
    for name in ["", "fieldpost.pid", "fieldpost.log", "fieldpost.sock"] {
        let metadata = std::fs::symlink_metadata(host.data().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{name}");
    }
}

#[test]
fn client_without_arguments_finds_the_agent() {
    let host = Host::new();
    assert_eq!(host.ask(&["--start"]).code, 0);
    let mut client = Command::new(fieldpost());
    client.args(["agent", "--status"]).env_clear().env("RUNTIME_DIRECTORY", host.dir.path().join("run"));
    let found = said(&client.output().unwrap());
    assert_eq!(
        (found.code, found.out.starts_with(&format!("running  pid {}", host.pid()))),
        (0, true),
        "{}",
        found.err
    );
    assert_eq!(host.ask(&["--stop"]).code, 0);
    assert!(std::fs::symlink_metadata(host.dir.path().join("run/fieldpost.sock")).is_err());
}

#[test]
fn agent_of_another_user_is_not_theirs_to_ask() {
    if !geteuid().is_root() {
        println!("only root can become another user; not tested as uid {}", geteuid().as_raw());
        return;
    }
    let host = Host::new();
    std::fs::set_permissions(host.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(host.ask(&["--start"]).code, 0);
    for action in ["--status", "--stop", "--reload"] {
        let refused = said(&host.command(&[action]).uid(NOBODY).gid(NOBODY).output().unwrap());
        assert_eq!(refused.code, 4, "{action}: {}{}", refused.out, refused.err);
        assert!(refused.err.ends_with("try sudo\n"), "{}", refused.err);
    }
    assert_eq!(host.ask(&["--status"]).code, 0);
}
