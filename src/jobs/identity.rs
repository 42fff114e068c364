//! Which process is which: a number alone is nobody's name, for numbers are used again.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::protocol::ProcessId;

/// The identity of this boot; empty where the kernel does not say.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// When a process began, in clock ticks since boot (field 22 of proc_pid_stat(5)).
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; what counts begins after the last one.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Who has this number now.
pub fn of_pid(pid: u32) -> Option<(ProcessId, OwnedFd)> {
    let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let pidfd = pidfd_open(number, PidfdFlags::empty()).ok()?;
    let inode = rustix::fs::fstat(&pidfd).map_or(0, |stat| stat.st_ino);
    Some((ProcessId { pid, start_ticks: start_ticks(pid)?, inode }, pidfd))
}

/// A handle on this very process, if it is still there. The handle is opened first: whatever is
/// true of the number after that is true of the handle, or it is dead.
pub fn open(known: &ProcessId, boot_id_then: &str) -> Option<OwnedFd> {
    if boot_id_then != boot_id() {
        return None;
    }
    let (found, pidfd) = of_pid(known.pid)?;
    (found == *known).then_some(pidfd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_that_only_has_the_number_is_not_it() {
        let (own, _) = of_pid(std::process::id()).unwrap();
        assert!(open(&own, &boot_id()).is_some());
        assert!(open(&ProcessId { start_ticks: own.start_ticks + 1, ..own }, &boot_id()).is_none());
        assert!(open(&ProcessId { inode: own.inode + 1, ..own }, &boot_id()).is_none());
        assert!(open(&own, "another boot").is_none());
    }
}
