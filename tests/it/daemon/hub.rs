//! The hub as a daemon: it keeps the promises of the agent, and is never taken for it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use fieldpost_bed::wait_for;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{Host, NOBODY, blanked, said};
use crate::fieldpost;

#[test]
fn life_of_a_hub_reads_as_it_should() {
    let host = Host::of("hub");
    let started = host.ask(&["--start"]);
    assert_eq!((started.code, started.err.as_str()), (0, ""));
    assert!(
        blanked(&started.out).starts_with("started  pid N, ready in N.N s, http://N.N.N.N:N"),
        "{}",
        started.out
    );
    let again = host.ask(&["--start"]);
    let expected = "already running: pid N, up N s, same config\n";
    assert_eq!((again.code, blanked(&again.out).as_str()), (0, expected));
    let status = host.ask(&["--status"]);
    let config = host.dir.path().canonicalize().unwrap().join("cfg/hub.yaml");
    let config = blanked(&config.display().to_string());
    assert!(
        blanked(&status.out).starts_with(&format!("running  pid N  up N s  config {config}  ")),
        "{}",
        status.out
    );
    assert_eq!(status.code, 0);
    let json: serde_json::Value = serde_json::from_str(&host.ask(&["--status", "--json"]).out).unwrap();
    assert_eq!((&json["state"], &json["pid"]), (&"running".into(), &host.pid().into()));
    let stopped = host.ask(&["--stop"]);
    assert!(blanked(&stopped.out).starts_with("stopped  in N.N s"), "{}", stopped.out);
    assert!(!host.data().join("hub.sock").exists());
    let status = host.ask(&["--status"]);
    let expected = format!("stopped  last ran until N:N:N (clean)  config {config}\n");
    assert_eq!((status.code, blanked(&status.out)), (3, expected));
    let stopped = host.ask(&["--stop"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (0, "not running\n"));
}

#[test]
fn hub_keeps_the_same_promises_when_it_is_killed_or_replaced() {
    let host = Host::of("hub");
    assert_eq!(host.ask(&["--restart"]).code, 0);
    let first = host.pid();
    assert_eq!(host.ask(&["--restart"]).code, 0);
    assert_ne!(host.pid(), first);
    host.signal(Signal::KILL);
    let status = wait_for("the end", || Some(host.ask(&["--status"])).filter(|said| said.code == 3)).unwrap();
    assert!(status.out.contains("ended unclean"), "{}", status.out);
    assert_eq!(host.ask(&["--start"]).code, 0);
    host.signal(Signal::STOP);
    let killed = host.ask(&["--stop", "--force"]);
    assert_eq!((killed.code, killed.out.starts_with("killed  after ")), (0, true), "{}", killed.out);
}

#[test]
fn hub_reloads_what_it_can_and_names_what_needs_a_restart() {
    let host = Host::of("hub");
    let missing = host.ask(&["--reload"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.ends_with("; start one: fieldpost hub --start\n"), "{}", missing.err);
    assert_eq!(host.ask(&["--start"]).code, 0);
    host.write_config("log:\n  level: debug\nlimits:\n  item_bytes: 1MiB\n");
    let reloaded = host.ask(&["--reload"]);
    assert_eq!(reloaded.out, "reloaded  changed: log.level\n  needs a restart: limits.item_bytes\n");
    let before = host.note();
    host.write_config("lisetn: 127.0.0.1:0\n");
    let refused = host.ask(&["--reload"]);
    assert_eq!((refused.code, host.note()), (78, before));
    assert!(
        refused.err.starts_with("cfg/hub.yaml:4:1: lisetn: no such key; did you mean listen?\n"),
        "{}",
        refused.err
    );
    assert!(blanked(&refused.err).contains("not reloaded: pid N goes on with the config"), "{}", refused.err);
}

#[test]
fn agent_and_hub_stand_beside_each_other_and_are_never_taken_for_one_another() {
    let (agent, state) = (Host::new(), tempfile::tempdir().unwrap());
    std::fs::write(agent.dir.path().join("cfg/agent.yaml"), "metrics: {listen: '127.0.0.1:0'}\n").unwrap();
    std::fs::write(agent.dir.path().join("cfg/hub.yaml"), "listen: 127.0.0.1:0\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(fieldpost());
        command.args(arguments).current_dir(agent.dir.path()).env_clear().stdin(Stdio::null());
        command.env("RUNTIME_DIRECTORY", agent.dir.path().join("run")).env("STATE_DIRECTORY", state.path());
        said(&command.output().unwrap())
    };
    for face in ["agent", "hub"] {
        let started = run(&[face, "--config-dir", "cfg", "--start"]);
        assert_eq!(started.code, 0, "{}", started.err);
    }
    let path = format!("store.path={}", state.path().display());
    let refused = run(&["hub", "--set", &path, "--stop", "--force"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("is the data folder of the agent; a hub needs another"), "{}", refused.err);
    assert_eq!(run(&["hub", "--set", &path, "--start"]).code, 1);
    let pids = ["agent", "hub"].map(|face| {
        let status = run(&[face, "--status"]);
        assert_eq!(status.code, 0, "{}", status.err);
        status.out.split_whitespace().nth(2).unwrap().to_owned()
    });
    assert_ne!(pids[0], pids[1]);
    assert_eq!(run(&["hub", "--stop"]).code, 0);
    assert_eq!((run(&["hub", "--status"]).code, run(&["agent", "--status"]).code), (3, 0));
    assert_eq!(run(&["agent", "--stop"]).code, 0);
}

#[test]
fn hub_in_the_foreground_says_that_it_runs_and_ends_on_a_signal() {
    let host = Host::of("hub");
    let mut child = host.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let running = || Some(host.ask(&["--status"])).filter(|said| said.code == 0);
    wait_for("the hub", running).unwrap();
    let second = host.ask(&[]);
    assert_eq!(second.code, 1);
    assert!(second.err.starts_with("error: a hub runs already in "), "{}", second.err);
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text.starts_with("hub  ") && text.contains("\nstopped  "), "{text}");
}

#[test]
fn hub_of_another_user_is_not_theirs_to_ask() {
    if !geteuid().is_root() {
        println!("only root can become another user; not tested as uid {}", geteuid().as_raw());
        return;
    }
    let host = Host::of("hub");
    std::fs::set_permissions(host.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(host.ask(&["--start"]).code, 0);
    for action in ["--status", "--stop", "--reload"] {
        let refused = said(&host.command(&[action]).uid(NOBODY).gid(NOBODY).output().unwrap());
        assert_eq!(refused.code, 4, "{action}: {}{}", refused.out, refused.err);
        assert!(refused.err.ends_with("try sudo\n"), "{}", refused.err);
    }
}

#[test]
fn client_without_arguments_finds_the_hub() {
    let host = Host::of("hub");
    assert_eq!(host.ask(&["--start"]).code, 0);
    let link = host.dir.path().join("run/hub.sock");
    let mut client = Command::new(fieldpost());
    client.args(["hub", "--status"]).env_clear().env("RUNTIME_DIRECTORY", host.dir.path().join("run"));
    client.env("STATE_DIRECTORY", host.dir.path().join("elsewhere"));
    let found = said(&client.output().unwrap());
    let expected = format!("running  pid {}", host.pid());
    assert_eq!((found.code, found.out.starts_with(&expected)), (0, true), "{}", found.err);
    assert_eq!(host.ask(&["--stop"]).code, 0);
    assert!(std::fs::symlink_metadata(link).is_err());
    assert_eq!(said(&client.output().unwrap()).code, 3);
}
