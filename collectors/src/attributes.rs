//! Folders of /sys and their small files, read through one kept descriptor per folder: a path is
//! looked up once, and a machine with hundreds of devices does not need thousands of descriptors.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, SeekFrom};
use rustix::path::Arg;

use crate::collector::CollectError;
use crate::seen::HoldsSeries;
use crate::text::label;

/// Bytes that one small file may have: the kernel gives a sysfs file at most one page.
const ATTRIBUTE_SIZE_BYTES: usize = 4096;

/// Bytes for the entries of a folder that one call to the kernel returns.
const ENTRIES_SIZE_BYTES: usize = 4096;

/// A device's folder. Its files are called attributes; they hold one short value each.
pub struct Attributes {
    folder: OwnedFd,
}

impl Attributes {
    /// Opens the folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { folder: rustix::fs::openat(CWD, path, folder_flags(), Mode::empty())? })
    }

    /// Reads a file of the folder (`name` may hold slashes) and trims blanks and newlines around it.
    pub fn read<'b>(&self, name: impl Arg, buffer: &'b mut AttributeBuffer) -> io::Result<&'b [u8]> {
        let file = rustix::fs::openat(&self.folder, name, file_flags(), Mode::empty())?;
        let length = rustix::io::read(&file, &mut buffer.0[..])?;
        Ok(buffer.0[..length].trim_ascii())
    }

    /// A whole number, decimal or with `0x`; nothing where the file is missing, cannot be read
    /// or holds something else.
    pub fn number(&self, name: impl Arg, buffer: &mut AttributeBuffer) -> Option<i64> {
        whole(self.read(name, buffer).ok()?)
    }

    /// Calls `f` with every entry of the folder.
    pub fn each(&self, f: impl FnMut(FolderEntry<'_>)) -> io::Result<()> {
        walk(&self.folder, f)
    }

    /// Adds the text of a file and a zero byte to `texts`; where the file is missing only the latter.
    pub fn append(&self, name: impl Arg, buffer: &mut AttributeBuffer, texts: &mut Vec<u8>) {
        texts.extend_from_slice(self.read(name, buffer).unwrap_or_default());
        texts.push(0);
    }
}

/// The folder of a device that may go, and come back as another one.
#[derive(Default)]
pub struct DeviceFolder {
    inode: u64,
    attributes: Option<Attributes>,
}

impl DeviceFolder {
    /// Told at every pass which inode the device's name has now: another one means another device.
    pub fn meet(&mut self, inode: u64) {
        if self.inode != inode {
            *self = Self { inode, attributes: None };
        }
    }

    /// Its attributes; nothing where the device has just gone.
    pub fn open(&mut self, parent: &Path, name: &[u8]) -> Option<&Attributes> {
        if self.attributes.is_none() {
            self.attributes = Attributes::open(&parent.join(OsStr::from_bytes(name))).ok();
        }
        self.attributes.as_ref()
    }
}

/// A series of value 1 whose labels are texts of the device. When they change it ends and another begins.
pub struct Fact {
    id: SeriesId,
    texts: Vec<u8>,
}

impl Default for Fact {
    fn default() -> Self {
        Self { id: SeriesId::NONE, texts: Vec::new() }
    }
}

impl Fact {
    /// Records it. `make` resolves the series of these texts.
    pub fn record(&mut self, texts: &[u8], tick: &mut Tick, make: impl FnOnce(&Tick) -> SeriesId) {
        if self.id == SeriesId::NONE || self.texts != texts {
            tick.retire(self.id);
            self.id = make(tick);
            texts.clone_into(&mut self.texts);
        }
        tick.set(self.id, 1.0);
    }
}

impl HoldsSeries for Fact {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.id);
    }
}

/// The texts that were put together with zero bytes between them.
pub fn texts<const N: usize>(joined: &[u8]) -> [Cow<'_, str>; N] {
    let mut parts = joined.split(|byte| *byte == 0).map(label);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Where attributes are read into.
pub struct AttributeBuffer(Box<[u8; ATTRIBUTE_SIZE_BYTES]>);

impl Default for AttributeBuffer {
    fn default() -> Self {
        Self(Box::new([0; ATTRIBUTE_SIZE_BYTES]))
    }
}

/// A whole number as sysfs writes it: decimal with a sign, or hexadecimal with `0x`.
pub fn whole(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An entry of a folder. `inode` changes when a device goes and another of its name comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Identity of the entry within its file system.
    pub inode: u64,
    /// A plain file, and so no device.
    pub is_file: bool,
}

/// A folder that is listed over and over.
pub struct KeptFolder {
    path: PathBuf,
    folder: Option<OwnedFd>,
}

impl KeptFolder {
    /// Opens nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), folder: None }
    }

    /// The path it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `f` with every entry, in the file system's own order. Allocates nothing.
    pub fn each(&mut self, f: impl FnMut(FolderEntry<'_>)) -> Result<(), CollectError> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => rustix::fs::openat(CWD, &self.path, folder_flags(), Mode::empty())
                .map_err(|error| CollectError::read(&self.path, error.into()))?,
        };
        walk(&folder, f).map_err(|error| CollectError::read(&self.path, error))?;
        self.folder = Some(folder);
        Ok(())
    }
}

fn walk(folder: &OwnedFd, mut f: impl FnMut(FolderEntry<'_>)) -> io::Result<()> {
    rustix::fs::seek(folder, SeekFrom::Start(0))?;
    let mut space = [MaybeUninit::uninit(); ENTRIES_SIZE_BYTES];
    let mut entries = RawDir::new(folder, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            f(FolderEntry { name, inode: entry.ino(), is_file: entry.file_type() == FileType::RegularFile });
        }
    }
    Ok(())
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn file_flags() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_trimmed_and_numbers_may_be_hexadecimal() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("flags"), "0x1303\n").unwrap();
        std::fs::write(folder.path().join("speed"), " -1\n").unwrap();
        std::fs::write(folder.path().join("alias"), "a b\n").unwrap();
        let (attributes, mut buffer) = (Attributes::open(folder.path()).unwrap(), AttributeBuffer::default());
        assert_eq!(attributes.number("flags", &mut buffer), Some(4867));
        assert_eq!(attributes.number("speed", &mut buffer), Some(-1));
        assert_eq!(attributes.number("alias", &mut buffer), None);
        assert_eq!(attributes.number("missing", &mut buffer), None);
        let mut joined = Vec::new();
        ["alias", "missing", "speed"]
            .iter()
            .for_each(|name| attributes.append(*name, &mut buffer, &mut joined));
        assert_eq!(texts(&joined), ["a b", "", "-1"]);
    }

    #[test]
    fn folder_is_listed_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("eth0")).unwrap();
        let mut kept = KeptFolder::new(folder.path());
        let names = |kept: &mut KeptFolder| {
            let mut names = Vec::new();
            kept.each(|entry| names.push((String::from_utf8_lossy(entry.name).into_owned(), entry.is_file)))
                .unwrap();
            names.sort();
            names
        };
        assert_eq!(names(&mut kept), [("eth0".to_owned(), false)]);
        std::fs::write(folder.path().join("masters"), "").unwrap();
        assert_eq!(names(&mut kept), [("eth0".to_owned(), false), ("masters".to_owned(), true)]);
    }

    #[test]
    fn missing_folder_is_no_data() {
        assert!(KeptFolder::new("/nonexistent").each(|_| {}).unwrap_err().is_no_data());
    }

    proptest! {
        #[test]
        fn whole_never_panics(text: Vec<u8>) {
            whole(&text);
        }
    }
}
