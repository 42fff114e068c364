//! `fieldpost sample`: one full pass of every collector that is on, as Prometheus text.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::bail;
use fieldpost_collectors::{COLLECTORS, Pass, Place, Unit, build_all};
use fieldpost_formats::Dialect;
use fieldpost_model::Catalog;

use super::{Global, terminal};
use crate::agent::{Board, Clock, CollectorState, SystemClock};
use crate::api::Page;

/// The longest that the whole pass may take; what has not answered by then is left out.
const DEADLINE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  fieldpost sample                                    every collector that the config has on
  fieldpost sample cpu meminfo                        these only
  fieldpost sample --set collectors.all=true          those too that are off by default
  fieldpost sample --set collectors.procfs=/host/proc --set collectors.sysfs=/host/sys
  fieldpost sample | promtool check metrics";

/// Measure this machine once and print it in Prometheus text
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only these collectors
    #[arg(value_name = "COLLECTOR")]
    pub collectors: Vec<String>,
    /// Print OpenMetrics instead of text format 0.0.4
    #[arg(long)]
    pub openmetrics: bool,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let mut config = global.load()?.config;
    for name in &args.collectors {
        if !COLLECTORS.iter().any(|entry| entry.name == name) {
            bail!("there is no collector {name:?}; fieldpost check lists them");
        }
    }
    config.collectors.all |= !args.collectors.is_empty();
    let (catalog, board, clock) = (Catalog::new(), Arc::new(Board::default()), SystemClock);
    let mut units = build_all(&Arc::new(config.collectors), &catalog, config.interval.0);
    units.retain(|unit| {
        args.collectors.is_empty() || args.collectors.iter().any(|name| name == unit.entry.name)
    });
    for name in args.collectors.iter().filter(|name| !units.iter().any(|unit| unit.entry.name == **name)) {
        terminal::err(&format!("{name}: off in the config (collectors.{name}.enabled); left out"));
    }
    let state = |unit: &Unit| CollectorState::new(unit.entry.name, unit.tick().owner(), unit.interval, false);
    board.set_collectors(units.iter().map(state).collect());
    let time_ms = clock.wall_ms();
    for_each_pass(units, time_ms, |unit, pass| {
        if let Some(error) = pass.error.filter(|error| !error.is_no_data()) {
            terminal::err(&format!("{}: {:#}", unit.entry.name, anyhow::Error::from(error)));
        }
        board.publish(unit.tick(), |_| {});
    });
    let dialect = if args.openmetrics { Dialect::OpenMetrics } else { Dialect::Text };
    let page = Page::new(catalog, board, Box::new(|_, _| {})).part(dialect, false, time_ms, |_| true);
    terminal::out(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs every unit once. Those that may be kept waiting run apart, all under one deadline.
fn for_each_pass(units: Vec<Unit>, time_ms: i64, mut done: impl FnMut(&Unit, Pass)) {
    let started = Instant::now();
    let (apart, here): (Vec<_>, Vec<_>) =
        units.into_iter().partition(|unit| unit.entry.place == Place::Apart);
    let mut names: Vec<&str> = apart.iter().map(|unit| unit.entry.name).collect();
    let (outbox, inbox) = sync_channel(apart.len().max(1));
    for mut unit in apart {
        let outbox = outbox.clone();
        std::thread::spawn(move || {
            let pass = unit.run(time_ms);
            // Nobody listens any more once the deadline has passed.
            let _ = outbox.send((unit, pass));
        });
    }
    drop(outbox);
    for mut unit in here {
        let pass = unit.run(time_ms);
        done(&unit, pass);
    }
    while let Ok((unit, pass)) = inbox.recv_timeout(DEADLINE.saturating_sub(started.elapsed())) {
        names.retain(|name| *name != unit.entry.name);
        done(&unit, pass);
    }
    for name in names {
        terminal::err(&format!("{name}: no answer within {} s; left out", DEADLINE.as_secs()));
    }
}
