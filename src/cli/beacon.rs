//! Shows the agent's socket where clients look first, whatever folder the store is in: a link in
//! the runtime folder. Without it clients have to be told where the store is, no more.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::find::{Absent, RunningAgent};
use crate::config::SOCKET_NAME;

/// The link; goes with this value.
pub struct Beacon {
    link: PathBuf,
    socket: PathBuf,
}

impl Beacon {
    /// Makes the link, unless that of another running agent is there. `mode` is that of the
    /// folder, if it has to be made.
    pub fn raise(dir: &Path, mode: u32, socket: &Path) -> io::Result<Option<Self>> {
        if !dir.exists() {
            DirBuilder::new().recursive(true).create(dir)?;
            fs::set_permissions(dir, Permissions::from_mode(mode))?;
        }
        let link = dir.join(SOCKET_NAME);
        if link == socket || !matches!(RunningAgent::at(&link), Err(Absent::NoAgent)) {
            return Ok(None);
        }
        match fs::remove_file(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => symlink(socket, &link)?,
        }
        Ok(Some(Self { link, socket: socket.to_owned() }))
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        if fs::read_link(&self.link).is_ok_and(|target| target == self.socket) {
            // What stays behind leads nowhere, and the next agent replaces it.
            let _ = fs::remove_file(&self.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn link_leads_to_the_socket_of_the_agent_that_lives() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, socket) = (dir.path().join("run"), dir.path().join("a.sock"));
        symlink("/nowhere", dir.path().join("old")).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let first = Beacon::raise(&runtime, 0o700, &socket).unwrap().unwrap();
        let second = Beacon::raise(&runtime, 0o700, &dir.path().join("b.sock")).unwrap();
        assert!(second.is_none());
        assert_eq!(fs::read_link(runtime.join(SOCKET_NAME)).unwrap(), socket);
        drop(first);
        assert!(fs::read_link(runtime.join(SOCKET_NAME)).is_err());
    }

    #[test]
    fn dead_link_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/nowhere", dir.path().join(SOCKET_NAME)).unwrap();
        assert!(Beacon::raise(dir.path(), 0o700, Path::new("/there")).unwrap().is_some());
    }
}
