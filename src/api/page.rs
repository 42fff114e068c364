//! The page of metrics: the newest values of the board, family by family, written once per tick
//! and dialect and compressed once.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use fieldpost_formats::{Dialect, write};
use fieldpost_model::{Catalog, Family, Owner, Series, SeriesId, TimeMs};
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use crate::agent::{Board, BoardView, Shown};

/// A page is shown again for so long, ms, if no tick comes meanwhile: then values may have become
/// too old to be shown, and the process' own metrics have gone on.
const SHOWN_AGAIN_FOR_MS: i64 = 1_000;

/// Writes the process' own metrics; they follow those of the board.
pub type OwnMetrics = Box<dyn Fn(Dialect, &mut Vec<u8>) + Send + Sync>;

/// One family and its series, in the order of the page.
struct Section {
    family: Arc<Family>,
    series: Vec<(SeriesId, Arc<Series>)>,
}

/// The order of the page. It changes only when a series begins or ends.
#[derive(Default)]
struct Plan {
    generation: u64,
    sections: Vec<Section>,
    names: HashSet<Box<str>>,
}

impl Plan {
    fn of(catalog: &Catalog) -> Self {
        let view = catalog.read();
        let mut by_name: HashMap<&str, Section> = HashMap::new();
        for (id, series) in view.iter() {
            let section = by_name
                .entry(&series.family.name)
                .or_insert_with(|| Section { family: Arc::clone(&series.family), series: Vec::new() });
            section.series.push((id, Arc::clone(series)));
        }
        let mut sections: Vec<Section> = by_name.into_values().collect();
        sections.sort_by(|a, b| a.family.name.cmp(&b.family.name));
        for section in &mut sections {
            section.series.sort_by_key(|(_, series)| series.serial);
        }
        let names = sections.iter().map(|section| section.family.name.clone()).collect();
        Self { generation: view.generation(), sections, names }
    }
}

#[derive(Clone)]
struct Rendered {
    version: u32,
    written_ms: TimeMs,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Rendered {
    fn is_fresh(&self, version: u32, now_ms: TimeMs) -> bool {
        self.version == version && (0..SHOWN_AGAIN_FOR_MS).contains(&(now_ms - self.written_ms))
    }
}

#[derive(Default)]
struct Cache {
    plan: Plan,
    rendered: [Option<Rendered>; 2],
    length: usize,
}

/// Renders pages and keeps the newest of each dialect.
pub struct Page {
    catalog: Arc<Catalog>,
    board: Arc<Board>,
    own: OwnMetrics,
    cache: Mutex<Cache>,
}

impl Page {
    /// A page of this board, followed by the process' own metrics.
    pub fn new(catalog: Arc<Catalog>, board: Arc<Board>, own: OwnMetrics) -> Self {
        Self { catalog, board, own, cache: Mutex::default() }
    }

    /// The whole page as of now. Written anew if a tick was published since the last one, or a
    /// second has passed.
    pub fn whole(&self, dialect: Dialect, gzip: bool, now_ms: TimeMs) -> Bytes {
        let mut cache = self.cache.lock();
        let slot = usize::from(dialect == Dialect::OpenMetrics);
        let version = self.board.read().version();
        if !cache.rendered[slot].as_ref().is_some_and(|rendered| rendered.is_fresh(version, now_ms)) {
            let plain = self.write(&mut cache, dialect, now_ms, |_| true, true);
            cache.rendered[slot] = Some(Rendered { version, written_ms: now_ms, plain, gzip: None });
        }
        let Some(rendered) = &mut cache.rendered[slot] else { return Bytes::new() };
        if gzip {
            rendered.gzip.get_or_insert_with(|| compress(&rendered.plain)).clone()
        } else {
            rendered.plain.clone()
        }
    }

    /// The part of the page that some owners feed.
    pub fn part(&self, dialect: Dialect, gzip: bool, now_ms: TimeMs, keep: impl Fn(Owner) -> bool) -> Bytes {
        let plain = self.write(&mut self.cache.lock(), dialect, now_ms, keep, false);
        if gzip { compress(&plain) } else { plain }
    }

    fn write(
        &self,
        cache: &mut Cache,
        dialect: Dialect,
        now_ms: TimeMs,
        keep: impl Fn(Owner) -> bool,
        own: bool,
    ) -> Bytes {
        if cache.plan.generation != self.catalog.generation() || cache.plan.sections.is_empty() {
            cache.plan = Plan::of(&self.catalog);
        }
        let mut out = Vec::with_capacity(cache.length + 1024);
        let board = self.board.read();
        let mut shown = board.shown(now_ms);
        shown.retain(keep);
        for section in &cache.plan.sections {
            write_section(&mut out, dialect, section, &cache.plan.names, &board, &shown);
        }
        drop(board);
        if own {
            (self.own)(dialect, &mut out);
        }
        write::end(&mut out, dialect);
        cache.length = out.len();
        out.into()
    }
}

/// Writes a family if any of its series has a value to show.
fn write_section(
    out: &mut Vec<u8>,
    dialect: Dialect,
    section: &Section,
    names: &HashSet<Box<str>>,
    board: &BoardView<'_>,
    shown: &Shown,
) {
    let start = out.len();
    write::header(out, dialect, &section.family, |name| names.contains(name));
    let header_end = out.len();
    for (id, series) in &section.series {
        if let Some(value) = board.value(shown, series.owner, *id) {
            write::sample(out, &series.text, value);
        }
    }
    if out.len() == header_end {
        out.truncate(start);
    }
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 5), Compression::fast());
    // Writing into memory cannot fail; should it ever, an empty page is refused by the reader.
    match encoder.write_all(plain).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(_) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fieldpost_model::Tick;

    use super::*;
    use crate::agent::CollectorState;

    fn page_with(values: &[(&str, u16, f64)]) -> (Page, Vec<Tick>) {
        let catalog = Catalog::new();
        let board = Arc::new(Board::default());
        let owners = [1, 2];
        let state = |owner| CollectorState::new("c", Owner(owner), Duration::from_secs(1), false);
        board.set_collectors(owners.map(state).to_vec());
        let mut ticks = Vec::new();
        for owner in owners {
            let mut tick = Tick::new(Arc::clone(&catalog), Owner(owner));
            tick.begin(1_000);
            for (name, _, value) in values.iter().filter(|(_, of, _)| *of == owner) {
                let id = tick.counter(name, "Help.", &[]);
                tick.set(id, *value);
            }
            board.publish(&tick, |_| {});
            ticks.push(tick);
        }
        let own: OwnMetrics = Box::new(|_, out| out.extend_from_slice(b"own 1\n"));
        (Page::new(catalog, board, own), ticks)
    }

    #[test]
    fn page_is_sorted_by_family_and_ends_with_own_metrics() {
        let (page, _ticks) = page_with(&[("b_total", 1, 2.0), ("a_total", 2, 1.0)]);
        let text = page.whole(Dialect::Text, false, 1_000);
        let expected = "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\n\
                        # HELP b_total Help.\n# TYPE b_total counter\nb_total 2\nown 1\n";
        assert_eq!(text, expected.as_bytes());
    }

    #[test]
    fn page_is_written_anew_after_a_tick() {
        let (page, mut ticks) = page_with(&[("a_total", 1, 1.0)]);
        let first = page.whole(Dialect::Text, true, 1_000);
        assert_eq!(first, page.whole(Dialect::Text, true, 1_500));
        let id = ticks[0].counter("a_total", "Help.", &[]);
        ticks[0].begin(2_000);
        ticks[0].set(id, 7.0);
        page.board.publish(&ticks[0], |_| {});
        assert_ne!(first, page.whole(Dialect::Text, true, 2_000));
    }

    #[test]
    fn values_go_from_the_page_although_no_tick_comes_any_more() {
        let (page, _ticks) = page_with(&[("a_total", 1, 1.0)]);
        assert!(page.whole(Dialect::Text, false, 1_000).starts_with(b"# HELP a_total"));
        assert_eq!(page.whole(Dialect::Text, false, 62_000), "own 1\n".as_bytes());
    }

    #[test]
    fn part_of_the_page_has_only_the_owners_asked_for() {
        let (page, _ticks) = page_with(&[("b_total", 1, 2.0), ("a_total", 2, 1.0)]);
        let part = page.part(Dialect::Text, false, 1_000, |owner| owner == Owner(1));
        assert_eq!(part, "# HELP b_total Help.\n# TYPE b_total counter\nb_total 2\n".as_bytes());
    }
}
