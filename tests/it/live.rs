//! The live lane from end to end: who watches sees ticks as changes; nobody who watches holds up
//! anything, and places are given back.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fieldpost_bed::{Agent, wait_for};
use serde_json::Value;

use crate::pair::HubProcess;

/// A clock that every tick moves on, and something that never changes.
const CONFIG: &str = "interval: 200ms\nstore:\n  window: 2s\n";
const MOVES: &str = "node_time_seconds";
const STAYS: &str = "node_boot_time_seconds";

/// An answer without an end, line by line.
struct Lines(BufReader<UnixStream>);

impl Lines {
    /// Asks; none if it is refused.
    fn open(socket: &Path, path: &str) -> Option<Self> {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut lines = Self(BufReader::new(stream));
        let is_ok = lines.next().contains(" 200 ");
        while is_ok && !lines.next().is_empty() {}
        is_ok.then_some(lines)
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the answer has ended");
        line.trim_end().to_owned()
    }

    /// The next event: its name and its data.
    fn event(&mut self) -> (String, Value) {
        let (mut name, mut data) = (String::new(), None);
        loop {
            let line = self.next();
            match line.split_once(':') {
                Some(("event", value)) => name = value.trim().to_owned(),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                None if data.is_some() => return (name, data.unwrap()),
                _ => {}
            }
        }
    }
}

/// What is known of series after some ticks.
#[derive(Default)]
struct Known {
    names: HashMap<u64, String>,
    n_changes: HashMap<String, usize>,
}

impl Known {
    fn apply(&mut self, tick: &Value) {
        if tick["whole"] == true {
            *self = Self::default();
        }
        for series in tick["series"].as_array().into_iter().flatten() {
            let known =
                self.names.insert(series["n"].as_u64().unwrap(), series["name"].as_str().unwrap().to_owned());
            assert_eq!(known, None, "described twice");
        }
        for value in tick["values"].as_array().into_iter().flatten() {
            let name = self.names[&value[0].as_u64().unwrap()].clone();
            *self.n_changes.entry(name).or_default() += 1;
        }
    }

    fn n_changes(&self, name: &str) -> usize {
        self.n_changes.get(name).copied().unwrap_or_default()
    }
}

#[test]
fn watched_agent_shows_its_ticks_as_changes_at_the_hub() {
    let hub = HubProcess::start();
    let agent = hub.joined_agent("web1", CONFIG);
    let n_watchers = || agent.page().unwrap().value("fieldpost_live_watchers", &[]).unwrap();
    assert_eq!(n_watchers(), 0.0);
    let mut all = Lines::open(&hub.socket(), "/api/v1/live?agent=web1").unwrap();
    let chosen = format!("/api/v1/live?agent=web1&match=%7B__name__%3D%22{MOVES}%22%7D");
    let mut one = Lines::open(&hub.socket(), &chosen).unwrap();
    let (mut known, mut n_links) = (Known::default(), 0);
    while known.n_changes(MOVES) < 10 {
        let (name, data) = all.event();
        assert_eq!(data["agent"], "web1");
        match name.as_str() {
            "link" => n_links += 1,
            "tick" => known.apply(&data),
            name => panic!("{name}"),
        }
    }
    assert!(n_links > 0);
    assert_eq!(known.n_changes(STAYS), 1, "what does not change is said once");
    let mut known = Known::default();
    while known.n_changes(MOVES) < 5 {
        let (name, data) = one.event();
        if name == "tick" {
            known.apply(&data);
        }
    }
    assert_eq!(known.names.into_values().collect::<Vec<_>>(), [MOVES]);
    assert_eq!(n_watchers(), 1.0, "both share one subscription");
    drop((all, one));
    wait_for("the end of the subscription", || (n_watchers() == 0.0).then_some(())).unwrap();
}

#[test]
fn stream_of_an_agent_that_is_away_says_so_and_goes_on_when_it_is_back() {
    let hub = HubProcess::start();
    let mut agent = hub.joined_agent("web1", CONFIG);
    let mut stream = Lines::open(&hub.socket(), "/api/v1/live?agent=web1").unwrap();
    let mut until = |wanted: &dyn Fn(&str, &Value) -> bool| loop {
        let (name, data) = stream.event();
        if wanted(&name, &data) {
            return;
        }
    };
    until(&|name, data| name == "tick" && data["whole"] == true);
    agent.kill().unwrap();
    until(&|name, data| name == "link" && data["up"] == false);
    agent.start_again().unwrap();
    until(&|name, data| name == "link" && data["up"] == true);
    assert!(agent.client(&["agent", "--reload"]).unwrap().status.success());
    until(&|name, data| name == "event" && data["event"]["kind"] == "reload");
    agent.kill().unwrap();
    agent.start_again().unwrap();
    until(&|name, data| name == "tick" && data["whole"] == true);
}

#[test]
fn watchers_of_an_agent_are_bounded_and_their_places_given_back() {
    let agent = Agent::start(Path::new(crate::fieldpost()), CONFIG).unwrap();
    let open = || Lines::open(&agent.socket(), "/v1/live");
    let mut watchers: Vec<Lines> = std::iter::from_fn(open).collect();
    assert_eq!(watchers.len(), 16);
    for watcher in &mut watchers {
        let tick: Value = serde_json::from_str(&watcher.next()).unwrap();
        assert!(!tick["series"].as_array().unwrap().is_empty());
    }
    drop(watchers);
    wait_for("a place", open).unwrap();
}
