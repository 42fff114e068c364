//! Parses the files of one process: stat, io, status, cgroup, cmdline under /proc/PID. Reading
//! them is the matter of `process_files`.

use std::borrow::Cow;

use crate::text::{fields, lines, number, parse, split_once};

/// Set in the flags of kernel threads (`PF_KTHREAD` in the kernel's sched.h).
const KERNEL_THREAD_FLAG: u64 = 0x0020_0000;

/// Bit of SIGCHLD in the masks of /proc/PID/status.
const CHILD_SIGNAL_BIT: u64 = 1 << 16;

/// What is used of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat<'a> {
    /// Name of the main thread, at most 15 bytes.
    pub comm: &'a [u8],
    /// State letter.
    pub state: u8,
    /// Parent's process id.
    pub parent: u32,
    /// A thread of the kernel's own?
    pub kernel: bool,
    /// Page faults, minor and major: they move when a process does anything at all.
    pub faults: u64,
    /// User and system time of its own, clock ticks.
    pub own_ticks: u64,
    /// User and system time of all children that it waited for, and of theirs, clock ticks.
    pub children_ticks: u64,
    /// Threads.
    pub threads: u32,
    /// Start, clock ticks after boot.
    pub start_ticks: u64,
    /// Resident pages. The kernel adds per-core counters up lazily: a few dozen pages off at most.
    pub resident_pages: u64,
}

/// Reads /proc/PID/stat. The name may hold blanks and parentheses: it ends at the last one.
pub(crate) fn stat(text: &[u8]) -> Option<Stat<'_>> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
    let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(text.len()).max(close + 1);
    let mut rest = fields(&text[close + 1..end]);
    let state = *rest.next()?.first()?;
    let parent = u32::try_from(number(rest.next()?)?).ok()?;
    let flags = number(rest.nth(4)?)?;
    let minor = number(rest.next()?)?;
    let major = number(rest.nth(1)?)?;
    let mut ticks = [0_u64; 4];
    rest.next()?;
    for slot in &mut ticks {
        *slot = number(rest.next()?)?;
    }
    let threads = u32::try_from(number(rest.nth(2)?)?).ok()?;
    let start_ticks = number(rest.nth(1)?)?;
    let resident_pages = number(rest.nth(1)?)?;
    Some(Stat {
        comm: &text[open + 1..close],
        state,
        parent,
        kernel: flags & KERNEL_THREAD_FLAG != 0,
        faults: minor.wrapping_add(major),
        own_ticks: ticks[0].saturating_add(ticks[1]),
        children_ticks: ticks[2].saturating_add(ticks[3]),
        threads,
        start_ticks,
        resident_pages,
    })
}

/// Bytes that a process, and the children that it waited for, had read from and written to
/// storage, from /proc/PID/io.
pub(crate) fn io(text: &[u8]) -> Option<[u64; 2]> {
    let value = |name: &[u8]| {
        let line = lines(text).find(|line| line.starts_with(name))?;
        number(split_once(line, b':')?.1.trim_ascii())
    };
    Some([value(b"read_bytes:")?, value(b"write_bytes:")?])
}

/// What is used of /proc/PID/status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    /// Effective user id.
    pub uid: u32,
    /// Swapped memory, bytes; a kernel thread has none.
    pub swap_bytes: u64,
    /// It ignores SIGCHLD: the kernel buries its children without counting their time anywhere.
    pub ignores_children: bool,
}

/// Reads /proc/PID/status. Without the line of user ids it is no such file.
pub(crate) fn status(text: &[u8]) -> Option<Status> {
    let mut found = None;
    let mut status = Status::default();
    for line in lines(text) {
        let Some((name, rest)) = split_once(line, b':') else { continue };
        match name {
            b"Uid" => found = fields(rest).nth(1).and_then(parse::<u32>),
            b"VmSwap" => {
                let kilobytes = fields(rest).next().and_then(number).unwrap_or(0);
                status.swap_bytes = kilobytes.saturating_mul(1024);
            }
            b"SigIgn" => {
                let mask = crate::text::hex(rest.trim_ascii()).unwrap_or(0);
                status.ignores_children = mask & CHILD_SIGNAL_BIT != 0;
            }
            _ => {}
        }
    }
    status.uid = found?;
    Some(status)
}

/// The unit that a process belongs to, from /proc/PID/cgroup: the innermost part of its path that
/// systemd manages; where there is none, the whole path, empty for the root. Of the hierarchies
/// the unified one counts, then systemd's own, then any that is not at its root.
pub(crate) fn unit(text: &[u8]) -> Cow<'_, str> {
    let mut best: (u8, &[u8]) = (0, b"");
    for line in lines(text) {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let rank = match (number, controllers, path) {
            (_, _, b"/" | b"") => 0,
            (b"0", b"", _) => 3,
            (_, b"name=systemd", _) => 2,
            _ => 1,
        };
        if rank > best.0 {
            best = (rank, path);
        }
    }
    crate::text::label(managed_part(best.1))
}

/// The innermost part that is a service, scope or the like; not a slice, unless it is the last.
fn managed_part(path: &[u8]) -> &[u8] {
    let is_unit = |part: &&[u8]| {
        [&b".service"[..], b".scope", b".socket", b".mount", b".swap"].iter().any(|end| part.ends_with(end))
    };
    let last = path.rsplit(|byte| *byte == b'/').next().filter(|part| part.ends_with(b".slice"));
    path.rsplit(|byte| *byte == b'/').find(is_unit).or(last).unwrap_or(path)
}

/// A command line for people, from /proc/PID/cmdline: arguments with blanks between them, what
/// could play tricks on a terminal replaced by blanks.
pub(crate) fn command(text: &[u8]) -> String {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let shown = crate::text::label(&text[..end]);
    let printable = shown.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.collect::<String>().trim().to_owned()
}

/// User, nice and system time of the whole machine, clock ticks, from the first line of
/// /proc/stat: all that is charged to processes. Interrupts, steal and idle time are not.
pub(crate) fn machine_ticks(text: &[u8]) -> Option<u64> {
    let mut numbers = fields(lines(text).next()?.strip_prefix(b"cpu ")?).map(number);
    let (user, nice, system) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(user.saturating_add(nice).saturating_add(system))
}

/// When the machine started, seconds since 1970, from /proc/stat.
pub(crate) fn boot_seconds(text: &[u8]) -> Option<i64> {
    parse(lines(text).find_map(|line| line.strip_prefix(b"btime "))?.trim_ascii())
}

/// The process id that was given last, from /proc/loadavg: unchanged, nothing was born.
pub(crate) fn last_pid(text: &[u8]) -> Option<u64> {
    number(fields(lines(text).next()?).nth(4)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &[u8] = b"2718 (a) (b c) S 1 2718 2718 0 -1 4194560 5026 1024 7 2 431 102 50 8 20 0 3 0 8812 \
        23191552 1734 18446744073709551615 1 1 0 0 0 0 671173123 4096 1260 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn stat_is_read_past_a_name_with_parentheses() {
        let read = stat(STAT).unwrap();
        assert_eq!(read.comm, b"a) (b c");
        assert_eq!((read.state, read.parent, read.kernel, read.faults), (b'S', 1, false, 5033));
        assert_eq!((read.own_ticks, read.children_ticks, read.threads), (533, 58, 3));
        assert_eq!((read.start_ticks, read.resident_pages), (8812, 1734));
    }

    #[test]
    fn kernel_thread_is_told_by_its_flag() {
        let text = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 1 0 0 20 0 1 0 3 0 0 18446744073709551615";
        let read = stat(text).unwrap();
        assert!(read.kernel);
        assert_eq!((read.parent, read.own_ticks), (0, 1));
    }

    #[test]
    fn truncated_stat_is_refused_and_extended_one_is_read() {
        let needed = STAT.iter().position(|b| *b == b'1').unwrap();
        for end in 0..needed + 60 {
            assert_eq!(stat(&STAT[..end]), None, "{end}");
        }
        let mut longer = STAT.trim_ascii_end().to_vec();
        longer.extend_from_slice(b" 1 2 3\n");
        assert_eq!(stat(&longer), stat(STAT));
    }

    #[test]
    fn io_needs_both_numbers() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\n\
            cancelled_write_bytes: 0\n";
        assert_eq!(io(text), Some([4096, 8192]));
        assert_eq!(io(b"read_bytes: 4096\n"), None);
    }

    #[test]
    fn status_gives_effective_user_swap_and_the_ignored_signal() {
        let text = b"Name:\tcron\nUid:\t1000\t33\t0\t0\nVmSwap:\t      12 kB\nSigIgn:\t0000000000010000\n";
        assert_eq!(status(text), Some(Status { uid: 33, swap_bytes: 12_288, ignores_children: true }));
        assert_eq!(status(b"Name:\tcron\n"), None);
    }

    #[test]
    fn unit_is_the_innermost_that_systemd_manages() {
        for (text, expected) in [
            ("0::/system.slice/nginx.service\n", "nginx.service"),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/x.service/inner\n", "x.service"),
            ("0::/init.scope\n", "init.scope"),
            ("0::/a.slice/b.slice\n", "b.slice"),
            ("0::/lxc/web\n", "/lxc/web"),
            ("9:name=systemd:/system.slice/cron.service\n4:memory:/x\n0::/\n", "cron.service"),
            ("4:memory:/box/1\n0::/\n", "/box/1"),
            ("0::/\n", ""),
            ("", ""),
        ] {
            assert_eq!(unit(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn command_has_blanks_for_what_is_not_printable() {
        assert_eq!(command(b"sh\0-c\0echo \x1b[2J\n\0"), "sh -c echo  [2J");
        assert_eq!(command(b""), "");
        assert_eq!(command(b"\xff\0"), "\u{fffd}");
    }

    #[test]
    fn machine_time_leaves_idle_and_interrupts_out() {
        let text = b"cpu  10 2 30 400 5 6 7 8 9 0\ncpu0 1 1 1 1\nbtime 1700000000\n";
        assert_eq!(machine_ticks(text), Some(42));
        assert_eq!(boot_seconds(text), Some(1_700_000_000));
        assert_eq!(machine_ticks(b"cpu0 1 2 3\n"), None);
        assert_eq!(last_pid(b"0.21 0.37 0.39 1/719 19737\n"), Some(19_737));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = stat(&bytes);
            let _ = io(&bytes);
            let _ = status(&bytes);
            let _ = unit(&bytes);
            let _ = command(&bytes);
            let _ = machine_ticks(&bytes);
            let _ = boot_seconds(&bytes);
            let _ = last_pid(&bytes);
        }
    }
}
