//! Finding a run again after the agent's own end: from its folder alone, without trusting any
//! number that stands there.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use fieldpost_model::TimeMs;
use fieldpost_model::job::Run;
use serde::de::DeserializeOwned;

use super::durable::Sync;
use super::launch::{RUN_FILE, attempt_folder};
use super::protocol::{CgroupPlaces, ENDED_FILE, Ended, STARTED_FILE, Start, Started};
use super::{durable, identity};

/// Says during which boot an agent last began.
const BOOT_FILE: &str = "boot.json";
/// A cgroup of which the last process is just ending is removed after so many tries at most.
const N_REMOVALS_MAX: u32 = 50;
/// Between two of them.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// What became of a run meanwhile.
pub enum Found {
    /// Its command goes on; a handle on its shim.
    Alive(Box<Started>, OwnedFd),
    /// It is over.
    Over(Option<Box<Started>>, Box<Ended>),
    /// Its command never began, and never will in this folder.
    NeverBegan,
    /// The machine went down under it.
    Rebooted(Option<Box<Started>>),
    /// Its shim is gone without a word.
    Lost(Option<Box<Started>>),
}

/// Looks what became of the newest start of a run.
pub fn find(runs: &Path, run: &Run, now_ms: TimeMs, was_down: bool) -> std::io::Result<Found> {
    let found = look(&attempt_folder(runs, &run.id, run.attempt), now_ms)?;
    Ok(match found {
        // That a command begins is not forced to the disk: after the machine was down its absence
        // says nothing.
        Found::NeverBegan | Found::Lost(None) if was_down => Found::Rebooted(None),
        found => found,
    })
}

/// A file that cannot be understood says nothing.
fn understood<T: DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    match durable::read(path) {
        Err(error) if durable::is_damaged(&error) => {
            tracing::error!(path = %path.display(), %error, "a file of a run cannot be understood");
            Ok(None)
        }
        read => read,
    }
}

fn look(folder: &Path, now_ms: TimeMs) -> std::io::Result<Found> {
    if !folder.is_dir() {
        return Ok(Found::NeverBegan);
    }
    let ended = || understood::<Ended>(&folder.join(ENDED_FILE));
    let void = Start::Void { time_ms: now_ms };
    let start = match understood(&folder.join(STARTED_FILE))? {
        Some(start) => start,
        // Whoever makes the file first decides: from now on the shim of this start cannot begin.
        None if durable::create(&folder.join(STARTED_FILE), &void, Sync::Now)? => {
            return Ok(match ended()? {
                Some(ended) => Found::Over(None, ended.into()),
                None => Found::NeverBegan,
            });
        }
        None => match understood(&folder.join(STARTED_FILE))? {
            Some(start) => start,
            None => return Ok(Found::Lost(None)),
        },
    };
    let started = match start {
        Start::Void { .. } => {
            return Ok(ended()?.map_or(Found::NeverBegan, |ended| Found::Over(None, ended.into())));
        }
        Start::Started(started) => started,
    };
    if let Some(ended) = ended()? {
        return Ok(Found::Over(Some(started), ended.into()));
    }
    if started.boot_id != identity::boot_id() {
        return Ok(Found::Rebooted(Some(started)));
    }
    if let Some(pidfd) = identity::open(&started.shim, &started.boot_id) {
        return Ok(Found::Alive(started, pidfd));
    }
    // It may have ended between the two looks.
    Ok(match ended()? {
        Some(ended) => Found::Over(Some(started), ended.into()),
        None => Found::Lost(Some(started)),
    })
}

/// Was the machine down since an agent last began here?
pub fn is_other_boot(folder: &Path) -> std::io::Result<bool> {
    let then = understood::<String>(&folder.join(BOOT_FILE))?;
    Ok(then.is_some_and(|then| then != identity::boot_id()))
}

/// An agent has begun during this boot, and has seen to all runs that were there.
pub fn note_boot(folder: &Path) -> std::io::Result<()> {
    let (path, now) = (folder.join(BOOT_FILE), identity::boot_id());
    if understood::<String>(&path)?.as_ref() == Some(&now) {
        return Ok(());
    }
    durable::write(&path, &now, Sync::Now)
}

/// Ends what a shim that is gone has left: by its cgroups, whose names are the run's own, and the
/// command itself if it is still the one that was started. Nothing else is ever signalled.
pub fn clear(run: &Run, started: &Started) {
    if started.boot_id != identity::boot_id() {
        return;
    }
    if let Some(command) = identity::open(&started.child, &started.boot_id) {
        let _ = rustix::process::pidfd_send_signal(&command, rustix::process::Signal::KILL);
    }
    let name = format!("{}.{}", run.id, run.attempt);
    for cgroup in
        started.cgroups.iter().filter(|path| path.file_name().is_some_and(|last| last == name.as_str()))
    {
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    }
}

/// Removes the cgroups of a start that is over. Processes that were killed leave theirs a moment
/// later, so that this may take a while.
pub fn remove_cgroups(run: &str, attempt: u32, places: &CgroupPlaces) {
    for base in places.v2.iter().chain(places.v1.values()) {
        let cgroup = base.join(format!("{run}.{attempt}"));
        for _ in 0..N_REMOVALS_MAX {
            match fs::remove_dir(&cgroup) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(REMOVAL_PAUSE),
                _ => break,
            }
        }
    }
}

/// Removes cgroups of runs that are over; those of others, and such that hold anything, stay.
pub fn sweep_cgroups(places: &CgroupPlaces, is_over: impl Fn(&str) -> bool) {
    for base in places.v2.iter().chain(places.v1.values()) {
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let run = name.to_str().and_then(|name| name.rsplit_once('.')).map(|(run, _)| run);
            if run.is_some_and(&is_over) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Runs whose folders are here but that nobody remembers, as they were when they were accepted.
pub fn unknown(runs: &Path, is_known: impl Fn(&str) -> bool) -> Vec<Run> {
    let mut found = Vec::new();
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_none_or(&is_known) {
            continue;
        }
        let attempts = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        let newest = attempts.filter_map(|attempt| attempt.file_name().to_str()?.parse::<u32>().ok()).max();
        let file = newest.map(|attempt| entry.path().join(attempt.to_string()).join(RUN_FILE));
        found.extend(file.and_then(|file| durable::read(&file).ok().flatten()));
    }
    found
}
