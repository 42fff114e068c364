//! What this machine is, for whoever asks from elsewhere. Some of it comes from drivers, which may keep
//! a reader waiting for ever: so few read at a time, and nobody waits for them for long.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use fieldpost_collectors::{Roots, facts};
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Threads that read facts at a time: as many may be stuck.
const N_READERS: usize = 2;
/// The longest that is waited for a reader, and for a place.
const DEADLINE: Duration = Duration::from_secs(5);

/// What may be asked about.
pub const SUBJECTS: [&str; 6] = ["os", "cpu", "mem", "disk", "nic", "users"];

/// Reads facts.
pub(super) struct Facts {
    pub(super) roots: RwLock<Roots>,
    places: Arc<Semaphore>,
    deadline: Duration,
}

impl Facts {
    /// From these trees.
    pub(super) fn new(roots: Roots) -> Self {
        Self { roots: RwLock::new(roots), places: Arc::new(Semaphore::new(N_READERS)), deadline: DEADLINE }
    }

    /// The facts of a subject; none if there is no such subject.
    pub(super) async fn of(&self, subject: &str) -> anyhow::Result<Option<Value>> {
        let Some(subject) = SUBJECTS.into_iter().find(|one| *one == subject) else { return Ok(None) };
        let waited = timeout(self.deadline, Arc::clone(&self.places).acquire_owned()).await;
        let place = waited.context("this machine answers others that ask the same, and is stuck there")??;
        let roots = self.roots.read().clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _held_until_it_is_read = place;
            read(&roots, subject)
        });
        match timeout(self.deadline, reading).await {
            Ok(read) => Ok(Some(read??)),
            Err(_) => bail!("this machine does not tell its {subject}: a driver or file system is stuck"),
        }
    }
}

fn read(roots: &Roots, subject: &str) -> serde_json::Result<Value> {
    match subject {
        "os" => serde_json::to_value(facts::os(roots)),
        "cpu" => serde_json::to_value(facts::cpu(roots)),
        "mem" => serde_json::to_value(facts::memory(roots)),
        "disk" => serde_json::to_value(facts::disks(roots)),
        "nic" => serde_json::to_value(facts::nics(roots)),
        _ => serde_json::to_value(facts::users(roots)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stuck_readers_keep_nobody_waiting_for_ever() {
        let mut facts = Facts::new(fieldpost_collectors::Config::default().roots());
        for subject in SUBJECTS {
            assert!(facts.of(subject).await.unwrap().is_some(), "{subject}");
        }
        assert!(facts.of("weather").await.unwrap().is_none());
        let _stuck = Arc::clone(&facts.places).acquire_many_owned(2).await.unwrap();
        facts.deadline = Duration::from_millis(20);
        let refused = facts.of("os").await.unwrap_err().to_string();
        assert!(refused.contains("stuck"), "{refused}");
    }
}
