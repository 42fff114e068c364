//! Folders and ports that belong to one test.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;

/// The root of the repository.
pub fn repository() -> PathBuf {
    let bed = Path::new(env!("CARGO_MANIFEST_DIR"));
    bed.ancestors().nth(2).unwrap_or(bed).to_path_buf()
}

/// Cargo's target folder.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => repository().join(target),
        None => repository().join("target"),
    }
}

/// A folder that goes with its value. It lies under target/, not in /tmp: an agent refuses a data
/// folder of which a component is writable by others.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// An empty folder of mode 0700.
    pub fn new() -> anyhow::Result<Self> {
        let base = target_dir().join("scratch");
        std::fs::create_dir_all(&base).with_context(|| format!("cannot create {}", base.display()))?;
        Ok(Self { folder: tempfile::Builder::new().prefix("t").tempdir_in(&base)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and the folders it lies in.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A loopback port for programs that cannot be told to take any. It is nobody else's while this
/// process lives, for a program may be killed and started again on it: it lies outside of what the
/// kernel gives to whoever asks for any port or connects, and other tests see that it is held.
pub fn free_port() -> anyhow::Result<u16> {
    static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let given = any_port_range()?;
    let ports: Vec<u16> = (10_000..u16::MAX).filter(|port| !given.contains(port)).collect();
    // Tests that begin together should not ask for the same ones.
    let first = std::process::id() as usize * 97;
    for at in 0..ports.len() {
        let port = ports[(first + at) % ports.len()];
        // A name without a file: it goes with the process, however that ends.
        let name = SocketAddr::from_abstract_name(format!("fieldpost-test-port-{port}"))?;
        let Ok(holder) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            HELD.lock().push(holder);
            return Ok(port);
        }
    }
    bail!("no free port on loopback outside of {given:?}; see net.ipv4.ip_local_port_range")
}

/// What the kernel gives to whoever asks for any port.
fn any_port_range() -> anyhow::Result<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let (first, last) = text.trim().split_once('\t').context("ip_local_port_range has two numbers")?;
    Ok(first.parse()?..=last.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scratch_is_gone_with_its_value() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.write("a/b", "text").unwrap();
        assert!(file.exists());
        drop(scratch);
        assert!(!file.exists());
    }

    #[test]
    fn repository_holds_the_workspace() {
        assert!(repository().join("Cargo.lock").exists());
    }

    #[test]
    fn ports_are_held_and_nobody_is_given_them_by_chance() {
        let ports: BTreeSet<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
        let given = any_port_range().unwrap();
        for port in ports {
            assert!(!given.contains(&port), "{port} may be anybody's");
            let name = SocketAddr::from_abstract_name(format!("fieldpost-test-port-{port}")).unwrap();
            assert!(UnixListener::bind_addr(&name).is_err(), "{port} is not held");
        }
    }
}
