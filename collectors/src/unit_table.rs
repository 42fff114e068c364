//! Every cgroup, and so every systemd unit, for the history: CPU, memory, storage traffic,
//! pressure and processes. From cgroup v2; what v2 has no controller for, from v1.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fieldpost_model::{Entity, EntityRow, SeriesId, TableKind, TableTick, Tick, TimeMs};
use rustix::process::{Resource, getrlimit};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number, split_once};

/// Settings.
pub type Config = Common;

/// Units that are followed at most. Where there are more the deepest are left out: their use is
/// in the numbers of those above them.
const UNITS_MAX: usize = 1_000;

/// How often new units are looked for, milliseconds: listing the folders costs more than reading
/// the numbers.
const SEARCH_MS: TimeMs = 10_000;

/// Of the limit of open files, one in so many descriptors may be kept here.
const DESCRIPTOR_SHARE: u64 = 4;

/// A number that could not be read.
const UNKNOWN: i64 = -1;

/// Reads a file's numbers into the columns it fills; what it does not find it leaves alone.
type Parse = fn(&[u8], &mut [i64]);

/// Where a number is found in one of the two versions of cgroups.
struct Source {
    /// Folder under the mount point of v1 hierarchies; empty for v2.
    hierarchy: &'static str,
    file: &'static str,
    parse: Parse,
}

/// One file of each version, and the columns that it fills.
struct Column {
    first: usize,
    count: usize,
    v2: Source,
    v1: Option<Source>,
}

const fn v2(file: &'static str, parse: Parse) -> Source {
    Source { hierarchy: "", file, parse }
}

const fn v1(hierarchy: &'static str, file: &'static str, parse: Parse) -> Option<Source> {
    Some(Source { hierarchy, file, parse })
}

/// All files, in the order of the table's columns.
const COLUMNS: [Column; 7] = [
    Column { first: 0, count: 1, v2: v2("cpu.stat", cpu_stat), v1: v1("cpuacct", "cpuacct.usage", cpuacct) },
    Column {
        first: 1,
        count: 1,
        v2: v2("memory.current", plain),
        v1: v1("memory", "memory.usage_in_bytes", plain),
    },
    Column {
        first: 2,
        count: 2,
        v2: v2("io.stat", io_stat),
        v1: v1("blkio", "blkio.throttle.io_service_bytes", io_service),
    },
    Column { first: 4, count: 1, v2: v2("cpu.pressure", pressure), v1: None },
    Column { first: 5, count: 1, v2: v2("memory.pressure", pressure), v1: None },
    Column { first: 6, count: 1, v2: v2("io.pressure", pressure), v1: None },
    Column { first: 7, count: 1, v2: v2("pids.current", plain), v1: v1("pids", "pids.current", plain) },
];

/// One cgroup: by column the files that are there, v2 first.
struct Cgroup {
    key: u64,
    files: Vec<(usize, KeptFile, Parse)>,
}

impl HoldsSeries for Cgroup {
    fn each(&self, _f: &mut dyn FnMut(SeriesId)) {}
}

struct UnitTable {
    /// Where v2 is mounted, and by column the v1 hierarchy.
    unified: Option<PathBuf>,
    hierarchies: [Option<PathBuf>; COLUMNS.len()],
    cgroups: Seen<Cgroup>,
    next_key: u64,
    search_ms: TimeMs,
    descriptors_max: usize,
    buffer: Vec<u8>,
    table: TableTick,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let root = env.roots.sysfs.join("fs/cgroup");
    let unified = [root.clone(), root.join("unified")].into_iter().find(|path| is_unified(path));
    let hierarchies = COLUMNS.each_ref().map(|column| {
        let path = root.join(column.v1.as_ref()?.hierarchy);
        path.is_dir().then_some(path)
    });
    if unified.is_none() && hierarchies.iter().all(Option::is_none) {
        return Err(CollectError::NoData(format!("no cgroups in {}", root.display())));
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Ok(Box::new(UnitTable {
        unified,
        hierarchies,
        cgroups: Seen::default(),
        next_key: 1,
        search_ms: TimeMs::MIN,
        descriptors_max: usize::try_from(limit / DESCRIPTOR_SHARE).unwrap_or(usize::MAX),
        buffer: Vec::new(),
        table: TableTick { kind: TableKind::Units, time_ms: 0, entities: Vec::new(), rows: Vec::new() },
    }))
}

fn is_unified(path: &Path) -> bool {
    path.join("cgroup.controllers").exists()
}

impl Collector for UnitTable {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let time_ms = tick.time_ms();
        self.table.time_ms = time_ms;
        self.table.entities.clear();
        // A clock that was set back must not put the search off.
        if time_ms >= self.search_ms || time_ms < self.search_ms - SEARCH_MS {
            self.search(tick);
            self.search_ms = time_ms.saturating_add(SEARCH_MS);
        }
        self.read_all();
        Ok(())
    }

    fn table(&self) -> Option<&TableTick> {
        Some(&self.table)
    }
}

impl UnitTable {
    /// Finds the cgroups of all hierarchies, those nearest to the root first.
    fn search(&mut self, tick: &Tick) {
        let is_first = self.cgroups.is_empty();
        let start_ms = if is_first { 0 } else { tick.time_ms() };
        self.cgroups.begin();
        let mut level = vec![PathBuf::new()];
        let mut left = UNITS_MAX;
        while !level.is_empty() && left > 0 {
            level.truncate(left);
            left -= level.len();
            for path in &level {
                self.follow(path, start_ms);
            }
            level = level.iter().flat_map(|path| self.within(path)).collect();
        }
        self.cgroups.end(tick);
    }

    fn follow(&mut self, path: &Path, start_ms: TimeMs) {
        let Self { unified, hierarchies, cgroups, next_key, table, .. } = self;
        cgroups.get(path.as_os_str().as_bytes(), || {
            let key = *next_key;
            *next_key += 1;
            table.entities.push((key, entity(path, start_ms)));
            let files = COLUMNS.iter().zip(hierarchies).enumerate();
            let files = files.filter_map(|(at, (column, hierarchy))| {
                let new = unified.as_ref().map(|root| (root, &column.v2));
                let old = hierarchy.as_ref().zip(column.v1.as_ref());
                let mut found = [new, old].into_iter().flatten();
                found.find_map(|(root, source)| {
                    let file = root.join(path).join(source.file);
                    file.exists().then(|| (at, KeptFile::new(file), source.parse))
                })
            });
            Cgroup { key, files: files.collect() }
        });
    }

    /// The cgroups right within this one, of whichever hierarchy, sorted.
    fn within(&self, path: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in self.unified.iter().chain(self.hierarchies.iter().flatten()) {
            let Ok(entries) = fs::read_dir(root.join(path)) else { continue };
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            found.extend(folders.map(|entry| path.join(entry.file_name())));
        }
        found.sort();
        found.dedup();
        found
    }

    fn read_all(&mut self) {
        let mut descriptors = 0;
        self.table.rows.clear();
        for (_, cgroup) in self.cgroups.iter_mut() {
            let mut values = [UNKNOWN; 8];
            for (at, file, parse) in &mut cgroup.files {
                let column = &COLUMNS[*at];
                if file.read(&mut self.buffer).is_ok() {
                    parse(&self.buffer, &mut values[column.first..column.first + column.count]);
                }
                descriptors += 1;
                if descriptors > self.descriptors_max {
                    file.close();
                }
            }
            // One that cannot be read any more is gone, though the next search will only tell.
            if values != [UNKNOWN; 8] {
                self.table.rows.push(EntityRow { key: cgroup.key, values });
            }
        }
    }
}

fn entity(path: &Path, start_ms: TimeMs) -> Entity {
    let whole = format!("/{}", label(path.as_os_str().as_bytes()));
    let name = path.file_name().map_or("/".into(), |name| label(name.as_bytes()).into_owned());
    Entity {
        pid: 0,
        start_ms,
        name,
        command: whole,
        unit: String::new(),
        group: String::new(),
        uid: 0,
        parent: 0,
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A file that holds one number.
fn plain(text: &[u8], values: &mut [i64]) {
    if let Some(value) = number(text.trim_ascii()) {
        values[0] = signed(value);
    }
}

/// v2's cpu.stat, microseconds.
fn cpu_stat(text: &[u8], values: &mut [i64]) {
    if let Some(line) = lines(text).find_map(|line| line.strip_prefix(b"usage_usec ")) {
        plain(line, values);
    }
}

/// v1's cpuacct.usage, nanoseconds.
fn cpuacct(text: &[u8], values: &mut [i64]) {
    if let Some(value) = number(text.trim_ascii()) {
        values[0] = signed(value / 1000);
    }
}

/// v2's io.stat: a line for each device, `8:0 rbytes=1 wbytes=2 ...`. Without traffic it is empty.
fn io_stat(text: &[u8], values: &mut [i64]) {
    let sum = |name: &[u8]| {
        let parts = lines(text).flat_map(fields);
        let numbers = parts.filter_map(|part| split_once(part, b'=').filter(|(key, _)| *key == name));
        numbers.filter_map(|(_, value)| number(value)).fold(0, u64::saturating_add)
    };
    values[0] = signed(sum(b"rbytes"));
    values[1] = signed(sum(b"wbytes"));
}

/// v1's blkio.throttle.io_service_bytes: lines `8:0 Read 1`, and a total.
fn io_service(text: &[u8], values: &mut [i64]) {
    let sum = |name: &[u8]| {
        let numbers = lines(text).filter_map(|line| {
            let mut parts = fields(line);
            (parts.nth(1) == Some(name)).then(|| parts.next().and_then(number)).flatten()
        });
        numbers.fold(0, u64::saturating_add)
    };
    values[0] = signed(sum(b"Read"));
    values[1] = signed(sum(b"Write"));
}

/// Stalled time of some of the tasks, microseconds: `some avg10=0.00 ... total=12`.
fn pressure(text: &[u8], values: &mut [i64]) {
    let some = lines(text).find(|line| line.starts_with(b"some "));
    if let Some(total) = some.and_then(|line| fields(line).find_map(|part| part.strip_prefix(b"total="))) {
        plain(total, values);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::testing::{Bench, write};

    fn rows(bench: &Bench) -> Vec<(u64, [i64; 8])> {
        let table = bench.collector().table().unwrap();
        table.rows.iter().map(|row| (row.key, row.values)).collect()
    }

    #[test]
    fn units_of_cgroup_v2_come_and_go() {
        let tree = tempfile::tempdir().unwrap();
        let root = "sys/fs/cgroup";
        let file = |path: &str, text: &str| write(tree.path(), &format!("{root}/{path}"), text);
        file("cgroup.controllers", "cpu io memory pids\n");
        file("cpu.stat", "usage_usec 900\nuser_usec 1\n");
        file("a.service/cpu.stat", "usage_usec 500\n");
        file("a.service/memory.current", "4096\n");
        file("a.service/io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n");
        file("a.service/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull total=1\n");
        file("a.service/pids.current", "3\n");
        let mut bench = Bench::new(tree.path(), build, &Config::default()).unwrap();
        bench.pass(0).unwrap();
        let service = [500, 4096, 11, 22, 77, -1, -1, 3];
        assert_eq!(rows(&bench), [(1, [900, -1, -1, -1, -1, -1, -1, -1]), (2, service)]);
        let entities = &bench.collector().table().unwrap().entities;
        assert_eq!(
            (entities[1].1.name.as_str(), entities[1].1.command.as_str()),
            ("a.service", "/a.service")
        );

        file("b.service/pids.current", "1\n");
        bench.pass(5_000).unwrap();
        assert_eq!(rows(&bench).len(), 2);
        bench.pass(SEARCH_MS).unwrap();
        assert_eq!(rows(&bench).len(), 3);
        assert_eq!(bench.collector().table().unwrap().entities[0].1.start_ms, SEARCH_MS);

        fs::remove_dir_all(tree.path().join(root).join("a.service")).unwrap();
        bench.pass(3 * SEARCH_MS).unwrap();
        assert_eq!(rows(&bench).iter().map(|row| row.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn what_v2_does_not_control_is_read_from_v1() {
        let tree = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| write(tree.path(), &format!("sys/fs/cgroup/{path}"), text);
        file("unified/cgroup.controllers", "\n");
        file("unified/x/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
        file("cpuacct/x/cpuacct.usage", "7000\n");
        file("memory/x/memory.usage_in_bytes", "8192\n");
        file(
            "blkio/x/blkio.throttle.io_service_bytes",
            "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
        );
        file("pids/x/pids.current", "2\n");
        let mut bench = Bench::new(tree.path(), build, &Config::default()).unwrap();
        bench.pass(0).unwrap();
        assert_eq!(rows(&bench), [(2, [7, 8192, 10, 20, 5, -1, -1, 2])]);
    }

    #[test]
    fn deepest_units_are_left_out_when_there_are_too_many() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "sys/fs/cgroup/cgroup.controllers", "");
        write(tree.path(), "sys/fs/cgroup/z/deep/pids.current", "1\n");
        for number in 0..UNITS_MAX - 2 {
            write(tree.path(), &format!("sys/fs/cgroup/u{number}/pids.current"), "1\n");
        }
        let mut bench = Bench::new(tree.path(), build, &Config::default()).unwrap();
        bench.pass(0).unwrap();
        let table = bench.collector().table().unwrap();
        assert_eq!(table.entities.len(), UNITS_MAX);
        assert!(table.entities.iter().all(|(_, entity)| entity.command != "/z/deep"));
    }

    #[test]
    fn machine_without_cgroups_has_nothing_to_measure() {
        let tree = tempfile::tempdir().unwrap();
        let error = Bench::new(tree.path(), build, &Config::default()).err().unwrap();
        assert!(error.is_no_data());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for column in &COLUMNS {
                let mut values = [UNKNOWN; 2];
                (column.v2.parse)(&bytes, &mut values[..column.count]);
                if let Some(source) = &column.v1 {
                    (source.parse)(&bytes, &mut values[..column.count]);
                }
            }
        }
    }
}
