//! The hub at work: opens its state and its store, binds its doors and waits for the end. In the
//! foreground and as a daemon alike.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use fieldpost_store::hub::{HubOpened, HubStore, HubStoreOptions};
use fieldpost_store::{SqliteHubRuns, SqliteHubState};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::daemon_control::Plan;
use super::join::host_name;
use super::process_setup::{bind_socket, bind_tcp, notify, raise_descriptor_limit, runtime, watch};
use super::programs_door::handshake;
use super::reloading::{self, Outcome, Reloading};
use crate::agent::{Clock, SystemClock};
use crate::api::{self, Listener};
use crate::config::{Root, target_groups};
use crate::hub::{Config, Hub, HubOptions, Kept, LocalDoor, Status, back_up, keep_up, poll, scrape};
use crate::private_file;
use crate::shutdown::Signals;

/// Folder within the hub's data folder: the record of all agents.
const RECORD: &str = "record";
/// The same: the keys.
const KEYS: &str = "keys";
/// Connections that the hub's listener serves at a time; links count only until they are open.
const CONNECTIONS_MAX: usize = 1_024;
/// The same of its Unix socket.
const LOCAL_CONNECTIONS_MAX: usize = 64;
/// The longest that blocking work (a reload) may go on at the end.
const LAST_TASKS_DEADLINE: Duration = Duration::from_secs(1);

/// What a start came to.
pub struct Started {
    /// How the hub shows itself.
    pub status: Status,
    /// The hub.
    pub hub: Arc<Hub>,
    /// What its store was found to be.
    pub opened: HubOpened,
    /// The secret of the link by which the first admin is made; none if there is one.
    pub first_admin: Option<String>,
    /// How long the start took.
    pub took: Duration,
}

/// How a hub ended.
pub struct Stopped {
    /// Items that were stored since it started.
    pub n_items_stored: u64,
}

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
    let (tcp, address) = runtime.block_on(bind_tcp("listen", plan.loaded.config.listen))?;
    let (hub, kept, opened) = open_hub(&plan.loaded.config, address)?;
    let unix = bind_socket(&socket)?;
    let status = status(&plan, &hub.hub_id, address);
    let tasks = open_doors(plan, (&hub, kept.clone()), &status, (tcp, unix), signals)?;
    notify(&[NotifyState::Ready]);
    let first_admin = hub.offer_first_admin()?;
    let started = Started { status, hub: Arc::clone(&hub), opened, first_admin, took: begun.elapsed() };
    on_ready(&started, &shutdown);
    drop(started);
    // As long as this is asked, the runtime turns.
    let beats = AtomicU64::new(0);
    runtime.block_on(watch(|| beats.fetch_add(1, Ordering::Relaxed), &shutdown));
    end(runtime, tasks, &hub, &kept.record, socket)
}

/// What the hub's data lie in.
#[derive(Clone)]
struct Stores {
    state: Arc<SqliteHubState>,
    record: Arc<HubStore>,
    runs: Arc<SqliteHubRuns>,
    keys: PathBuf,
}

fn open_hub(config: &Config, address: SocketAddr) -> anyhow::Result<(Arc<Hub>, Stores, HubOpened)> {
    let data = &config.store.path;
    let place = || format!("cannot open the hub's data in store.path {}", data.display());
    private_file::make_folder(data).with_context(place)?;
    let clock = Arc::new(|| SystemClock.wall_ms());
    let state = Arc::new(SqliteHubState::open(data).with_context(place)?);
    let mut options = HubStoreOptions::new(data.join(RECORD));
    options.retention.raw = config.store.retention.raw;
    options.retention.rollup_1m = config.store.retention.rollup_1m;
    options.retention.rollup_1h = config.store.retention.rollup_1h;
    options.retention.events = config.store.retention.events;
    options.quota = config.store.quota;
    options.min_free = config.store.min_free;
    options.limits.series = config.limits.series_per_agent as usize;
    options.limits.labels = config.limits.labels_per_series as usize;
    options.limits.label_bytes = config.limits.label_value_bytes.0 as usize;
    options.limits.item_bytes = config.limits.item_bytes;
    let (store, opened) = HubStore::open(options).with_context(place)?;
    let options = HubOptions {
        late_after: config.agents.late_after.0,
        forget_after: config.agents.forget_after.0,
        labels: config.labels.clone(),
        live_series_max: config.limits.series_per_agent as usize,
        keeps: config.keeps(),
        urls: vec![config.public_url(address, &host_name()).parse().context("public_url cannot be used")?],
    };
    let runs = Arc::new(SqliteHubRuns::open(data, clock()).with_context(place)?);
    let kept = Stores { state, record: Arc::new(store), runs, keys: data.join(KEYS) };
    let (state, record) = (Arc::<SqliteHubState>::clone(&kept.state), Arc::clone(&kept.record));
    let runs = Arc::<SqliteHubRuns>::clone(&kept.runs);
    let hub = Hub::new(state, (record, runs), &kept.keys, options, clock)?;
    hub.show_orders()?;
    Ok((Arc::new(hub), kept, opened))
}

fn status(plan: &Plan<Config>, hub_id: &str, address: SocketAddr) -> Status {
    let config = &plan.loaded.config;
    Status {
        hub_id: hub_id.to_owned(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started_ms: plan.started_ms,
        config: plan.config_name.clone(),
        data: config.store.path.clone(),
        listen: config.public_url(address, &host_name()),
        scrape_faults: Vec::new(),
    }
}

/// Starts what listens: people and agents on TCP, the owner on the socket, the signal that asks
/// for a reload.
fn open_doors(
    plan: Plan<Config>,
    (hub, stores): (&Arc<Hub>, Stores),
    status: &Status,
    (tcp, unix): (TcpListener, UnixListener),
    signals: Signals,
) -> anyhow::Result<JoinSet<Result<(), Infallible>>> {
    let Signals { shutdown, reloads, .. } = signals;
    let listener = listener(tcp, &plan.loaded.config, hub)?;
    let jobs = watch::Sender::new(plan.loaded.config.scrape.clone());
    let changes = jobs.subscribe();
    let (reloading, jobs) = (Arc::new(Reloading::new(plan)), Arc::new(jobs));
    let reload = move || -> Outcome {
        reloading.reload(|config| {
            jobs.send_replace(config.scrape.clone());
            Ok(())
        })
    };
    let (asked, status, scraping) = (reload.clone(), status.clone(), Arc::clone(hub));
    let copied = Arc::clone(hub);
    let door = LocalDoor {
        status: Box::new(move || Status { scrape_faults: scraping.scrape_faults(), ..status.clone() }),
        reload: Box::new(move || asked().into()),
        backup: Box::new(move |wish| {
            let Stores { state, record, runs, keys } = &stores;
            back_up(&copied, &Kept { state, record, runs, keys }, wish)
        }),
    };
    let (public, local) =
        (api::hub_public_router(Arc::clone(hub)), api::hub_local_router(Arc::clone(hub), Arc::new(door)));
    let mut tasks = JoinSet::new();
    tasks.spawn(api::serve(listener, public, CONNECTIONS_MAX, shutdown.clone()));
    tasks.spawn(api::serve(Listener::Unix(unix), local, LOCAL_CONNECTIONS_MAX, shutdown.clone()));
    tasks.spawn(reloading::on_signal(reload, reloads, shutdown.clone()));
    let (polling, until) = (Arc::clone(hub), shutdown.clone());
    tasks.spawn(async move {
        poll(polling, until).await;
        Ok(())
    });
    let (scraper, end) = (Arc::clone(hub), shutdown.clone());
    tasks.spawn(async move {
        scrape(scraper, changes, target_groups, end).await;
        Ok(())
    });
    let hub = Arc::clone(hub);
    tasks.spawn(async move {
        keep_up(hub, shutdown).await;
        Ok(())
    });
    Ok(tasks)
}

/// Plain HTTP on loopback only, for whoever sits there has this machine; TLS everywhere else.
fn listener(tcp: TcpListener, config: &Config, hub: &Arc<Hub>) -> anyhow::Result<Listener> {
    let certificate = match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
            };
            Some((read(certificate)?, read(key)?))
        }
        _ => None,
    };
    if certificate.is_none() && tcp.local_addr()?.ip().is_loopback() {
        return Ok(Listener::Tcp(tcp));
    }
    Ok(Listener::Tls(tcp, handshake(hub.outer_tls(certificate)?)))
}

/// Ends what listens first, then the links, then what they wrote into.
fn end(
    runtime: Runtime,
    mut tasks: JoinSet<Result<(), Infallible>>,
    hub: &Hub,
    record: &HubStore,
    socket: PathBuf,
) -> anyhow::Result<Stopped> {
    notify(&[NotifyState::Stopping]);
    hub.hang_up();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    drop(std::fs::remove_file(socket));
    let n_items_stored = record.stats().n_items_stored;
    let closed = record.close().context("cannot close the store cleanly");
    runtime.shutdown_timeout(LAST_TASKS_DEADLINE);
    closed?;
    Ok(Stopped { n_items_stored })
}
