//! The promise that everything measured keeps: it makes a page that a strict reader accepts.

use std::collections::BTreeMap;

use fieldpost_formats::{Dialect, parse, write};
use fieldpost_model::Tick;

/// Writes what a pass gave as a page and reads it strictly. Panics with the reader's words.
pub fn check(tick: &Tick) {
    let view = tick.catalog().read();
    let mut families = BTreeMap::new();
    for sample in tick.samples() {
        let series = view.get(sample.id).expect("a sample's series is in the catalog");
        let (_, lines) = families.entry(&series.family.name).or_insert((&series.family, BTreeMap::new()));
        lines.insert(&*series.text, sample.value);
    }
    let mut out = Vec::new();
    for (family, lines) in families.values() {
        write::header(&mut out, Dialect::Text, family, |_| false);
        for (text, value) in lines {
            write::sample(&mut out, text, *value);
        }
    }
    if let Err(error) = parse(&out) {
        panic!("the page is refused: {error}\n{}", String::from_utf8_lossy(&out));
    }
}
