//! The audit log: who did what and when, newest first.

use axum::Json;
use axum::extract::{Query, State};
use fieldpost_model::hub_state::{AuditEntry, AuditHead, AuditVerdict};
use serde::{Deserialize, Serialize};

use super::blocking;
use crate::api::problem::Problem;

/// Entries of a page, unless fewer are asked for.
const N_ENTRIES_MAX: usize = 500;

/// Which part of the log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The `next` of the page before.
    before: Option<u64>,
    /// The most entries.
    limit: Option<usize>,
}

/// A page of the log.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// The cursor of the next page; none after the last.
    pub next: Option<u64>,
}

/// Whether the log is as it was written.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditProof {
    /// Where it ends.
    pub head: AuditHead,
    /// What going through it brought to light.
    pub verdict: AuditVerdict,
}

/// Goes through the whole log.
pub async fn verify(State(hub): super::State) -> Result<Json<AuditProof>, Problem> {
    blocking(hub, |hub| {
        let (verdict, head) = (hub.state.verify_audit(None)?, hub.state.audit_head()?);
        Ok(Json(AuditProof { head, verdict }))
    })
    .await
}

/// A page of the log.
pub async fn list(State(hub): super::State, Query(part): Query<Part>) -> Result<Json<AuditPage>, Problem> {
    let limit = part.limit.unwrap_or(N_ENTRIES_MAX).clamp(1, N_ENTRIES_MAX);
    blocking(hub, move |hub| {
        let entries = hub.state.audit(part.before, limit)?;
        let next = entries.last().map(|entry| entry.seq).filter(|seq| entries.len() == limit && *seq > 1);
        Ok(Json(AuditPage { entries, next }))
    })
    .await
}
