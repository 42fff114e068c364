//! The shim: a tiny process that owns one run, so that the run outlives the agent. It has no
//! database, no TLS, no runtime and one thread; it starts the command behind a barrier, keeps its
//! output and its time, ends it when it has to, and says durably how it ended.

mod cgroup;
mod child;
pub(super) mod keeper;
mod levels;
mod output;
mod statistics;
mod sys;
mod watch;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use fieldpost_model::TimeMs;
use fieldpost_model::job::{Enforcement, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use self::cgroup::Cgroups;
use self::child::Ends;
use self::keeper::{Role, WORD};
use self::output::Output;
use self::sys::Forked;
use self::watch::Watch;
use super::durable::Sync;
use super::protocol::{
    ENDED_FILE, Ended, Order, ProcessId, SOCKET_FILE, STARTED_FILE, STARTED_WORD, Start, Started, Why,
};
use super::{durable, identity};

/// The exit code of a command that was not let run.
const REFUSED_CODE: i32 = 125;
/// How long the shim tries to say how the run ended where the disk refuses.
const END_PATIENCE: Duration = Duration::from_secs(600);
/// Between two tries.
const END_PAUSE: Duration = Duration::from_secs(1);

/// Runs as a shim: the whole of this process. Its folder is the one it is started in, or that its
/// keeper was told. `subject`: the id of the run, or the word of a keeper.
pub fn main(subject: Option<&OsStr>) -> ExitCode {
    sys::close_inherited();
    if subject.is_some_and(|word| word.as_encoded_bytes().starts_with(WORD.as_bytes())) {
        let _ = rustix::thread::set_name(c"fieldpost-keep");
        match keeper::serve() {
            Ok(Role::Shim) => sys::close_inherited(),
            Ok(Role::Over) => return ExitCode::SUCCESS,
            Err(error) => {
                tell(&format!("{error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    // Else it would be called after the link by which it was found.
    let _ = rustix::thread::set_name(c"fieldpost-shim");
    match owned() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what nobody but a person who looks for a fault wants to know: into the shim's own log.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn owned() -> anyhow::Result<()> {
    let (order, stdin) = take_order().context("cannot read the order")?;
    match begin(&order, &stdin) {
        Ok(Begun::Runs(watch)) => {
            let ended = watch.until_the_end();
            order.failpoint.reach("shim_before_ended");
            let said = say_end(&ended);
            order.failpoint.reach("shim_after_ended");
            said
        }
        Ok(Begun::Refused(limits, reason)) => {
            let outcome = Outcome::NotStarted { code: REFUSED_CODE, error: reason.clone() };
            say_end(&Ended { why: Some(Why::Refused { reason }), ..not_started(outcome, limits) })
        }
        Ok(Begun::Void) => Ok(()),
        Err(error) => {
            tell(&format!("{error:#}"));
            let outcome = Outcome::NotStarted { code: REFUSED_CODE, error: format!("{error:#}") };
            say_end(&not_started(outcome, Vec::new()))
        }
    }
}

/// The order and what the command is to read, from the file without a name.
fn take_order() -> anyhow::Result<(Order, Vec<u8>)> {
    let mut all = Vec::new();
    std::io::stdin().lock().read_to_end(&mut all)?;
    let end = all.iter().position(|byte| *byte == b'\n').context("it has no end")?;
    let order = serde_json::from_slice(&all[..end])?;
    let nothing = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok((order, all.split_off(end + 1)))
}

/// What became of a start.
enum Begun {
    /// The command runs.
    Runs(Box<Watch>),
    /// It is not let run.
    Refused(Vec<Enforcement>, String),
    /// An agent has settled meanwhile that it never will.
    Void,
}

fn begin(order: &Order, stdin: &[u8]) -> anyhow::Result<Begun> {
    rustix::process::setsid().ok();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("cannot adopt orphans")?;
    let signals = sys::signals_as_file(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .context("cannot listen to signals")?;
    let listener = UnixListener::bind(SOCKET_FILE).context("cannot make the socket")?;
    order.failpoint.reach("shim_before_cgroups");
    let cgroups = Cgroups::make(order);
    let mut limits = cgroups.limit(&order.limits);
    limits.extend(child::enforced(&order.limits));
    if order.limits_required
        && let Some(open) = limits.iter().find(|limit| limit.by.is_none())
    {
        cgroups.remove();
        let reason = format!("the limit {} cannot be enforced: {}", open.limit, open.reason);
        return Ok(Begun::Refused(limits, reason));
    }
    let (ours, theirs) = channels(stdin)?;
    order.failpoint.reach("shim_before_fork");
    let pid = match sys::fork().context("cannot fork")? {
        Forked::Child => {
            drop(ours);
            child::run(order, theirs)
        }
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    if let Err(error) = cgroups.add(pid) {
        tell(&format!("the run is not in its cgroups: {error}"));
    }
    order.failpoint.reach("shim_before_started");
    if !say_start(order, pid, &cgroups, &limits)? {
        // The barrier goes with its end of the pipe, and the child with it.
        drop(ours);
        while !matches!(sys::reap(), Err(_) | Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(1));
        }
        cgroups.remove();
        return Ok(Begun::Void);
    }
    order.failpoint.reach("shim_after_started");
    let began = Instant::now();
    let began_ms = now_ms();
    File::from(ours.barrier).write_all(b"g").context("the child has gone")?;
    order.failpoint.reach("shim_after_barrier");
    // Nobody reads it if the agent has gone; then it looks into the folder later.
    let _ = std::io::stdout().lock().write_all(STARTED_WORD).and_then(|()| std::io::stdout().flush());
    let output = Output::new(order, ours.stdout, ours.stderr);
    let watch = Watch::new(order.clone(), pid, (began, began_ms), cgroups, limits, output, listener, signals);
    Ok(Begun::Runs(Box::new(watch.with_fault(ours.fault))))
}

/// The shim's ends of the channels to the child.
struct OurEnds {
    stdout: OwnedFd,
    stderr: OwnedFd,
    barrier: OwnedFd,
    fault: OwnedFd,
}

fn channels(stdin: &[u8]) -> anyhow::Result<(OurEnds, Ends)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
    let ((stdout, to_stdout), (stderr, to_stderr)) = (pipe()?, pipe()?);
    let ((hears, barrier), (fault, to_fault)) = (pipe()?, pipe()?);
    for end in [&stdout, &stderr] {
        rustix::fs::fcntl_setfl(end, rustix::fs::OFlags::NONBLOCK)?;
    }
    let input = match stdin {
        [] => OwnedFd::from(File::open("/dev/null")?),
        bytes => {
            let file = rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?;
            let mut file = File::from(file);
            file.write_all(bytes)?;
            std::io::Seek::rewind(&mut file)?;
            OwnedFd::from(file)
        }
    };
    let theirs = Ends { stdin: input, stdout: to_stdout, stderr: to_stderr, barrier: hears, fault: to_fault };
    Ok((OurEnds { stdout, stderr, barrier, fault }, theirs))
}

/// Says durably that the command begins. Answers whether it may: an agent that found nothing here
/// may have settled that it never will.
fn say_start(order: &Order, pid: u32, cgroups: &Cgroups, limits: &[Enforcement]) -> anyhow::Result<bool> {
    let identity =
        |pid| identity::of_pid(pid).map(|(id, _)| id).with_context(|| format!("process {pid} has gone"));
    let started = Started {
        time_ms: now_ms(),
        boot_id: identity::boot_id(),
        nonce: order.nonce.clone(),
        shim: identity(std::process::id())?,
        child: identity(pid).unwrap_or(ProcessId { pid, ..ProcessId::default() }),
        cgroups: cgroups.paths(),
        limits: limits.to_vec(),
    };
    let start = Start::Started(Box::new(started));
    // The agent has written down that the run begins, and knows which boot it was: after the machine
    // was down a file that is not there says nothing. Where boots cannot be told apart it has to be.
    let sync = if identity::boot_id().is_empty() { Sync::Now } else { Sync::Later };
    durable::create(Path::new(STARTED_FILE), &start, sync).context("cannot say that the command begins")
}

fn not_started(outcome: Outcome, limits: Vec<Enforcement>) -> Ended {
    Ended {
        time_ms: now_ms(),
        took_ms: 0,
        outcome,
        why: None,
        stopping_ms: None,
        limits,
        usage: Default::default(),
        output: Default::default(),
        data: None,
        stats: Default::default(),
        left_behind: false,
    }
}

/// Says durably how it ended; tries again while the disk refuses.
fn say_end(ended: &Ended) -> anyhow::Result<()> {
    let begun = Instant::now();
    // An agent that listens writes it down durably before it tells anybody.
    let sync = if is_heard() { Sync::Later } else { Sync::Now };
    loop {
        match durable::write(Path::new(ENDED_FILE), ended, sync) {
            Ok(()) => break,
            Err(error) if begun.elapsed() > END_PATIENCE => bail!("cannot say how the run ended: {error}"),
            Err(_) => std::thread::sleep(END_PAUSE),
        }
    }
    drop(std::fs::remove_file(SOCKET_FILE));
    Ok(())
}

/// Is the agent that started this shim still at the other end of the pipe for news?
fn is_heard() -> bool {
    let stdout = std::io::stdout();
    let mut ends = [PollFd::new(&stdout, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&now)).is_ok() && !ends[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

fn now_ms() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads what has come, if anything: the number of bytes, 0 at the end, `None` if nothing has.
fn read_some(end: impl AsFd, buffer: &mut [u8]) -> Option<usize> {
    match rustix::io::read(end, buffer) {
        Ok(n_bytes) => Some(n_bytes),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
        Err(_) => Some(0),
    }
}
