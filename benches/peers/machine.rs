//! What the numbers were taken on: machine, kernel, date, load, and the peers' versions.

use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

use fieldpost_bed::peer;

/// The paragraph that stands above the tables.
pub fn describe() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = || cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = models().next().map_or("unknown processor", |(_, name)| name);
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
    let release = read_to_string("/etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    format!(
        "{date}; {n} x {model}, {memory:.0} GiB, {system}, Linux {kernel}; load {load}; \
         node_exporter {node}, collectd {collectd}, netdata {netdata}, Prometheus {prometheus}, \
         VictoriaMetrics {victoria}.",
        date = said(Path::new("date"), &["-u", "+%Y-%m-%d %H:%M UTC"]),
        n = models().count(),
        memory = kib / 1024.0 / 1024.0,
        system = system.trim_matches('"'),
        kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        load = load(),
        node = version("prometheus-node-exporter"),
        collectd = version("collectd-core"),
        netdata = version("netdata-core"),
        prometheus = version("prometheus"),
        victoria = version("victoria-metrics"),
    )
}

/// The load averages: what else the machine did.
pub fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// How many processes there are.
pub fn n_processes() -> usize {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count()
}

/// The version of a peer by the package it was unpacked from.
fn version(package: &str) -> String {
    let Ok(changelog) = peer(package, &format!("usr/share/doc/{package}")) else { return "missing".into() };
    for name in ["changelog.Debian.gz", "changelog.Debian.amd64.gz", "changelog.gz"] {
        let path = changelog.join(name).display().to_string();
        let text = said(Path::new("zcat"), &["-f", &path]);
        if let Some(version) = text.split(['(', ')']).nth(1) {
            return version.to_owned();
        }
    }
    "of unknown version".into()
}

/// The standard output of a program; empty if it fails.
fn said(program: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
