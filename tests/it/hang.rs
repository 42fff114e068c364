//! A mount that hangs is told, with its age, and holds up nothing else: not the page, not what is
//! stored, not a single pass, not the end of the agent.

use std::fs::File;
use std::path::Path;
use std::process::Child;

use fieldpost_bed::{Agent, HangingMount, Page, Scratch, wait_for};
use serde_json::Value;

/// Under /dev, where the agents of all other tests leave mounts out of their pages.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("fieldpost-hang").tempdir_in("/dev/shm").unwrap()
}

const CONFIG: &str = "\
interval: 1s
store:
  window: 6s
collectors:
  filesystem:
    mount_timeout: 1s
    mount_points_include: ^/(dev/shm/fieldpost-hang.*)?$
";

/// The value of the family's series with this mount point.
fn of_mount(page: &Page, family: &str, mount_point: &str) -> Option<f64> {
    let series = &page.families.get(family)?.series;
    let (_, value) = series
        .iter()
        .find(|(series, _)| series.labels.get("mountpoint").is_some_and(|at| at == mount_point))?;
    Some(*value)
}

fn json(agent: &Agent, arguments: &[&str]) -> Value {
    let output = agent.client(arguments).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn has_event(agent: &Agent, kind: &str, subject: &str) -> bool {
    let events = json(agent, &["events", "--json"]);
    events.as_array().unwrap().iter().any(|event| event["kind"] == kind && event["subject"] == subject)
}

/// When each collector of the base interval had its last pass.
fn last_passes(agent: &Agent) -> Vec<(String, i64)> {
    let status: Value = serde_json::from_slice(&agent.api("/v1/status").unwrap().body).unwrap();
    let collectors = status["collectors"].as_array().unwrap().iter();
    let each_second = collectors.filter(|state| state["interval_seconds"] == 1.0);
    each_second
        .map(|state| (state["name"].as_str().unwrap().to_owned(), state["time_ms"].as_i64().unwrap()))
        .collect()
}

/// Instants of the stored samples of a series, and how many of the grid between them are missing.
fn stored_grid(agent: &Agent, series: &str) -> (Vec<i64>, u64) {
    let output = agent.client(&["export", "--format", "csv", "--match", series]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let instants: Vec<i64> =
        text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert!(instants.iter().all(|time_ms| time_ms % 1_000 == 0), "not on the grid: {instants:?}");
    assert!(instants.is_sorted_by(|a, b| a < b), "not in order: {instants:?}");
    let missing: i64 = instants.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000 - 1).sum();
    (instants, missing.unsigned_abs())
}

/// Ticks that the machine was too busy for; the agent counts them.
fn not_taken(page: &Page) -> u64 {
    let count = |name| page.value(name, &[]).unwrap();
    (count("fieldpost_sampler_skipped_ticks_total") + count("fieldpost_sampler_overruns_total")) as u64
}

/// An agent beside a mount that can hang. The mount goes first when this is dropped: as long as
/// it hangs, not even the kernel can take away a process that waits in it.
struct Host {
    mount: HangingMount,
    agent: Agent,
    folder: tempfile::TempDir,
}

impl Host {
    fn new(answers: bool) -> Self {
        let folder = folder();
        let mount = HangingMount::new(folder.path()).unwrap();
        if answers {
            mount.answer();
        }
        let agent = Agent::start(Path::new(crate::fieldpost()), CONFIG).unwrap();
        Self { mount, agent, folder }
    }

    fn mount_point(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Waits for a series of the mount on the page.
    fn until_shown(&self, family: &str) -> Page {
        let mount_point = self.mount_point();
        let shown = wait_for(family, || {
            let page = self.agent.page().ok()?;
            of_mount(&page, family, &mount_point)?;
            Some(page)
        });
        shown.unwrap()
    }

    /// `--stop` ends the agent while the mount hangs; then the mount lets the process go.
    fn stop(&mut self) {
        let stopped = self.agent.client(&["agent", "--stop"]).unwrap();
        let said = String::from_utf8_lossy(&stopped.stdout);
        assert!(said.starts_with("stopped  in "), "{said}{}", String::from_utf8_lossy(&stopped.stderr));
        let status = self.agent.client(&["agent", "--status"]).unwrap();
        assert_eq!(status.status.code(), Some(3), "{}", String::from_utf8_lossy(&status.stdout));
        self.mount.answer();
        self.agent.process().wait().unwrap();
    }
}

#[test]
fn mount_that_hangs_is_told_and_all_else_goes_on() {
    let mut host = Host::new(true);
    let mount_point = host.mount_point();
    host.until_shown("node_filesystem_size_bytes");

    host.mount.hang();
    let page = host.until_shown("fieldpost_filesystem_stuck_seconds");
    assert_eq!(of_mount(&page, "node_filesystem_device_error", &mount_point), Some(1.0));
    assert!(of_mount(&page, "node_filesystem_size_bytes", &mount_point).is_none(), "a stale size");
    assert!(of_mount(&page, "node_filesystem_size_bytes", "/").is_some(), "the other mount is gone");
    let age = of_mount(&page, "fieldpost_filesystem_stuck_seconds", &mount_point).unwrap();
    wait_for("its age to grow", || {
        let now = of_mount(&host.agent.page().ok()?, "fieldpost_filesystem_stuck_seconds", &mount_point)?;
        (now >= age + 3.0).then_some(())
    })
    .unwrap();
    everything_is_fresh(&host.agent);
    wait_for("the event", || has_event(&host.agent, "stuck", &mount_point).then_some(())).unwrap();
    let mut sample = single_pass_ends(&host.agent, &mount_point);

    host.mount.answer();
    assert!(sample.wait().unwrap().success());
    host.until_shown("node_filesystem_size_bytes");
    wait_for("the second event", || has_event(&host.agent, "recovered", &mount_point).then_some(())).unwrap();

    host.mount.hang();
    let page = host.until_shown("fieldpost_filesystem_stuck_seconds");
    let lost = not_taken(&page);
    host.stop();
    for series in ["node_time_seconds", "node_load1", "node_filesystem_size_bytes{mountpoint=\"/\"}"] {
        let (instants, missing) = stored_grid(&host.agent, series);
        println!("{series}: {} stored, {missing} missing, {lost} counted as not taken", instants.len());
        assert!(instants.len() > 3 && missing <= lost, "{series}: {instants:?}, {lost} not taken");
    }
}

/// Every collector of the base interval has five more passes, and the page goes on with each.
fn everything_is_fresh(agent: &Agent) {
    let before = last_passes(agent);
    assert!(before.len() > 10, "{before:?}");
    let clock = agent.page().unwrap().value("node_time_seconds", &[]).unwrap();
    wait_for("five more passes of every collector", || {
        let late: Vec<_> = before
            .iter()
            .zip(last_passes(agent))
            .filter(|((name, then), (same, now))| name != same || *now < then + 5_000)
            .collect();
        late.is_empty().then_some(())
    })
    .unwrap();
    let page = agent.page().unwrap();
    assert!(page.value("node_time_seconds", &[]).unwrap() >= clock + 4.0);
    assert_eq!(page.value("fieldpost_collectors_stuck", &[]), Some(0.0), "a mount is stuck, no collector");
}

/// `fieldpost sample` shows what answers and ends.
/// The rest of the process goes once the mount answers.
fn single_pass_ends(agent: &Agent, mount_point: &str) -> Child {
    let scratch = Scratch::new().unwrap();
    let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
    let mut command = agent.command(&["sample"]);
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let child = command.spawn().unwrap();
    // The first thread's end is what can be seen from outside: the one that waits in the mount
    // is held there by the kernel.
    wait_for("the end of the single pass", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
        stat.contains(") Z ").then_some(())
    })
    .unwrap();
    let page = Page::parse(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert!(of_mount(&page, "node_filesystem_size_bytes", "/").is_some());
    assert!(of_mount(&page, "node_filesystem_size_bytes", mount_point).is_none());
    assert!(page.value("node_time_seconds", &[]).is_some());
    assert_eq!(std::fs::read_to_string(&err).unwrap(), "");
    child
}

#[test]
fn agent_starts_and_stops_beside_a_mount_that_hangs_from_the_beginning() {
    let mut host = Host::new(false);
    let page = host.until_shown("node_filesystem_device_error");
    assert!(of_mount(&page, "node_filesystem_size_bytes", "/").is_some());
    host.stop();
    host.mount.hang();
    host.agent.start_again().unwrap();
    host.until_shown("node_filesystem_device_error");
    host.stop();
}
