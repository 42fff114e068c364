//! Who did it is known after the fact: what a process used is found in the history when it is gone,
//! the agent restarted or stopped; and what is exported is what the page showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fieldpost_bed::{Agent, Scratch, wait_for};
use serde_json::Value;

use crate::page::{promtool_reads_openmetrics, promtool_reads_text};

const CONFIG: &str = "interval: 1s\nstore:\n  window: 6s\nhistory:\n  interval: 1s\n";

/// Bytes that the hoarder holds.
const HOARD: u64 = 96 << 20;
/// Bytes that the scribbler writes, in so many parts.
const SCRIBBLE: u64 = 64 << 20;
const N_SCRIBBLES: u64 = 32;

fn start() -> Agent {
    Agent::start(Path::new(crate::fieldpost()), CONFIG).unwrap()
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A copy of a program under a name of its own, by which the history knows it.
fn named(scratch: &Scratch, program: &str, name: &str) -> PathBuf {
    let copy = scratch.path().join(name);
    std::fs::copy(program, &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    copy
}

/// A child that is killed when it is no longer needed.
struct Culprit(Child);

impl Culprit {
    fn shell(shell: &Path, script: &str) -> Self {
        Self(Command::new(shell).args(["-c", script]).stdin(Stdio::null()).spawn().unwrap())
    }

    /// Its own CPU time so far, seconds: fields 14 and 15 of /proc/PID/stat, in 1/100 s.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        let ticks = |field: usize| -> f64 { after_name.split(' ').nth(field - 3).unwrap().parse().unwrap() };
        (ticks(14) + ticks(15)) / 100.0
    }

    /// Bytes that it has sent towards the disk.
    fn written_bytes(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.0.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
    }
}

impl Drop for Culprit {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _already_waited = self.0.wait();
    }
}

fn output(agent: &Agent, arguments: &[&str]) -> String {
    let output = agent.client(arguments).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(agent: &Agent, arguments: &[&str]) -> Value {
    serde_json::from_str(&output(agent, arguments)).unwrap()
}

/// Waits until the history has a table: what began after that is known to be new.
fn until_ticked(agent: &Agent) {
    wait_for("the first ticks", || {
        let status: Value = serde_json::from_slice(&agent.api("/v1/status").ok()?.body).ok()?;
        (status["ticks"].as_u64()? > 1).then_some(())
    })
    .unwrap();
}

/// Waits until the tables up to this second are stored.
fn until_stored(agent: &Agent, second: u64) {
    let (from, to) = ((second - 30).to_string(), second.to_string());
    wait_for("the last table", || {
        let answer = agent.client(&["culprit", "--from", &from, "--to", &to, "--json"]).ok()?;
        let answer: Value = serde_json::from_slice(&answer.stdout).ok()?;
        (answer["to_ms"].as_u64()? >= (second - 1) * 1_000).then_some(())
    })
    .unwrap();
}

/// What a group is answerable for, and its place in the list.
fn share(agent: &Agent, span: (u64, u64), kind: &str, group: &str) -> Option<(usize, f64)> {
    let (from, to) = (span.0.to_string(), span.1.to_string());
    let answer = json(agent, &["culprit", "--from", &from, "--to", &to, "--json"]);
    let list = answer["groups"][kind].as_array().unwrap();
    let place = list.iter().position(|share| share["name"] == group)?;
    Some((place, list[place]["amount"].as_f64().unwrap()))
}

fn assert_about(what: &str, found: f64, truth: f64) {
    assert!((0.6 * truth..=1.1 * truth).contains(&found), "{what}: found {found}, true {truth}");
}

/// Three culprits, one after the other gone; what each used, and when.
struct Deeds {
    span: (u64, u64),
    middle: u64,
    cpu_seconds: f64,
    written_bytes: f64,
}

/// `tail` keeps what it is given until its input ends.
fn hoarder(scratch: &Scratch) -> (Culprit, ChildStdin) {
    let mut command = Command::new(named(scratch, "/usr/bin/tail", "hoarder-tail"));
    command.args(["-c", &HOARD.to_string()]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut hoarder = Culprit(command.spawn().unwrap());
    let mut pipe = hoarder.0.stdin.take().unwrap();
    std::io::copy(&mut std::io::repeat(0).take(HOARD), &mut pipe).unwrap();
    (hoarder, pipe)
}

fn do_deeds(scratch: &Scratch) -> Deeds {
    let from = now_seconds();
    let burner = Culprit::shell(&named(scratch, "/bin/sh", "burner-sh"), "while :; do :; done");
    let (hoarder, _full_pipe) = hoarder(scratch);
    let file = scratch.path().join("scribble");
    let part = SCRIBBLE / N_SCRIBBLES;
    let scribble = format!(
        "i=0; while [ $i -lt {N_SCRIBBLES} ]; do printf '%{part}s' x; i=$((i+1)); done > '{}'; while :; do sleep 1; done",
        file.display()
    );
    let scribbler = Culprit::shell(&named(scratch, "/bin/sh", "scribbler-sh"), &scribble);
    wait_for("the deeds", || {
        let done =
            burner.cpu_seconds() > 3.0 && scribbler.written_bytes() >= SCRIBBLE && now_seconds() > from + 5;
        done.then_some(())
    })
    .unwrap();
    let middle = now_seconds() - 1;
    // One more table with all of it.
    std::thread::sleep(Duration::from_millis(2_500));
    let (cpu_seconds, written_bytes) = (burner.cpu_seconds(), scribbler.written_bytes() as f64);
    drop((burner, hoarder, scribbler));
    Deeds { span: (from, now_seconds() + 1), middle, cpu_seconds, written_bytes }
}

/// All three are found with what they used; in what order depends on what else the machine does.
fn assert_known(agent: &Agent, deeds: &Deeds) {
    let (place, cpu) = share(agent, deeds.span, "cpu", "burner-sh").unwrap();
    println!("burner: place {place}, {cpu} s of {} s", deeds.cpu_seconds);
    assert_about("cpu", cpu, deeds.cpu_seconds);
    let (place, bytes) = share(agent, deeds.span, "io", "scribbler-sh").unwrap();
    println!("scribbler: place {place}, {bytes} of {} bytes", deeds.written_bytes);
    assert_about("io", bytes, deeds.written_bytes);
    let (place, bytes) = share(agent, deeds.span, "memory_growth", "hoarder-tail").unwrap();
    println!("hoarder: place {place}, {bytes} of {HOARD} bytes");
    assert_about("memory", bytes, HOARD as f64);
    let at = deeds.middle.to_string();
    let rows = json(agent, &["processes", "--at", &at, "--json"]);
    for name in ["burner-sh", "hoarder-tail", "scribbler-sh"] {
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name);
        assert!(row.is_some(), "{name} is not in the table of {at}");
    }
    let burner = json(agent, &["processes", "--at", &at, "--name", "burner-sh", "--json"]);
    assert!(burner[0]["cpu_cores"].as_f64().unwrap() > 0.0, "{burner}");
    let text =
        output(agent, &["culprit", "--from", &deeds.span.0.to_string(), "--to", &deeds.span.1.to_string()]);
    assert!(text.contains("burner-sh") && text.contains("memory"), "{text}");
}

#[test]
fn culprits_are_named_when_they_are_gone_and_the_agent_restarted_or_stopped() {
    let scratch = Scratch::new().unwrap();
    let mut agent = start();
    until_ticked(&agent);
    let deeds = do_deeds(&scratch);
    until_stored(&agent, deeds.span.1);
    assert_known(&agent, &deeds);
    assert!(agent.stop().unwrap().success());
    assert_known(&agent, &deeds);
    agent.start_again().unwrap();
    assert_known(&agent, &deeds);
    agent.kill().unwrap();
    assert_known(&agent, &deeds);
}

#[test]
fn process_that_outlives_the_agent_is_charged_once() {
    let scratch = Scratch::new().unwrap();
    let mut agent = start();
    until_ticked(&agent);
    let from = now_seconds();
    let burner = Culprit::shell(&named(&scratch, "/bin/sh", "lasting-sh"), "while :; do :; done");
    wait_for("two seconds of work", || (burner.cpu_seconds() > 2.0).then_some(())).unwrap();
    until_stored(&agent, from + 2);
    assert!(agent.stop().unwrap().success());
    agent.start_again().unwrap();
    let restarted = now_seconds();
    wait_for("four seconds of work", || {
        (burner.cpu_seconds() > 4.0 && now_seconds() > restarted + 3).then_some(())
    })
    .unwrap();
    let cpu = burner.cpu_seconds();
    drop(burner);
    let to = now_seconds();
    until_stored(&agent, to + 1);
    let (_, found) = share(&agent, (from, to + 1), "cpu", "lasting-sh").unwrap();
    assert_about("cpu over a restart", found, cpu);
    let kinds: Vec<String> = json(&agent, &["events", "--json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "start").count(), 2, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "stop").count(), 1, "{kinds:?}");
}

/// A series as the export writes it.
fn written(name: &str, labels: &Value) -> String {
    let mut text = name.to_owned();
    for (index, pair) in labels.as_array().unwrap().iter().enumerate() {
        let value = pair[1].as_str().unwrap();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ =
            write!(text, "{}{}=\"{value}\"", if index == 0 { '{' } else { ',' }, pair[0].as_str().unwrap());
    }
    if labels.as_array().unwrap().is_empty() { text } else { text + "}" }
}

/// The newest values of the board that lie on the grid, by series: time and value.
fn values_shown(agent: &Agent) -> BTreeMap<String, (i64, f64)> {
    let values: Value = serde_json::from_slice(&agent.api("/v1/values").unwrap().body).unwrap();
    let shown = values["values"].as_array().unwrap().iter().filter_map(|value| {
        let time_ms = value["time_ms"].as_i64()?;
        let series = written(value["name"].as_str()?, &value["labels"]);
        (time_ms % 1_000 == 0).then_some((series, (time_ms, value["value"].as_f64()?)))
    });
    shown.collect()
}

/// Exported samples: time and value by series.
type Exported = BTreeMap<String, BTreeMap<i64, f64>>;

fn exported_json(agent: &Agent) -> Exported {
    let mut all = Exported::new();
    for line in output(agent, &["export", "--json"]).lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let (series, time_ms) = (sample["series"].as_str().unwrap(), sample["time_ms"].as_i64().unwrap());
        let value =
            sample["value"].as_f64().or_else(|| sample["value"].as_str()?.replace("Inf", "inf").parse().ok());
        let before = all.entry(series.to_owned()).or_default().insert(time_ms, value.unwrap());
        assert!(before.is_none(), "two samples of {series} at {time_ms}");
    }
    all
}

fn exported_csv(agent: &Agent) -> Exported {
    let text = output(agent, &["export", "--format", "csv"]);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time_ms,series,value"));
    let mut all = Exported::new();
    for line in lines {
        let (time_ms, rest) = line.split_once(",\"").unwrap();
        let (series, value) = rest.rsplit_once("\",").unwrap();
        let samples = all.entry(series.replace("\"\"", "\"")).or_default();
        samples.insert(time_ms.parse().unwrap(), value.replace("Inf", "inf").parse().unwrap());
    }
    all
}

fn exported_text(text: &str, per_ms: f64) -> Exported {
    let mut all = Exported::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (rest, time) = line.rsplit_once(' ').unwrap();
        let (series, value) = rest.rsplit_once(' ').unwrap();
        let time_ms = (time.parse::<f64>().unwrap() * per_ms).round() as i64;
        all.entry(series.to_owned())
            .or_default()
            .insert(time_ms, value.replace("Inf", "inf").parse().unwrap());
    }
    all
}

/// The reader of JSON rounds the last digit in its own way.
fn is_same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-14 * a.abs()
}

fn assert_same(what: &str, a: &Exported, b: &Exported) {
    assert_eq!(a.len(), b.len(), "{what}: number of series");
    for (series, samples) in a {
        let others = b.get(series).unwrap_or_else(|| panic!("{what}: {series} is missing"));
        let same = samples.len() == others.len()
            && samples.iter().zip(others).all(|(a, b)| a.0 == b.0 && is_same(*a.1, *b.1));
        assert!(same, "{what}: {series}: {samples:?} is not {others:?}");
    }
}

#[test]
fn what_is_exported_is_what_was_shown_in_every_format() {
    let mut agent = start();
    wait_for("a tick of the grid", || (values_shown(&agent).len() > 100).then_some(())).unwrap();
    let first = values_shown(&agent);
    let second = wait_for("another tick", || {
        let shown = values_shown(&agent);
        (shown.get("node_load1")?.0 > first.get("node_load1")?.0).then_some(shown)
    })
    .unwrap();
    assert!(agent.stop().unwrap().success());
    let stored = exported_json(&agent);
    for (series, (time_ms, value)) in first.iter().chain(&second) {
        let found = stored.get(series).and_then(|samples| samples.get(time_ms));
        assert_eq!(found, Some(value), "{series} at {time_ms}");
    }
    println!("{} shown values found among {} stored series", first.len() + second.len(), stored.len());
    assert_same("csv", &stored, &exported_csv(&agent));
    let text = output(&agent, &["export"]);
    assert_same("text", &stored, &exported_text(&text, 1.0));
    promtool_reads_text(&text);
    let open = output(&agent, &["export", "--format", "openmetrics"]);
    assert!(open.ends_with("\n# EOF\n"));
    assert_same("openmetrics", &stored, &exported_text(&open, 1_000.0));
    promtool_reads_openmetrics(&open);
    let listed = output(&agent, &["series"]);
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, stored.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn export_goes_on_while_the_agent_writes() {
    let agent = start();
    let mut last = 0;
    let mut n_exports = 0;
    wait_for("three more windows, exported again and again", || {
        let stored = exported_json(&agent);
        n_exports += 1;
        let newest = stored.get("node_load1").map_or(0, |samples| samples.len());
        assert!(newest >= last, "stored samples are gone: {last} before, {newest} now");
        last = newest;
        (newest > 15).then_some(())
    })
    .unwrap();
    println!("{n_exports} exports beside the writer");
    let page = agent.page().unwrap();
    assert_eq!(page.value("fieldpost_collectors_stuck", &[]), Some(0.0));
}

#[test]
fn series_are_chosen_by_selector_and_time() {
    let mut agent = start();
    until_stored(&agent, now_seconds() + 2);
    assert!(agent.stop().unwrap().success());
    let chosen =
        output(&agent, &["series", "--match", "{__name__=~\"node_load.*\"}", "--match", "node_time_seconds"]);
    assert_eq!(
        chosen.lines().collect::<Vec<_>>(),
        ["node_load1", "node_load15", "node_load5", "node_time_seconds"]
    );
    let (from, to) = ((now_seconds() + 600).to_string(), (now_seconds() + 1_200).to_string());
    assert_eq!(output(&agent, &["series", "--from", &from, "--to", &to]), "");
    let listed = json(&agent, &["series", "--match", "node_load1", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["kind"]), (&"node_load1".into(), &"gauge".into()));
    let bad = agent.client(&["series", "--match", "node_load1{"]).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    let bad = agent.client(&["processes", "--at", "1000000000"]).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("no process table is stored"), "{bad:?}");
}
