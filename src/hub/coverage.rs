//! Coverage of an agent as people ask for it: of each stretch of a span, what the hub knows.

use fieldpost_model::TimeMs;
use fieldpost_store::hub::Coverage;
use serde::{Deserialize, Serialize};

use super::Hub;

/// What the hub knows of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// Every sample that the agent took is here.
    Whole,
    /// There is nothing, and nothing will come.
    Missing,
    /// The agent may have something that is not here yet.
    Unknown,
}

/// A stretch and what the hub knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageStretch {
    /// Its first instant.
    pub from_ms: TimeMs,
    /// The first instant after it.
    pub to_ms: TimeMs,
    /// What the hub knows.
    pub coverage: Known,
}

impl Hub {
    /// What the hub has of this agent (by id) in `[from_ms, to_ms)`: stretches that together are
    /// the span, in their order. May wait for the disk.
    pub fn coverage_of(
        &self,
        agent_id: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> anyhow::Result<Vec<CoverageStretch>> {
        let stretches = self.reader.coverage(agent_id, from_ms, to_ms)?;
        let told = stretches.into_iter().map(|stretch| CoverageStretch {
            from_ms: stretch.from_ms,
            to_ms: stretch.to_ms,
            coverage: match stretch.coverage {
                Coverage::Whole => Known::Whole,
                Coverage::Missing => Known::Missing,
                Coverage::Unknown => Known::Unknown,
            },
        });
        Ok(told.collect())
    }
}
