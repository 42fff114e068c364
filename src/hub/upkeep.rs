//! What the hub does by itself now and then: notes who was heard of and what was used, and removes what has expired.

use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::TimeMs;
use tokio_util::sync::CancellationToken;

use super::{Hub, presence};

/// How often it is noted who was heard of: what a crash may forget of it.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How often what has expired is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);
/// How often orders are looked at that nobody took in time.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);
/// How often files are closed that nobody asks about any more.
const CLOSE_EVERY: Duration = Duration::from_secs(30);
/// Expired things are kept for this long, so that people see what became of them.
const KEPT_MS: TimeMs = 7 * 86_400_000;

/// Goes on until the end.
pub async fn keep_up(hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut notes = tokio::time::interval(NOTE_EVERY);
    let mut purges = tokio::time::interval(PURGE_EVERY);
    let mut expiries = tokio::time::interval(EXPIRE_EVERY);
    let mut closes = tokio::time::interval(CLOSE_EVERY);
    let mut presences = tokio::time::interval(presence::EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = notes.tick() => {
                hub.note_seen(heard(&hub)).await;
                hub.note_used().await;
            }
            _ = presences.tick() => Arc::clone(&hub).note_presence().await,
            _ = closes.tick() => hub.reader.forget_idle(),
            _ = purges.tick() => purge(Arc::clone(&hub)).await,
            _ = expiries.tick() => expire(Arc::clone(&hub)).await,
        }
    }
    hub.note_seen(heard(&hub)).await;
    hub.note_used().await;
}

fn heard(hub: &Hub) -> Vec<(String, TimeMs)> {
    hub.links.all().iter().map(|link| (link.agent_id.clone(), link.heard_ms())).collect()
}

impl Hub {
    /// Forgets runs that were over for longer than they are kept. Waits for the disk.
    fn forget_old_runs(&self) -> anyhow::Result<u64> {
        let keeps = self.options.keeps;
        let kept_ms = TimeMs::try_from(keeps.runs_ms).unwrap_or(TimeMs::MAX);
        Ok(self.runs.forget(self.now_ms().saturating_sub(kept_ms), keeps.runs_max)?)
    }
}

async fn purge(hub: Arc<Hub>) {
    let purged = tokio::task::spawn_blocking(move || {
        let act = hub.act();
        hub.state.purge_expired(&act, act.now_ms - KEPT_MS)?;
        hub.forget_old_runs()?;
        anyhow::Ok(())
    });
    if let Ok(Err(error)) = purged.await {
        tracing::warn!("cannot remove what has expired: {error:#}");
    }
}

async fn expire(hub: Arc<Hub>) {
    let expired = tokio::task::spawn_blocking(move || hub.expire_orders());
    if let Ok(Err(error)) = expired.await {
        tracing::warn!("cannot look which orders have expired: {error:#}");
    }
}
