//! The peers: real programs of other houses, unpacked from Debian's packages by `make peers`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::bail;

use crate::target_dir;

/// Where `make peers` unpacks them.
fn peers_dir() -> PathBuf {
    std::env::var_os("FIELDPOST_PEERS_DIR").map_or_else(|| target_dir().join("peers"), PathBuf::from)
}

/// The program of a peer: `peer("prometheus", "usr/bin/promtool")`. A peer that is not there is
/// an error which names its package, never a reason to skip a test.
pub fn peer(package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let path = peers_dir().join(program);
    if !path.exists() {
        bail!("{} of Debian's package {package} is not there; run: make peers", path.display());
    }
    Ok(path)
}

/// `LD_LIBRARY_PATH` for a peer whose libraries this machine lacks. Only for that process.
pub fn library_path() -> OsString {
    let libraries = peers_dir().join("usr/lib");
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let mut path = libraries.join(machine).into_os_string();
    path.push(":");
    path.push(libraries);
    path
}
