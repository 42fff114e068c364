//! A real Prometheus, Debian's, scrapes a real agent and answers what dashboards ask; and its
//! `promtool` finds no fault in our page that it does not find in node_exporter's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use fieldpost_bed::{Agent, Prometheus, get, peer};
use serde_json::Value;

use crate::node_exporter::oracle::{MORE, Oracle};

/// For how long it scrapes, once a second, before it is asked.
const N_SCRAPES: f64 = 30.0;

/// What "Node Exporter Full" asks, with its variables filled in, and what the answer must be.
const QUERIES: &[(&str, Answer)] = &[
    ("up{job=\"agent\"}", Answer::Is(1.0)),
    ("rate(node_cpu_seconds_total{job=\"agent\"}[10s])", Answer::AtLeast(0.0)),
    (
        "sum by(instance) (irate(node_cpu_seconds_total{job=\"agent\",mode!=\"idle\"}[10s])) / on(instance) group_left \
         sum by (instance)((irate(node_cpu_seconds_total{job=\"agent\"}[10s])))",
        Answer::Share,
    ),
    ("count(count(node_cpu_seconds_total{job=\"agent\"}) by (cpu))", Answer::AtLeast(1.0)),
    (
        "1 - (node_memory_MemAvailable_bytes{job=\"agent\"} / node_memory_MemTotal_bytes{job=\"agent\"})",
        Answer::Share,
    ),
    (
        "1 - (node_filesystem_avail_bytes{mountpoint=\"/\",fstype!=\"rootfs\"} / \
         node_filesystem_size_bytes{mountpoint=\"/\",fstype!=\"rootfs\"})",
        Answer::Share,
    ),
    (
        "scalar(node_load1{job=\"agent\"}) / count(count(node_cpu_seconds_total) by (cpu))",
        Answer::AtLeast(0.0),
    ),
    ("node_time_seconds{job=\"agent\"} - node_boot_time_seconds{job=\"agent\"}", Answer::AtLeast(1.0)),
    ("node_uname_info{job=\"agent\",nodename!=\"\"}", Answer::Is(1.0)),
    ("rate(node_network_receive_bytes_total{device=\"lo\"}[10s])*8", Answer::AtLeast(1.0)),
    ("irate(node_context_switches_total{job=\"agent\"}[10s])", Answer::AtLeast(0.0)),
    ("irate(node_intr_total{job=\"agent\"}[10s])", Answer::AtLeast(0.0)),
    ("node_procs_running{job=\"agent\"}", Answer::AtLeast(0.0)),
    ("irate(node_vmstat_pgfault{job=\"agent\"}[10s])", Answer::AtLeast(0.0)),
    ("node_filefd_allocated{job=\"agent\"}", Answer::AtLeast(1.0)),
    ("node_sockstat_TCP_inuse{job=\"agent\"}", Answer::AtLeast(1.0)),
    ("irate(node_netstat_Tcp_InSegs{job=\"agent\"}[10s])", Answer::AtLeast(0.0)),
    ("node_timex_sync_status{job=\"agent\"}", Answer::AtLeast(0.0)),
    ("node_scrape_collector_success{collector=\"cpu\"}", Answer::Is(1.0)),
    ("process_resident_memory_bytes{job=\"agent\"}", Answer::AtLeast(1.0)),
    // No scrape but the first may have failed or missed a series that others had.
    ("min_over_time(up{job=\"agent\"}[20s])", Answer::Is(1.0)),
    ("absent(fieldpost_build_info)", Answer::Nothing),
];

/// What an answer must be, in each of its series.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Is(f64),
    AtLeast(f64),
    /// From 0 to 1.
    Share,
    Nothing,
}

impl Answer {
    fn accepts(self, values: &[f64]) -> bool {
        let good = |value: &f64| match self {
            Answer::Is(wanted) => *value == wanted,
            Answer::AtLeast(least) => *value >= least,
            Answer::Share => (0.0..=1.0).contains(value),
            Answer::Nothing => false,
        };
        values.is_empty() == matches!(self, Answer::Nothing) && values.iter().all(good)
    }
}

/// A Prometheus that scrapes one address.
fn scraping(target: SocketAddr) -> Prometheus {
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: agent\n    \
         static_configs:\n      - targets: ['{target}']\n"
    );
    Prometheus::start(&config, &[]).unwrap()
}

/// The values of the answer's series.
fn values(prometheus: SocketAddr, query: &str) -> Vec<f64> {
    let answer = get(prometheus, &format!("/api/v1/query?query={}", percent(query))).unwrap();
    let answer: Value = serde_json::from_str(answer.ok().unwrap()).unwrap();
    let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    series.iter().filter_map(|series| series["value"][1].as_str()?.parse().ok()).collect()
}

/// The query as a part of a URL.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b if b.is_ascii_alphanumeric() => out.push(b as char),
            b => drop(write!(out, "%{b:02X}")),
        }
        out
    })
}

#[test]
fn prometheus_scrapes_the_agent_and_answers_dashboards() {
    let agent = Agent::start(Path::new(crate::fieldpost()), "interval: 1s\n").unwrap();
    let mut prometheus = scraping(agent.metrics_address());
    let address = prometheus.address;
    prometheus
        .process
        .until("30 good scrapes", || {
            let query = percent("sum_over_time(up{job=\"agent\"}[2m])");
            let answer: Value =
                serde_json::from_str(get(address, &format!("/api/v1/query?query={query}")).ok()?.ok().ok()?)
                    .ok()?;
            let n_scrapes: f64 = answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()?;
            (n_scrapes >= N_SCRAPES).then_some(())
        })
        .unwrap();
    let mut faults = String::new();
    for (query, wanted) in QUERIES {
        let values = values(address, query);
        println!("{:4} series  {query}", values.len());
        if !wanted.accepts(&values) {
            writeln!(faults, "  {query}\n    answered {values:?}, expected {wanted:?}").unwrap();
        }
    }
    assert!(faults.is_empty(), "a dashboard would be wrong:\n{faults}");
    // It warns of samples that it takes but not as they are: repeated, out of order, too old.
    let said = prometheus.process.said();
    let warnings: Vec<&str> =
        said.lines().filter(|line| line.contains("scrape") && line.contains("level=warn")).collect();
    assert!(warnings.is_empty(), "Prometheus took the page with warnings:\n{}", warnings.join("\n"));
}

#[test]
fn promtool_finds_nothing_new() {
    let agent = Agent::start(Path::new(crate::fieldpost()), "collectors:\n  all: true\n").unwrap();
    let theirs = findings(&Oracle::start(MORE, &[]).unwrap().text().unwrap()).unwrap();
    let ours = findings(agent.get("/metrics").unwrap().ok().unwrap()).unwrap();
    let new: Vec<&String> = ours.difference(&theirs).filter(|finding| !is_upstream(finding)).collect();
    println!(
        "promtool: {} findings in ours, {} in node_exporter's, {} new",
        ours.len(),
        theirs.len(),
        new.len()
    );
    assert!(new.is_empty(), "promtool finds in our page alone:\n{new:#?}");
}

/// Findings in series which node_exporter has only since 1.6, named there as they are here.
fn is_upstream(finding: &str) -> bool {
    const SINCE: &[&str] =
        &["node_softirqs_functions_total", "node_swap_", "node_xfrm_", "node_cpu_vulnerabilities_"];
    SINCE.iter().any(|name| finding.starts_with(name))
}

/// What `promtool check metrics` says, line by line.
fn findings(page: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut command = Command::new(peer("prometheus", "usr/bin/promtool")?);
    let mut child = command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    // It reads all of its input before it says anything, so this cannot block on its output.
    if let Some(mut input) = child.stdin.take() {
        input.write_all(page.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(!said.contains("error while linting"), "promtool cannot read the page: {said}");
    Ok(said.lines().map(str::to_owned).collect())
}

#[test]
fn promtool_finds_what_is_wrong() {
    let found = findings("# HELP a A.\n# TYPE a counter\na 1\n").unwrap();
    assert!(found.iter().any(|line| line.contains("_total")), "{found:?}");
}
