//! The hub scrapes what runs no agent: with the same jobs and the same targets it has the series that a
//! real Prometheus has, and targets come and go with the files that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;

use fieldpost_bed::{Agent, Process, Prometheus, Scratch, free_port, get, peer, wait_for};
use fieldpost_model::{TimeMs, is_absent};

use crate::push::{Hub, own_answer};

/// The jobs, in words that both read: FOLDER, NODE and AGENT stand for what a test starts. Whatever a
/// step can do is done by one of them.
const JOBS: &str = r#"
- job_name: nodes
  scrape_interval: 1s
  scrape_timeout: 1s
  params: {'collect[]': [loadavg, cpu, uname, meminfo]}
  file_sd_configs:
  - {files: ['FOLDER/*.yml', FOLDER/one.json], refresh_interval: 1s}
  relabel_configs:
  - {source_labels: [__meta_filepath], regex: '.*/(.+)\.(yml|json)', target_label: file, replacement: '$1 in ${2}'}
  - {source_labels: [__address__], modulus: 1000, target_label: __tmp_shard, action: hashmod}
  - {source_labels: [__tmp_shard], target_label: shard}
  - {regex: 'team_(.+)', replacement: 'of_$1', action: labelmap}
  - {regex: 'team_.+', action: labeldrop}
  - {source_labels: [site], target_label: site, action: uppercase}
  - {source_labels: [wanted], regex: '(?i)NO', action: drop}
  - {source_labels: [rack], target_label: row, action: dropequal}
  - {source_labels: [__scheme__, __metrics_path__, __scrape_interval__, __scrape_timeout__, __param_nothing],
     separator: '|', target_label: how}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: 'go_.*|process_.*|promhttp_.*|node_scrape_collector_.*', action: drop}
  - {source_labels: [mode], regex: idle, target_label: __name__, replacement: node_idle_seconds_total}
  - {source_labels: [cpu, mode], regex: '(.+);(.+)', target_label: cpu_mode, replacement: '$2-of-${1}'}
  - {regex: 'nodename|machine|domainname', action: labeldrop}
  - {source_labels: [release], target_label: release, action: lowercase}
- job_name: agent
  honor_labels: true
  params: {'collect[]': [filesystem]}
  scrape_interval: 1s
  scrape_timeout: 1s
  static_configs:
  - {targets: [AGENT], labels: {instance: fixed, device: given, job: by-label}}
  metric_relabel_configs:
  - {regex: '__name__|job|instance|device|fstype', action: labelkeep}
  - {source_labels: [__name__], regex: 'node_.*', action: keep}
- job_name: displaced
  scrape_interval: 1s
  scrape_timeout: 1s
  params: {'collect[]': [cpu]}
  static_configs:
  - {targets: [NODE], labels: {cpu: mine, mode: y}}
- job_name: away
  scrape_interval: 1s
  scrape_timeout: 1s
  static_configs:
  - {targets: ['127.0.0.1:1', localhost]}
- job_name: few
  scrape_interval: 1s
  scrape_timeout: 1s
  sample_limit: 10
  static_configs:
  - {targets: [NODE]}
"#;

/// Anything that answers on a port of this machine.
struct Served {
    address: SocketAddr,
    process: Process,
    scratch: Scratch,
}

fn node_exporter() -> Served {
    let (scratch, address) =
        (Scratch::new().unwrap(), SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())));
    let program = peer("prometheus-node-exporter", "usr/bin/prometheus-node-exporter").unwrap();
    let arguments = [format!("--web.listen-address={address}")];
    let no_environment: [(&str, &OsStr); 0] = [];
    let mut process =
        Process::start("served", &program, &arguments, &no_environment, scratch.path()).unwrap();
    process
        .until("an answer", || get(address, "/metrics").ok().filter(|answer| answer.status == 200))
        .unwrap();
    Served { address, process, scratch }
}

type Samples = BTreeMap<String, Vec<(TimeMs, f64)>>;

fn ours(hub: &Hub, from_ms: TimeMs) -> Samples {
    hub.samples("{__name__!=\"\",job!=\"\",job!~\"fieldpost|fieldpost-hub\"}", from_ms, TimeMs::MAX)
}

/// The newest value of each series that has not ended, of those about the scrape that stay the same.
fn newest(all: &Samples) -> BTreeMap<String, f64> {
    let stable = ["up[", "scrape_samples_"];
    let stays = |series: &&String| stable.iter().any(|name| series.starts_with(name));
    let last = |series: &String| all[series].last().map(|sample| sample.1).filter(|value| !is_absent(*value));
    all.keys().filter(stays).filter_map(|series| Some((series.clone(), last(series)?))).collect()
}

fn difference(ours: &BTreeSet<&String>, theirs: &BTreeSet<&String>) -> String {
    let few = |all: Vec<&&String>| all.into_iter().take(5).map(|s| format!("\n  {s}")).collect::<String>();
    let (more, less) = (ours.difference(theirs).collect(), theirs.difference(ours).collect());
    format!("only here:{}\nonly there:{}", few(more), few(less))
}

#[test]
fn hub_has_the_series_of_a_prometheus_with_the_same_jobs() {
    let (node, agent) = (node_exporter(), Agent::start(Path::new(crate::fieldpost()), "").unwrap());
    let files = Scratch::new().unwrap();
    let (at, port) = (node.address, node.address.port());
    let groups = format!(
        "- targets: ['{at}', 'localhost:{port}']\n  labels: {{site: berlin, team_a: ops, rack: a, row: b}}\n\
         - targets: ['127.0.0.2:{port}']\n  labels: {{wanted: 'no'}}\n\
         - targets: ['127.0.0.3:{port}']\n  labels: {{rack: a, row: a}}\n"
    );
    files.write("some.yml", &groups).unwrap();
    let other = format!(r#"[{{"targets": ["{at}"], "labels": {{"site": "bonn", "row": "c"}}}}]"#);
    files.write("one.json", &other).unwrap();
    let jobs = JOBS
        .replace("FOLDER", &files.path().display().to_string())
        .replace("NODE", &at.to_string())
        .replace("AGENT", &agent.metrics_address().to_string());
    let prometheus = Prometheus::start(&format!("scrape_configs:\n{jobs}"), &[]).unwrap();
    let hub = Hub::start(&format!("scrape:\n{jobs}"));
    let told = std::cell::RefCell::new(String::new());
    let same = || {
        let from_ms = fieldpost_bed::now_ms() - 4_000;
        let (ours, theirs) =
            (ours(&hub, from_ms), own_answer(prometheus.address, from_ms, fieldpost_bed::now_ms()));
        let names = (ours.keys().collect::<BTreeSet<_>>(), theirs.keys().collect::<BTreeSet<_>>());
        *told.borrow_mut() = format!(
            "{}\nour values: {:?}\ntheirs: {:?}",
            difference(&names.0, &names.1),
            newest(&ours),
            newest(&theirs)
        );
        let has_ended = |all: &Samples| all.values().any(|samples| is_absent(samples[samples.len() - 1].1));
        (names.0 == names.1 && newest(&ours) == newest(&theirs) && ours.len() > 200 && !has_ended(&ours))
            .then_some(ours.len())
    };
    let n_series = wait_for("the same series", same);
    assert!(n_series.is_ok(), "{}", told.borrow());
    drop((node.process, node.scratch, prometheus));
}

#[test]
fn targets_come_and_go_with_the_files_that_name_them() {
    let (node, files) = (node_exporter(), Scratch::new().unwrap());
    let at = node.address;
    let port = at.port();
    let write = |name: &str, targets: &str| files.write(name, &format!("- targets: [{targets}]\n")).unwrap();
    write("a.yml", &format!("'{at}', 'localhost:{port}'"));
    let hub = Hub::start(&format!(
        "scrape:\n- job_name: nodes\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
         params: {{'collect[]': [loadavg]}}\n  file_sd_configs: [{{files: ['{}/*.yml']}}]\n",
        files.path().display()
    ));
    let ups = || -> BTreeMap<String, f64> {
        let mut ups = newest(&hub.samples("up{job=\"nodes\"}", 0, TimeMs::MAX));
        ups.retain(|series, _| series.starts_with("up["));
        ups
    };
    let are = |targets: &[&str]| {
        let expected = targets
            .iter()
            .map(|target| (format!("up[(\"instance\", \"{target}\"), (\"job\", \"nodes\")]"), 1.0));
        (ups() == expected.collect()).then_some(())
    };
    let (first, second, third) = (at.to_string(), format!("localhost:{port}"), format!("127.0.0.9:{port}"));
    wait_for("both", || are(&[&first, &second])).unwrap();
    write("a.yml", &format!("'{at}'"));
    wait_for("one of them", || are(&[&first])).unwrap();
    let load = hub.samples(&format!("node_load1{{instance=\"{second}\"}}"), 0, TimeMs::MAX);
    assert!(
        load.values().all(|samples| is_absent(samples[samples.len() - 1].1)),
        "series end with their target"
    );
    files.write("a.yml", "- targets: [\n").unwrap();
    let status = || hub.client(&["hub", "--status"]);
    wait_for("the fault in the status", || status().contains("a.yml: line 2").then_some(())).unwrap();
    write("b.yml", &format!("'{second}'"));
    wait_for("a new one beside what was before", || are(&[&first, &second])).unwrap();
    write("a.yml", &format!("'{third}'"));
    wait_for("the repaired file", || ups().keys().any(|series| series.contains(&third)).then_some(()))
        .unwrap();
    assert!(!status().contains("a.yml"), "{}", status());
    drop((node.process, node.scratch));
}
