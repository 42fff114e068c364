//! What can go wrong with a store, in words that say what to do next.

use std::path::PathBuf;

use crate::codec::CodecError;

/// Why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The SQLite that was linked has a known fault that destroys data.
    #[error("SQLite {0} can corrupt a store; build with the bundled one, 3.51.3 or newer")]
    SqliteTooOld(&'static str),
    /// Another process has the store open for writing.
    #[error("{path} is in use by another process; stop it, or set another store.path", path = .0.display())]
    Busy(PathBuf),
    /// Somebody else could change what is in the data folder.
    #[error("{path}: {reason}; {fix}", path = .path.display())]
    Unsafe {
        /// The component of the path at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The command that puts it right.
        fix: String,
    },
    /// The data folder is on a file system on which SQLite is not safe.
    #[error("{path} is on a network file system, which does not keep a store safe; set store.path to a local disk", path = .0.display())]
    NetworkFileSystem(PathBuf),
    /// There is no store here.
    #[error("there is no store in {path}; start the agent, or name its data folder", path = .0.display())]
    Missing(PathBuf),
    /// The store is of a later version.
    #[error("{path} was written by a newer Fieldpost; use that one, or set another store.path", path = .0.display())]
    TooNew(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {path}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("cannot {action} {path}", path = .path.display())]
    Sql {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// A blob cannot be read.
    #[error("cannot read a blob of {path}", path = .path.display())]
    Blob {
        /// Of which file.
        path: PathBuf,
        /// Why not.
        source: CodecError,
    },
    /// The files changed under a reader again and again.
    #[error("the store changes faster than it can be read; try again")]
    Moving,
    /// A hub acknowledged items of another numbering than the present one.
    #[error(
        "items of spool {asked} were acknowledged, but the present one is {present}; ask for the record anew"
    )]
    OtherSpool {
        /// What the hub said.
        asked: String,
        /// What it is.
        present: String,
    },
    /// A hub acknowledged more than was ever numbered here.
    #[error("number {asked} of {stream} was acknowledged, but {last} is the last; this store was rolled back and needs a new spool", stream = .stream.as_str())]
    Ahead {
        /// Of which stream.
        stream: fieldpost_model::Stream,
        /// What the hub said.
        asked: u64,
        /// The last number that was given.
        last: u64,
    },
    /// There is no cursor of this hub.
    #[error("no hub `{0}` is known here; join it first")]
    UnknownHub(String),
    /// The store is being closed, or its disk does not answer.
    #[error("the store is closed, or its disk does not answer")]
    Closed,
}

impl StoreError {
    /// For `map_err`: the operating system refused this action on this path.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err`: SQLite refused this action on this file.
    pub(crate) fn sql(action: &'static str, path: &std::path::Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Sql { action, path, source }
    }

    /// The file at fault, where there is one.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Sql { path, .. } | Self::Blob { path, .. } | Self::Io { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Does it mean that a file is damaged, rather than that the machine is short of something?
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, TypeMismatch, Unknown};
        match self {
            Self::Sql { source: rusqlite::Error::SqliteFailure(error, _), .. } => {
                // Unknown is a statement that does not fit the file: a table is missing.
                matches!(error.code, DatabaseCorrupt | NotADatabase | TypeMismatch | Unknown)
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
            }
            // A column that is not there, or of another type, is no file of ours any more.
            Self::Sql { source, .. } => {
                !matches!(source, rusqlite::Error::InvalidPath(_) | rusqlite::Error::ExecuteReturnedResults)
            }
            Self::Blob { .. } => true,
            _ => false,
        }
    }

    /// Does it mean that a file is not there (any more)? SQLite has many words for a file that is
    /// removed while it is being opened, so that the folder is asked as well.
    pub(crate) fn is_vanished(&self) -> bool {
        match self {
            Self::Sql { source: rusqlite::Error::SqliteFailure(error, _), path, .. } => {
                error.code == rusqlite::ErrorCode::CannotOpen || !path.exists()
            }
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Does it mean that whoever made the file was cut off before anything was in it? The next
    /// writer puts it right; there is nothing to read until then.
    pub(crate) fn is_unmade(&self) -> bool {
        match self {
            Self::Sql { source: rusqlite::Error::SqliteFailure(error, _), .. } => {
                error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK
            }
            _ => false,
        }
    }

    /// Does it mean that the disk is full?
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Sql { source: rusqlite::Error::SqliteFailure(error, _), .. } => {
                error.code == rusqlite::ErrorCode::DiskFull
            }
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
