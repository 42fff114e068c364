//! A reload takes over what it can without losing a tick or a count, and says what it cannot.

use std::collections::BTreeMap;
use std::path::Path;

use fieldpost_bed::{Agent, Page, Series, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// Reloads in a row, so that some meet the very instant of a tick.
const N_RELOADS: usize = 24;

fn start(config: &str) -> Agent {
    Agent::start(Path::new(crate::fieldpost()), config).unwrap()
}

fn write_config(agent: &Agent, config: &str) {
    std::fs::write(agent.config_dir().join("agent.yaml"), config).unwrap();
}

/// Writes the config and reloads; answers what was said.
fn reload(agent: &Agent, config: &str) -> String {
    write_config(agent, config);
    let output = agent.client(&["agent", "--reload"]).unwrap();
    let (said, complaint) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{complaint}");
    said
}

fn collector(agent: &Agent, name: &str) -> Option<Value> {
    let status: Value = serde_json::from_slice(&agent.api("/v1/status").unwrap().body).unwrap();
    status["collectors"].as_array().unwrap().iter().find(|state| state["name"] == name).cloned()
}

fn interval_of(agent: &Agent, name: &str) -> f64 {
    collector(agent, name).unwrap()["interval_seconds"].as_f64().unwrap()
}

/// Every counter on the page.
fn counters(page: &Page) -> BTreeMap<Series, f64> {
    let counters = page.families.values().filter(|family| family.kind == "counter");
    counters.flat_map(|family| family.series.clone()).collect()
}

/// No counter of `before` has fallen in `after`, and most are still there.
fn assert_none_fell(before: &BTreeMap<Series, f64>, after: &BTreeMap<Series, f64>) {
    let fell = |(series, then): &(&Series, &f64)| after.get(series).is_some_and(|now| now < *then);
    let fell: Vec<_> = before.iter().filter(fell).collect();
    assert!(fell.is_empty(), "counters that fell: {fell:?}");
    let kept = before.keys().filter(|series| after.contains_key(series)).count();
    assert!(kept > 50, "only {kept} counters are still there");
}

/// Instants of the stored samples of a series, in ms.
fn stored(agent: &Agent, series: &str) -> Vec<i64> {
    let output = agent.client(&["export", "--format", "csv", "--match", series]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

fn skipped(page: &Page) -> i64 {
    page.value("fieldpost_sampler_skipped_ticks_total", &[]).unwrap() as i64
}

#[test]
fn interval_changes_at_once_and_back() {
    let agent = start("interval: 1s\n");
    assert_eq!(interval_of(&agent, "loadavg"), 1.0);
    let before = counters(&agent.page().unwrap());
    let said = reload(&agent, "interval: 2s\nstore:\n  window: 12s\n");
    assert!(said.starts_with("reloaded  changed: interval"), "{said}");
    assert_eq!(interval_of(&agent, "loadavg"), 2.0);
    let then = collector(&agent, "loadavg").unwrap()["time_ms"].as_i64().unwrap();
    let times = wait_for("two ticks of the new grid", || {
        let time = collector(&agent, "loadavg")?["time_ms"].as_i64()?;
        (time > then + 2_000).then_some(time)
    });
    assert_eq!(times.unwrap() % 2_000, 0);
    reload(&agent, "interval: 1s\n");
    assert_eq!(interval_of(&agent, "loadavg"), 1.0);
    assert_none_fell(&before, &counters(&agent.page().unwrap()));
}

#[test]
fn collector_is_switched_on_and_off() {
    let agent = start("");
    let has = |family: &str| agent.page().unwrap().families.contains_key(family);
    assert!(has("node_load1") && !has("node_buddyinfo_blocks"));
    let said =
        reload(&agent, "collectors:\n  buddyinfo:\n    enabled: true\n  loadavg:\n    enabled: false\n");
    assert!(said.contains("collectors.buddyinfo") && said.contains("collectors.loadavg"), "{said}");
    wait_for("what was switched on", || has("node_buddyinfo_blocks").then_some(())).unwrap();
    assert!(!has("node_load1"));
    assert_eq!(agent.get("/metrics?collect[]=loadavg").unwrap().status, 400);
    reload(&agent, "");
    wait_for("what was switched on again", || has("node_load1").then_some(())).unwrap();
    assert!(!has("node_buddyinfo_blocks"));
}

#[test]
fn many_reloads_lose_no_tick_and_no_count() {
    let mut agent = start("interval: 1s\nstore:\n  window: 6s\n");
    let mut before = counters(&agent.page().unwrap());
    for round in 0..N_RELOADS {
        let switch = round % 2 == 0;
        reload(
            &agent,
            &format!("interval: 1s\nstore:\n  window: 6s\ncollectors:\n  swap:\n    enabled: {switch}\n"),
        );
        let after = counters(&agent.page().unwrap());
        assert_none_fell(&before, &after);
        before = after;
    }
    let lost = skipped(&agent.page().unwrap());
    assert!(agent.stop().unwrap().success());
    for series in ["node_load1", "node_time_seconds", "node_boot_time_seconds"] {
        let instants = stored(&agent, series);
        let missing: i64 = instants.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000 - 1).sum();
        assert!(instants.iter().all(|time| time % 1_000 == 0), "{instants:?}");
        assert!(instants.len() > 1 && missing <= lost, "{series}: {missing} missing, {lost} skipped");
        println!("{series}: {} stored, {missing} missing, {lost} skipped", instants.len());
    }
}

#[test]
fn counts_of_processes_go_on_over_a_reload_of_their_neighbours() {
    let agent = start("interval: 1s\n");
    let of_processes = |page: &Page| -> BTreeMap<Series, f64> {
        let mut all = counters(page);
        all.retain(|series, _| series.name.starts_with("fieldpost_process_"));
        all
    };
    let mut before = of_processes(&agent.page().unwrap());
    assert!(!before.is_empty());
    for config in [
        "interval: 1s\ncollectors:\n  all: true\n",
        "interval: 1s\n",
        "interval: 2s\nstore:\n  window: 12s\n",
    ] {
        reload(&agent, config);
        let page = wait_for("a pass after the reload", || {
            let page = agent.page().ok()?;
            (!of_processes(&page).is_empty()).then_some(page)
        });
        let after = of_processes(&page.unwrap());
        let fell: Vec<_> =
            before.iter().filter(|(series, then)| after.get(series).is_some_and(|now| now < then)).collect();
        assert!(fell.is_empty(), "{fell:?}");
        before = after;
    }
}

#[test]
fn hangup_reloads_and_the_log_changes_its_level() {
    let agent_config = |level: &str| format!("log:\n  level: {level}\n");
    let mut agent = start(&agent_config("error"));
    write_config(&agent, "log:\n  level: error\ncollectors:\n  swap:\n    enabled: true\n");
    agent.process().signal(Signal::HUP).unwrap();
    wait_for("the collector that was switched on", || collector(&agent, "swap")).unwrap();
    assert!(!agent.process().said().contains("reloaded"), "{}", agent.process().said());
    write_config(&agent, &agent_config("info"));
    agent.process().signal(Signal::HUP).unwrap();
    wait_for("the log at its new level", || agent.process().said().contains("reloaded").then_some(()))
        .unwrap();
    assert!(collector(&agent, "swap").is_none());
}

#[test]
fn keys_that_need_a_restart_are_named_and_keep_their_values() {
    let agent = start("");
    let said = reload(&agent, "store:\n  window: 20s\n  quota: 2GiB\nlog:\n  format: json\n");
    let (_, restart) = said.split_once("needs a restart: ").unwrap_or_else(|| panic!("{said}"));
    assert!(restart.contains("store.window") && restart.contains("store.quota"), "{said}");
    // What was not taken over is named again by the next reload.
    let again = reload(&agent, "store:\n  window: 20s\n");
    assert!(again.contains("needs a restart: store.window"), "{again}");
    let events = agent.client(&["events"]).unwrap();
    let events = String::from_utf8(events.stdout).unwrap();
    assert!(events.contains("reloaded; needs a restart: store"), "{events}");
}

#[test]
fn bad_files_change_nothing_and_all_their_errors_are_told() {
    let mut agent = start("interval: 1s\n");
    let bad = "interval: 2s\nintervall: 1s\nmetrics:\n  listen: nowhere\ncollectors:\n  loadavg:\n    enabled: perhaps\n";
    write_config(&agent, bad);
    std::fs::create_dir(agent.config_dir().join("conf.d")).unwrap();
    std::fs::write(agent.config_dir().join("conf.d/10-more.yaml"), "store:\n  quota: much\n").unwrap();
    let output = agent.client(&["agent", "--reload"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for key in ["intervall", "metrics.listen", "collectors.loadavg.enabled", "store.quota"] {
        assert_eq!(
            said.lines().filter(|line| line.contains(&format!(": {key}: "))).count(),
            1,
            "{key}: {said}"
        );
    }
    assert!(said.contains("10-more.yaml:2:10: "), "{said}");
    assert!(said.contains("not reloaded: pid "), "{said}");
    assert_eq!(interval_of(&agent, "loadavg"), 1.0);
    agent.process().signal(Signal::HUP).unwrap();
    wait_for("the refusal in the log", || agent.process().said().contains("store.quota").then_some(()))
        .unwrap();
    assert_eq!(interval_of(&agent, "loadavg"), 1.0);
    assert_eq!(agent.get("/-/ready").unwrap().status, 200);
}
