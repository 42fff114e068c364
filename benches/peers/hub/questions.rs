//! Questions over all agents, asked of a hub's store of which the hour is merged or not; and what
//! taking in and merging cost the store alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use fieldpost_bed::{Fleet, Scratch};
use fieldpost_model::Selector;
use fieldpost_store::hub::{HubReader, HubStore, HubStoreOptions};

use super::aligned_ms;
use crate::cpu::{self, median};
use crate::table::Row;

const N_AGENTS: usize = 1_000;
const N_SERIES: usize = 500;
const TICK_MS: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How often each is asked, after the first time.
const N_ASKED: usize = 3;

/// What is asked, for people and for the store.
const QUESTIONS: [(&str, &str); 4] = [
    ("one series of one agent", "node_family_3_total{instance=\"agent-00007\",device=\"device7\"}"),
    ("one family and device of all agents, exact", "node_family_3_total{device=\"device7\"}"),
    (
        "two families and devices of all agents, regular expressions",
        "{__name__=~\"node_family_[37]_total\",device=~\"device1?7\"}",
    ),
    ("a device that only one agent has", "{device=\"veth3\"}"),
];

/// All of it; a span under a minute makes the hour a shorter one.
pub fn rows(span: Duration) -> anyhow::Result<Vec<Row>> {
    let n_windows = if span < Duration::from_secs(60) { 4 } else { 36 };
    let start_ms = aligned_ms(2 * HOUR_MS, HOUR_MS);
    let fleet = Fleet { n_agents: N_AGENTS, n_series: N_SERIES, tick_ms: TICK_MS, start_ms };
    let scratch = Scratch::new()?;
    let now_ms = Arc::new(AtomicI64::new(start_ms + n_windows as i64 * fleet.span_ms()));
    let clock = Arc::clone(&now_ms);
    let options = HubStoreOptions {
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..HubStoreOptions::new(scratch.path().join("record"))
    };
    let n_samples = fleet.n_samples(n_windows);
    let windows = fleet.windows(n_windows);
    let (store, _) = HubStore::open(options.clone())?;
    let taken = cost(n_samples, || fleet.fill(&store, &windows))?;
    store.close()?;
    let unmerged = ask(&options, &fleet)?;
    now_ms.store(start_ms + 2 * HOUR_MS, Ordering::Relaxed);
    let (store, _) = HubStore::open(options.clone())?;
    let merged = cost(n_samples, || {
        ensure!(store.tend(PATIENCE), "the store does not end its merges");
        Ok(())
    })?;
    store.close()?;
    let answers = ask(&options, &fleet)?;
    let mut rows = vec![
        Row::plain(&format!("the store alone: taking in sealed windows of {N_AGENTS} agents"), taken, "–"),
        Row::plain("the store alone: merging their hour, ticks of 10 s, rollups included", merged, "–"),
    ];
    for (((what, _), merged), unmerged) in QUESTIONS.iter().zip(answers).zip(unmerged) {
        let what =
            format!("an hour of {what}, {N_AGENTS} agents of {N_SERIES} series: merged; not merged yet");
        rows.push(Row::plain(&what, format!("{merged}; {unmerged}"), "–"));
    }
    Ok(rows)
}

/// Samples a second and CPU for each.
fn cost(n_samples: f64, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<String> {
    let (start, spent) = (Instant::now(), cpu::own());
    work()?;
    let (took, spent) = (start.elapsed().as_secs_f64(), (cpu::own() - spent).as_secs_f64());
    Ok(format!("{:.1} M/s, {:.0} ns of a core each", n_samples / took / 1e6, spent * 1e9 / n_samples))
}

/// How long each question takes, the first time and then.
fn ask(options: &HubStoreOptions, fleet: &Fleet) -> anyhow::Result<Vec<String>> {
    let names: Vec<(String, String)> =
        (0..fleet.n_agents).map(|agent| (Fleet::agent_id(agent), Fleet::agent_name(agent))).collect();
    let names: std::collections::HashMap<String, String> = names.into_iter().collect();
    let labels =
        Arc::new(move |id: &str| vec![("instance".to_owned(), names.get(id).cloned().unwrap_or_default())]);
    let reader = HubReader::open(&options.path, labels)?;
    QUESTIONS.iter().map(|(_, question)| asked(&reader, &Selector::parse(question)?)).collect()
}

fn asked(reader: &HubReader, question: &Selector) -> anyhow::Result<String> {
    let mut took = Vec::new();
    let mut n_series = 0;
    for _ in 0..=N_ASKED {
        let start = Instant::now();
        n_series = reader.samples(question, 0, i64::MAX)?.len();
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    ensure!(n_series > 0, "no series");
    let first = took.remove(0);
    Ok(format!("{:.1} ms (first {first:.1} ms, {n_series} series)", median(took)))
}
