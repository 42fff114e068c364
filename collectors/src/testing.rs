//! For the tests of collectors: build one against a tree of files and read what it gives.

use std::path::Path;
use std::sync::Arc;

use fieldpost_model::{Catalog, Owner, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Config;

type Build = fn(&Env<'_>) -> Result<Box<dyn Collector>, CollectError>;

/// A collector at work on a tree that has `proc`, `sys`, `udev` and the root's own files in it.
pub struct Bench {
    /// Where its series are.
    pub catalog: Arc<Catalog>,
    collector: Box<dyn Collector>,
    tick: Tick,
}

impl Bench {
    /// Builds the collector.
    pub fn new(tree: &Path, build: Build, config: &Config) -> Result<Self, CollectError> {
        let mut config = config.clone();
        config.procfs = tree.join("proc");
        config.sysfs = tree.join("sys");
        config.rootfs = tree.to_owned();
        config.udev = tree.join("udev");
        let catalog = Catalog::new();
        let tick = Tick::new(Arc::clone(&catalog), Owner(0));
        let collector = build(&Env { roots: &config.roots(), config: &config, tick: &tick })?;
        Ok(Self { catalog, collector, tick })
    }

    /// One pass at this instant: lines `name{labels} value`, sorted.
    pub fn pass(&mut self, time_ms: i64) -> Result<Vec<String>, CollectError> {
        self.tick.begin(time_ms);
        self.collector.collect(&mut self.tick)?;
        let view = self.catalog.read();
        let line = |sample: &fieldpost_model::Sample| {
            let series = view.get(sample.id).expect("a sample's series is in the catalog");
            format!("{} {}", series.text, sample.value)
        };
        let mut lines: Vec<String> = self.tick.samples().iter().map(line).collect();
        lines.sort();
        Ok(lines)
    }

    /// The collector itself.
    pub fn collector(&self) -> &dyn Collector {
        &*self.collector
    }
}

/// Builds with default settings and runs one pass.
pub fn page(tree: &Path, build: Build) -> Result<Vec<String>, CollectError> {
    Bench::new(tree, build, &Config::default())?.pass(1_700_000_000_000)
}

/// Writes a file of the tree, with the folders above it.
pub fn write(tree: &Path, file: &str, content: impl AsRef<[u8]>) {
    let path = tree.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
