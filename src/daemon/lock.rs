//! The pid file: its lock says whether an agent or a hub runs, its text says which one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldpost_model::TimeMs;
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use super::process;

/// Name of the pid file in the data folder.
const PID_FILE: &str = "fieldpost.pid";
/// The text is shorter than this; a longer file is not ours.
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// Whoever only looks holds the lock for an instant; who wants it tries as often as this.
const N_TRIES: u32 = 10;
/// Between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(20);

/// What a daemon writes about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Which face of the program it is; empty in a note of a version that had but one.
    #[serde(default)]
    pub face: String,
    /// Its process id.
    pub pid: u32,
    /// When that process started, in clock ticks since boot, as /proc/PID/stat has it.
    pub start_ticks: u64,
    /// Which boot that was.
    pub boot_id: String,
    /// When it started.
    pub started_ms: TimeMs,
    /// The config it runs with, for people.
    pub config: String,
    /// A digest of that config, to tell whether another one is the same.
    pub config_digest: u64,
    /// When it loaded that config.
    pub loaded_ms: TimeMs,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// How it ended; nothing as long as it runs, and if it was killed.
    pub ended: Option<Ended>,
}

impl Note {
    /// A note on this very process.
    pub fn of_this_process(
        face: &str,
        started_ms: TimeMs,
        config: &str,
        config_digest: u64,
        socket: &Path,
    ) -> Self {
        let pid = std::process::id();
        Self {
            face: face.to_owned(),
            pid,
            start_ticks: process::start_ticks(pid).unwrap_or_default(),
            boot_id: process::boot_id().unwrap_or_default(),
            started_ms,
            config: config.to_owned(),
            config_digest,
            loaded_ms: started_ms,
            socket: socket.to_owned(),
            ended: None,
        }
    }
}

/// A clean end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub time_ms: TimeMs,
    /// Samples that it stored.
    pub n_samples_stored: u64,
    /// Samples that it lost.
    pub n_samples_lost: u64,
}

/// The right to be the one process of a data folder. Goes with the process, and survives a fork: the
/// lock belongs to the open file, which parent and child share.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, and makes the data folder if need be; nothing if another process has it.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        if !folder.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(folder.join(PID_FILE))?;
        for _ in 0..N_TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self { file })),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(TRY_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Writes who holds it. The line is written before the rest is cut off, so that a reader
    /// finds one whole line at any instant.
    pub fn write(&self, note: &Note) -> io::Result<()> {
        let mut line = serde_json::to_vec(note)?;
        line.push(b'\n');
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }
}

/// What is known of the process of a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running(Option<Note>),
    /// It does not; the note is of the last one that did.
    Stopped(Option<Note>),
    /// The present user may not know.
    NotPermitted,
}

/// Looks whether one runs, without disturbing it.
pub fn look(folder: &Path) -> io::Result<State> {
    let mut file = match File::open(folder.join(PID_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::Stopped(None)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(State::NotPermitted),
        Err(error) => return Err(error),
    };
    let is_free = match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => true,
        Err(rustix::io::Errno::WOULDBLOCK) => false,
        Err(error) => return Err(error.into()),
    };
    let note = read_note(&mut file);
    Ok(if is_free { State::Stopped(note) } else { State::Running(note) })
}

fn read_note(file: &mut File) -> Option<Note> {
    let mut text = Vec::new();
    file.take(NOTE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(text.split(|byte| *byte == b'\n').next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_decides_and_the_note_tells() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data");
        assert_eq!(look(&folder).unwrap(), State::Stopped(None));
        let lock = Lock::take(&folder).unwrap().unwrap();
        assert!(Lock::take(&folder).unwrap().is_none());
        assert_eq!(look(&folder).unwrap(), State::Running(None));
        let mut note =
            Note::of_this_process("agent", 5, "a rather long name of a config", 7, Path::new("/s"));
        lock.write(&note).unwrap();
        note.config = "short".to_owned();
        lock.write(&note).unwrap();
        assert_eq!(look(&folder).unwrap(), State::Running(Some(note.clone())));
        drop(lock);
        assert_eq!(look(&folder).unwrap(), State::Stopped(Some(note)));
    }

    #[test]
    fn pid_file_that_is_not_ours_is_no_note() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PID_FILE), "1\n").unwrap();
        assert_eq!(look(dir.path()).unwrap(), State::Stopped(None));
    }
}
