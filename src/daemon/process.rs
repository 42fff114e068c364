//! Ending a process whose identity was proved.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::lock::{Ended, Note, State, look};

/// A clean end takes at most this long.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// A killed process is gone within this time, unless the kernel holds it.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How often a process is looked at while it ends.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What came of an attempt to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// None was running.
    NotRunning,
    /// It ended; the rest says how, if it ended cleanly.
    Ended(Option<Ended>),
    /// It was killed.
    Killed,
    /// It goes on.
    GoesOn(u32),
    /// The lock is held, but by no process that can be proved to be the one in the file.
    Unproved,
    /// The present user may not.
    NotPermitted(Option<u32>),
}

/// Ends the process of this data folder, and waits for it.
pub fn stop(folder: &Path, force: bool) -> io::Result<Ending> {
    let note = match look(folder)? {
        State::Stopped(_) => return Ok(Ending::NotRunning),
        State::NotPermitted => return Ok(Ending::NotPermitted(None)),
        State::Running(note) => note,
    };
    let Some((note, pidfd)) =
        note.and_then(|note| Some((open_proved(&note)?, note)).map(|(fd, note)| (note, fd)))
    else {
        return Ok(Ending::Unproved);
    };
    match pidfd_send_signal(&pidfd, Signal::TERM) {
        // It ended by itself just now.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(Errno::PERM) => return Ok(Ending::NotPermitted(Some(note.pid))),
        Err(error) => return Err(error.into()),
    }
    let let_go = || is_zombie(note.pid) && matches!(look(folder), Ok(State::Stopped(_)));
    if wait(&pidfd, END_PATIENCE, let_go)? {
        return Ok(Ending::Ended(how(folder)?));
    }
    if !force {
        return Ok(Ending::GoesOn(note.pid));
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(if wait(&pidfd, KILL_PATIENCE, let_go)? { Ending::Killed } else { Ending::GoesOn(note.pid) })
}

fn how(folder: &Path) -> io::Result<Option<Ended>> {
    match look(folder)? {
        State::Stopped(Some(note)) => Ok(note.ended),
        _ => Ok(None),
    }
}

/// A handle on the process that the note names, if it is still that process. The handle is
/// opened first: whatever is true of the pid after that is true of the handle, or it is dead.
fn open_proved(note: &Note) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(note.pid).ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let is_it = boot_id()? == note.boot_id && start_ticks(note.pid)? == note.start_ticks;
    is_it.then_some(pidfd)
}

/// Waits until the process is dead, or has let go of everything; answers whether it has.
///
/// A thread that a file system holds in a call cannot be killed, and keeps the rest of a process
/// that ended long ago in the table of processes.
fn wait(pidfd: &OwnedFd, patience: Duration, has_let_go: impl Fn() -> bool) -> io::Result<bool> {
    let end = Instant::now() + patience;
    loop {
        let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut polled, Some(&LOOK)) {
            Ok(0) if has_let_go() => return Ok(true),
            Ok(0) if Instant::now() >= end => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Has its first thread ended, though the process is still there?
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// When a process started, in clock ticks since boot (field 22 of proc_pid_stat(5)).
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; what counts begins after the last one.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Has this process end as by SIGTERM when the one that started it is gone, however that ended.
pub fn end_with_parent() -> io::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have gone in between.
    if rustix::process::getppid() != parent {
        return Err(io::Error::other("the process that started this one is gone"));
    }
    Ok(())
}

/// The identity of this boot.
pub fn boot_id() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::super::lock::Lock;
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    fn note_on(child: &Child) -> Note {
        let note = Note::of_this_process("agent", 0, "", 0, Path::new("/s"));
        Note { pid: child.id(), start_ticks: start_ticks(child.id()).unwrap(), ..note }
    }

    fn is_alive(child: &mut Child) -> bool {
        child.try_wait().unwrap().is_none()
    }

    #[test]
    fn nobody_is_signalled_while_the_lock_is_free() {
        let (dir, mut child) = (tempfile::tempdir().unwrap(), sleeper());
        let lock = Lock::take(dir.path()).unwrap().unwrap();
        lock.write(&note_on(&child)).unwrap();
        drop(lock);
        assert_eq!(stop(dir.path(), true).unwrap(), Ending::NotRunning);
        assert!(is_alive(&mut child));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn process_that_only_has_the_pid_is_not_signalled() {
        let (dir, mut child) = (tempfile::tempdir().unwrap(), sleeper());
        let lock = Lock::take(dir.path()).unwrap().unwrap();
        let note = note_on(&child);
        for wrong in [
            Note { start_ticks: note.start_ticks + 1, ..note.clone() },
            Note { boot_id: "another".to_owned(), ..note },
        ] {
            lock.write(&wrong).unwrap();
            assert_eq!(stop(dir.path(), true).unwrap(), Ending::Unproved);
        }
        assert!(is_alive(&mut child));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn process_that_is_proved_is_ended() {
        let (dir, mut child) = (tempfile::tempdir().unwrap(), sleeper());
        let lock = Lock::take(dir.path()).unwrap().unwrap();
        lock.write(&note_on(&child)).unwrap();
        assert_eq!(stop(dir.path(), false).unwrap(), Ending::Ended(None));
        assert!(!child.wait().unwrap().success());
    }
}
