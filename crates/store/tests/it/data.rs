//! Windows that tests put in, and a store in a folder of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fieldpost_model::{ByteSize, Catalog, Family, Group, Kind, Owner, Selector, Series, TimeMs, Window};
use fieldpost_store::{Config, Opened, Reader, Samples, Store, StoreOptions};

/// An hour's beginning in November 2026.
pub const START_MS: TimeMs = 1_795_219_200_000;

/// How many times more than in `make test`.
pub fn soak() -> u64 {
    std::env::var("FIELDPOST_SOAK").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// A clock that tests set.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub now_ms: Arc<AtomicI64>,
    /// What the wall clock is ahead of the monotonic one.
    pub jumped_ms: Arc<AtomicI64>,
    pub catalog: Arc<Catalog>,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (now_ms, jumped_ms) = (Arc::new(AtomicI64::new(START_MS)), Arc::default());
        Self { folder, now_ms, jumped_ms, catalog: Catalog::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> Config {
        Config { path: self.path().to_owned(), min_free: ByteSize(0), ..Config::default() }
    }

    pub fn open(&self) -> (Store, Opened) {
        self.open_with(self.config())
    }

    pub fn open_with(&self, config: Config) -> (Store, Opened) {
        self.open_as(StoreOptions { config, ..self.options() })
    }

    pub fn open_as(&self, options: StoreOptions) -> (Store, Opened) {
        Store::open(options).unwrap()
    }

    /// With the clocks that tests set.
    pub fn options(&self) -> StoreOptions {
        let (now_ms, jumped_ms) = (Arc::clone(&self.now_ms), Arc::clone(&self.jumped_ms));
        let clock = Arc::new(move || now_ms.load(Ordering::Relaxed) + jumped_ms.load(Ordering::Relaxed));
        let now_ms = Arc::clone(&self.now_ms);
        let monotonic = Arc::new(move || Duration::from_millis(now_ms.load(Ordering::Relaxed) as u64));
        StoreOptions { clock, monotonic, ..StoreOptions::new(self.config()) }
    }

    pub fn reader(&self) -> Reader {
        Reader::open(self.path()).unwrap()
    }

    pub fn set_clock(&self, now_ms: TimeMs) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Turns the wall clock alone.
    pub fn jump(&self, jumped_ms: i64) {
        self.jumped_ms.store(jumped_ms, Ordering::Relaxed);
    }

    /// Series `name{n="0"}` and so on.
    pub fn series(&self, name: &str, count: usize) -> Vec<Arc<Series>> {
        let family =
            Family { name: name.into(), help: format!("Help of {name}.").into(), kind: Kind::Counter };
        let one = |n: usize| {
            let id = self.catalog.resolve(Owner(1), &family, "", &[("n", &n.to_string())]);
            Arc::clone(self.catalog.read().get(id).unwrap())
        };
        (0..count).map(one).collect()
    }

    /// Ten seconds of samples, one a second, that say when and of which series they are.
    pub fn window(&self, from_ms: TimeMs, series: &[Arc<Series>]) -> Window {
        let times_ms: Vec<TimeMs> = (0..10).map(|n| from_ms + n * 1000).collect();
        let value = |n: usize, time_ms: &TimeMs| value_of(n, *time_ms);
        let values =
            (0..series.len()).flat_map(|n| times_ms.iter().map(move |t| value(n, t)).collect::<Vec<_>>());
        let values = values.collect();
        Window {
            from_ms,
            to_ms: from_ms + 10_000,
            groups: vec![Group { times_ms, series: series.to_vec(), values }],
        }
    }
}

/// The sample that `Bench::window` puts at this instant into series number `n`.
pub fn value_of(n: usize, time_ms: TimeMs) -> f64 {
    match n % 4 {
        0 => ((time_ms - START_MS) / 10) as f64 * (n as f64 + 1.0) / 100.0,
        1 => n as f64,
        2 => (((time_ms / 1000) * 7_919) % 1_000) as f64 * 4096.0,
        _ => ((time_ms / 1000) as f64 * 0.37).sin(),
    }
}

pub fn select(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

/// All samples of the one series that the selector accepts.
pub fn samples(reader: &Reader, selector: &str, from_ms: TimeMs, to_ms: TimeMs) -> Samples {
    let series = reader.series(&select(selector), from_ms, to_ms).unwrap();
    assert_eq!(series.len(), 1, "{selector}: {series:?}");
    reader.samples(&series[0], from_ms, to_ms).unwrap()
}

/// What `samples` should answer after windows without a hole between the two instants.
pub fn expected(n: usize, from_ms: TimeMs, to_ms: TimeMs) -> Samples {
    (from_ms..to_ms).step_by(1000).map(|t| (t, value_of(n, t))).collect()
}
