//! Folders and ports that belong to one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

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

/// A loopback port that was free a moment ago, for programs that cannot be told to take any.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
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
}
