//! Side by side with the real node_exporter, Debian's: whoever changes from it to us must find
//! every series again, with the same name, labels, type, help and value.

mod compare;
mod differences;
pub mod oracle;
pub mod tree;

use std::path::Path;
use std::process::Command;

use fieldpost_bed::{Page, Scratch};

use compare::compare;
use differences::{EVERYWHERE, FIXED, LIVE};
use oracle::{MORE, Oracle};

/// How many times the live machine is looked at until nothing differs each time.
const LOOKS: usize = 10;

/// One full pass of ours.
fn sample(settings: &[String]) -> anyhow::Result<Page> {
    let mut command = Command::new(crate::fieldpost());
    command.arg("sample").args(["--set", "collectors.all=true", "--set", "collectors.cpu.info=true"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "fieldpost sample: {}\n{said}", output.status);
    Ok(Page::parse(std::str::from_utf8(&output.stdout)?)?)
}

#[test]
fn live_machine_has_the_same_series() {
    // Neither side has text files: what lies on this machine is not the tests' affair.
    let no_files = Scratch::new().unwrap();
    let flag = format!("--collector.textfile.directory={}", no_files.path().display());
    let oracle = Oracle::start(MORE, &[flag]).unwrap();
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
