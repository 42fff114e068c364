//! The fleet in one request, and what the hub says of itself: what the page shows first.

use axum::Json;
use axum::extract::State;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_record::RecordFigures;
use serde::Serialize;

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::{FleetHost, Keeps};

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
    /// How long what is kept, and how much.
    keeps: Keeps,
    /// The label `instance` of the hub's own series.
    instance: String,
    store: RecordFigures,
}

/// What the hub says of itself.
pub async fn about(State(hub): super::State) -> Result<Json<About>, Problem> {
    blocking(hub, move |hub| {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(Json(About {
            hub_id: hub.hub_id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            now_ms: hub.now_ms(),
            urls: hub.options.urls.iter().map(ToString::to_string).collect(),
            late_after_ms: millis(hub.options.late_after),
            forget_after_ms: millis(hub.options.forget_after),
            n_links: hub.links.all().len(),
            keeps: hub.options.keeps,
            instance: hub.own_instance(),
            store: hub.store.figures(),
        }))
    })
    .await
}
