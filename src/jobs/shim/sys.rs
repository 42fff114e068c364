//! What the shim needs of the system and the safe crates do not give: fork, the cost of a child,
//! signals as a file. Nothing here decides anything.
#![allow(unsafe_code)] // Each call below is one line of C with plain numbers.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::super::protocol::Account;

/// Which of the two processes this is.
pub enum Forked {
    /// The new one.
    Child,
    /// The old one, with the number of the new one.
    Parent(u32),
}

/// Forks. The shim has one thread, so that the child may do what it likes.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: there are no other threads that could hold a lock which the child would wait for.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid.unsigned_abs())),
    }
}

/// A child that has ended.
pub struct Reaped {
    /// Its number.
    pub pid: u32,
    /// Its exit code, or else the signal that ended it.
    pub status: Result<i32, i32>,
}

/// Takes one child that has ended, if there is one. `Err(ECHILD)`: there are no children at all.
pub fn reap() -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call, which writes one int there.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid if libc::WIFEXITED(status) => {
            Ok(Some(Reaped { pid: pid.unsigned_abs(), status: Ok(libc::WEXITSTATUS(status)) }))
        }
        pid => Ok(Some(Reaped { pid: pid.unsigned_abs(), status: Err(libc::WTERMSIG(status)) })),
    }
}

/// What all children that were taken have cost: user and system seconds, the largest resident
/// set, blocks of 512 bytes read and written.
pub fn children_cost() -> (f64, f64, u64, u64, u64) {
    // SAFETY: all zeros are a rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` outlives the call.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let count = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
    (
        seconds(usage.ru_utime),
        seconds(usage.ru_stime),
        count(usage.ru_maxrss) << 10,
        count(usage.ru_inblock) << 9,
        count(usage.ru_oublock) << 9,
    )
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zeros are a set; the calls only write to it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

/// Has these signals come as bytes of a file instead.
pub fn signals_as_file(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: `set` outlives both calls.
    let fd = unsafe {
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads the signals that have come. Which they were does not matter where only one is listened to.
pub fn drain_signals(file: &OwnedFd) {
    let mut buffer = [0_u8; 16 * size_of::<libc::signalfd_siginfo>()];
    // SAFETY: the buffer is as long as is said.
    while unsafe { libc::read(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

/// Lets all signals through again and sets SIGPIPE to what programs expect.
pub fn reset_signals() {
    let set = set_of(&[]);
    // SAFETY: `set` outlives the call; SIG_DFL is no function of ours.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Becomes this user, for good.
pub fn become_user(account: &Account) -> io::Result<()> {
    let checked = |code: i32| if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: the list is as long as is said; the others take numbers.
    unsafe {
        checked(libc::setgroups(account.groups.len(), account.groups.as_ptr()))?;
        checked(libc::setgid(account.gid))?;
        checked(libc::setuid(account.uid))
    }
}

/// Ends this process at once: for a child that must not run what its parent had planned for its
/// own end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// Closes what was inherited besides the standard three. To be called before any file is opened.
pub fn close_inherited() {
    // SAFETY: no object of this process owns a descriptor yet. An old kernel answers ENOSYS, and
    // then there is what its parent left open on purpose: nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}
