//! Every process: published by group, and whole for the history. The accounts are kept in
//! `process_account`, the groups in `process_groups`; this file says what is read when.
//!
//! At every pass: stat of each process, io of those that did anything. When a process is found,
//! when its name changes and every ten seconds: user, swap, unit, executable, descriptors.

use std::hash::{DefaultHasher, Hash, Hasher};

use fieldpost_model::{Entity, EntityRow, Period, TableKind, TableTick, Tick, TimeMs};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::facts;
use crate::process_account::{Account, ByPid, Look, settle};
use crate::process_files::{ProcessFiles, Trouble};
use crate::process_groups::{GroupId, Groups, Held};
use crate::process_rules::{GroupRule, Rules, Subject};
use crate::process_stat as parse;
use crate::read::KeptFile;
use crate::text::label;

/// How often what changes slowly is read of each process, milliseconds.
const SLOW_LOOK_MS: TimeMs = 10_000;

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

/// A number that could not be read.
const UNKNOWN: i64 = -1;

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

/// One process that is followed.
struct Process {
    account: Account,
    key: u64,
    start_ticks: u64,
    start_ms: TimeMs,
    comm: Box<[u8]>,
    kernel: bool,
    state: u8,
    threads: u32,
    faults: u64,
    resident_bytes: u64,
    swap_bytes: i64,
    open_files: i64,
    group: GroupId,
    /// Hash of executable, unit and user: when it changes, the process is described anew.
    described: Option<u64>,
    slow_look_ms: TimeMs,
    stat: Option<OwnedFd>,
    io: Option<OwnedFd>,
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
    ticks_per_second: u64,
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
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let users = if config.groups.is_empty() { Vec::new() } else { facts::users(env.roots) };
    Ok(Box::new(ProcessTable {
        files: ProcessFiles::open(procfs)?,
        machine,
        load: KeptFile::new(procfs.join("loadavg")),
        text,
        rules: Rules::new(&config.groups, users.into_iter().map(|user| (user.uid, user.name)).collect()),
        groups: Groups::new(env.tick, config.top, ticks_per_second),
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
        ticks_per_second,
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
            let due = time_ms >= process.slow_look_ms;
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
            process.start_ms = self.boot_ms + ticks_to_ms(stat.start_ticks, self.ticks_per_second);
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
        let mut charges = Vec::new();
        settle(&mut self.processes, &self.by_pid, |place, used| charges.push((place, used)));
        for (place, used) in charges {
            *charged += used.cpu_ticks;
            groups.charge(self.processes[place].group, used);
        }
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
        let missing = expected.saturating_sub(self.charged_ticks + UNATTRIBUTED_SLACK_TICKS);
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

impl Process {
    fn new(pid: u32, stat: &parse::Stat<'_>, time_ms: TimeMs, page_bytes: u64) -> Self {
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
            stat: None,
            io: None,
        };
        process.take(stat, page_bytes);
        process
    }

    fn take(&mut self, stat: &parse::Stat<'_>, page_bytes: u64) {
        self.account.parent = stat.parent;
        self.state = stat.state;
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
    fn short_name(&self) -> String {
        let end = if self.kernel { self.comm.iter().position(|byte| *byte == b'/') } else { None };
        label(&self.comm[..end.unwrap_or(self.comm.len())]).into_owned()
    }

    fn row(&self) -> EntityRow {
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

fn ticks_to_ms(ticks: u64, ticks_per_second: u64) -> TimeMs {
    TimeMs::try_from(ticks.saturating_mul(1000) / ticks_per_second.max(1)).unwrap_or(0)
}
