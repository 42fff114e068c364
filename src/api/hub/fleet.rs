//! The fleet in one request, and what the hub says of itself: what the page shows first.

use axum::Json;
use axum::extract::State;
use fieldpost_model::TimeMs;
use serde::Serialize;

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::FleetHost;

/// All agents at a glance.
#[derive(Debug, Serialize)]
pub struct Fleet {
    /// The hub's time.
    now_ms: TimeMs,
    /// By name.
    hosts: Vec<FleetHost>,
}

/// All agents with the few numbers that tell whether they are well.
pub async fn fleet(State(hub): super::State) -> Result<Json<Fleet>, Problem> {
    blocking(hub, move |hub| Ok(Json(Fleet { now_ms: hub.now_ms(), hosts: hub.fleet()? }))).await
}

/// The hub about itself.
#[derive(Debug, Serialize)]
pub struct About {
    hub_id: String,
    version: &'static str,
    now_ms: TimeMs,
    /// Addresses by which others know it.
    urls: Vec<String>,
    /// A link is late when nothing came for so long.
    late_after_ms: u64,
    /// Agents leave the list when nothing was heard of them for so long.
    forget_after_ms: u64,
    n_links: usize,
    store: Store,
}

/// What is kept, since the start where it is a count.
#[derive(Debug, Serialize)]
struct Store {
    bytes: u64,
    n_files: usize,
    n_items_stored: u64,
    n_samples_stored: u64,
    n_duplicates: u64,
    n_refused: u64,
    n_lost: u64,
    queue_bytes: usize,
    merge_lag_ms: i64,
    n_quarantined: u64,
    last_error: Option<String>,
}

/// What the hub says of itself.
pub async fn about(State(hub): super::State) -> Result<Json<About>, Problem> {
    blocking(hub, move |hub| {
        let stats = hub.store.stats();
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(Json(About {
            hub_id: hub.hub_id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            now_ms: hub.now_ms(),
            urls: hub.options.urls.iter().map(ToString::to_string).collect(),
            late_after_ms: millis(hub.options.late_after),
            forget_after_ms: millis(hub.options.forget_after),
            n_links: hub.links.all().len(),
            store: Store {
                bytes: stats.bytes,
                n_files: stats.n_files,
                n_items_stored: stats.n_items_stored,
                n_samples_stored: stats.n_samples_stored,
                n_duplicates: stats.n_duplicates,
                n_refused: stats.n_refused,
                n_lost: stats.n_lost,
                queue_bytes: stats.queue_bytes,
                merge_lag_ms: stats.merge_lag_ms,
                n_quarantined: stats.n_quarantined,
                last_error: stats.last_error,
            },
        }))
    })
    .await
}
