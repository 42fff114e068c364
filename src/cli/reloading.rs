//! Loading a config anew in a running process: what can be taken over at once is, what needs a
//! restart keeps its old value and is named, and a bad config changes nothing.

use std::convert::Infallible;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::daemon_control::Plan;
use crate::config::{Change, Request, Root, changes, taken_over};
use crate::telemetry::Log;
use crate::{agent, hub};

/// What a reload came to, as it crosses the Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Was the new config taken? If not, nothing was changed.
    pub ok: bool,
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys whose new values need a restart.
    pub needs_restart: Vec<String>,
    /// What is wrong with the config, a line each.
    pub errors: Vec<String>,
}

impl Outcome {
    fn refused(errors: Vec<String>) -> Self {
        Self { errors, ..Self::default() }
    }
}

/// The agent and the hub never meet, so that each has the answer as a type of its own.
macro_rules! same_fields {
    ($from:ty => $into:ty) => {
        impl From<$from> for $into {
            fn from(from: $from) -> Self {
                let (ok, changed) = (from.ok, from.changed);
                Self { ok, changed, needs_restart: from.needs_restart, errors: from.errors }
            }
        }
    };
}

same_fields!(Outcome => agent::Reloaded);
same_fields!(agent::Reloaded => Outcome);
same_fields!(Outcome => hub::Reloaded);
same_fields!(hub::Reloaded => Outcome);

/// The config in force, and where a new one comes from.
pub struct Reloading<R> {
    request: Request,
    log: Log,
    on_reload: Box<dyn Fn(&R) + Send + Sync>,
    current: Mutex<R>,
}

impl<R: Root> Reloading<R> {
    /// Begins with the config of the plan.
    pub fn new(plan: Plan<R>) -> Self {
        let Plan { request, loaded, log, on_reload, .. } = plan;
        Self { request, log, on_reload, current: Mutex::new(loaded.config) }
    }

    /// Loads the config anew, and has `apply` put it into force.
    pub fn reload(&self, apply: impl FnOnce(&R) -> anyhow::Result<()>) -> Outcome {
        // One at a time, each with the files as they are then.
        let mut current = self.current.lock();
        let loaded = match self.request.load::<R>() {
            Ok(loaded) => loaded.config,
            Err(problems) => {
                return Outcome::refused(problems.to_string().lines().map(str::to_owned).collect());
            }
        };
        let found = changes(&*current, &loaded);
        let (restart, now): (Vec<_>, Vec<_>) = found.into_iter().partition(|change| change.needs_restart);
        let config = taken_over(&*current, &loaded);
        if let Err(error) = apply(&config) {
            return Outcome::refused(vec![format!("{error:#}")]);
        }
        self.log.set_level(config.log().level);
        *current = config;
        (self.on_reload)(&current);
        let keys = |changes: Vec<Change>| changes.into_iter().map(|change| change.key).collect();
        Outcome { ok: true, changed: keys(now), needs_restart: keys(restart), errors: Vec::new() }
    }
}

/// Reloads whenever a signal asks for it, and logs what came of it. Ends with the shutdown.
pub async fn on_signal(
    reload: impl Fn() -> Outcome + Clone + Send + 'static,
    mut reloads: mpsc::Receiver<()>,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            asked = reloads.recv() => if asked.is_none() { return Ok(()) },
        }
        let outcome = tokio::task::spawn_blocking(reload.clone()).await.unwrap_or_default();
        for error in &outcome.errors {
            tracing::error!("not reloaded: {error}");
        }
        if outcome.ok {
            tracing::info!(changed = outcome.changed.len(), needs_restart = ?outcome.needs_restart, "reloaded");
        }
    }
}
