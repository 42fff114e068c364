//! Small files that are there whole or not at all, and on the disk when that is said and wanted: what
//! somebody else writes down durably needs not be so twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

const FILE_MODE: u32 = 0o600;
/// More is no file of ours, bytes.
const BYTES_MAX: u64 = 4 << 20;

/// When a file has to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before this returns.
    Now,
    /// When the kernel likes: it outlives processes, but not the machine.
    Later,
}

/// Makes a file that must not be there yet. Answers whether it was made: if not, somebody else
/// made it first, and theirs stays.
pub fn create(path: &Path, value: &impl Serialize, sync: Sync) -> io::Result<bool> {
    let beside = written_beside(path, value, sync)?;
    let sync_folder_of = |path| if sync == Sync::Now { sync_folder_of(path) } else { Ok(()) };
    match renameat_with(CWD, &beside, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => sync_folder_of(path).map(|()| true),
        Err(rustix::io::Errno::EXIST) => fs::remove_file(&beside).map(|()| false),
        // File systems without that flag have links.
        Err(rustix::io::Errno::INVAL) => {
            let linked = fs::hard_link(&beside, path);
            fs::remove_file(&beside)?;
            match linked {
                Ok(()) => sync_folder_of(path).map(|()| true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a file in place of any of that name.
pub fn write(path: &Path, value: &impl Serialize, sync: Sync) -> io::Result<()> {
    let beside = written_beside(path, value, sync)?;
    fs::rename(beside, path)?;
    if sync == Sync::Now { sync_folder_of(path) } else { Ok(()) }
}

fn written_beside(path: &Path, value: &impl Serialize, sync: Sync) -> io::Result<std::path::PathBuf> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&beside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if sync == Sync::Now {
        file.sync_data()?;
    }
    Ok(beside)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Can this not be understood? So it is with a file that the machine went down under.
pub fn is_damaged(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

/// Reads a file; none if there is none. One that cannot be understood is an error.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, BYTES_MAX), &mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read::<u32>(&path).unwrap(), None);
        assert!(create(&path, &1, Sync::Now).unwrap());
        assert!(!create(&path, &2, Sync::Later).unwrap());
        assert_eq!(read::<u32>(&path).unwrap(), Some(1));
        write(&path, &3, Sync::Later).unwrap();
        assert_eq!(read::<u32>(&path).unwrap(), Some(3));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for text in ["", "{", "\0\0"] {
            fs::write(&path, text).unwrap();
            assert!(is_damaged(&read::<u32>(&path).unwrap_err()), "{text:?}");
        }
    }
}
