//! Side by side with the real node_exporter, Debian's: whoever changes from it to us must find
//! every series again, with the same name, labels, type, help and value.

mod compare;
mod differences;
mod tree;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use fieldpost_bed::{Page, Process, Scratch, free_port, get, peer};

use compare::compare;
use differences::{EVERYWHERE, FIXED, LIVE};

/// Collectors that node_exporter 1.5 has off by default and that we have.
const MORE: &[&str] = &[
    "buddyinfo",
    "cgroups",
    "interrupts",
    "ksmd",
    "lnstat",
    "meminfo_numa",
    "mountstats",
    "network_route",
    "processes",
    "qdisc",
    "slabinfo",
    "tcpstat",
    "zoneinfo",
];

/// How many times the live machine is looked at until nothing differs each time.
const LOOKS: usize = 6;

/// A running node_exporter.
struct Oracle {
    address: SocketAddr,
    _process: Process,
    _scratch: Scratch,
}

impl Oracle {
    fn start(collectors: &[&str], flags: &[String]) -> anyhow::Result<Self> {
        let program = peer("prometheus-node-exporter", "usr/bin/prometheus-node-exporter")?;
        let scratch = Scratch::new()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut arguments =
            vec![format!("--web.listen-address={address}"), "--collector.cpu.info".to_owned()];
        arguments.extend(collectors.iter().map(|name| format!("--collector.{name}")));
        arguments.extend_from_slice(flags);
        let no_environment: [(&str, &OsStr); 0] = [];
        let mut process =
            Process::start("node_exporter", &program, &arguments, &no_environment, scratch.path())?;
        process.until("its landing page", || get(address, "/").ok().filter(|answer| answer.status == 200))?;
        Ok(Self { address, _process: process, _scratch: scratch })
    }

    fn page(&self) -> anyhow::Result<Page> {
        let answer = get(self.address, "/metrics")?;
        Ok(Page::parse(answer.ok()?)?)
    }
}

/// One full pass of ours.
fn sample(settings: &[String]) -> anyhow::Result<Page> {
    let mut command = Command::new(crate::fieldpost());
    command.arg("sample").args(["--set", "collectors.all=true"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "fieldpost sample: {}\n{said}", output.status);
    Ok(Page::parse(std::str::from_utf8(&output.stdout)?)?)
}

#[test]
fn live_machine_has_the_same_series() {
    let oracle = Oracle::start(MORE, &[]).unwrap();
    let look = || {
        let before = sample(&[]).unwrap();
        let theirs = oracle.page().unwrap();
        compare(&before, &theirs, &sample(&[]).unwrap(), &[EVERYWHERE, LIVE])
    };
    let mut outcome = look();
    for _ in 1..LOOKS {
        if outcome.faults.is_empty() {
            break;
        }
        outcome = outcome.and(look());
    }
    println!("live machine, beside node_exporter: {outcome}");
    assert!(outcome.faults.is_empty(), "differs from node_exporter on the live machine: {outcome}");
}

#[test]
fn fixed_tree_has_the_same_values() {
    let Some(tree) = tree::upstream().unwrap() else {
        println!("no tree of node_exporter's own beside the repository: compared on the live machine only");
        return;
    };
    let outcome = compare_on_tree(tree.path()).unwrap();
    println!("fixed tree, beside node_exporter: {outcome}");
    assert!(outcome.faults.is_empty(), "differs from node_exporter on its own tree: {outcome}");
}

#[test]
fn own_tree_has_the_same_values() {
    let outcome = compare_on_tree(&crate::repository_file("tests/it/fixtures/host")).unwrap();
    println!("own tree, beside node_exporter: {outcome}");
    assert!(outcome.faults.is_empty(), "differs from node_exporter on our own tree: {outcome}");
}

fn compare_on_tree(tree: &Path) -> anyhow::Result<compare::Outcome> {
    let collectors: Vec<&str> =
        MORE.iter().copied().filter(|name| !tree::NOT_OF_A_TREE.contains(name)).collect();
    let oracle = Oracle::start(&collectors, &tree::oracle_flags(tree))?;
    let ours = sample(&tree::our_settings(tree))?;
    Ok(compare(&ours, &oracle.page()?, &ours, &[EVERYWHERE, FIXED]))
}
