//! The ballast: a file of no content that keeps some of the disk for the hour when it is full.
//! SQLite cannot even delete then; giving up the ballast makes room for that.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::StoreError;
use crate::folder::free_bytes;

/// Its size.
const BALLAST_BYTES: u64 = 16 << 20;
/// It is made only where this many times its size is free.
const PLENTY: u64 = 16;

fn path_of(folder: &Path) -> PathBuf {
    folder.join("ballast")
}

/// Takes the ballast in where there is plenty of room and none yet.
pub(crate) fn take_in(folder: &Path, quota: u64) -> Result<(), StoreError> {
    let path = path_of(folder);
    let plenty = PLENTY * BALLAST_BYTES;
    if path.exists() || quota < plenty || free_bytes(folder).is_none_or(|free| free < plenty) {
        return Ok(());
    }
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
    let file: File = file.map_err(StoreError::io("make", &path))?;
    match fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES) {
        Ok(()) => Ok(()),
        // A file system that cannot promise space needs no ballast: it would be no promise.
        Err(_) => give_up(folder).map(|_| ()),
    }
}

/// Gives the ballast up; answers whether there was one.
pub(crate) fn give_up(folder: &Path) -> Result<bool, StoreError> {
    let path = path_of(folder);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", &path)(error)),
    }
}
