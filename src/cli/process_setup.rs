//! What every long-running face of the program needs of the system: a runtime, its doors, the
//! limit of open files, and systemd's ear.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener, UnixSocket};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::{exit, holder};

/// Threads for requests: one slow answer must not hold up the next.
const N_WORKERS: usize = 2;
/// Threads for what blocks (a refresh, a reload).
const N_BLOCKING_MAX: usize = 8;
/// Stack of such threads, bytes.
const STACK_BYTES: usize = 1 << 20;
/// Mode of the Unix socket: its owner's alone.
const SOCKET_MODE: u32 = 0o600;
/// Connections to the Unix socket that wait to be taken.
const SOCKET_BACKLOG: u32 = 128;

/// The soft limit of open files is for programs that use `select`; here descriptors of /proc
/// files, of databases and of links are kept open.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// The runtime of what waits: doors, links, signals.
pub fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(N_WORKERS).max_blocking_threads(N_BLOCKING_MAX).thread_stack_size(STACK_BYTES);
    builder.thread_name("http").enable_all().build().context("cannot start the runtime")
}

/// The runtime of a client that does several things at once.
pub fn client_runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Listens at the address that this key of the config gives; answers with the one that was bound.
pub async fn bind_tcp(key: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind(address).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| cannot_listen(key, address, &error))
}

fn cannot_listen(key: &str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let mut text = format!("error: cannot listen on {key} {address}: ");
    if error.kind() == ErrorKind::AddrInUse {
        let by =
            holder::of_port(address).map(|(pid, name)| format!(" by pid {pid} ({name})")).unwrap_or_default();
        let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1024));
        text += &format!("in use{by}\n  choose another: --set {key}={other}   (port 0 takes any free one)");
    } else {
        text += &error.to_string();
    }
    exit::failure(exit::FAILED, text)
}

/// Binds the Unix socket for its owner only. The data folder's lock is held, so a socket that is
/// there already belongs to nobody.
pub fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    let place = || format!("cannot listen on api.socket {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(place),
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

/// Waits for the end, and tells systemd's watchdog that the process is alive: only while what
/// `beats` counts goes on.
pub async fn watch(beats: impl Fn() -> u64, shutdown: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        shutdown.cancelled().await;
        return;
    };
    let mut last_beats = None;
    loop {
        let beats = beats();
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
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
