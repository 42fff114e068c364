//! The parts of the config that are the agent's own.

use std::net::SocketAddr;

use fieldpost_model::Period;
use serde::{Deserialize, Serialize};

/// The `metrics` section: the page that Prometheus scrapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where the page is served; port 0 takes any free one.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7701)) }
    }
}

/// The `history` section: the process and unit tables that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// How often the whole tables are kept; 0 keeps none.
    pub interval: Period,
}

impl Default for History {
    fn default() -> Self {
        Self { interval: Period::from_secs(5) }
    }
}
