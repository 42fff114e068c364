//! Every process: published by group, and whole for the history. The accounts are kept in
//! `process_account`, the groups in `process_groups`; this file says what is read when.
//!
//! At every pass: stat of each process, io of those that did anything. When a process is found,
//! when its name changes and every ten seconds: user, swap, unit, executable, descriptors.

use std::hash::{DefaultHasher, Hash, Hasher};

use fieldpost_model::{Entity, Period, TableKind, TableTick, Tick, TimeMs, USER_HZ};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::facts;
use crate::process_account::{Account, ByPid, Look, settle};
use crate::process_files::{ProcessFiles, Trouble};
use crate::process_groups::{Groups, Held};
use crate::process_row::{Process, UNKNOWN};
use crate::process_rules::{GroupRule, Rules, Subject};
use crate::process_stat as parse;
use crate::read::KeptFile;
use crate::text::label;

/// How often what changes slowly is read of each process, milliseconds.
const SLOW_LOOK_MS: TimeMs = 10_000;

/// Of one that did nothing, so many slow looks see only its swap. It cannot have opened a file or
/// become another program, but somebody may have moved it to another unit.
const QUIET_LOOKS: u8 = 6;

/// Processes that are described in one pass at most; the rest wait for the next, known by the
/// name of their main thread alone. A fork bomb makes no pass long.
const DESCRIBED_PER_PASS: usize = 1_000;

/// Processes that are followed at most; what more there are shows as unattributed time.
const PROCESSES_MAX: usize = 65_536;

/// Of a command line so much is kept, bytes.
const COMMAND_BYTES: usize = 1024;

/// Of the machine's time, one part in so many is not missed when no process accounts for it: the
/// machine's own counters are sampled by the timer, those of processes are exact.
const UNATTRIBUTED_SLACK_PART: u64 = 100;

/// Not missed either, clock ticks: what processes used between two readings within one pass.
const UNATTRIBUTED_SLACK_TICKS: u64 = 20;

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval; never shorter than the base interval.
    pub interval: Option<Period>,
    /// Which processes belong together; those that no rule matches go by their executable's name.
    pub groups: Vec<GroupRule>,
    /// So many of the busiest groups, by CPU, memory and storage traffic, are published one by one.
    pub top: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: None, interval: None, groups: Vec::new(), top: 20 }
    }
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct ProcessTable {
    files: ProcessFiles,
    machine: KeptFile,
    load: KeptFile,
    text: Vec<u8>,
    rules: Rules,
    groups: Groups,
    /// By rising key; a process is older than its children, and is read before them.
    processes: Vec<Process>,
    by_pid: ByPid,
    pids: Vec<u32>,
    born: Vec<u32>,
    last_pid: Option<u64>,
    next_key: u64,
    previous_ms: Option<TimeMs>,
    /// The machine's time at the first pass, and all that was charged since.
    machine_base: Option<u64>,
    charged_ticks: u64,
    boot_ms: TimeMs,
    page_bytes: u64,
    table: TableTick,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.process_table;
    let procfs = &env.roots.procfs;
    let mut machine = KeptFile::new(procfs.join("stat"));
    let mut text = Vec::new();
    let boot_seconds = machine.read(&mut text).ok().and_then(|()| parse::boot_seconds(&text)).unwrap_or(0);
    let users = if config.groups.is_empty() { Vec::new() } else { facts::users(env.roots) };
    Ok(Box::new(ProcessTable {
        files: ProcessFiles::open(procfs)?,
        machine,
        load: KeptFile::new(procfs.join("loadavg")),
        text,
        rules: Rules::new(&config.groups, users.into_iter().map(|user| (user.uid, user.name)).collect()),
        groups: Groups::new(env.tick, config.top),
        processes: Vec::new(),
        by_pid: ByPid::default(),
        pids: Vec::new(),
        born: Vec::new(),
        last_pid: None,
        next_key: 1,
        previous_ms: None,
        machine_base: None,
        charged_ticks: 0,
        boot_ms: boot_seconds * 1000,
        page_bytes: rustix::param::page_size() as u64,
        table: TableTick { kind: TableKind::Processes, time_ms: 0, entities: Vec::new(), rows: Vec::new() },
    }))
}

impl Collector for ProcessTable {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let time_ms = tick.time_ms();
        self.table.entities.clear();
        self.find()?;
        self.look_at_known(time_ms);
        self.look_at_born(time_ms);
        if self.processes.is_empty() {
            return Err(CollectError::NoData("no process is to be seen".into()));
        }
        self.by_pid.rebuild(self.processes.iter().map(|process| process.account.pid));
        self.account();
        self.look_slowly(time_ms);
        self.hold();
        let elapsed_ms = self.previous_ms.map_or(0, |previous| time_ms - previous);
        self.groups.publish(tick, elapsed_ms as f64 / 1000.0);
        self.previous_ms = Some(time_ms);
        self.fill_table(time_ms);
        Ok(())
    }

    fn table(&self) -> Option<&TableTick> {
        Some(&self.table)
    }
}

impl ProcessTable {
    /// Finds who was born and who is gone. Where no process id was given since the last pass,
    /// nobody was born, and the folder need not be listed.
    fn find(&mut self) -> Result<(), CollectError> {
        self.born.clear();
        let last_pid = self.load.read(&mut self.text).ok().and_then(|()| parse::last_pid(&self.text));
        if last_pid.is_some() && last_pid == self.last_pid {
            return Ok(());
        }
        self.files
            .list(&mut self.pids)
            .map_err(|errno| CollectError::Other(format!("cannot list processes: {errno}")))?;
        self.last_pid = last_pid;
        let mut known = self.by_pid.iter().peekable();
        for pid in &self.pids {
            while let Some((_, place)) = known.next_if(|(other, _)| other < pid) {
                self.processes[place].account.gone = true;
            }
            if known.next_if(|(other, _)| other == pid).is_none() {
                self.born.push(*pid);
            }
        }
        known.for_each(|(_, place)| self.processes[place].account.gone = true);
        Ok(())
    }

    fn look_at_known(&mut self, time_ms: TimeMs) {
        for process in self.processes.iter_mut().filter(|process| !process.account.gone) {
            let pid = process.account.pid;
            let stat = match self.files.read_kept(pid, "stat", &mut process.stat) {
                Ok(text) => parse::stat(text),
                Err(Trouble::Gone) => {
                    // Another one may have its id already.
                    process.account.gone = true;
                    self.born.push(pid);
                    continue;
                }
                Err(_) => continue,
            };
            let Some(stat) = stat else { continue };
            if stat.start_ticks != process.start_ticks {
                // The id was given to another process meanwhile.
                process.account.gone = true;
                self.born.push(pid);
                continue;
            }
            let busy = process.account.has_moved(stat.own_ticks, stat.children_ticks)
                || process.faults != stat.faults
                || stat.state == b'D';
            let (own_ticks, children_ticks) = (stat.own_ticks, stat.children_ticks);
            process.take(&stat, self.page_bytes);
            process.stirred |= busy;
            let due = time_ms >= process.slow_look_ms && process.stirred;
            let wanted = due || (busy && !process.kernel && process.account.io_known());
            let io = if wanted { read_io(&mut self.files, pid, &mut process.io) } else { None };
            process.account.look(Look { own_ticks, children_ticks, io });
        }
    }

    /// Takes up those that were born, oldest first.
    fn look_at_born(&mut self, time_ms: TimeMs) {
        let is_first = self.previous_ms.is_none();
        let from = self.processes.len();
        for position in 0..self.born.len().min(PROCESSES_MAX.saturating_sub(from)) {
            let pid = self.born[position];
            let mut descriptor = None;
            let Ok(text) = self.files.read_kept(pid, "stat", &mut descriptor) else { continue };
            let Some(stat) = parse::stat(text) else {
                self.files.close(&mut descriptor);
                continue;
            };
            let look = Look { own_ticks: stat.own_ticks, children_ticks: stat.children_ticks, io: None };
            let mut process = Process::new(pid, &stat, time_ms, self.page_bytes);
            process.stat = descriptor;
            process.start_ms = self.boot_ms.saturating_add(ticks_to_ms(stat.start_ticks));
            let io = read_io(&mut self.files, pid, &mut process.io);
            let look = Look { io, ..look };
            let parent = process.account.parent;
            process.account =
                if is_first { Account::found(pid, parent, look) } else { Account::born(pid, parent, look) };
            process.account.forgets_children = process.kernel;
            process.group = self.groups.join(&process.short_name());
            self.processes.push(process);
        }
        let born = &mut self.processes[from..];
        born.sort_by_key(|process| (process.start_ticks, process.account.pid));
        for process in born {
            process.key = self.next_key;
            self.next_key += 1;
        }
    }

    /// Settles all accounts and lets those go that ended.
    fn account(&mut self) {
        let (groups, charged) = (&mut self.groups, &mut self.charged_ticks);
        settle(&mut self.processes, &self.by_pid, |process, used| {
            *charged = charged.saturating_add(used.cpu_ticks);
            groups.charge(process.group, used);
        });
        if self.processes.iter().any(|process| process.account.gone) {
            let files = &mut self.files;
            self.processes.retain_mut(|process| {
                if process.account.gone {
                    files.close(&mut process.stat);
                    files.close(&mut process.io);
                    groups.leave(process.group);
                }
                !process.account.gone
            });
            self.by_pid.rebuild(self.processes.iter().map(|process| process.account.pid));
        }
        self.account_for_the_rest();
    }

    /// What the machine used that no process accounts for: children whose parent ignores them,
    /// the last moments of the kernel's threads, processes hidden from this user.
    fn account_for_the_rest(&mut self) {
        let now = self.machine.read(&mut self.text).ok().and_then(|()| parse::machine_ticks(&self.text));
        let Some(now) = now else { return };
        let base = *self.machine_base.get_or_insert(now);
        let used = now.saturating_sub(base);
        let expected = used - (used / UNATTRIBUTED_SLACK_PART).min(used);
        let missing = expected.saturating_sub(self.charged_ticks.saturating_add(UNATTRIBUTED_SLACK_TICKS));
        self.groups.unattributed(missing);
    }

    fn look_slowly(&mut self, time_ms: TimeMs) {
        let mut budget = DESCRIBED_PER_PASS;
        for position in 0..self.processes.len() {
            let process = &mut self.processes[position];
            if process.described.is_none() && budget == 0 {
                if process.slow_look_ms == 0 {
                    process.slow_look_ms = time_ms;
                    self.describe_by_name(position);
                }
                continue;
            }
            if time_ms < process.slow_look_ms {
                continue;
            }
            budget -= usize::from(process.described.is_none());
            // Spread over the span from the start, so that no later pass has them all.
            let spread = if process.described.is_none() { (process.key % 10) as TimeMs * 1000 } else { 0 };
            process.slow_look_ms = time_ms + SLOW_LOOK_MS - spread;
            self.look_slowly_at(position);
        }
    }

    fn look_slowly_at(&mut self, position: usize) {
        let process = &mut self.processes[position];
        let pid = process.account.pid;
        if process.kernel {
            if process.described.replace(0).is_none() {
                self.describe(position, Facts::default());
            }
            return;
        }
        let Some(status) = self.files.read(pid, "status", usize::MAX).ok().and_then(parse::status) else {
            if process.described.is_none() {
                self.describe_by_name(position);
            }
            return;
        };
        process.swap_bytes = i64::try_from(status.swap_bytes).unwrap_or(i64::MAX);
        process.account.forgets_children = status.ignores_children;
        if process.is_quiet(QUIET_LOOKS) {
            return;
        }
        process.open_files = match self.files.count_open(pid) {
            Ok(count) if count > 0 => count as i64,
            _ => UNKNOWN,
        };
        let unit = self.files.read(pid, "cgroup", usize::MAX).map(|text| parse::unit(text).into_owned());
        let exe = self.files.link(pid, "exe").map(file_name).ok().filter(|name| !name.is_empty());
        let facts = Facts { exe, unit: unit.unwrap_or_default(), uid: status.uid };
        let hash = Some(facts.hash());
        // The command line of a process that sleeps uninterruptibly might keep us waiting.
        if process.described != hash && process.state != b'D' {
            process.described = hash;
            self.describe(position, facts);
        } else if process.described.is_none() {
            self.describe_by_name(position);
        }
    }

    /// For those that cannot be looked at closely now.
    fn describe_by_name(&mut self, position: usize) {
        let process = &self.processes[position];
        let entity = Entity {
            pid: process.account.pid,
            start_ms: process.start_ms,
            name: process.short_name(),
            command: String::new(),
            unit: String::new(),
            group: self.groups.name(process.group).to_owned(),
            uid: 0,
            parent: process.account.parent,
        };
        self.table.entities.push((process.key, entity));
    }

    fn describe(&mut self, position: usize, facts: Facts) {
        let process = &mut self.processes[position];
        let pid = process.account.pid;
        let comm = label(&process.comm);
        let command = match self.files.read(pid, "cmdline", COMMAND_BYTES) {
            Ok(text) if !text.is_empty() && !process.kernel => parse::command(text),
            _ => format!("[{comm}]"),
        };
        let name = facts.exe.unwrap_or_else(|| process.short_name());
        let subject =
            Subject { exe: &name, comm: &comm, command: &command, unit: &facts.unit, uid: facts.uid };
        let group = self.rules.group(subject);
        if self.groups.name(process.group) != group {
            let joined = self.groups.join(&group);
            self.groups.leave(process.group);
            process.group = joined;
        }
        let entity = Entity {
            pid,
            start_ms: process.start_ms,
            name,
            command,
            unit: facts.unit,
            group,
            uid: facts.uid,
            parent: process.account.parent,
        };
        self.table.entities.push((process.key, entity));
    }

    fn hold(&mut self) {
        for process in &self.processes {
            let held = Held {
                resident_bytes: process.resident_bytes,
                swap_bytes: process.swap_bytes.max(0) as u64,
                threads: u64::from(process.threads),
                processes: 1,
                open_files: process.open_files.max(0) as u64,
                oldest_start_ms: process.start_ms,
            };
            self.groups.hold(process.group, held);
        }
    }

    fn fill_table(&mut self, time_ms: TimeMs) {
        self.table.time_ms = time_ms;
        self.table.rows.clear();
        self.table.rows.extend(self.processes.iter().map(Process::row));
    }
}

/// What a slow look finds.
#[derive(Default, Hash)]
struct Facts {
    exe: Option<String>,
    unit: String,
    uid: u32,
}

impl Facts {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

fn read_io(files: &mut ProcessFiles, pid: u32, descriptor: &mut Option<OwnedFd>) -> Option<[u64; 2]> {
    files.read_kept(pid, "io", descriptor).ok().and_then(parse::io)
}

/// The name of an executable from the target of its link, without what the kernel adds when the
/// file was replaced.
fn file_name(target: &[u8]) -> String {
    let target = target.strip_suffix(b" (deleted)").unwrap_or(target);
    label(target.rsplit(|byte| *byte == b'/').next().unwrap_or(target)).into_owned()
}

fn ticks_to_ms(ticks: u64) -> TimeMs {
    TimeMs::try_from(ticks.saturating_mul(1000) / u64::from(USER_HZ)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config as AllConfig;
    use crate::testing::{Bench, write};

    /// Writes the files of one process.
    fn process(tree: &Path, pid: u32, name: &str, parent: u32, ticks: [u64; 2], start: u64) {
        let [own, children] = ticks;
        let stat = format!(
            "{pid} ({name}) S {parent} 1 1 0 -1 0 {own} 0 0 0 {own} 0 {children} 0 20 0 2 0 {start} 0 3 0\n"
        );
        write(tree, &format!("proc/{pid}/stat"), stat);
        write(tree, &format!("proc/{pid}/status"), "Uid:\t7\t7\t7\t7\nVmSwap:\t 4 kB\n");
        write(tree, &format!("proc/{pid}/cgroup"), format!("0::/system.slice/{name}.service\n"));
        write(tree, &format!("proc/{pid}/cmdline"), format!("/bin/{name}\0--flag\0"));
        write(tree, &format!("proc/{pid}/io"), format!("read_bytes: {own}\nwrite_bytes: 0\n"));
    }

    fn bench(tree: &Path) -> Bench {
        write(tree, "proc/stat", "cpu  0 0 0 0\nbtime 1000\n");
        Bench::new(tree, build, &AllConfig::default()).unwrap()
    }

    fn value(lines: &[String], series: &str, group: &str) -> Option<f64> {
        let start = format!("fieldpost_process_{series}{{group=\"{group}\"}} ");
        lines.iter().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    #[test]
    fn table_describes_each_process_once_and_has_a_row_for_each() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 1, "init", 0, [500, 0], 0);
        process(tree.path(), 20, "web", 1, [40, 0], 300);
        let mut bench = bench(tree.path());
        let lines = bench.pass(1_000_000).unwrap();
        assert_eq!(value(&lines, "cpu_seconds_total", "init"), Some(0.0));
        assert_eq!(value(&lines, "threads", "web"), Some(2.0));
        assert_eq!(value(&lines, "swap_bytes", "web"), Some(4096.0));
        assert_eq!(value(&lines, "oldest_start_time_seconds", "web"), Some(1003.0));
        let table = bench.collector().table().unwrap();
        let (key, web) = &table.entities[1];
        assert_eq!((*key, web.pid, web.parent, web.uid, web.start_ms), (2, 20, 1, 7, 1_003_000));
        assert_eq!((web.name.as_str(), web.unit.as_str()), ("web", "web.service"));
        assert_eq!((web.command.as_str(), web.group.as_str()), ("/bin/web --flag", "web"));
        let page = rustix::param::page_size() as i64;
        assert_eq!(table.rows[1].values, [40, 3 * page, 4096, 2, 40, 0, -1, i64::from(b'S')]);
        bench.pass(1_001_000).unwrap();
        let table = bench.collector().table().unwrap();
        assert_eq!((table.entities.len(), table.rows.len()), (0, 2));
    }

    #[test]
    fn id_given_to_another_process_is_another_process() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 1, "init", 0, [0, 0], 0);
        process(tree.path(), 20, "old", 1, [900, 0], 300);
        let mut bench = bench(tree.path());
        bench.pass(1_000_000).unwrap();
        process(tree.path(), 20, "new", 1, [5, 0], 700);
        process(tree.path(), 1, "init", 0, [0, 900], 0);
        let lines = bench.pass(1_001_000).unwrap();
        assert_eq!(value(&lines, "cpu_seconds_total", "new"), Some(0.05));
        assert_eq!(value(&lines, "cpu_seconds_total", "init"), Some(0.0));
        let table = bench.collector().table().unwrap();
        assert_eq!(table.rows.iter().map(|row| row.key).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(table.entities[0].1.name, "new");
    }

    #[test]
    fn program_that_becomes_another_changes_its_group_and_no_counter_falls() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 1, "init", 0, [0, 0], 0);
        process(tree.path(), 20, "sh", 1, [0, 0], 300);
        let mut bench = bench(tree.path());
        bench.pass(1_000_000).unwrap();
        process(tree.path(), 20, "sh", 1, [100, 0], 300);
        let lines = bench.pass(1_001_000).unwrap();
        assert_eq!(value(&lines, "cpu_seconds_total", "sh"), Some(1.0));
        process(tree.path(), 20, "work", 1, [150, 0], 300);
        bench.pass(1_002_000).unwrap();
        process(tree.path(), 20, "work", 1, [250, 0], 300);
        let lines = bench.pass(1_003_000).unwrap();
        let (shell, work) =
            (value(&lines, "cpu_seconds_total", "sh"), value(&lines, "cpu_seconds_total", "work"));
        assert_eq!((shell, work), (Some(1.5), Some(1.0)));
        assert_eq!(value(&lines, "processes", "sh"), Some(0.0));
    }

    #[test]
    fn file_that_is_no_stat_loses_only_its_process() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 1, "init", 0, [0, 0], 0);
        write(tree.path(), "proc/20/stat", "20 (half) S 1");
        write(tree.path(), "proc/21/other", "");
        write(
            tree.path(),
            "proc/22/stat",
            b"22 (\xff\"\n) S 1 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 5 0 3 0\n",
        );
        let mut bench = bench(tree.path());
        let lines = bench.pass(1_000_000).unwrap();
        assert_eq!(bench.collector().table().unwrap().rows.len(), 2);
        assert_eq!(value(&lines, "processes", "\u{fffd}\\\"\\n"), Some(1.0));
    }

    #[test]
    fn crowd_is_described_little_by_little() {
        let tree = tempfile::tempdir().unwrap();
        for pid in 1..=(DESCRIBED_PER_PASS as u32 + 50) {
            process(tree.path(), pid, "bomb", 0, [0, 0], u64::from(pid));
        }
        let mut bench = bench(tree.path());
        bench.pass(1_000_000).unwrap();
        let undescribed = |bench: &Bench| {
            let table = bench.collector().table().unwrap();
            table.entities.iter().filter(|(_, entity)| entity.command.is_empty()).count()
        };
        assert_eq!(undescribed(&bench), 50);
        bench.pass(1_001_000).unwrap();
        let table = bench.collector().table().unwrap();
        assert_eq!((table.entities.len(), undescribed(&bench)), (50, 0));
    }
}
