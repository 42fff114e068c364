//! Appends windows that can be computed anew, and prints the number of each one that is on the
//! disk, until it is killed: for tests of crashes and power cuts.
//!
//! `writer FOLDER FIRST_WINDOW N_WINDOWS [N_SERIES [relaxed]]`; window n begins at n * 10 s after 2026-11-21.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::{ByteSize, Catalog, Family, Group, Kind, Owner, Window};
use fieldpost_store::{Config, Durability, Store, StoreOptions};

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
    let config = Config { path: folder.into(), durability, min_free: ByteSize(0), ..Config::default() };
    let (store, opened) = Store::open(StoreOptions::new(config))?;
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
        let from_ms = START_MS + n * 10_000;
        let times_ms: Vec<i64> = (0..10).map(|tick| from_ms + tick * 1000).collect();
        let values =
            (0..n_series).flat_map(|s| times_ms.iter().map(move |t| ((t / 1000) * (s as i64 + 1)) as f64));
        let values = values.collect();
        let group = Group { times_ms, series: series.clone(), values };
        store.append(Window { from_ms, to_ms: from_ms + 10_000, groups: vec![group] });
        if store.flush(Duration::from_secs(60)) {
            writeln!(out, "{n}")?;
            out.flush()?;
        }
    }
    store.close()?;
    writeln!(out, "closed")?;
    Ok(())
}
