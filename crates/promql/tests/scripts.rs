//! Scripts in the format of Prometheus' own suite: those of the repository, and those of a folder
//! beside it where there is one.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod script;

use std::path::{Path, PathBuf};

/// Of the cases that are given, so many may need what is not supported.
const N_SKIPPED_MAX: usize = 96;

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "test"));
    paths.sort();
    paths
}

#[test]
fn every_case_of_every_script_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = scripts(&root.join("tests/scripts"));
    assert!(!paths.is_empty(), "the repository's own scripts are gone");
    paths.extend(scripts(&root.join("../../../shared/fixtures/promql")));
    let (mut n_passed, mut n_skipped, mut n_failed) = (0, 0, 0);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let totals = script::run(&path.file_name().unwrap().to_string_lossy(), &text);
        totals.failed.iter().for_each(|told| println!("FAILED {told}"));
        totals.skipped.iter().for_each(|told| println!("skipped {told}"));
        n_passed += totals.n_passed;
        n_skipped += totals.skipped.len();
        n_failed += totals.failed.len();
    }
    println!("{n_passed} passed, {n_failed} failed, {n_skipped} skipped");
    assert_eq!(n_failed, 0, "cases failed");
    assert!(n_skipped <= N_SKIPPED_MAX, "{n_skipped} cases were skipped; at most {N_SKIPPED_MAX}");
}
