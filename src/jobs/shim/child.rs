//! The child between fork and exec: it waits for the word to begin, becomes what it is to be, and
//! runs the command.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use fieldpost_model::job::{Enforcement, Limits};
use rustix::process::{Resource, Rlimit, Signal, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::super::protocol::Order;
use super::sys;

/// The exit code of a child whose shim went away before it was told to begin.
const NEVER_BEGAN: i32 = 125;

/// What the child takes along.
pub struct Ends {
    /// What it reads.
    pub stdin: OwnedFd,
    /// Where its output goes.
    pub stdout: OwnedFd,
    /// Where its errors go.
    pub stderr: OwnedFd,
    /// One byte here means that it is to begin.
    pub barrier: OwnedFd,
    /// What could not be done goes here; closed by itself when the command runs.
    pub fault: OwnedFd,
}

/// Never returns: becomes the command, or ends.
pub fn run(order: &Order, ends: Ends) -> ! {
    let fault = File::from(ends.fault);
    let error = match begin(order, ends.stdin, ends.stdout, ends.stderr, ends.barrier) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    // The shim reads the system's number; if it is gone nobody needs it.
    let number = error.raw_os_error().unwrap_or(libc::EIO);
    let _ = (&fault).write_all(&number.to_le_bytes());
    sys::exit_now(127)
}

enum Never {}

fn begin(
    order: &Order,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    barrier: OwnedFd,
) -> io::Result<Never> {
    rustix::process::setsid()?;
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    if File::from(barrier).read(&mut [0])? == 0 {
        sys::exit_now(NEVER_BEGAN);
    }
    apply_limits(&order.limits);
    if let Some(account) = &order.account {
        sys::become_user(account)?;
    }
    // What lets the agent measure is not for what it runs.
    let _ = rustix::thread::clear_ambient_capability_set();
    // Set last, for a change of user undoes it: without its shim nobody would know how it ends.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::reset_signals();
    let (program, arguments) = order.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
    Err(command.current_dir(&order.dir).exec())
}

/// Sets what belongs to a process. It was found possible before; what fails all the same is not
/// worth ending the run for.
fn apply_limits(limits: &Limits) {
    let both = |number| Rlimit { current: Some(number), maximum: Some(number) };
    if let Some(number) = limits.nofile {
        let _ = setrlimit(Resource::Nofile, both(number));
    }
    if let Some(size) = limits.file_size {
        let _ = setrlimit(Resource::Fsize, both(size.0));
    }
    if let Some(nice) = limits.nice {
        let _ = setpriority_process(None, nice);
    }
    if let Some(cores) = limits.cores.as_deref().and_then(cores) {
        let _ = sched_setaffinity(None, &cores);
    }
    // A core file of a run is nobody's wish, and may hold secrets.
    let _ = setrlimit(Resource::Core, both(0));
}

/// What will become of the limits that belong to a process.
pub fn enforced(limits: &Limits) -> Vec<Enforcement> {
    let mut found = Vec::new();
    let mut add = |limit: &str, by: &str, fault: Option<String>| {
        let by = fault.is_none().then(|| by.to_owned());
        found.push(Enforcement { limit: limit.to_owned(), by, reason: fault.unwrap_or_default() });
    };
    let above = |resource, number: u64| {
        let maximum = rustix::process::getrlimit(resource).maximum;
        maximum
            .filter(|maximum| number > *maximum)
            .map(|maximum| format!("more than the agent's own {maximum}"))
    };
    if let Some(number) = limits.nofile {
        add("nofile", "rlimit", above(Resource::Nofile, number));
    }
    if let Some(size) = limits.file_size {
        add("file_size", "rlimit", above(Resource::Fsize, size.0));
    }
    if let Some(nice) = limits.nice {
        let is_root = rustix::process::geteuid().is_root();
        let fault = (nice < 0 && !is_root).then(|| "only root may be less nice".to_owned());
        add("nice", "setpriority", fault);
    }
    if let Some(text) = &limits.cores {
        let known = rustix::thread::sched_getaffinity(None).ok();
        let usable = cores(text).zip(known).is_some_and(|(wanted, known)| {
            (0..CpuSet::MAX_CPU).any(|core| wanted.is_set(core) && known.is_set(core))
        });
        add("cores", "affinity", (!usable).then(|| "none of these cores is there".to_owned()));
    }
    found
}

fn cores(text: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        (from..=to.min(CpuSet::MAX_CPU - 1)).for_each(|core| set.set(core));
    }
    Some(set)
}

/// What the child said that it could not do; none if the command runs. The pipe is closed by then.
pub fn fault(pipe: impl AsFd) -> Option<io::Error> {
    let mut number = [0; 4];
    match rustix::io::read(pipe, &mut number) {
        Ok(4) => Some(io::Error::from_raw_os_error(i32::from_le_bytes(number))),
        _ => None,
    }
}
