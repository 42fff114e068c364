//! Backup of an open hub store: a copy of its folder that can be opened as it is. Files that never
//! change again are linked where the disk allows it; those that are being written are copied by
//! SQLite itself, page by page, while the writer goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::folder::{self, FileKind, StoreFile, sync_folder};
use crate::hub::floor::Floor;
use crate::hub::store::HubStore;
use crate::{StoreError, database};

/// All pages in one step: between two, a write would make SQLite begin anew.
const ALL_PAGES: i32 = -1;
/// Pause before the step is tried again that found the file locked.
const PAUSE: Duration = Duration::from_millis(5);
/// Attempts that find the file locked before the backup is given up.
const N_LOCKED_MAX: usize = 2_000;
/// How many times the folder is looked at anew when files are merged away meanwhile.
const N_ATTEMPTS: usize = 5;

/// What a backup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubBackup {
    /// Files in it.
    pub n_files: usize,
    /// Bytes of them; those of linked files take no room until the original goes.
    pub bytes: u64,
    /// How many of the files are linked.
    pub n_linked: usize,
}

impl HubStore {
    /// Copies the store into a new folder, which must not exist. Everything that was acknowledged
    /// before the call is in it. To restore, open the copy, or put it where the store was.
    pub fn backup(&self, to: &Path) -> Result<HubBackup, StoreError> {
        std::fs::create_dir(to).map_err(StoreError::io("make", to))?;
        let made = self.copy_into(to);
        if made.is_err() {
            // A part of a store is none: what was copied must not be taken for a backup.
            std::fs::remove_dir_all(to).map_err(StoreError::io("remove", to))?;
        }
        made
    }

    fn copy_into(&self, to: &Path) -> Result<HubBackup, StoreError> {
        let mut done: Vec<PathBuf> = Vec::new();
        let mut backup = HubBackup::default();
        for _ in 0..N_ATTEMPTS {
            let files = folder::list(self.folder())?;
            let (mut whole, mut listed) = (true, Vec::new());
            for file in &files {
                let target = to.join(file.path.file_name().unwrap_or_default());
                listed.push(target.clone());
                if !done.contains(&target) {
                    match copy(file, &target, &mut backup) {
                        Err(error) if error.is_vanished() => whole = false,
                        copied => {
                            copied?;
                            done.push(target);
                        }
                    }
                }
            }
            // What was merged meanwhile is copied as what it became; its sources stay as well,
            // for the same sample twice is one.
            if whole && folder::list(self.folder())? == files {
                // The floor last: it has the numbers of whatever was let go meanwhile.
                let floor = Floor::path(self.folder());
                copy_online(&floor, &Floor::path(to))?;
                sync_folder(to)?;
                backup.n_files = done.len() + 1;
                return Ok(backup);
            }
        }
        Err(StoreError::Moving)
    }
}

fn copy(file: &StoreFile, target: &Path, backup: &mut HubBackup) -> Result<(), StoreError> {
    backup.bytes += file.bytes();
    if file.kind == FileKind::Hot {
        return copy_online(&file.path, target);
    }
    // A link keeps the old content when a merge puts a new file in its place.
    match std::fs::hard_link(&file.path, target) {
        Ok(()) => {
            backup.n_linked += 1;
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::io("link", &file.path)(error))
        }
        Err(_) => {
            std::fs::copy(&file.path, target).map_err(StoreError::io("copy", &file.path))?;
            sync(target)
        }
    }
}

/// Copies a file that may be written meanwhile; the copy is as of one instant. Nobody waits for
/// it, but the log cannot be emptied until it is done.
fn copy_online(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = database::open_reader(from)?;
    let failed = || StoreError::sql("back up", from);
    let mut target = Connection::open(to).map_err(failed())?;
    let backup = Backup::new(&source, &mut target).map_err(failed())?;
    let mut n_locked = 0;
    while backup.step(ALL_PAGES).map_err(failed())? != StepResult::Done {
        n_locked += 1;
        if n_locked == N_LOCKED_MAX {
            return Err(StoreError::Moving);
        }
        std::thread::sleep(PAUSE);
    }
    drop(backup);
    target.close().map_err(|(_, error)| failed()(error))?;
    sync(to)
}

fn sync(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(StoreError::io("make private", path))?;
    let file = std::fs::File::open(path).map_err(StoreError::io("open", path))?;
    file.sync_all().map_err(StoreError::io("sync", path))
}
