//! Every fuzz target on the stable compiler: sound inputs, changed at random from a fixed seed. `FIELDPOST_FUZZ_RUNS`
//! says how many of them for each target.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use targets::mutate::Mutator;

/// Inputs for each target unless the environment says otherwise: some seconds' worth.
const RUNS: u64 = 20_000;
/// The same for targets that lay out a tree of files for each input.
const TREES: u64 = 5_000;

fn fuzz(name: &str) {
    let usual = if name.starts_with("kernel_") || name == "processes" { TREES } else { RUNS };
    let runs = std::env::var("FIELDPOST_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(usual);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(base).unwrap();
    let mut ready = (targets::target(name).prepare)(folder.path());
    for seed in &ready.seeds {
        (ready.run)(seed);
    }
    let mut mutator = Mutator::new(1);
    for run in 0..runs {
        let input = mutator.input(&ready.seeds);
        if catch_unwind(AssertUnwindSafe(|| (ready.run)(&input))).is_err() {
            panic!("{name}, run {run}, fails on this input: b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn every_target_has_its_binary() {
    let manifest = std::fs::read_to_string(crate::repository_file("fuzz/Cargo.toml")).unwrap();
    for target in targets::TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)), "{}", target.name);
    }
}

#[test]
fn metrics_text() {
    fuzz("metrics_text");
}

#[test]
fn textfile() {
    fuzz("textfile");
}

#[test]
fn kernel_proc() {
    fuzz("kernel_proc");
}

#[test]
fn kernel_net() {
    fuzz("kernel_net");
}

#[test]
fn kernel_storage() {
    fuzz("kernel_storage");
}

#[test]
fn kernel_sys() {
    fuzz("kernel_sys");
}

#[test]
fn processes() {
    fuzz("processes");
}

#[test]
fn config() {
    fuzz("config");
}

#[test]
fn store_codec() {
    fuzz("store_codec");
}

#[test]
fn requests() {
    fuzz("requests");
}

#[test]
fn link() {
    fuzz("link");
}

#[test]
fn record() {
    fuzz("record");
}

#[test]
fn pushed() {
    fuzz("pushed");
}

#[test]
fn promql() {
    fuzz("promql");
}
