//! The agent's end of its keeper, which forks shims: started with the first run, started again if it
//! has gone. Where there can be none, shims are started one by one.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::shim::keeper::{N_FILES, WORD};

/// This very binary, also when the file it came from was replaced or removed.
const OWN_BINARY: &str = "/proc/self/exe";
/// Room for the id of a run behind the word.
const N_PADDED: usize = 64;
/// The longest that a keeper may take to fork.
const DEADLINE: Duration = Duration::from_secs(10);

/// The keeper, if one runs.
#[derive(Default)]
pub struct Keeper(Mutex<Option<Running>>);

struct Running {
    socket: OwnedFd,
    child: Child,
}

/// What came of a request.
pub enum Forked {
    /// A handle on the shim.
    Shim(OwnedFd),
    /// There is no keeper, and so no shim.
    Nobody,
}

impl Keeper {
    /// Has a shim forked, with these files: its order, the pipe for news, its log, its folder. An
    /// error says that there may be one or not.
    pub fn fork(&self, id: &str, files: [BorrowedFd<'_>; N_FILES]) -> anyhow::Result<Forked> {
        let mut kept = self.0.lock();
        for _ in 0..2 {
            if kept.is_none() {
                *kept = start().map_err(|error| tracing::warn!("there is no keeper: {error:#}")).ok();
            }
            let Some(running) = kept.as_ref() else { return Ok(Forked::Nobody) };
            if send(&running.socket, id, &files).is_ok() {
                let answered = receive(&running.socket);
                if answered.is_err() {
                    end(kept.take());
                }
                return answered.context("the keeper of the shims does not answer");
            }
            // What it was not sent it has not done.
            end(kept.take());
        }
        Ok(Forked::Nobody)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        end(self.0.get_mut().take());
    }
}

/// It ends when its socket does; one that hangs is killed.
fn end(running: Option<Running>) {
    let Some(Running { socket, mut child }) = running else { return };
    drop(socket);
    // One that has gone already needs no killing.
    let _ = child.kill();
    let _ = child.wait();
}

fn start() -> anyhow::Result<Running> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&ours, Timeout::Recv, Some(DEADLINE))?;
    set_socket_timeout(&ours, Timeout::Send, Some(DEADLINE))?;
    let mut command = Command::new(OWN_BINARY);
    command.arg0("fieldpost").args(["shim", &format!("{WORD}{:-<N_PADDED$}", "")]);
    command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().context("cannot start it")?;
    Ok(Running { socket: ours, child })
}

fn send(socket: &OwnedFd, id: &str, files: &[BorrowedFd<'_>; N_FILES]) -> anyhow::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(N_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        bail!("no room for its files");
    }
    sendmsg(socket, &[IoSlice::new(id.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> anyhow::Result<Forked> {
    let mut bytes = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut handles = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            handles.extend(rights);
        }
    }
    match (received.bytes, handles.pop()) {
        (4, Some(handle)) => Ok(Forked::Shim(handle)),
        (4, None) if i32::from_le_bytes(bytes) < 0 => {
            let error = std::io::Error::from_raw_os_error(-i32::from_le_bytes(bytes));
            tracing::warn!(%error, "the keeper of the shims cannot fork");
            Ok(Forked::Nobody)
        }
        _ => bail!("it has gone"),
    }
}
