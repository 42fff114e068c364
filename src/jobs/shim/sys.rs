//! What the shim needs of the system and the safe crates do not give: fork, the cost of a child,
//! signals as a file. Nothing here decides anything.
#![allow(unsafe_code)] // Each call below is one line of C with plain numbers.

use std::io::{self, Write};
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

/// The pages of this binary that the loader has filled in with addresses and that nobody writes to any
/// more: where they begin, and how many bytes they are. `None`: there are none.
fn relocated() -> Option<(usize, usize)> {
    extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the loader gives what it says it does, and `found` is the pair below.
        unsafe {
            let headers = std::slice::from_raw_parts((*info).dlpi_phdr, usize::from((*info).dlpi_phnum));
            let header = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO);
            if let Some(header) = header {
                let from = (*info).dlpi_addr as usize + header.p_vaddr as usize;
                *found.cast::<(usize, usize)>() = (from, from + header.p_memsz as usize);
            }
        }
        // The program itself comes first, and no other is looked at.
        1
    }
    let mut found: (usize, usize) = (0, 0);
    // SAFETY: `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    let page = rustix::param::page_size();
    let (from, to) = (found.0.div_ceil(page) * page, found.1 / page * page);
    (to > from).then(|| (from, to - from))
}

/// Puts these pages into a file in memory, so that all processes that are forked from this one share
/// them and none counts them as its own.
pub fn share_relocated() -> io::Result<()> {
    let Some((from, n_bytes)) = relocated() else { return Ok(()) };
    let file = rustix::fs::memfd_create("relocated", rustix::fs::MemfdFlags::CLOEXEC)?;
    // SAFETY: the loader has made these pages readable, and nobody writes to them.
    let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, n_bytes) };
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    // SAFETY: what is mapped there is the same, byte by byte; this process has one thread.
    let mapped = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
        libc::mmap(from as *mut libc::c_void, n_bytes, libc::PROT_READ, flags, file.as_raw_fd(), 0)
    };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes a text over the argument of this process that begins so, as far as there is room; the list
/// of processes shows it.
pub fn set_argument(begins: &str, text: &str) {
    let arguments = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // proc_pid_stat(5): field 48 is where they begin.
    let begin = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(45)?.parse::<usize>().ok());
    let place = arguments.windows(begins.len()).position(|part| part == begins.as_bytes());
    let (Some(begin), Some(place)) = (begin.filter(|begin| *begin != 0), place) else { return };
    let room = arguments[place..].iter().position(|byte| *byte == 0).unwrap_or(0);
    let mut bytes = vec![0; room];
    let n_bytes = room.min(text.len());
    bytes[..n_bytes].copy_from_slice(&text.as_bytes()[..n_bytes]);
    // SAFETY: the kernel says that the arguments are there, and they are as long as it shows.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (begin + place) as *mut u8, room) };
}

/// Closes what was inherited besides the standard three. To be called before any file is opened.
pub fn close_inherited() {
    // SAFETY: no object of this process owns a descriptor yet. An old kernel answers ENOSYS, and
    // then there is what its parent left open on purpose: nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}
