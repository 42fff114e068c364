//! How many processes and threads there are, in which states, and the limits, from /proc/PID.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use fieldpost_model::{SeriesId, Tick};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;
use crate::text::{fields, number};

/// Settings.
pub type Config = Common;

/// Room for the names of a directory, bytes: a few hundred names a call.
const NAMES_BUFFER_BYTES: usize = 16 << 10;

/// Room for /proc/PID/stat, bytes: 52 numbers and a name stay well below.
const STAT_BUFFER_BYTES: usize = 1024;

/// Numbers by state letter; only letters of ASCII are states.
type Counts = [u32; 128];

struct Processes {
    root: PathBuf,
    /// A copy of /proc has no folders of threads; the states of threads are left out there.
    with_threads: bool,
    names: Box<[MaybeUninit<u8>]>,
    thread_names: Box<[MaybeUninit<u8>]>,
    states: States,
    thread_states: States,
    threads: SeriesId,
    pids: SeriesId,
    max_threads: NumberFile,
    max_pids: NumberFile,
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let root = &env.roots.procfs;
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    let limit = |path, name, help| NumberFile::new(root.join(path), gauge(name, help));
    let names = || vec![MaybeUninit::uninit(); NAMES_BUFFER_BYTES].into_boxed_slice();
    Ok(Box::new(Processes {
        with_threads: root.join("self/task").is_dir(),
        names: names(),
        thread_names: names(),
        states: States::new("node_processes_state", "Number of processes in each state.", "state"),
        thread_states: States::new(
            "node_processes_threads_state",
            "Number of threads in each state.",
            "thread_state",
        ),
        threads: gauge("node_processes_threads", "Allocated threads in system"),
        pids: gauge("node_processes_pids", "Number of PIDs"),
        max_threads: limit(
            "sys/kernel/threads-max",
            "node_processes_max_threads",
            "Limit of threads in the system",
        ),
        max_pids: limit("sys/kernel/pid_max", "node_processes_max_processes", "Number of max PIDs limit"),
        root: root.clone(),
        buffer: Vec::new(),
    }))
}

impl Collector for Processes {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let (pids, threads) = self.count().map_err(|error| CollectError::read(&self.root, error.into()))?;
        let max_threads = self.max_threads.read(&mut self.buffer)?;
        let max_pids = self.max_pids.read(&mut self.buffer)?;
        self.states.record(tick);
        self.thread_states.record(tick);
        tick.set(self.threads, threads as f64);
        tick.set(self.pids, f64::from(pids));
        tick.set(self.max_threads.id, max_threads);
        tick.set(self.max_pids.id, max_pids);
        Ok(())
    }
}

impl Processes {
    /// Counts states and answers the numbers of processes and threads. Processes end while they
    /// are counted; those are left out.
    fn count(&mut self) -> Result<(u32, u64), Errno> {
        self.states.counts = [0; 128];
        self.thread_states.counts = [0; 128];
        let root = open_folder(rustix::fs::CWD, &self.root)?;
        let (mut pids, mut threads) = (0, 0_u64);
        let mut names = RawDir::new(&root, &mut self.names);
        while let Some(entry) = names.next() {
            let entry = entry?;
            let pid = entry.file_name().to_bytes();
            if number(pid).is_none() {
                continue;
            }
            let Some(stat) = read_stat(&root, pid)? else { continue };
            pids += 1;
            threads = threads.saturating_add(stat.threads);
            self.states.add(stat.state);
            if !self.with_threads {
                continue;
            }
            match stat.threads {
                // The only thread is in the state of the process: most processes end here.
                1 => self.thread_states.add(stat.state),
                _ => count_threads(&root, pid, stat, &mut self.thread_names, &mut self.thread_states)?,
            }
        }
        Ok((pids, threads))
    }
}

fn count_threads(
    root: &OwnedFd,
    pid: &[u8],
    process: Stat,
    names: &mut [MaybeUninit<u8>],
    states: &mut States,
) -> Result<(), Errno> {
    let mut path = PathBuffer::default();
    let folder = match open_folder(root, path.join(&[pid, b"/task"])) {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut names = RawDir::new(&folder, names);
    while let Some(entry) = names.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error),
        };
        let thread = entry.file_name().to_bytes();
        if thread == pid {
            states.add(process.state);
        } else if number(thread).is_some()
            && let Some(stat) = read_stat(&folder, thread)?
        {
            states.add(stat.state);
        }
    }
    Ok(())
}

fn open_folder(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A path of `PID/task` or `PID/stat`, made without allocation.
#[derive(Default)]
struct PathBuffer {
    bytes: [u8; 32],
}

impl PathBuffer {
    fn join(&mut self, parts: &[&[u8]]) -> &[u8] {
        let mut length = 0;
        for part in parts {
            let part = &part[..part.len().min(self.bytes.len() - length)];
            self.bytes[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        &self.bytes[..length]
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    state: u8,
    threads: u64,
}

/// Reads PID/stat; nothing if the process has ended.
fn read_stat(folder: &OwnedFd, pid: &[u8]) -> Result<Option<Stat>, Errno> {
    let (mut path, mut buffer) = (PathBuffer::default(), [0; STAT_BUFFER_BYTES]);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = openat(folder, path.join(&[pid, b"/stat"]), flags, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut buffer));
    match read {
        Ok(length) => Ok(parse(&buffer[..length])),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// State and number of threads of /proc/PID/stat. The name of the program, in parentheses, may
/// hold anything, so that the last parenthesis counts.
fn parse(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = fields(&text[end + 1..]);
    let state = *fields.next()?.first()?;
    // Field 20 of the line; the state is field 3.
    Some(Stat { state, threads: number(fields.nth(16)?)? })
}

/// Counts by state and their series, which begin when a state is first met.
struct States {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    counts: Counts,
    ids: [Option<SeriesId>; 128],
}

impl States {
    fn new(name: &'static str, help: &'static str, label: &'static str) -> Self {
        Self { name, help, label, counts: [0; 128], ids: [None; 128] }
    }

    fn add(&mut self, state: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(state)) {
            *count += 1;
        }
    }

    fn record(&mut self, tick: &mut Tick) {
        let states = (0_u8..).zip(self.counts).zip(&mut self.ids);
        for ((state, count), id) in states.filter(|((_, count), _)| *count > 0) {
            let id = *id.get_or_insert_with(|| {
                tick.gauge(self.name, self.help, &[(self.label, &char::from(state).to_string())])
            });
            tick.set(id, f64::from(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    fn stat(pid: u32, name: &str, state: char, threads: u32) -> String {
        format!("{pid} ({name}) {state} 1 2 3 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 {threads} 0 7 0 0\n")
    }

    #[test]
    fn states_are_counted() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/1/stat", stat(1, "init", 'S', 1));
        write(tree.path(), "proc/10/stat", stat(10, "a) R (b", 'S', 2));
        write(tree.path(), "proc/10/task/10/stat", stat(10, "a) R (b", 'S', 2));
        write(tree.path(), "proc/10/task/11/stat", stat(11, "worker", 'D', 2));
        write(tree.path(), "proc/self/task/1/stat", "");
        write(tree.path(), "proc/12/cmdline", "a process that has just ended");
        write(tree.path(), "proc/sys/kernel/threads-max", "7801\n");
        write(tree.path(), "proc/sys/kernel/pid_max", "123\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_processes_max_processes 123",
                "node_processes_max_threads 7801",
                "node_processes_pids 2",
                r#"node_processes_state{state="S"} 2"#,
                "node_processes_threads 3",
                r#"node_processes_threads_state{thread_state="D"} 1"#,
                r#"node_processes_threads_state{thread_state="S"} 2"#,
            ]
        );
    }

    #[test]
    fn this_machine_is_counted() {
        let env_free = page(std::path::Path::new("/"), build);
        if let Ok(page) = env_free {
            assert!(page.iter().any(|line| line.starts_with("node_processes_threads_state")));
        }
    }

    #[test]
    fn long_names_do_not_overflow_the_path() {
        assert_eq!(PathBuffer::default().join(&[&[b'1'; 40], b"/stat"]).len(), 32);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&text);
        }
    }
}
