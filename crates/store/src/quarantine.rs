//! Damaged files are put aside as a set, never deleted, so that somebody can look into them;
//! the newest few are kept.

use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;

use crate::StoreError;
use crate::folder::{beside, sync_folder};

/// Sets of damaged files that are kept.
const N_SETS_KEPT: usize = 4;

/// Where damaged files are put.
pub(crate) fn folder_of(folder: &Path) -> PathBuf {
    folder.join("quarantine")
}

/// Moves a file with its log and index to a folder of its own; answers where the file is now.
pub(crate) fn put_aside(folder: &Path, path: &Path, now_ms: TimeMs) -> Result<PathBuf, StoreError> {
    let all = folder_of(folder);
    let mut set = all.join(format!("{now_ms:014}"));
    for turn in 1.. {
        if !set.exists() {
            break;
        }
        set = all.join(format!("{now_ms:014}-{turn}"));
    }
    std::fs::create_dir_all(&set).map_err(StoreError::io("make", &set))?;
    let moved = set.join(path.file_name().unwrap_or_default());
    // The log first: a file without its log is an older state of itself, a log alone is nothing.
    for suffix in ["-shm", "-wal", ""] {
        let (from, to) = (beside(path, suffix), beside(&moved, suffix));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("put aside", &from)(error));
            }
            _ => {}
        }
    }
    sync_folder(folder)?;
    forget_oldest(&all, &set)?;
    Ok(moved)
}

/// Removes the oldest sets beyond those that are kept; not the one that came just now, whatever
/// the clock says of it.
fn forget_oldest(all: &Path, newest: &Path) -> Result<(), StoreError> {
    let entries = std::fs::read_dir(all).map_err(StoreError::io("list", all))?;
    let mut sets: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sets.retain(|set| set != newest);
    sets.sort();
    let surplus = (sets.len() + 1).saturating_sub(N_SETS_KEPT);
    for set in &sets[..surplus] {
        std::fs::remove_dir_all(set).map_err(StoreError::io("remove", set))?;
    }
    Ok(())
}

/// Bytes of all that was put aside.
pub(crate) fn bytes(folder: &Path) -> u64 {
    let files = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let sets = files(folder_of(folder));
    let size = |entry: std::fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
    sets.flat_map(|set| files(set.path())).map(size).sum()
}
