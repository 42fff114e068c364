//! One signal, one handle: SIGTERM and SIGINT end the agent, SIGHUP has it load its config anew,
//! SIGUSR1 has it end once nothing runs.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Reloads that wait while one is going on; more say nothing new.
const N_WAITING_RELOADS_MAX: usize = 1;

/// What signals turn into.
pub struct Signals {
    /// Cancelled when the agent is to end.
    pub shutdown: CancellationToken,
    /// One message for each reload that is asked for.
    pub reloads: mpsc::Receiver<()>,
    /// One message when it is to end once nothing runs.
    pub leaves: mpsc::Receiver<()>,
}

impl Signals {
    /// Takes over the signals; within a runtime. A second SIGINT or SIGTERM ends nothing sooner:
    /// SIGKILL is there for that.
    pub fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
        let mut leave = signal(SignalKind::user_defined1()).context("cannot listen to SIGUSR1")?;
        let (leaver, leaves) = mpsc::channel(N_WAITING_RELOADS_MAX);
        let (sender, reloads) = mpsc::channel(N_WAITING_RELOADS_MAX);
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => token.cancel(),
                    _ = interrupt.recv() => token.cancel(),
                    // A full queue means that a reload is about to begin, which will see it all.
                    _ = hangup.recv() => drop(sender.try_send(())),
                    // Asked twice it is asked once.
                    _ = leave.recv() => drop(leaver.try_send(())),
                    () = token.cancelled() => return,
                }
            }
        });
        Ok(Self { shutdown, reloads, leaves })
    }
}
