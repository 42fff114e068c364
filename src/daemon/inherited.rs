//! Closes what a daemon inherited from the shell that started it: a pipe that stays open there
//! keeps its reader waiting for ever.
#![allow(unsafe_code)] // Closing descriptors that nobody in this process owns has no safe form.

use std::os::fd::RawFd;

/// Descriptors below this one are standard input, output and error.
const FIRST_INHERITED: RawFd = 3;

/// Closes every descriptor but the standard ones. To be called before this process has opened
/// any file of its own; what was open already is closed behind its owner's back.
pub fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The folder itself was among them, and is closed again by now.
    for fd in open.into_iter().filter(|fd| *fd >= FIRST_INHERITED && is_open(*fd)) {
        // SAFETY: the caller promises that no object of this process owns a descriptor yet.
        unsafe { rustix::io::close(fd) };
    }
}

fn is_open(fd: RawFd) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()
}
