//! `fieldpost up`: hub and agent in one go, ended together, found again.

use std::path::Path;

use fieldpost_bed::{Process, Scratch, get, wait_for};
use rustix::process::Signal;

/// Everything of it is in this folder, its addresses are free ones.
const ARGUMENTS: [&str; 7] =
    ["up", "--data", "data", "--listen", "127.0.0.1:0", "--set", "metrics.listen=127.0.0.1:0"];
const LINKED: &str = "is enrolled with this hub, link up, remote jobs off";

fn start(scratch: &Scratch, name: &str) -> Process {
    let home = scratch.path().as_os_str();
    let environment = [("HOME", home), ("XDG_STATE_HOME", home)];
    let program = Path::new(crate::fieldpost());
    let mut up = Process::start(name, program, &ARGUMENTS, &environment, scratch.path()).unwrap();
    let log = scratch.path().join(format!("{name}.log"));
    let linked = || std::fs::read_to_string(&log).ok().filter(|said| said.contains(LINKED));
    up.until("the link", linked).unwrap();
    up
}

/// Ends it as Ctrl-C does; everything that it has said.
fn end(mut up: Process) -> String {
    up.signal(Signal::INT).unwrap();
    let status = up.wait().unwrap();
    let said = up.said();
    assert!(status.success(), "{said}");
    said
}

/// What follows upon a word, up to the next blank.
fn after<'a>(said: &'a str, word: &str) -> &'a str {
    let (_, rest) = said.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {said}"));
    rest.split_whitespace().next().unwrap_or_default()
}

fn pid_after(said: &str, line: &str) -> u32 {
    let (_, rest) = said.split_once(line).unwrap_or_else(|| panic!("no {line:?} in {said}"));
    after(rest, "pid ").parse().unwrap()
}

#[test]
fn hub_and_agent_come_and_go_together_and_are_found_again() {
    let scratch = Scratch::new().unwrap();
    let up = start(&scratch, "first");
    let said = up.said();
    let hub = after(&said, "hub    http://").to_owned();
    assert!(after(&said, "sign in  ").starts_with(&format!("http://{hub}/#")), "{said}");
    let page = get(hub.parse().unwrap(), "/").unwrap();
    assert_eq!(page.status, 200);
    let metrics = after(&said, "metrics  http://").trim_end_matches("/metrics").to_owned();
    assert!(get(metrics.parse().unwrap(), "/metrics").unwrap().ok().unwrap().contains("node_load1 "));
    let pids = [pid_after(&said, "hub    http://"), pid_after(&said, "agent  ")];
    let said = end(up);
    assert!(said.contains("0 lost, store closed clean"), "{said}");
    assert!(!said.contains("samples/s"), "a summary is for terminals: {said}");
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }

    let up = start(&scratch, "second");
    let said = up.said();
    // At another address than before, and found all the same.
    assert!(said.contains("data ./data/hub (1 agent)"), "{said}");
    assert!(!said.contains("a host joined"), "it belongs to this hub already: {said}");
    end(up);
}

/// Killed with -9 it takes both with it: nothing runs on without its master.
#[test]
fn nothing_stays_behind_when_it_is_killed() {
    let scratch = Scratch::new().unwrap();
    let mut up = start(&scratch, "up");
    let said = up.said();
    let pids = [pid_after(&said, "hub    http://"), pid_after(&said, "agent  ")];
    up.kill().unwrap();
    for pid in pids {
        let gone = || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(());
        wait_for("the end of what it started", gone).unwrap();
    }
}

#[test]
fn on_a_terminal_a_line_tells_every_ten_seconds_how_it_goes() {
    let scratch = Scratch::new().unwrap();
    let command = format!("'{}' {}", crate::fieldpost(), ARGUMENTS.join(" "));
    let home = scratch.path().as_os_str();
    let environment = [("HOME", home), ("XDG_STATE_HOME", home), ("TERM", "xterm".as_ref())];
    let arguments = ["-qefc", &command, "/dev/null"];
    let mut terminal =
        Process::start("script", Path::new("script"), &arguments, &environment, scratch.path()).unwrap();
    let log = scratch.path().join("script.log");
    let line = || {
        let said = std::fs::read_to_string(&log).ok()?;
        // The first one may come before the first window is sealed.
        let tells = |line: &&str| line.contains("samples/s") && !line.contains("  0 samples/s");
        said.lines().find(tells).map(str::to_owned)
    };
    let line = terminal.until("a summary", line).unwrap();
    for word in ["agents 1 of 1 up", " series  ", "lag ", "cpu ", "rss ", "store ", "lost 0"] {
        assert!(line.contains(word), "no {word:?} in {line}");
    }
    let number = |before: &str, after: &str| -> f64 {
        let (_, rest) = line.split_once(before).unwrap();
        rest.split_once(after).unwrap().0.trim().parse().unwrap()
    };
    assert!(number("up  ", " series") > 100.0 && number(" series  ", " samples/s") > 0.0, "{line}");
}
