//! The accounts of process groups: what each used is added up here and published as a bounded
//! number of series that never fall. The busiest groups have series of their own; what the rest
//! use meanwhile goes to `other`.
//!
//! A group's own counters hold what it used while it was shown. When it leaves the shown ones its
//! series end and its values are kept, so that it goes on from there when it returns.

use std::collections::HashMap;

use fieldpost_model::{SeriesId, Tick, USER_HZ};

/// The group of all groups that are not shown.
pub(crate) const OTHER: &str = "other";

/// The group of time that no process accounts for.
pub(crate) const UNATTRIBUTED: &str = "unattributed";

/// Span over which a group's use is smoothed for the ranking, seconds.
const RANKING_SPAN_SECONDS: f64 = 60.0;

/// A shown group keeps its place unless another one scores so much higher: they shall not flap.
const SHOWN_BONUS: f64 = 1.5;

/// How long a group without processes keeps its series, seconds.
const EMPTY_GROUP_SECONDS: f64 = 60.0;

/// Values kept of groups that were shown and left. Older ones are folded into a floor, from which
/// every group begins that has no values of its own: so none of them can fall even then.
const LEFT_GROUPS_MAX: usize = 512;

/// Below so many busy cores, shares of CPU say nothing: the ranking counts against this.
const RANKED_CORES_MIN: f64 = 0.05;

/// Below so many bytes a second, shares of storage traffic say nothing.
const RANKED_BYTES_PER_SECOND_MIN: f64 = 262_144.0;

/// Where a process' group is in the accounts.
pub(crate) type GroupId = usize;

/// What was used: counters, or their growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Used {
    /// CPU time, clock ticks.
    pub cpu_ticks: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
}

impl Used {
    /// Adds what was used since.
    pub fn add(&mut self, more: Used) {
        self.cpu_ticks = self.cpu_ticks.saturating_add(more.cpu_ticks);
        self.read_bytes = self.read_bytes.saturating_add(more.read_bytes);
        self.written_bytes = self.written_bytes.saturating_add(more.written_bytes);
    }

    fn at_least(&mut self, other: Used) {
        self.cpu_ticks = self.cpu_ticks.max(other.cpu_ticks);
        self.read_bytes = self.read_bytes.max(other.read_bytes);
        self.written_bytes = self.written_bytes.max(other.written_bytes);
    }
}

/// What a process, or all of a group, holds at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Swapped memory, bytes.
    pub swap_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
    /// Open descriptors of those processes that let them be counted.
    pub open_files: u64,
    /// Start of the oldest process, milliseconds since 1970; 0 where there is none.
    pub oldest_start_ms: i64,
}

impl Held {
    fn add(&mut self, more: Held) {
        self.resident_bytes = self.resident_bytes.saturating_add(more.resident_bytes);
        self.swap_bytes = self.swap_bytes.saturating_add(more.swap_bytes);
        self.threads = self.threads.saturating_add(more.threads);
        self.processes = self.processes.saturating_add(more.processes);
        self.open_files = self.open_files.saturating_add(more.open_files);
        self.oldest_start_ms = match (self.oldest_start_ms, more.oldest_start_ms) {
            (0, start) | (start, 0) => start,
            (one, two) => one.min(two),
        };
    }
}

/// The series of one shown group.
struct Shown {
    cpu: SeriesId,
    read: SeriesId,
    written: SeriesId,
    held: [SeriesId; 6],
}

struct Group {
    name: Box<str>,
    members: u32,
    now: Used,
    held: Held,
    /// Smoothed use per second: cores (in ticks) and bytes.
    ticks_rate: f64,
    bytes_rate: f64,
    empty_seconds: f64,
    /// What it used while it was shown; none as long as it never was.
    total: Option<Used>,
    shown: Option<Shown>,
}

/// All groups.
pub(crate) struct Groups {
    top: usize,
    slots: Vec<Option<Group>>,
    free: Vec<GroupId>,
    by_name: HashMap<Box<str>, GroupId>,
    left: Vec<(Box<str>, Used)>,
    floor: Used,
    other: (Used, Shown),
    unattributed: (u64, SeriesId),
    ranking: Vec<(f64, GroupId)>,
}

impl Groups {
    /// No group yet. At most `top` will be shown beside `other`.
    pub fn new(tick: &Tick, top: usize) -> Self {
        Self {
            top,
            slots: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            left: Vec::new(),
            floor: Used::default(),
            other: (Used::default(), Shown::new(tick, OTHER)),
            unattributed: (0, cpu_series(tick, UNATTRIBUTED)),
            ranking: Vec::new(),
        }
    }

    /// A process enters the group of this name.
    pub fn join(&mut self, name: &str) -> GroupId {
        let id = match self.by_name.get(name) {
            Some(id) => *id,
            None => self.insert(name),
        };
        self.group(id).members += 1;
        id
    }

    /// A process leaves its group.
    pub fn leave(&mut self, id: GroupId) {
        let group = self.group(id);
        group.members = group.members.saturating_sub(1);
    }

    /// What a process of the group used since the last pass.
    pub fn charge(&mut self, id: GroupId, used: Used) {
        self.group(id).now.add(used);
    }

    /// What a process of the group holds now.
    pub fn hold(&mut self, id: GroupId, held: Held) {
        self.group(id).held.add(held);
    }

    /// The time that no process accounts for, so far; never less than before.
    pub fn unattributed(&mut self, ticks: u64) {
        self.unattributed.0 = self.unattributed.0.max(ticks);
    }

    /// The name of a group.
    pub fn name(&self, id: GroupId) -> &str {
        self.slots[id].as_ref().map_or("", |group| &group.name)
    }

    /// Ends a pass: ranks, books what was charged, records all samples, and begins the next pass.
    pub fn publish(&mut self, tick: &mut Tick, elapsed_seconds: f64) {
        self.smooth(elapsed_seconds);
        self.rank(tick);
        let mut rest = Held::default();
        for group in self.slots.iter_mut().flatten() {
            match &group.shown {
                Some(shown) => {
                    let total = group.total.get_or_insert(self.floor);
                    total.add(group.now);
                    shown.record(tick, *total, group.held);
                }
                None => {
                    self.other.0.add(group.now);
                    rest.add(group.held);
                }
            }
            group.now = Used::default();
            group.held = Held::default();
        }
        self.other.1.record(tick, self.other.0, rest);
        tick.set(self.unattributed.1, self.unattributed.0 as f64 / f64::from(USER_HZ));
        self.sweep();
    }

    fn group(&mut self, id: GroupId) -> &mut Group {
        self.slots[id].as_mut().expect("a group lives as long as it has members")
    }

    fn insert(&mut self, name: &str) -> GroupId {
        let kept = self.left.iter().position(|(left, _)| **left == *name);
        let total = kept.map(|position| self.left.remove(position).1);
        let group = Group {
            name: name.into(),
            members: 0,
            now: Used::default(),
            held: Held::default(),
            ticks_rate: 0.0,
            bytes_rate: 0.0,
            empty_seconds: 0.0,
            total,
            shown: None,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[id] = Some(group);
        self.by_name.insert(name.into(), id);
        id
    }

    fn smooth(&mut self, elapsed_seconds: f64) {
        if elapsed_seconds <= 0.0 {
            return;
        }
        let weight = 1.0 - (-elapsed_seconds / RANKING_SPAN_SECONDS).exp();
        for group in self.slots.iter_mut().flatten() {
            let bytes = group.now.read_bytes.saturating_add(group.now.written_bytes) as f64;
            group.ticks_rate += weight * (group.now.cpu_ticks as f64 / elapsed_seconds - group.ticks_rate);
            group.bytes_rate += weight * (bytes / elapsed_seconds - group.bytes_rate);
            group.empty_seconds =
                if group.members == 0 { group.empty_seconds + elapsed_seconds } else { 0.0 };
        }
    }

    /// Decides which groups are shown. A group's score is its largest share of CPU, memory and
    /// storage traffic.
    fn rank(&mut self, tick: &Tick) {
        let (mut ticks, mut memory, mut bytes) = (0.0, 1.0, 0.0);
        for group in self.slots.iter().flatten() {
            ticks += group.ticks_rate;
            memory += group.held.resident_bytes as f64;
            bytes += group.bytes_rate;
        }
        let ticks = f64::max(ticks, RANKED_CORES_MIN * f64::from(USER_HZ));
        let bytes = f64::max(bytes, RANKED_BYTES_PER_SECOND_MIN);
        self.ranking.clear();
        for (id, group) in self.slots.iter().enumerate() {
            let Some(group) = group.as_ref().filter(|group| group.may_be_shown()) else { continue };
            let shares = [
                group.ticks_rate / ticks,
                group.held.resident_bytes as f64 / memory,
                group.bytes_rate / bytes,
            ];
            let bonus = if group.shown.is_some() { SHOWN_BONUS } else { 1.0 };
            self.ranking.push((shares.into_iter().fold(0.0, f64::max) * bonus, id));
        }
        self.ranking.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.ranking.truncate(self.top);
        self.ranking.sort_unstable_by_key(|(_, id)| *id);
        for (id, group) in self.slots.iter_mut().enumerate() {
            let Some(group) = group else { continue };
            let wanted = self.ranking.binary_search_by_key(&id, |(_, id)| *id).is_ok();
            match (&group.shown, wanted) {
                (None, true) => group.shown = Some(Shown::new(tick, &group.name)),
                (Some(shown), false) => {
                    shown.retire(tick);
                    group.shown = None;
                }
                _ => {}
            }
        }
    }

    /// Forgets groups without members that are not shown, but for their values.
    fn sweep(&mut self) {
        for id in 0..self.slots.len() {
            let gone = |group: &mut Group| group.members == 0 && group.shown.is_none();
            let Some(group) = self.slots[id].take_if(gone) else { continue };
            self.by_name.remove(&group.name);
            self.free.push(id);
            if let Some(total) = group.total {
                self.left.push((group.name, total));
            }
        }
        while self.left.len() > LEFT_GROUPS_MAX {
            let (_, total) = self.left.remove(0);
            self.floor.at_least(total);
        }
    }
}

impl Group {
    fn may_be_shown(&self) -> bool {
        let lives = self.members > 0 || (self.shown.is_some() && self.empty_seconds < EMPTY_GROUP_SECONDS);
        lives && *self.name != *OTHER && *self.name != *UNATTRIBUTED
    }
}

fn cpu_series(tick: &Tick, group: &str) -> SeriesId {
    tick.counter(
        "fieldpost_process_cpu_seconds_total",
        "User and system time of the group's processes and of their children too short-lived to be seen.",
        &[("group", group)],
    )
}

impl Shown {
    fn new(tick: &Tick, group: &str) -> Self {
        let labels = [("group", group)];
        let gauge = |name, help| tick.gauge(name, help, &labels);
        Self {
            cpu: cpu_series(tick, group),
            read: tick.counter(
                "fieldpost_process_read_bytes_total",
                "Bytes that the group's processes had read from storage.",
                &labels,
            ),
            written: tick.counter(
                "fieldpost_process_written_bytes_total",
                "Bytes that the group's processes had written to storage.",
                &labels,
            ),
            held: [
                gauge("fieldpost_process_resident_bytes", "Resident memory of the group's processes."),
                gauge("fieldpost_process_swap_bytes", "Swapped memory of the group's processes."),
                gauge("fieldpost_process_threads", "Threads of the group's processes."),
                gauge("fieldpost_process_processes", "Processes of the group."),
                gauge(
                    "fieldpost_process_open_files",
                    "Open descriptors of those of the group's processes that let them be counted.",
                ),
                gauge(
                    "fieldpost_process_oldest_start_time_seconds",
                    "Start of the group's oldest process, seconds since 1970.",
                ),
            ],
        }
    }

    fn record(&self, tick: &mut Tick, total: Used, held: Held) {
        tick.set(self.cpu, total.cpu_ticks as f64 / f64::from(USER_HZ));
        tick.set(self.read, total.read_bytes as f64);
        tick.set(self.written, total.written_bytes as f64);
        let [resident, swap, threads, processes, open_files, oldest] = self.held;
        tick.set(resident, held.resident_bytes as f64);
        tick.set(swap, held.swap_bytes as f64);
        tick.set(threads, held.threads as f64);
        tick.set(processes, held.processes as f64);
        tick.set(open_files, held.open_files as f64);
        if held.oldest_start_ms != 0 {
            tick.set(oldest, held.oldest_start_ms as f64 / 1000.0);
        }
    }

    fn retire(&self, tick: &Tick) {
        [self.cpu, self.read, self.written].iter().chain(&self.held).for_each(|id| tick.retire(*id));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fieldpost_model::{Catalog, Owner};
    use proptest::prelude::*;

    use super::*;

    struct Bench {
        catalog: Arc<Catalog>,
        tick: Tick,
        groups: Groups,
    }

    impl Bench {
        fn new(top: usize) -> Self {
            let catalog = Catalog::new();
            let tick = Tick::new(Arc::clone(&catalog), Owner(0));
            let groups = Groups::new(&tick, top);
            Self { catalog, tick, groups }
        }

        /// Ends a pass of so many seconds; the CPU seconds of all groups that are shown.
        fn pass(&mut self, elapsed_seconds: f64) -> HashMap<String, f64> {
            self.tick.begin(0);
            self.groups.publish(&mut self.tick, elapsed_seconds);
            let view = self.catalog.read();
            let shown = self.tick.samples().iter().filter_map(|sample| {
                let series = view.get(sample.id)?;
                let is_cpu = &*series.family.name == "fieldpost_process_cpu_seconds_total";
                is_cpu.then(|| (series.labels[0].1.to_string(), sample.value))
            });
            shown.collect()
        }

        fn use_ticks(&mut self, id: GroupId, cpu_ticks: u64) {
            self.groups.charge(id, Used { cpu_ticks, ..Used::default() });
        }
    }

    #[test]
    fn group_that_leaves_and_returns_goes_on_from_its_kept_value() {
        let mut bench = Bench::new(1);
        let (a, b) = (bench.groups.join("a"), bench.groups.join("b"));
        bench.use_ticks(a, 500);
        bench.use_ticks(b, 100);
        let page = bench.pass(1.0);
        assert_eq!((page["a"], page["other"]), (5.0, 1.0));
        bench.use_ticks(b, 6_000);
        bench.use_ticks(a, 10);
        let page = bench.pass(60.0);
        assert_eq!((page.get("a"), page["b"], page["other"]), (None, 60.0, 1.1));
        bench.use_ticks(a, 600_000);
        let page = bench.pass(600.0);
        assert_eq!((page["a"], page.get("b"), page["other"]), (6_005.0, None, 1.1));
    }

    #[test]
    fn shown_group_keeps_its_place_against_one_that_is_little_busier() {
        let mut bench = Bench::new(1);
        let (a, b) = (bench.groups.join("a"), bench.groups.join("b"));
        bench.use_ticks(a, 100);
        bench.pass(1.0);
        for _ in 0..10 {
            bench.use_ticks(a, 100);
            bench.use_ticks(b, 120);
            assert!(bench.pass(60.0).contains_key("a"));
        }
    }

    #[test]
    fn group_without_processes_ends_after_a_while_and_its_value_is_kept() {
        let mut bench = Bench::new(5);
        let a = bench.groups.join("a");
        bench.use_ticks(a, 100);
        bench.pass(1.0);
        bench.groups.leave(a);
        assert!(bench.pass(1.0).contains_key("a"));
        assert!(!bench.pass(EMPTY_GROUP_SECONDS).contains_key("a"));
        let again = bench.groups.join("a");
        bench.use_ticks(again, 1);
        assert_eq!(bench.pass(1.0)["a"], 1.01);
    }

    #[test]
    fn memory_of_left_groups_is_bounded_and_none_begins_below_what_it_had() {
        let mut bench = Bench::new(1);
        for number in 0..LEFT_GROUPS_MAX + 2 {
            let id = bench.groups.join(&format!("g{number}"));
            bench.use_ticks(id, 1_000 + number as u64);
            bench.pass(1.0);
            bench.groups.leave(id);
            bench.pass(2.0 * EMPTY_GROUP_SECONDS);
        }
        assert_eq!(bench.groups.left.len(), LEFT_GROUPS_MAX);
        let first = bench.groups.join("g0");
        bench.use_ticks(first, 1);
        assert!(bench.pass(1.0)["g0"] >= 10.0);
    }

    #[test]
    fn executable_named_as_the_rest_is_part_of_the_rest() {
        let mut bench = Bench::new(5);
        let id = bench.groups.join(OTHER);
        bench.use_ticks(id, 100);
        assert_eq!(bench.pass(1.0)["other"], 1.0);
    }

    proptest! {
        /// Whoever comes, goes and works: no shown counter is ever below what it was, and together
        /// they have all that was charged as long as none leaves.
        #[test]
        fn no_counter_falls(steps in proptest::collection::vec((0_usize..6, 0_u64..2_000, any::<bool>()), 1..200)) {
            let mut bench = Bench::new(2);
            let mut highest: HashMap<String, f64> = HashMap::new();
            let mut members: [Option<GroupId>; 6] = [None; 6];
            let mut charged = 0.0;
            for (which, ticks, leaves) in steps {
                let id = *members[which].get_or_insert_with(|| bench.groups.join(&format!("g{which}")));
                bench.use_ticks(id, ticks);
                charged += ticks as f64 / 100.0;
                if leaves {
                    bench.groups.leave(id);
                    members[which] = None;
                }
                let page = bench.pass(30.0);
                for (group, value) in page {
                    let before = highest.insert(group.clone(), value).unwrap_or(0.0);
                    prop_assert!(value >= before, "{} fell from {} to {}", group, before, value);
                }
                prop_assert!((highest.values().sum::<f64>() - charged).abs() < 1e-6);
            }
        }
    }
}
