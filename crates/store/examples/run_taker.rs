//! Orders runs, notes that they were delivered, and takes their changes into the hub's runs; prints the
//! number of each that is on the disk, until it is killed: for tests of crashes.
//!
//! `run_taker FOLDER`; it goes on where the files are. Change n is of run n modulo 50.

use std::io::Write;

use fieldpost_model::hub_runs::{HubRuns, RunCursor};
use fieldpost_model::hub_state::{Act, Actor, HubStateError, Order, OrderState, Ordered, Orders, Target};
use fieldpost_model::job::{Cause, Job, Run};
use fieldpost_store::{SqliteHubRuns, SqliteHubState};

const START_MS: i64 = 1_795_219_200_000;
const N_IDS: u64 = 50;

fn order(n: u64) -> Order {
    Order {
        id: format!("order-{n}"),
        batch: format!("batch-{n}"),
        agent: None,
        target: Target::agent("a"),
        ordered: Ordered::Job(Box::default()),
        sealed: vec![1],
        by: "uid 0".to_owned(),
        created_ms: START_MS,
        expires_ms: START_MS + 1,
        state: OrderState::Waiting,
        reason: String::new(),
        changed_ms: START_MS,
        killed_by: None,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder] = &arguments[..] else {
        return Err("usage: run_taker FOLDER".into());
    };
    let (state, act) = (SqliteHubState::open(folder.as_ref())?, Act::new(Actor::Hub, START_MS));
    let runs = SqliteHubRuns::open(folder.as_ref(), START_MS)?;
    let first = runs.cursor("a")?.version + 1;
    let mut out = std::io::stdout().lock();
    for version in first..first + 1_000_000 {
        let order = order(version);
        match state.add_orders(&act, std::slice::from_ref(&order)) {
            // It was ordered before the kill.
            Ok(()) | Err(HubStateError::Taken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        state.claim_order(&order.id, "a", START_MS)?;
        state.settle_order(&act, &order.id, OrderState::Delivered, "")?;
        let id = format!("run-{:08}", version % N_IDS);
        let run = Run::new(id, Job::default(), Cause::Asked, "uid 0".into(), START_MS + version as i64);
        runs.take("a", &RunCursor { spool: "s".into(), version }, &[(version, run)])?;
        writeln!(out, "{version}")?;
        out.flush()?;
    }
    Ok(())
}
