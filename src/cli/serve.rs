//! The agent at work: opens the store, binds the doors, starts the sampler and waits for the end.
//! In the foreground and as a daemon alike.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fieldpost_formats::write;
use fieldpost_model::{EventKind, TimeMs};
use fieldpost_store::{Closed, Opened, Store, StoreOptions};
use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{exit, holder};
use crate::agent::{Agent, Clock, Identity, Reload, Reloaded, SamplerOptions, SystemClock};
use crate::api::{self, Listener, MetricsState};
use crate::config::{Config, Loaded, Request, changes};
use crate::shutdown::Signals;
use crate::telemetry::{Log, OwnMetrics, Readings};

/// Threads for requests: one slow answer must not hold up the next.
const N_WORKERS: usize = 2;
/// Threads for what blocks (a refresh, a reload).
const N_BLOCKING_MAX: usize = 8;
/// Stack of such threads, bytes.
const STACK_BYTES: usize = 512 << 10;

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
    /// How long the end took.
    pub took: Duration,
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
/// runs beside the agent, if anything.
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
    let identity = identity(&config, &plan.config_name, address, clock.wall_ms());
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (agent, sampler) = Agent::start(
        identity,
        sampler_options(&config),
        Arc::clone(&store),
        clock,
        reload(plan, config.clone()),
        move || drop(ready.send(())),
    )?;
    tell_own(&own, &agent);
    agent.event(EventKind::Start, start_text(&opened));
    let mut tasks = JoinSet::new();
    let page = api::metrics_router(MetricsState::new(Arc::clone(&agent), own_page(own)));
    tasks.spawn(api::serve(Listener::Tcp(tcp), page, shutdown.clone()));
    tasks.spawn(api::serve(Listener::Unix(unix), api::local_router(Arc::clone(&agent)), shutdown.clone()));
    tasks.spawn(reload_on_signal(Arc::clone(&agent), signals.reloads, shutdown.clone()));
    runtime.block_on(async {
        tokio::select! {
            _ = is_ready => {}
            () = shutdown.cancelled() => {}
        }
    });
    notify(&[
        NotifyState::Ready,
        NotifyState::Status(&format!("sampling; metrics at http://{address}/metrics")),
    ]);
    let started = Started { agent: Arc::clone(&agent), took: begun.elapsed(), opened };
    on_ready(&started, &shutdown);
    runtime.block_on(watch(&agent, &shutdown));
    let ending = Instant::now();
    notify(&[NotifyState::Stopping]);
    shutdown.cancel();
    agent.stop();
    let sampler_ended = sampler.join().is_ok();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    agent.event(EventKind::Stop, "stopped".into());
    drop(std::fs::remove_file(config.socket()));
    drop((started, agent));
    let closed = close(store)?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    if !sampler_ended {
        bail!("the sampler ended by itself; what it had sealed is stored, see the log");
    }
    Ok(Stopped { closed, took: ending.elapsed() })
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
    // The file is made with this mask, so that there is no instant at which others may connect.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.with_context(place)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(place)?;
    Ok(listener)
}

fn open_store(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<(Arc<Store>, Opened)> {
    let clock = Arc::clone(clock);
    let options = StoreOptions { config: config.store.clone(), clock: Arc::new(move || clock.wall_ms()) };
    let (store, opened) = Store::open(options)
        .with_context(|| format!("cannot open the store in store.path {}", config.store.path.display()))?;
    Ok((Arc::new(store), opened))
}

fn close(store: Arc<Store>) -> anyhow::Result<Closed> {
    let store = Arc::into_inner(store).context("the store is still in use at the end")?;
    store.close().context("cannot close the store cleanly")
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
        let loaded = match plan.request.load() {
            Ok(loaded) => loaded.config,
            Err(problems) => {
                let errors = problems.to_string().lines().map(str::to_owned).collect();
                return Reloaded { errors, ..Reloaded::default() };
            }
        };
        let mut current = current.lock();
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
) -> Result<(), std::convert::Infallible> {
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

/// Waits for the end, and tells systemd's watchdog that the sampler is alive: only while ticks go on.
async fn watch(agent: &Agent, shutdown: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        shutdown.cancelled().await;
        return;
    };
    let mut last_ticks = None;
    loop {
        let ticks = agent.stats.ticks.load(std::sync::atomic::Ordering::Relaxed);
        if last_ticks != Some(ticks) {
            notify(&[NotifyState::Watchdog]);
        }
        last_ticks = Some(ticks);
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

/// Own metrics in the dialect of the page.
fn own_page(own: OwnMetrics) -> api::OwnMetrics {
    Box::new(move |dialect, out| {
        for (family, samples) in own.families() {
            write::header(out, dialect, &family, |_| false);
            for (series, value) in samples {
                write::sample(out, &series, value);
            }
        }
    })
}

/// Has the sampler and the store asked at every scrape.
fn tell_own(own: &OwnMetrics, agent: &Arc<Agent>) {
    let asked = Arc::downgrade(agent);
    own.ask(move |readings| {
        if let Some(agent) = asked.upgrade() {
            tell_sampler(readings, &agent);
            tell_store(readings, &agent.store_stats());
        }
    });
}

fn tell_sampler(readings: &mut Readings, agent: &Agent) {
    use std::sync::atomic::Ordering::Relaxed;
    let stats = &agent.stats;
    let seconds = |microseconds: u64| microseconds as f64 / 1e6;
    let counts = [
        ("fieldpost_sampler_ticks_total", "Ticks that were taken.", &stats.ticks),
        ("fieldpost_sampler_skipped_ticks_total", "Ticks that had passed by.", &stats.skipped),
        (
            "fieldpost_sampler_overruns_total",
            "Passes of collectors left out because the one before had not ended.",
            &stats.overruns,
        ),
    ];
    for (name, help, count) in counts {
        readings.counter(name, help, &[], count.load(Relaxed) as f64);
    }
    let help = "How late the last tick began.";
    readings.gauge(
        "fieldpost_sampler_lateness_seconds",
        help,
        &[],
        seconds(stats.late_microseconds.load(Relaxed)),
    );
    let help = "The latest that any tick began since the start.";
    let latest = stats.late_max_microseconds.load(Relaxed);
    readings.gauge("fieldpost_sampler_lateness_max_seconds", help, &[], seconds(latest));
    let help = "Series refused because another collector feeds the very same one.";
    readings.counter("fieldpost_series_refused_total", help, &[], agent.catalog.refused() as f64);
    tell_stuck(readings, agent);
}

/// The age of values is told only of collectors that do not answer: all others are as old as
/// their interval, and a hundred series more would cost every scrape.
fn tell_stuck(readings: &mut Readings, agent: &Agent) {
    let now_ms = agent.clock.wall_ms();
    let board = agent.board.read();
    let stuck = || board.collectors().iter().filter(|state| state.stuck_since_ms.is_some());
    readings.gauge(
        "fieldpost_collectors_stuck",
        "Collectors that do not answer.",
        &[],
        stuck().count() as f64,
    );
    for state in stuck() {
        let help = "Age of the newest values of a collector that does not answer.";
        let age = (now_ms - state.time_ms).max(0) as f64 / 1e3;
        readings.gauge("fieldpost_collector_age_seconds", help, &[("collector", state.name)], age);
    }
}

fn tell_store(readings: &mut Readings, stats: &fieldpost_store::StoreStats) {
    let counts = [
        ("fieldpost_store_samples_total", "Samples committed to the store.", stats.n_samples_stored),
        ("fieldpost_store_lost_samples_total", "Samples that could not be stored.", stats.n_samples_lost),
    ];
    for (name, help, count) in counts {
        readings.counter(name, help, &[], count as f64);
    }
    readings.gauge("fieldpost_store_size_bytes", "Bytes of the store on disk.", &[], stats.bytes as f64);
}
