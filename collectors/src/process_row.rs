//! One process that is followed, and its row in the table.

use fieldpost_model::{EntityRow, TimeMs};
use rustix::fd::OwnedFd;

use crate::process_account::{Account, Look};
use crate::process_groups::GroupId;
use crate::process_stat::Stat;
use crate::text::label;

/// A number that could not be read.
pub(crate) const UNKNOWN: i64 = -1;

/// One process that is followed.
pub(crate) struct Process {
    /// What it used.
    pub account: Account,
    /// Its key in the table.
    pub key: u64,
    /// Start, clock ticks after boot: with the id its identity.
    pub start_ticks: u64,
    /// Start, milliseconds since 1970.
    pub start_ms: TimeMs,
    /// Name of its main thread.
    pub comm: Box<[u8]>,
    /// A thread of the kernel's own?
    pub kernel: bool,
    /// State letter.
    pub state: u8,
    /// Threads.
    pub threads: u32,
    /// Page faults so far.
    pub faults: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Swapped memory, or unknown.
    pub swap_bytes: i64,
    /// Open descriptors, or unknown.
    pub open_files: i64,
    /// The group it is in.
    pub group: GroupId,
    /// Hash of executable, unit and user: when it changes, the process is described anew.
    pub described: Option<u64>,
    /// When the next slow look is due; 0 as long as there was none.
    pub slow_look_ms: TimeMs,
    /// It did something since the last slow look.
    pub stirred: bool,
    /// Slow looks since the last whole one.
    pub quiet_looks: u8,
    /// Kept descriptor.
    pub stat: Option<OwnedFd>,
    /// Kept descriptor.
    pub io: Option<OwnedFd>,
}

impl AsRef<Account> for Process {
    fn as_ref(&self) -> &Account {
        &self.account
    }
}

impl AsMut<Account> for Process {
    fn as_mut(&mut self) -> &mut Account {
        &mut self.account
    }
}

impl Process {
    /// Takes up a process that was just found; its account is still to be opened.
    pub fn new(pid: u32, stat: &Stat<'_>, time_ms: TimeMs, page_bytes: u64) -> Self {
        let mut process = Self {
            account: Account::found(pid, stat.parent, Look::default()),
            key: 0,
            start_ticks: stat.start_ticks,
            start_ms: time_ms,
            comm: stat.comm.into(),
            kernel: stat.kernel,
            state: stat.state,
            threads: 0,
            faults: 0,
            resident_bytes: 0,
            swap_bytes: if stat.kernel { 0 } else { UNKNOWN },
            open_files: UNKNOWN,
            group: 0,
            described: None,
            slow_look_ms: 0,
            stirred: true,
            quiet_looks: 0,
            stat: None,
            io: None,
        };
        process.take(stat, page_bytes);
        process
    }

    /// Takes over what a look at its stat shows.
    pub fn take(&mut self, stat: &Stat<'_>, page_bytes: u64) {
        self.account.parent = stat.parent;
        self.state = stat.state;
        self.stirred |= self.faults != stat.faults;
        self.threads = stat.threads;
        self.faults = stat.faults;
        self.resident_bytes = stat.resident_pages.saturating_mul(page_bytes);
        // A kernel worker's name tells what it works on just now; that is no other process.
        if !self.kernel && *self.comm != *stat.comm {
            self.comm = stat.comm.into();
            self.described = None;
            self.slow_look_ms = 0;
        }
    }

    /// A name without looking further: of kernel threads the part before the slash.
    pub fn short_name(&self) -> String {
        let end = if self.kernel { self.comm.iter().position(|byte| *byte == b'/') } else { None };
        label(&self.comm[..end.unwrap_or(self.comm.len())]).into_owned()
    }

    /// At a slow look: is there nothing to see but what others may have done to it?
    pub fn is_quiet(&mut self, looks_max: u8) -> bool {
        let quiet = !std::mem::take(&mut self.stirred) && self.described.is_some();
        self.quiet_looks = if quiet && self.quiet_looks < looks_max { self.quiet_looks + 1 } else { 0 };
        self.quiet_looks > 0
    }

    /// Its row in the table.
    pub fn row(&self) -> EntityRow {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let total = self.account.total;
        let bytes = |value: u64| if self.account.io_known() { number(value) } else { UNKNOWN };
        EntityRow {
            key: self.key,
            values: [
                number(total.cpu_ticks),
                number(self.resident_bytes),
                self.swap_bytes,
                i64::from(self.threads),
                bytes(total.read_bytes),
                bytes(total.written_bytes),
                self.open_files,
                i64::from(self.state),
            ],
        }
    }
}
