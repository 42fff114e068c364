//! Shows a face's socket where clients look first, whatever folder the store is in: a link in
//! the runtime folder. Without it clients have to be told where the store is, no more.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::find::{Absent, Running};
use crate::config::Root;

/// The link; goes with this value.
pub struct Beacon {
    link: PathBuf,
    socket: PathBuf,
}

impl Beacon {
    /// Makes the link, unless that of another running process of this face is there. `mode` is that
    /// of the folder, if it has to be made.
    pub fn raise<R: Root>(dir: &Path, mode: u32, socket: &Path) -> io::Result<Option<Self>> {
        if !dir.exists() {
            DirBuilder::new().recursive(true).create(dir)?;
            fs::set_permissions(dir, Permissions::from_mode(mode))?;
        }
        let link = dir.join(R::NAMES.socket);
        if link == socket || !matches!(Running::<R>::at(&link), Err(Absent::Nobody)) {
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
            // What stays behind leads nowhere, and the next one replaces it.
            let _ = fs::remove_file(&self.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::config::Config;
    use crate::hub;

    const LINK: &str = Config::NAMES.socket;

    #[test]
    fn link_leads_to_the_socket_of_the_agent_that_lives() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, socket) = (dir.path().join("run"), dir.path().join("a.sock"));
        symlink("/nowhere", dir.path().join("old")).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let first = Beacon::raise::<Config>(&runtime, 0o700, &socket).unwrap().unwrap();
        let second = Beacon::raise::<Config>(&runtime, 0o700, &dir.path().join("b.sock")).unwrap();
        assert!(second.is_none());
        let hub = Beacon::raise::<hub::Config>(&runtime, 0o700, &dir.path().join("hub.sock")).unwrap();
        assert!(hub.is_some(), "the hub has a link of its own");
        assert_eq!(fs::read_link(runtime.join(LINK)).unwrap(), socket);
        drop(first);
        assert!(fs::read_link(runtime.join(LINK)).is_err());
    }

    #[test]
    fn dead_link_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/nowhere", dir.path().join(LINK)).unwrap();
        assert!(Beacon::raise::<Config>(dir.path(), 0o700, Path::new("/there")).unwrap().is_some());
    }
}
