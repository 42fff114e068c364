//! Sinks: the agent's windows, pushed to programs of others by remote write or OTLP. Each sink reads
//! the store with a cursor of its own, so that a receiver that was away has no hole afterwards, and
//! nothing is kept here meanwhile: the store is the queue.

mod config;
mod encode;
mod reading;
mod sending;
mod sink;
mod stats;

use std::sync::Arc;

use anyhow::Context;
use fieldpost_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{BasicAuth, Kind, Protocol, Sink as SinkConfig, faults};
pub use stats::{SinkStats, Snapshot};

/// Before the name of a sink in the name of its cursor. Ids of hubs are hexadecimal.
pub const CURSOR_PREFIX: &str = "sink:";

/// The running sinks.
pub struct Sinks {
    stats: Vec<(String, Arc<SinkStats>)>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Sinks {
    /// Starts these, within the runtime, and forgets the cursors of sinks that are no more. `host` is
    /// what series are from where the config says nothing else.
    pub fn start(store: &Arc<Store>, configs: &[SinkConfig], host: &str) -> anyhow::Result<Self> {
        let wanted: Vec<String> = configs.iter().map(SinkConfig::cursor).collect();
        for cursor in store.cursors() {
            if cursor.hub.starts_with(CURSOR_PREFIX) && !wanted.contains(&cursor.hub) {
                store.remove_cursor(&cursor.hub).with_context(|| format!("cannot forget {}", cursor.hub))?;
            }
        }
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let mut stats = Vec::new();
        for config in configs {
            let place = || format!("cannot start the sink {}", config.name);
            store.add_cursor(&config.cursor()).with_context(place)?;
            let own: Arc<SinkStats> = Arc::default();
            let sink = sink::Sink::new(Arc::clone(store), config.clone(), host, Arc::clone(&own));
            tasks.spawn(sink.with_context(place)?.run(shutdown.child_token()));
            stats.push((config.name.clone(), own));
        }
        tasks.close();
        Ok(Self { stats, tasks, shutdown })
    }

    /// What each has done, by its name.
    pub fn stats(&self) -> impl Iterator<Item = (&str, Snapshot)> {
        self.stats.iter().map(|(name, stats)| (name.as_str(), stats.snapshot()))
    }

    /// Ends all of them: what was not acknowledged is sent after the next start.
    pub async fn end(&self) {
        self.shutdown.cancel();
        self.tasks.wait().await;
    }
}
