//! A collector at work: built from its line of the list, run pass by pass, timed and counted
//! under `node_scrape_collector_*`, and rebuilt should it ever panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldpost_model::{Catalog, SeriesId, TableTick, Tick, TimeMs};

use crate::collector::{CollectError, Collector, Entry, Env, Pass, Stuck, owner};
use crate::config::{Backend, Config, Roots};
use crate::list::COLLECTORS;
use crate::portable::PORTABLE;

/// One collector at work.
pub struct Unit {
    /// Its line of the list.
    pub entry: &'static Entry,
    /// How often it is due.
    pub interval: Duration,
    /// Tells it from a unit of the same collector that was built before; counted by its owner.
    pub generation: u64,
    collector: Option<Box<dyn Collector>>,
    config: Arc<Config>,
    tick: Tick,
    duration: SeriesId,
    success: SeriesId,
}

/// Makes a unit of every collector that the config has on. `base` is the interval of those
/// that have none of their own.
pub fn build_all(config: &Arc<Config>, catalog: &Arc<Catalog>, base: Duration) -> Vec<Unit> {
    // The two lists have no owner in common.
    let (list, first) = match config.backend {
        Backend::Native => (COLLECTORS, 0),
        Backend::Portable => (PORTABLE, COLLECTORS.len()),
    };
    let on = list.iter().enumerate().filter(|(_, entry)| config.is_on(entry));
    on.map(|(position, entry)| Unit::new(first + position, entry, config, catalog, base)).collect()
}

impl Unit {
    fn new(
        position: usize,
        entry: &'static Entry,
        config: &Arc<Config>,
        catalog: &Arc<Catalog>,
        base: Duration,
    ) -> Self {
        let tick = Tick::new(Arc::clone(catalog), owner(position));
        let labels = [("collector", entry.name)];
        let duration = tick.gauge(
            "node_scrape_collector_duration_seconds",
            "node_exporter: Duration of a collector scrape.",
            &labels,
        );
        let success = tick.gauge(
            "node_scrape_collector_success",
            "node_exporter: Whether a collector succeeded.",
            &labels,
        );
        let interval = config.interval_of(entry, base);
        let config = Arc::clone(config);
        Self { entry, interval, generation: 0, collector: None, config, tick, duration, success }
    }

    /// Goes on with another config that has the same settings for it.
    pub fn adopt(&mut self, config: &Arc<Config>, base: Duration) {
        self.interval = config.interval_of(self.entry, base);
        self.config = Arc::clone(config);
    }

    /// One pass at this instant. Afterwards `samples` has what it gave, its own two included.
    pub fn run(&mut self, time_ms: TimeMs) -> Pass {
        let started = Instant::now();
        self.tick.begin(time_ms);
        let error = self.attempt().err();
        if error.is_some() {
            self.tick.clear();
        }
        let took = started.elapsed();
        self.tick.set(self.duration, took.as_secs_f64());
        self.tick.set(self.success, f64::from(u8::from(error.is_none())));
        Pass { time_ms, took, error }
    }

    fn attempt(&mut self) -> Result<(), CollectError> {
        // One that panics, while it is built or later, is not kept.
        catch_unwind(AssertUnwindSafe(|| self.attempt_once())).unwrap_or_else(|_| {
            Err(CollectError::Other(format!("collector {} panicked; it is built anew", self.entry.name)))
        })
    }

    fn attempt_once(&mut self) -> Result<(), CollectError> {
        let mut collector = match self.collector.take() {
            Some(collector) => collector,
            None => self.build()?,
        };
        let result = collector.collect(&mut self.tick);
        self.collector = Some(collector);
        result
    }

    fn build(&self) -> Result<Box<dyn Collector>, CollectError> {
        let roots: &Roots = &self.config.roots();
        let env = Env { roots, config: &self.config, tick: &self.tick };
        (self.entry.build)(&env)
    }

    /// What the last pass gave.
    pub fn tick(&self) -> &Tick {
        &self.tick
    }

    /// The table of the last pass.
    pub fn table(&self) -> Option<&TableTick> {
        self.collector.as_ref()?.table()
    }

    /// What does not answer, with its age.
    pub fn stuck(&self) -> Vec<Stuck> {
        self.collector.as_ref().map_or_else(Vec::new, |collector| collector.stuck())
    }
}
