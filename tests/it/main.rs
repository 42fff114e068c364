//! The integration tests, one binary: each module is one thing that must be true of the whole program.
//!
//! - `fuzz`: nothing that is read from outside can make the program panic or its page unreadable.
//! - `kill9`: what was called stored survives kill -9 at any instant, once.
//! - `node_exporter`: every series of the real node_exporter is found again, with its value.
//! - `prometheus`: a real Prometheus scrapes the agent and answers what dashboards ask.
//! - `tidy`: rules of the house that a machine can keep: doors, homes, headers, sizes.

// A test that cannot go on says so by panicking, also outside of its #[test] function.
#![allow(clippy::unwrap_used)]

mod fuzz;
mod kill9;
mod node_exporter;
mod prometheus;
mod tidy;

/// A file of the repository.
fn repository_file(path: &str) -> std::path::PathBuf {
    fieldpost_bed::repository().join(path)
}

/// The program under test.
fn fieldpost() -> &'static str {
    env!("CARGO_BIN_EXE_fieldpost")
}
