//! Appends windows that can be computed anew, and prints the number of each one that is on the
//! disk, until it is killed: for tests of crashes and power cuts.
//!
//! `writer FOLDER FIRST_WINDOW N_WINDOWS [N_SERIES [full|relaxed [STEP [HUB]]]]`; window n begins at n * STEP
//! seconds after 2026-11-21, ten as a rule, and the store's clock goes with it: with a long step
//! an hour is over after a few windows, and the store merges all the time. With a hub, all that is
//! there is acknowledged by it after each window, and the line shows the last number, too.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fieldpost_model::{
    ByteSize, Catalog, Family, Group, Intervals, Kind, Owner, Period, Seq, Stream, Window,
};
use fieldpost_store::{Config, Durability, Retention, Store, StoreError, StoreOptions};

const START_MS: i64 = 1_795_219_200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, first, count, rest @ ..] = &arguments[..] else {
        return Err("usage: writer FOLDER FIRST_WINDOW N_WINDOWS [N_SERIES]".into());
    };
    let (first, count): (i64, i64) = (first.parse()?, count.parse()?);
    let n_series: usize = rest.first().map_or(Ok(50), |n| n.parse())?;
    let relaxed = rest.get(1).is_some_and(|word| word == "relaxed");
    let durability = if relaxed { Durability::Relaxed } else { Durability::Full };
    let step_ms: i64 = rest.get(2).map_or(Ok(10), |step| step.parse::<i64>())? * 1000;
    let hub = rest.get(3);
    // However far the turned clock goes, nothing goes by its age.
    let retention = Retention { raw: Period::from_secs(1 << 31), ..Retention::default() };
    let config =
        Config { path: folder.into(), durability, retention, min_free: ByteSize(0), ..Config::default() };
    let now_ms = Arc::new(AtomicI64::new(START_MS + first * step_ms));
    let clock = Arc::clone(&now_ms);
    let clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let (store, opened) = Store::open(StoreOptions { clock, ..StoreOptions::new(config) })?;
    hub.map_or(Ok(()), |hub| store.add_cursor(hub))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "open {}", opened.quarantined.len())?;
    let catalog = Catalog::new();
    let family = Family { name: "x".into(), help: "Test.".into(), kind: Kind::Gauge };
    let series: Vec<_> = (0..n_series)
        .filter_map(|n| {
            let id = catalog.resolve(Owner(1), &family, "", &[("n", &n.to_string())]);
            catalog.read().get(id).map(Arc::clone)
        })
        .collect();
    for n in first..first + count {
        let from_ms = START_MS + n * step_ms;
        now_ms.store(from_ms + 10_000, Ordering::Relaxed);
        let times_ms: Vec<i64> = (0..10).map(|tick| from_ms + tick * 1000).collect();
        let values =
            (0..n_series).flat_map(|s| times_ms.iter().map(move |t| ((t / 1000) * (s as i64 + 1)) as f64));
        let values = values.collect();
        let group = Group { times_ms, series: series.clone(), values };
        store.append(Window { from_ms, to_ms: from_ms + 10_000, groups: vec![group] });
        if store.flush(Duration::from_secs(60)) {
            let acked = hub.map(|hub| acknowledge(&store, hub)).transpose()?;
            writeln!(out, "{n}{}", acked.map_or(String::new(), |seq| format!(" {seq}")))?;
            out.flush()?;
        }
    }
    store.close()?;
    writeln!(out, "closed")?;
    Ok(())
}

/// Everything, as a hub that is quick does; answers the last number.
fn acknowledge(store: &Store, hub: &str) -> Result<Seq, StoreError> {
    let record = store.record();
    let last = record.streams.get(&Stream::Metrics).map_or(0, |span| span.last);
    store.acknowledge(hub, &record.spool_id, Stream::Metrics, &Intervals::of(1, last))?;
    Ok(last)
}
