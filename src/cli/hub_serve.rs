//! The hub at work: opens its doors and waits for the end. In the foreground and as a daemon alike.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::daemon_control::Plan;
use super::process_setup::{bind_socket, notify, raise_descriptor_limit, runtime, watch};
use super::reloading::{self, Outcome, Reloading};
use crate::api::{self, Listener};
use crate::config::Root;
use crate::hub::{Config, LocalDoor, Status};
use crate::shutdown::Signals;

/// The longest that blocking work (a reload) may go on at the end.
const LAST_TASKS_DEADLINE: Duration = Duration::from_secs(1);

/// What a start came to.
pub struct Started {
    /// How the hub shows itself.
    pub status: Status,
    /// How long the start took.
    pub took: Duration,
}

/// How a hub ended: cleanly, or there would be an error instead.
pub struct Stopped;

/// Runs the hub until it is told to end. `on_ready` is called once it is ready; what it gives runs
/// beside the hub, if anything.
pub fn serve(
    plan: Plan<Config>,
    on_ready: impl FnOnce(&Started, &CancellationToken),
) -> anyhow::Result<Stopped> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let signals = Signals::listen()?;
    let shutdown = signals.shutdown.clone();
    let socket = plan.loaded.config.socket();
    let unix = bind_socket(&socket)?;
    let status = status(&plan);
    let tasks = open_doors(plan, status.clone(), unix, signals);
    notify(&[NotifyState::Ready]);
    on_ready(&Started { status, took: begun.elapsed() }, &shutdown);
    // As long as this is asked, the runtime turns.
    let beats = AtomicU64::new(0);
    runtime.block_on(watch(|| beats.fetch_add(1, Ordering::Relaxed), &shutdown));
    end(runtime, tasks, socket);
    Ok(Stopped)
}

fn status(plan: &Plan<Config>) -> Status {
    let config = &plan.loaded.config;
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started_ms: plan.started_ms,
        config: plan.config_name.clone(),
        data: config.store.path.clone(),
        listen: config.public_url(config.listen),
    }
}

/// Starts what listens: the socket, the signal that asks for a reload.
fn open_doors(
    plan: Plan<Config>,
    status: Status,
    unix: tokio::net::UnixListener,
    signals: Signals,
) -> JoinSet<Result<(), Infallible>> {
    let Signals { shutdown, reloads } = signals;
    let reloading = Arc::new(Reloading::new(plan));
    // Nothing but the level of the log can change while the hub runs, and that is changed there.
    let reload = move || -> Outcome { reloading.reload(|_| Ok(())) };
    let asked = reload.clone();
    let door =
        LocalDoor { status: Box::new(move || status.clone()), reload: Box::new(move || asked().into()) };
    let mut tasks = JoinSet::new();
    let router = api::hub_local_router(Arc::new(door));
    tasks.spawn(api::serve(Listener::Unix(unix), router, shutdown.clone()));
    tasks.spawn(reloading::on_signal(reload, reloads, shutdown));
    tasks
}

fn end(runtime: Runtime, mut tasks: JoinSet<Result<(), Infallible>>, socket: PathBuf) {
    notify(&[NotifyState::Stopping]);
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    drop(std::fs::remove_file(socket));
    runtime.shutdown_timeout(LAST_TASKS_DEADLINE);
}
