//! The agent at work: opens the store, binds the doors, starts the sampler and waits for the end.
//! In the foreground and as a daemon alike.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fieldpost_link::handler;
use fieldpost_model::{EventKind, RemoteJobs, TimeMs};
use fieldpost_store::{Closed, Opened, Store, StoreOptions};
use hyper_util::service::TowerToHyperService;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::daemon_control::Plan;
use super::jobs_of_host::HostJobs;
use super::own_metrics::{own_page, tell_own, tell_sinks};
use super::process_setup::{bind_socket, bind_tcp, notify, raise_descriptor_limit, runtime, watch};
use super::programs_door::ProgramsDoor;
use super::reloading::{self, Reloading};
use crate::agent::{
    Agent, Ceiling, Clock, Hubs, Identities, Identity, Introduction, Outbox, Reload, SamplerOptions,
    ServeHub, SystemClock, UplinkOptions, Uplinks, Witness, agent_id,
};
use crate::api::{self, HubPrincipal, Listener, MetricsState};
use crate::config::{Config, Root};
use crate::daemon;
use crate::jobs::Jobs;
use crate::shutdown::Signals;
use crate::sinks::Sinks;
use crate::telemetry::OwnMetrics;

/// The longest that blocking work (a reload) may go on at the end.
const LAST_TASKS_DEADLINE: Duration = Duration::from_secs(1);

/// Connections that a door serves at a time.
const CONNECTIONS_MAX: usize = 64;
/// Those of the Unix socket: each run that somebody follows holds one.
const LOCAL_CONNECTIONS_MAX: usize = 1_024;
/// The longest that the last window may take to the disk before the links end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
/// The longest that the last items may take to hubs whose links are up.
const LAST_ITEMS_DEADLINE: Duration = Duration::from_secs(3);

/// What a start came to, once every collector has had its first pass.
pub struct Started {
    /// The running agent.
    pub agent: Arc<Agent>,
    /// How long the start took.
    pub took: Duration,
    /// What the store found in its folder.
    pub opened: Opened,
}

/// What is done when a hub refuses the agent for good.
type OnRefused = Option<Arc<dyn Fn(String) + Send + Sync>>;

/// How an agent ended.
pub struct Stopped {
    /// What the store had when it was closed.
    pub closed: Closed,
    /// Is it to be started anew at once?
    pub again: bool,
}

/// Runs the agent until it is told to end. `on_ready` is called once it is ready; what it gives
/// runs beside the agent, if anything. It is not called if the end comes first.
pub fn serve(
    plan: Plan<Config>,
    on_ready: impl FnOnce(&Started, &CancellationToken),
) -> anyhow::Result<Stopped> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let Signals { shutdown, reloads, leaves } = Signals::listen()?;
    let config = plan.loaded.config.clone();
    let (tcp, address) = runtime.block_on(bind_tcp("metrics.listen", config.metrics.listen))?;
    let door = bind_door(&runtime, &config)?;
    let programs = runtime.block_on(ProgramsDoor::open(&config.api.http))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, opened) = open_store(&config, &clock)?;
    let unix = bind_socket(&config.socket())?;
    let own = OwnMetrics::new()?;
    own.ask_log(plan.log.clone());
    let host_jobs = Arc::new(HostJobs::new(&plan.request));
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let witness = witness(ready, &shutdown);
    let ceiling = Arc::new(Ceiling::new(config.remote_jobs));
    let (agent, sampler) = Agent::start(
        identity(&config, &plan.config_name, (address, door.as_ref().map(|(_, at)| *at)), clock.wall_ms()),
        sampler_options(&config),
        Arc::clone(&store),
        clock,
        reload(plan, Arc::clone(&ceiling), Arc::clone(&host_jobs)),
        witness,
    )?;
    tell_own(&own, &agent);
    agent.event(EventKind::Start, start_text(&opened));
    let refused = Arc::new(OnceLock::new());
    let jobs = host_jobs.open(&runtime, &config, &agent, &own)?;
    let on_refused = on_refused(&config, &refused, &shutdown);
    let highest = Arc::clone(&ceiling);
    let uplinks = uplinks((&agent, &jobs), &store, &config, ceiling, on_refused)?;
    if let Some((listener, _)) = door {
        uplinks.listen(listener);
    }
    runtime.spawn(Arc::clone(&uplinks).follow_ceiling());
    runtime.spawn(keep_to_ceiling(jobs.clone(), Arc::clone(&uplinks.identities), highest));
    let sinks = Arc::new(Sinks::start(&store, &config.sinks, &agent.identity.name)?);
    tell_sinks(&own, &sinks);
    let tasks = open_doors(&agent, &uplinks, &jobs, own, (tcp, unix, programs), (shutdown.clone(), reloads));
    dial(&agent, &uplinks);
    jobs.go();
    let again = follow_wishes(&jobs, leaves, &shutdown);
    if runtime.block_on(first_pass(is_ready, &shutdown)) {
        let status = format!("sampling; metrics at http://{address}/metrics");
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        on_ready(&Started { agent: Arc::clone(&agent), took: begun.elapsed(), opened }, &shutdown);
        runtime.block_on(watch(|| agent.stats.beats.load(Ordering::Relaxed), &shutdown));
    }
    let closed = end(Running {
        runtime,
        tasks,
        agent,
        uplinks,
        sinks,
        jobs,
        sampler,
        store,
        socket: config.socket(),
    })?;
    match refused.get() {
        Some(reason) => bail!("link.exit_on_fail: {reason}"),
        None => Ok(Stopped { closed, again: again.load(Ordering::Acquire) }),
    }
}

/// Drops what hubs have defined here that may not (any more) have any command run, reached or not.
async fn keep_to_ceiling(jobs: Jobs, identities: Arc<Identities>, ceiling: Arc<Ceiling>) {
    let mut moves = ceiling.moves();
    loop {
        moves.mark_unchanged();
        if let Err(error) = identities.refresh() {
            tracing::error!("the hubs of this agent are not known: {error:#}");
        }
        for hub in jobs.hubs_with_tasks() {
            let is_free = ceiling.jobs(identities.granted(&hub)) == RemoteJobs::Any;
            if !is_free && let Err(error) = jobs.take_of_hub(&hub, Vec::new()).await {
                tracing::error!(hub, "jobs of this hub go on against the ceiling: {error}");
            }
        }
        if moves.changed().await.is_err() {
            return;
        }
    }
}

/// Ends the agent once nothing runs, if SIGUSR1 asks for that, and when it is to be started anew; the
/// flag says that it is.
fn follow_wishes(
    jobs: &Jobs,
    mut leaves: tokio::sync::mpsc::Receiver<()>,
    shutdown: &CancellationToken,
) -> Arc<AtomicBool> {
    let again = Arc::new(AtomicBool::new(false));
    let (leaving, at_rest) = (jobs.clone(), shutdown.clone());
    tokio::spawn(async move {
        if leaves.recv().await.is_some() {
            tracing::info!("ends once nothing runs");
            leaving.leave().await;
            at_rest.cancel();
        }
    });
    let (jobs, shutdown, wanted) = (jobs.clone(), shutdown.clone(), Arc::clone(&again));
    tokio::spawn(async move {
        jobs.restart_wanted().await;
        tracing::info!("starts anew, as it was asked to");
        wanted.store(true, Ordering::Release);
        shutdown.cancel();
    });
    again
}

/// Whom the sampler tells that it has begun, and that it has ended.
fn witness(ready: tokio::sync::oneshot::Sender<()>, shutdown: &CancellationToken) -> Witness {
    Witness {
        // Nobody waits any more if the end was asked for meanwhile.
        ready: Box::new(move || ready.send(()).unwrap_or_default()),
        // Should the sampler ever end by itself, the agent ends with it: a page that stands
        // still would look like a machine that does.
        alive: Box::new(shutdown.clone().drop_guard()),
    }
}

/// Waits for the first pass of every collector; `false` if the end comes first.
async fn first_pass(is_ready: tokio::sync::oneshot::Receiver<()>, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        ready = is_ready => ready.is_ok() && !shutdown.is_cancelled(),
        () = shutdown.cancelled() => false,
    }
}

/// Dials the hubs of this agent; what is wrong with them is told, and the agent goes on.
fn dial(agent: &Agent, uplinks: &Arc<Uplinks>) {
    if let Err(error) = uplinks.refresh() {
        agent.set_last_error(format!("{error:#}"));
        tracing::error!("the hubs of this agent are not dialled: {error:#}");
    }
}

/// Where hubs dial this agent, if they do.
fn bind_door(runtime: &Runtime, config: &Config) -> anyhow::Result<Option<(TcpListener, SocketAddr)>> {
    let bind = |address| runtime.block_on(bind_tcp("api.listen", address));
    config.api.listen.map(bind).transpose()
}

/// With `link.exit_on_fail`, what ends the agent when a hub refuses it for good.
fn on_refused(config: &Config, refused: &Arc<OnceLock<String>>, shutdown: &CancellationToken) -> OnRefused {
    let (refused, shutdown) = (Arc::clone(refused), shutdown.clone());
    config.link.exit_on_fail.then(|| {
        let end: Arc<dyn Fn(String) + Send + Sync> = Arc::new(move |reason| {
            // The first reason is the one that ends it.
            let _ = refused.set(reason);
            shutdown.cancel();
        });
        end
    })
}

/// The links to the hubs of this agent. They end last, by themselves, so that what is sealed at
/// the end still goes over them.
fn uplinks(
    (agent, jobs): (&Arc<Agent>, &Jobs),
    store: &Arc<Store>,
    config: &Config,
    ceiling: Arc<Ceiling>,
    on_refused: OnRefused,
) -> anyhow::Result<Arc<Uplinks>> {
    let link = &config.link;
    let outbox = Outbox::new(Arc::clone(store), link.push_interval.0);
    let (serving, record, jobs) = (Arc::clone(agent), Arc::clone(&outbox), jobs.clone());
    let highest = Arc::clone(&ceiling);
    let introduction = Introduction { boot_id: daemon::boot_id().unwrap_or_default(), ceiling };
    let serve_hub = |identities: Arc<Identities>| -> ServeHub {
        Arc::new(move |hub_id| {
            let (agent, record, hub) =
                (Arc::clone(&serving), Arc::clone(&record), HubPrincipal(hub_id.to_owned()));
            let (known, ceiling, of) = (Arc::clone(&identities), Arc::clone(&highest), hub_id.to_owned());
            let granted = Arc::new(move || ceiling.jobs(known.granted(&of)));
            let router =
                api::link_router(agent, record, Arc::clone(&identities), hub, (jobs.clone(), granted));
            handler(TowerToHyperService::new(router))
        })
    };
    let proxy = link.dialled_by()?;
    let options = UplinkOptions { reconnect_max: link.reconnect_max.0, proxy, on_refused };
    let clock = Arc::clone(&agent.clock);
    Ok(Uplinks::new(&config.store.path, outbox, clock, introduction, options, serve_hub))
}

/// Starts what listens: the page, the socket, the signal that asks for a reload.
fn open_doors(
    agent: &Arc<Agent>,
    uplinks: &Arc<Uplinks>,
    jobs: &Jobs,
    own: OwnMetrics,
    (tcp, unix, programs): (TcpListener, UnixListener, Option<ProgramsDoor>),
    (shutdown, reloads): (CancellationToken, tokio::sync::mpsc::Receiver<()>),
) -> JoinSet<Result<(), Infallible>> {
    let page = api::metrics_router(MetricsState::new(Arc::clone(agent), own_page(own)));
    let socket =
        api::local_router(Arc::clone(agent), Arc::clone(uplinks)).merge(api::job_routes(jobs.clone()));
    let mut tasks = JoinSet::new();
    tasks.spawn(api::serve(Listener::Tcp(tcp), page, CONNECTIONS_MAX, shutdown.clone()));
    tasks.spawn(api::serve(Listener::Unix(unix), socket, LOCAL_CONNECTIONS_MAX, shutdown.clone()));
    if let Some(door) = programs {
        tasks.spawn(door.serve(Arc::clone(agent), shutdown.clone()));
    }
    let agent = Arc::clone(agent);
    tasks.spawn(reloading::on_signal(move || agent.reload().into(), reloads, shutdown));
    tasks
}

/// What has to end, in this order.
struct Running {
    runtime: Runtime,
    tasks: JoinSet<Result<(), Infallible>>,
    agent: Arc<Agent>,
    uplinks: Arc<Uplinks>,
    sinks: Arc<Sinks>,
    jobs: Jobs,
    sampler: JoinHandle<()>,
    store: Arc<Store>,
    socket: PathBuf,
}

/// Ends the sampler first, so that what it has is sealed before anything may take its time.
fn end(running: Running) -> anyhow::Result<Closed> {
    let Running { runtime, mut tasks, agent, uplinks, sinks, jobs, sampler, store, socket } = running;
    notify(&[NotifyState::Stopping]);
    jobs.stop();
    agent.stop();
    let sampler_ended = sampler.join().is_ok();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    agent.event(EventKind::Stop, "stopped".into());
    drop(std::fs::remove_file(socket));
    store.flush(FLUSH_DEADLINE);
    runtime.block_on(async { tokio::join!(uplinks.end(LAST_ITEMS_DEADLINE), sinks.end()) });
    jobs.close();
    // A client that does not take its answer must not keep the store from being closed.
    let closed = store.close().context("cannot close the store cleanly")?;
    runtime.shutdown_timeout(LAST_TASKS_DEADLINE);
    if !sampler_ended {
        bail!("the sampler ended by itself; what it had sealed is stored, see the log");
    }
    Ok(closed)
}

fn open_store(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<(Arc<Store>, Opened)> {
    let clock = Arc::clone(clock);
    let data = &config.store.path;
    let place = || format!("cannot open the store in store.path {}", data.display());
    let memberships = Hubs::of(data).load()?;
    let options = StoreOptions {
        clock: Arc::new(move || clock.wall_ms()),
        agent_id: Some(agent_id(data).with_context(place)?),
        hubs: memberships.into_iter().map(|membership| membership.hub_id).collect(),
        ..StoreOptions::new(config.store.clone())
    };
    let (store, opened) = Store::open(options).with_context(place)?;
    Ok((Arc::new(store), opened))
}

fn identity(
    config: &Config,
    config_name: &str,
    (metrics, listen): (SocketAddr, Option<SocketAddr>),
    started_ms: TimeMs,
) -> Identity {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Identity {
        name,
        started_ms,
        config: config_name.to_owned(),
        data: config.store.path.clone(),
        metrics: format!("http://{metrics}/metrics"),
        listen,
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
fn reload(plan: Plan<Config>, ceiling: Arc<Ceiling>, jobs: Arc<HostJobs>) -> Reload {
    let reloading = Reloading::new(plan);
    Box::new(move |agent| {
        let apply = |config: &Config| {
            jobs.reload(config, || agent.apply(sampler_options(config)))?;
            ceiling.set(config.remote_jobs);
            Ok(())
        };
        reloading.reload(apply).into()
    })
}
