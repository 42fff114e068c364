//! Runs scripts in the format of Prometheus' own suite: `promqltest FILE...`. Prints each failed
//! case and the totals; ends with 1 if one failed.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "../tests/script/mod.rs"]
mod script;

use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut n_passed, mut n_skipped, mut n_failed) = (0, 0, 0);
    for path in std::env::args().skip(1) {
        let totals = match std::fs::read_to_string(&path) {
            Ok(text) => script::run(&path, &text),
            Err(error) => {
                println!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        };
        totals.failed.iter().for_each(|told| println!("FAILED {told}"));
        totals.skipped.iter().for_each(|told| println!("skipped {told}"));
        n_passed += totals.n_passed;
        n_skipped += totals.skipped.len();
        n_failed += totals.failed.len();
    }
    println!("{n_passed} passed, {n_failed} failed, {n_skipped} skipped");
    if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
