//! The agent at work: opens the store, binds the doors, starts the sampler and waits for the end.
//! In the foreground and as a daemon alike.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fieldpost_model::{EventKind, TimeMs};
use fieldpost_store::{Closed, Opened, Store, StoreOptions};
use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener, UnixSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::own_metrics::{own_page, tell_own};
use super::{exit, holder};
use crate::agent::{Agent, Clock, Identity, Reload, Reloaded, SamplerOptions, SystemClock, Witness};
use crate::api::{self, Listener, MetricsState};
use crate::config::{Config, Loaded, Request, changes};
use crate::shutdown::Signals;
use crate::telemetry::{Log, OwnMetrics};

/// Threads for requests: one slow answer must not hold up the next.
const N_WORKERS: usize = 2;
/// Threads for what blocks (a refresh, a reload).
const N_BLOCKING_MAX: usize = 8;
/// Stack of such threads, bytes.
const STACK_BYTES: usize = 512 << 10;
/// Mode of the Unix socket: its owner's alone.
const SOCKET_MODE: u32 = 0o600;
/// Connections to the Unix socket that wait to be taken.
const SOCKET_BACKLOG: u32 = 128;
/// The longest that blocking work (a reload) may go on at the end.
const LAST_TASKS_DEADLINE: Duration = Duration::from_secs(1);

/// What a start came to, once every collector has had its first pass.
pub struct Started {
    /// The running agent.
    pub agent: Arc<Agent>,
    /// How long the start took.
    pub took: Duration,
    /// What the store found in its folder.
    pub opened: Opened,
}

/// How an agent ended.
pub struct Stopped {
    /// What the store had when it was closed.
    pub closed: Closed,
}

/// What an agent is started with.
pub struct Plan {
    /// Where the config came from, for reloads.
    pub request: Request,
    /// The config.
    pub loaded: Loaded,
    /// The log.
    pub log: Log,
    /// Config files, for people.
    pub config_name: String,
    /// Called with the config that is in force after a reload.
    pub on_reload: Box<dyn Fn(&Config) + Send + Sync>,
}

/// Runs the agent until it is told to end. `on_ready` is called once it is ready; what it gives
/// runs beside the agent, if anything. It is not called if the end comes first.
pub fn serve(plan: Plan, on_ready: impl FnOnce(&Started, &CancellationToken)) -> anyhow::Result<Stopped> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let signals = Signals::listen()?;
    let shutdown = signals.shutdown.clone();
    let config = plan.loaded.config.clone();
    let (tcp, address) = runtime.block_on(bind_metrics(config.metrics.listen))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, opened) = open_store(&config, &clock)?;
    let unix = bind_socket(&config.socket())?;
    let own = OwnMetrics::new()?;
    own.ask_log(plan.log.clone());
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let witness = Witness {
        // Nobody waits any more if the end was asked for meanwhile.
        ready: Box::new(move || ready.send(()).unwrap_or_default()),
        // Should the sampler ever end by itself, the agent ends with it: a page that stands
        // still would look like a machine that does.
        alive: Box::new(shutdown.clone().drop_guard()),
    };
    let (agent, sampler) = Agent::start(
        identity(&config, &plan.config_name, address, clock.wall_ms()),
        sampler_options(&config),
        Arc::clone(&store),
        clock,
        reload(plan, config.clone()),
        witness,
    )?;
    tell_own(&own, &agent);
    agent.event(EventKind::Start, start_text(&opened));
    let tasks = open_doors(&agent, own, (tcp, unix), signals);
    let started = runtime.block_on(async {
        tokio::select! {
            ready = is_ready => ready.is_ok() && !shutdown.is_cancelled(),
            () = shutdown.cancelled() => false,
        }
    });
    if started {
        let status = format!("sampling; metrics at http://{address}/metrics");
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        on_ready(&Started { agent: Arc::clone(&agent), took: begun.elapsed(), opened }, &shutdown);
        runtime.block_on(watch(&agent, &shutdown));
    }
    end(Running { runtime, tasks, agent, sampler, store, socket: config.socket() })
}

/// Starts what listens: the page, the socket, the signal that asks for a reload.
fn open_doors(
    agent: &Arc<Agent>,
    own: OwnMetrics,
    (tcp, unix): (TcpListener, UnixListener),
    signals: Signals,
) -> JoinSet<Result<(), Infallible>> {
    let Signals { shutdown, reloads } = signals;
    let page = api::metrics_router(MetricsState::new(Arc::clone(agent), own_page(own)));
    let socket = api::local_router(Arc::clone(agent));
    let mut tasks = JoinSet::new();
    tasks.spawn(api::serve(Listener::Tcp(tcp), page, shutdown.clone()));
    tasks.spawn(api::serve(Listener::Unix(unix), socket, shutdown.clone()));
    tasks.spawn(reload_on_signal(Arc::clone(agent), reloads, shutdown));
    tasks
}

/// What has to end, in this order.
struct Running {
    runtime: Runtime,
    tasks: JoinSet<Result<(), Infallible>>,
    agent: Arc<Agent>,
    sampler: JoinHandle<()>,
    store: Arc<Store>,
    socket: PathBuf,
}

/// Ends the sampler first, so that what it has is sealed before anything may take its time.
fn end(running: Running) -> anyhow::Result<Stopped> {
    let Running { runtime, mut tasks, agent, sampler, store, socket } = running;
    notify(&[NotifyState::Stopping]);
    agent.stop();
    let sampler_ended = sampler.join().is_ok();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    agent.event(EventKind::Stop, "stopped".into());
    drop(std::fs::remove_file(socket));
    // A client that does not take its answer must not keep the store from being closed.
    let closed = store.close().context("cannot close the store cleanly")?;
    runtime.shutdown_timeout(LAST_TASKS_DEADLINE);
    if !sampler_ended {
        bail!("the sampler ended by itself; what it had sealed is stored, see the log");
    }
    Ok(Stopped { closed })
}

/// Descriptors of /proc files are kept open; the soft limit is for programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(N_WORKERS).max_blocking_threads(N_BLOCKING_MAX).thread_stack_size(STACK_BYTES);
    builder.thread_name("http").enable_all().build().context("cannot start the runtime")
}

async fn bind_metrics(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind(address).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let mut text = format!("error: cannot listen on metrics.listen {address}: ");
    if error.kind() == std::io::ErrorKind::AddrInUse {
        let by =
            holder::of_port(address).map(|(pid, name)| format!(" by pid {pid} ({name})")).unwrap_or_default();
        let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1024));
        text += &format!(
            "in use{by}\n  choose another: --set metrics.listen={other}   (port 0 takes any free one)"
        );
    } else {
        text += &error.to_string();
    }
    exit::failure(exit::FAILED, text)
}

/// Binds the Unix socket for its owner only. The store's lock is held, so a socket that is there
/// already belongs to nobody.
fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    let place = || format!("cannot listen on api.socket {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(place),
        _ => {}
    }
    let bound = UnixSocket::new_stream().and_then(|socket| {
        // The file gets the mode that the socket has when it is bound, so that there is no instant
        // at which others may connect. A umask would hold for all threads.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(SOCKET_MODE))?;
        socket.bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        socket.listen(SOCKET_BACKLOG)
    });
    bound.with_context(place)
}

fn open_store(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<(Arc<Store>, Opened)> {
    let clock = Arc::clone(clock);
    let options =
        StoreOptions { clock: Arc::new(move || clock.wall_ms()), ..StoreOptions::new(config.store.clone()) };
    let (store, opened) = Store::open(options)
        .with_context(|| format!("cannot open the store in store.path {}", config.store.path.display()))?;
    Ok((Arc::new(store), opened))
}

fn identity(config: &Config, config_name: &str, metrics: SocketAddr, started_ms: TimeMs) -> Identity {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Identity {
        name,
        started_ms,
        config: config_name.to_owned(),
        data: config.store.path.clone(),
        metrics: format!("http://{metrics}/metrics"),
    }
}

fn start_text(opened: &Opened) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match (opened.new, opened.last_stop_clean) {
        (true, _) => format!("started, version {version}, new data folder"),
        (false, true) => format!("started, version {version}, last stop clean"),
        (false, false) => format!("started, version {version}, last stop unclean"),
    }
}

/// What the sampler takes from the config.
fn sampler_options(config: &Config) -> SamplerOptions {
    SamplerOptions {
        interval: config.interval.0,
        window: config.store.window.0,
        history: config.history.interval.0,
        collectors: Arc::new(config.collectors.clone()),
    }
}

/// Loads the config anew and has everything that can take it over do so. What needs a restart
/// keeps its old value.
fn reload(plan: Plan, config: Config) -> Reload {
    let current = Mutex::new(config);
    Box::new(move |agent| {
        // One at a time, each with the files as they are then.
        let mut current = current.lock();
        let loaded = match plan.request.load() {
            Ok(loaded) => loaded.config,
            Err(problems) => {
                let errors = problems.to_string().lines().map(str::to_owned).collect();
                return Reloaded { errors, ..Reloaded::default() };
            }
        };
        let found = changes(&current, &loaded);
        let (restart, now): (Vec<_>, Vec<_>) = found.into_iter().partition(|change| change.needs_restart);
        let mut config = loaded;
        config.store = current.store.clone();
        config.metrics = current.metrics.clone();
        config.api = current.api.clone();
        config.log.file.clone_from(&current.log.file);
        config.collectors.backend = current.collectors.backend;
        if let Err(error) = agent.apply(sampler_options(&config)) {
            return Reloaded { errors: vec![format!("{error:#}")], ..Reloaded::default() };
        }
        plan.log.set_level(config.log.level);
        *current = config;
        (plan.on_reload)(&current);
        let keys =
            |changes: Vec<crate::config::Change>| changes.into_iter().map(|change| change.key).collect();
        Reloaded { ok: true, changed: keys(now), needs_restart: keys(restart), errors: Vec::new() }
    })
}

async fn reload_on_signal(
    agent: Arc<Agent>,
    mut reloads: tokio::sync::mpsc::Receiver<()>,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            asked = reloads.recv() => if asked.is_none() { return Ok(()) },
        }
        let agent = Arc::clone(&agent);
        let reloaded = tokio::task::spawn_blocking(move || agent.reload()).await.unwrap_or_default();
        for error in &reloaded.errors {
            tracing::error!("not reloaded: {error}");
        }
        if reloaded.ok {
            tracing::info!(changed = reloaded.changed.len(), needs_restart = ?reloaded.needs_restart, "reloaded");
        }
    }
}

/// Waits for the end, and tells systemd's watchdog that the sampler is alive: only while its loop turns.
async fn watch(agent: &Agent, shutdown: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        shutdown.cancelled().await;
        return;
    };
    let mut last_beats = None;
    loop {
        let beats = agent.stats.beats.load(std::sync::atomic::Ordering::Relaxed);
        if last_beats != Some(beats) {
            notify(&[NotifyState::Watchdog]);
        }
        last_beats = Some(beats);
        tokio::select! {
            () = tokio::time::sleep(limit / 2) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Tells systemd, if it started us; nobody listens elsewhere.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
