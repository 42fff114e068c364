//! A disk that is full when the test wants it: a file system in memory, mounted on a data folder.
//! Needs root.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::{Scratch, copy_folder};

/// The file that fills it.
const FILLER: &str = "filler";

/// A small file system on a folder, until this value goes.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes on a folder that nobody uses, and puts in it what was there.
    pub fn under(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let copy = scratch.path().join("copy");
        copy_folder(folder, &copy)?;
        let options = format!("size={bytes},mode=0700");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot mount on {} (as root?): {said}", folder.display());
        let disk = Self { folder: folder.to_owned() };
        for entry in std::fs::read_dir(&copy)? {
            let entry = entry?;
            let target = folder.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => copy_folder(&entry.path(), &target)?,
                false => drop(std::fs::copy(entry.path(), &target)?),
            }
        }
        Ok(disk)
    }

    /// Leaves no room at all.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::options().create(true).append(true).open(self.folder.join(FILLER))?;
        for size in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![0x5a; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives back what `fill` took.
    pub fn empty(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.folder.join(FILLER)).context("the disk was not filled")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has files open there keeps them; the folder is free.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
