//! The keeper: one small process beside the agent that forks shims. A shim that is forked shares what
//! the loader has made of this binary with all others, and needs not be loaded; a shim that is started
//! by itself has a megabyte and a half of its own for that alone. It knows nothing, decides nothing and
//! ends with its agent; the shims go on.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::sys::{self, Forked};

/// What a keeper's second argument begins with, as no id does. Behind it is room for the id of a run, which the
/// shims write there, so that people see which is which.
pub const WORD: &str = "keeper:";
/// The longest request, bytes: an id.
const REQUEST_BYTES_MAX: usize = 256;
/// What comes with a request: the order, the pipe for news, the log, the folder.
pub const N_FILES: usize = 4;

/// Who the process is when this returns.
pub enum Role {
    /// A shim, with its files in their places.
    Shim,
    /// A keeper whose agent has gone.
    Over,
}

/// Serves the agent at the other end of the standard input.
pub fn serve() -> io::Result<Role> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::process::setsid().ok();
    // Without it the shims are larger, no more.
    if let Err(error) = sys::share_relocated() {
        super::tell(&format!("shims cannot share what the loader made: {error}"));
    }
    let ended = sys::signals_as_file(&[libc::SIGCHLD])?;
    loop {
        let mut ends = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        if poll(&mut ends, None).is_err() {
            continue;
        }
        let is_asked = !ends[0].revents().is_empty();
        sys::drain_signals(&ended);
        while matches!(sys::reap(), Ok(Some(_))) {}
        if !is_asked {
            continue;
        }
        let Some((id, files)) = request(&socket)? else { return Ok(Role::Over) };
        match sys::fork() {
            Ok(Forked::Child) => {
                drop((socket, ended));
                become_shim(&id, files)?;
                return Ok(Role::Shim);
            }
            Ok(Forked::Parent(pid)) => answer(&socket, pid)?,
            Err(error) => {
                let number = -error.raw_os_error().unwrap_or(libc::EIO);
                send(&socket, number, None)?;
            }
        }
    }
}

/// The next request; none when the agent has gone.
fn request(socket: &OwnedFd) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(N_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::with_capacity(N_FILES);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let is_whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    if files.len() != N_FILES || !is_whole {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some((String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), files)))
}

fn become_shim(id: &str, files: Vec<OwnedFd>) -> io::Result<()> {
    let [order, news, log, folder] =
        <[OwnedFd; N_FILES]>::try_from(files).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    rustix::stdio::dup2_stderr(&log)?;
    rustix::stdio::dup2_stdin(&order)?;
    rustix::stdio::dup2_stdout(&news)?;
    rustix::process::fchdir(&folder)?;
    sys::set_argument(WORD, id);
    Ok(())
}

/// The number of a shim, with a handle on it: it has not been taken yet, so that the number is its own.
fn answer(socket: &OwnedFd, pid: u32) -> io::Result<()> {
    let number = pid.cast_signed();
    let handle = Pid::from_raw(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    send(socket, number, handle.as_ref())
}

fn send(socket: &OwnedFd, number: i32, handle: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let handles = [handle.map_or_else(|| socket.as_fd(), AsFd::as_fd)];
    if handle.is_some() && !control.push(SendAncillaryMessage::ScmRights(&handles)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let bytes = number.to_le_bytes();
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
