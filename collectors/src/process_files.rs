//! Reads the files of processes: finds which processes there are, keeps descriptors open for as
//! many as the limit of open files allows, and reads everything into one buffer.

use std::fmt::Write as _;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, SeekFrom, openat, readlinkat_raw, seek, statat};
use rustix::io::{Errno, pread};
use rustix::process::{Resource, getrlimit};

use crate::collector::CollectError;
use crate::text::number;

/// Of the limit of open files, one in so many descriptors may be kept here: the rest of the agent
/// needs its own.
const DESCRIPTOR_SHARE: u64 = 2;

/// Descriptors kept at most, however high the limit: two for each of 20 000 processes.
const DESCRIPTORS_MAX: u64 = 40_000;

/// Room for one file of a process, bytes. What is longer (a cgroup file of many deep hierarchies)
/// is cut.
const FILE_BYTES: usize = 8192;

/// Room for the names that one system call gives of a directory, bytes.
const LISTING_BYTES: usize = 32 * 1024;

/// Why a file of a process has nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The process is gone.
    Gone,
    /// This user may not read it.
    Denied,
    /// It failed this time; the process may well be there.
    Failed,
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::SRCH | Errno::NOENT => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// The folder of processes.
pub(crate) struct ProcessFiles {
    folder: OwnedFd,
    path: String,
    buffer: Box<[u8; FILE_BYTES]>,
    names: Vec<u8>,
    kept: u64,
    kept_max: u64,
}

impl ProcessFiles {
    /// Opens the folder, mostly /proc.
    pub fn open(procfs: &Path) -> Result<Self, CollectError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, procfs, flags, Mode::empty());
        let folder = opened.map_err(|errno| CollectError::read(procfs, errno.into()))?;
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Ok(Self {
            folder,
            path: String::new(),
            buffer: Box::new([0; FILE_BYTES]),
            names: Vec::with_capacity(LISTING_BYTES),
            kept: 0,
            kept_max: (limit / DESCRIPTOR_SHARE).min(DESCRIPTORS_MAX),
        })
    }

    /// The ids of all processes, rising.
    pub fn list(&mut self, pids: &mut Vec<u32>) -> Result<(), Errno> {
        pids.clear();
        seek(&self.folder, SeekFrom::Start(0))?;
        self.names.clear();
        let mut entries = RawDir::new(&self.folder, self.names.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let name = number(entry?.file_name().to_bytes());
            pids.extend(name.and_then(|pid| u32::try_from(pid).ok()));
        }
        if !pids.is_sorted() {
            pids.sort_unstable();
        }
        Ok(())
    }

    /// Reads a file through the kept descriptor, or opens it and keeps that if there is room.
    pub fn read_kept(
        &mut self,
        pid: u32,
        file: &str,
        descriptor: &mut Option<OwnedFd>,
    ) -> Result<&[u8], Trouble> {
        if let Some(open) = descriptor {
            let length = pread(&*open, &mut self.buffer[..], 0)?;
            return Ok(&self.buffer[..length]);
        }
        let open = self.open_file(pid, file)?;
        let length = pread(&open, &mut self.buffer[..], 0)?;
        if self.kept < self.kept_max {
            self.kept += 1;
            *descriptor = Some(open);
        }
        Ok(&self.buffer[..length])
    }

    /// Closes a kept descriptor.
    pub fn close(&mut self, descriptor: &mut Option<OwnedFd>) {
        if descriptor.take().is_some() {
            self.kept -= 1;
        }
    }

    /// Reads at most so many bytes of a file that is needed seldom.
    pub fn read(&mut self, pid: u32, file: &str, bytes_max: usize) -> Result<&[u8], Trouble> {
        let open = self.open_file(pid, file)?;
        let length = pread(&open, &mut self.buffer[..bytes_max.min(FILE_BYTES)], 0)?;
        Ok(&self.buffer[..length])
    }

    /// Reads where a link points to.
    pub fn link(&mut self, pid: u32, file: &str) -> Result<&[u8], Trouble> {
        self.set_path(pid, file);
        let length = readlinkat_raw(&self.folder, self.path.as_str(), &mut self.buffer[..])?;
        Ok(&self.buffer[..length])
    }

    /// How many descriptors a process has open: since Linux 6.2 that is the size of its folder of
    /// descriptors. Older kernels answer 0.
    pub fn count_open(&mut self, pid: u32) -> Result<u64, Trouble> {
        self.set_path(pid, "fd");
        let found = statat(&self.folder, self.path.as_str(), AtFlags::empty())?;
        Ok(u64::try_from(found.st_size).unwrap_or(0))
    }

    fn open_file(&mut self, pid: u32, file: &str) -> Result<OwnedFd, Errno> {
        self.set_path(pid, file);
        openat(&self.folder, self.path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    fn set_path(&mut self, pid: u32, file: &str) {
        self.path.clear();
        write!(self.path, "{pid}/{file}").expect("writing into a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::write;

    #[test]
    fn processes_are_listed_in_order_and_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["10/stat", "9/stat", "self/stat", "sys/x", "4294967296/stat"] {
            write(tree.path(), name, "x");
        }
        let mut files = ProcessFiles::open(tree.path()).unwrap();
        let mut pids = Vec::new();
        for _ in 0..2 {
            files.list(&mut pids).unwrap();
            assert_eq!(pids, [9, 10]);
        }
    }

    #[test]
    fn descriptors_are_kept_within_the_budget() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "1/stat", "one");
        write(tree.path(), "2/stat", "two");
        let mut files = ProcessFiles::open(tree.path()).unwrap();
        files.kept_max = 1;
        let (mut first, mut second) = (None, None);
        assert_eq!(files.read_kept(1, "stat", &mut first), Ok(&b"one"[..]));
        assert_eq!(files.read_kept(2, "stat", &mut second), Ok(&b"two"[..]));
        assert!(first.is_some() && second.is_none());
        files.close(&mut first);
        assert_eq!(files.read_kept(2, "stat", &mut second), Ok(&b"two"[..]));
        assert!(second.is_some());
        assert_eq!(files.read_kept(3, "stat", &mut None), Err(Trouble::Gone));
    }
}
