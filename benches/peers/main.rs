//! Fieldpost beside its peers, in one run on one machine: `make bench`. Prints the tables that
//! BENCHMARKS.md holds. Nothing here asserts: a busy machine makes numbers worse, not wrong code.
//!
//! - `FIELDPOST_BENCH_ONLY=pass,page,running,density,restart,jobs,hub`: these parts only; of `hub` also
//!   `hub-ingest`, `hub-fresh`, `hub-links`, `hub-questions`, `hub-promql` alone
//! - `FIELDPOST_BENCH_SECONDS=60`: how long agents run side by side
//! - `FIELDPOST_BENCH_RECORDING=DIR`: a store with an hour of 1 s samples to replay; without it
//!   what the agent recorded in `running` is repeated until it fills an hour
//! - `FIELDPOST_BENCH_LINKS=1000,10000`: how many agents are linked to a hub

// What a bench is for is to print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cpu;
mod crowd;
mod density;
mod disk;
mod hub;
mod jobs;
mod machine;
mod openmetrics;
mod page;
mod pass;
mod query;
mod recording;
mod restart;
mod rivals;
mod running;
mod table;
mod victoria;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use recording::Recording;
use table::{Row, markdown};

/// The agent under test, of the same build as this bench.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fieldpost"))
}

/// What this run is asked to do.
struct Order {
    only: Option<String>,
    span: Duration,
    recording: Option<PathBuf>,
    n_links: Vec<usize>,
}

impl Order {
    fn read() -> anyhow::Result<Self> {
        let seconds = std::env::var("FIELDPOST_BENCH_SECONDS").unwrap_or_else(|_| "60".into());
        let seconds = seconds.parse().context("FIELDPOST_BENCH_SECONDS must be a number of seconds")?;
        let n_links = std::env::var("FIELDPOST_BENCH_LINKS").unwrap_or_else(|_| "1000,10000".into());
        let n_links = n_links.split(',').map(str::parse).collect::<Result<_, _>>();
        Ok(Self {
            n_links: n_links.context("FIELDPOST_BENCH_LINKS must be numbers, with commas between them")?,
            only: std::env::var("FIELDPOST_BENCH_ONLY").ok(),
            span: Duration::from_secs(seconds),
            recording: std::env::var_os("FIELDPOST_BENCH_RECORDING").map(PathBuf::from),
        })
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|name| name == part))
    }
}

fn main() -> anyhow::Result<()> {
    let order = Order::read()?;
    println!("{}\n", machine::describe());
    let mut rows = Vec::new();
    let mut recording = order.recording.as_deref().map(Recording::load).transpose()?;
    if order.wants("pass") {
        println!("{}", pass::collectors()?);
        part("pass", &mut rows, pass::rows()?);
    }
    if order.wants("page") {
        part("page", &mut rows, page::rows()?);
    }
    if order.wants("running") {
        let (found, recorded) = running::rows(order.span)?;
        part("running", &mut rows, found);
        recording = recording.or(Some(recorded));
    }
    if order.wants("density") || order.wants("restart") {
        let recording =
            recording.context("nothing to replay: set FIELDPOST_BENCH_RECORDING, or add running")?;
        println!("Replayed: {}.\n", recording.note());
        let hour = recording.hour();
        if order.wants("density") {
            part("density", &mut rows, density::rows(&hour)?);
        }
        if order.wants("restart") {
            part("restart", &mut rows, restart::rows(&hour)?);
        }
    }
    if order.wants("jobs") {
        part("jobs", &mut rows, jobs::rows()?);
    }
    for name in hub::PARTS {
        if order.wants("hub") || order.wants(name) {
            part(name, &mut rows, hub::rows(name, order.span, &order.n_links)?);
        }
    }
    println!("## All\n\n{}", markdown(&rows));
    Ok(())
}

/// Shows what a part found at once: the whole takes a quarter of an hour.
fn part(name: &str, rows: &mut Vec<Row>, found: Vec<Row>) {
    println!("## {name} (load {})\n\n{}", machine::load(), markdown(&found));
    rows.extend(found);
}
