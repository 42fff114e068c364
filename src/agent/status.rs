//! The status of a running agent, as the API gives it to the client.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::AgentStatus;
use serde::{Deserialize, Serialize};

use super::handle::Agent;
use super::uplinks::UplinkStatus;

/// A running agent's status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The host's name.
    pub name: String,
    /// The agent's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Has every collector had its first pass?
    pub ready: bool,
    /// When it started.
    pub started_ms: TimeMs,
    /// Its time now.
    pub now_ms: TimeMs,
    /// The config it runs with.
    pub config: String,
    /// What people say of it; none if it cannot be told.
    #[serde(default)]
    pub set: Option<AgentStatus>,
    /// Address of the metrics page.
    pub metrics: String,
    /// Where it listens for hubs; none if nowhere.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The hubs that it belongs to; told to its owner only.
    #[serde(default)]
    pub hubs: Vec<UplinkStatus>,
    /// Series shown now.
    pub n_series: usize,
    /// Ticks taken since the start.
    pub ticks: u64,
    /// Ticks that had passed by.
    pub skipped_ticks: u64,
    /// The store.
    pub store: StoreStatus,
    /// The collectors that are on.
    pub collectors: Vec<CollectorStatus>,
    /// The newest error that a person may want to know of; empty if none.
    pub last_error: String,
}

/// The store of a running agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its folder.
    pub path: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Samples committed since the start.
    pub samples_stored: u64,
    /// Samples lost since the start.
    pub samples_lost: u64,
    /// The newest error of the store; empty if it works.
    pub error: String,
}

/// One collector of a running agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectorStatus {
    /// Its name.
    pub name: String,
    /// How often it is due, seconds.
    pub interval_seconds: f64,
    /// When it had its last pass.
    pub time_ms: TimeMs,
    /// How long that took, microseconds.
    pub took_microseconds: u64,
    /// How many samples it gave.
    pub n_samples: usize,
    /// Is there nothing to measure on this machine?
    pub no_data: bool,
    /// What was wrong with it; empty if nothing.
    pub error: String,
    /// Since when it does not answer, if so.
    pub stuck_since_ms: Option<TimeMs>,
    /// Passes left out because the one before had not ended.
    pub overruns: u64,
}

impl Status {
    pub(super) fn of(agent: &Agent, last_error: &str) -> Self {
        // The store looks at its folder: the sampler must not wait for that at the board.
        let store = agent.store_stats();
        let collectors: Vec<_> = agent.board.read().collectors().iter().map(collector).collect();
        Self {
            name: agent.identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            ready: agent.is_ready(),
            started_ms: agent.identity.started_ms,
            now_ms: agent.clock.wall_ms(),
            config: agent.identity.config.clone(),
            set: agent.set_status(),
            metrics: agent.identity.metrics.clone(),
            listen: agent.identity.listen,
            hubs: Vec::new(),
            n_series: collectors.iter().map(|state| state.n_samples).sum(),
            ticks: agent.stats.ticks.load(Ordering::Relaxed),
            skipped_ticks: agent.stats.skipped.load(Ordering::Relaxed),
            store: StoreStatus {
                path: agent.identity.data.display().to_string(),
                bytes: store.bytes,
                samples_stored: store.n_samples_stored,
                samples_lost: store.n_samples_lost,
                error: store.last_error.clone().unwrap_or_default(),
            },
            last_error: newest_error(last_error, store.last_error, &collectors),
            collectors,
        }
    }
}

/// The store's error weighs most, for data may be lost; then what the agent noted; then a
/// collector that fails.
fn newest_error(noted: &str, store: Option<String>, collectors: &[CollectorStatus]) -> String {
    if let Some(error) = store.filter(|error| !error.is_empty()) {
        return error;
    }
    if !noted.is_empty() {
        return noted.to_owned();
    }
    let failing = collectors.iter().find(|state| !state.error.is_empty());
    failing.map(|state| format!("collector {}: {}", state.name, state.error)).unwrap_or_default()
}

fn collector(state: &super::board::CollectorState) -> CollectorStatus {
    CollectorStatus {
        name: state.name.into(),
        interval_seconds: state.interval.as_secs_f64(),
        time_ms: state.time_ms,
        took_microseconds: state.took.as_micros() as u64,
        n_samples: state.n_samples,
        no_data: state.no_data,
        error: if state.no_data { String::new() } else { state.error.clone() },
        stuck_since_ms: state.stuck_since_ms,
        overruns: state.overruns,
    }
}
