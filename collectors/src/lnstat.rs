//! Neighbour and routing cache counters, from the files of /proc/net/stat: a line of names, and a
//! line of hexadecimal numbers for each CPU.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fieldpost_model::{SeriesId, Tick};

use crate::attributes::KeptFolder;
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, hex, is_name, label, lines};

/// Settings.
pub type Config = Common;

struct Lnstat {
    folder: KeptFolder,
    tables: Seen<Table>,
    buffer: Vec<u8>,
}

/// A file, the line of names in it, and the series of each CPU's line.
struct Table {
    file: KeptFile,
    names: Vec<u8>,
    cpus: Vec<Vec<SeriesId>>,
}

impl HoldsSeries for Table {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.cpus.iter().for_each(|ids| ids.each(f));
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = KeptFolder::new(env.roots.procfs.join("net/stat"));
    Ok(Box::new(Lnstat { folder, tables: Seen::default(), buffer: Vec::new() }))
}

impl Collector for Lnstat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { folder, tables, buffer } = self;
        let path = folder.path().to_owned();
        tables.begin();
        folder.each(|entry| {
            tables.get(entry.name, || Table::new(&path, entry.name));
        })?;
        tables.end(tick);
        for (name, table) in tables.iter_mut() {
            table.record(name, buffer, tick)?;
        }
        Ok(())
    }
}

impl Table {
    fn new(folder: &Path, name: &[u8]) -> Self {
        let file = KeptFile::new(folder.join(OsStr::from_bytes(name)));
        Self { file, names: Vec::new(), cpus: Vec::new() }
    }

    /// A file that has gone since the folder was listed gives nothing.
    fn record(
        &mut self,
        subsystem: &[u8],
        buffer: &mut Vec<u8>,
        tick: &mut Tick,
    ) -> Result<(), CollectError> {
        let text = match self.file.collect(buffer) {
            Err(error) if error.is_no_data() => return Ok(()),
            result => result?,
        };
        let mut rows = lines(text);
        let names = rows.next().unwrap_or_default();
        if self.names != names {
            self.each(&mut |id| tick.retire(id));
            names.clone_into(&mut self.names);
            self.cpus.clear();
        }
        let mut n_cpus = 0;
        for row in rows {
            if n_cpus == self.cpus.len() {
                self.cpus.push(series(subsystem, &self.names, n_cpus, tick));
            }
            for (id, value) in self.cpus[n_cpus].iter().zip(fields(row).map_while(hex)) {
                tick.set(*id, value as f64);
            }
            n_cpus += 1;
        }
        for gone in self.cpus.drain(n_cpus..) {
            gone.each(&mut |id| tick.retire(id));
        }
        Ok(())
    }
}

/// The series of one CPU's line, in the order of the names.
fn series(subsystem: &[u8], names: &[u8], cpu: usize, tick: &Tick) -> Vec<SeriesId> {
    let (subsystem, cpu) = (label(subsystem), cpu.to_string());
    let labels = [("cpu", &*cpu), ("subsystem", &*subsystem)];
    let counter = |name| match is_name(name) {
        true => {
            tick.counter(&format!("node_lnstat_{}_total", label(name)), "linux network cache stats", &labels)
        }
        false => SeriesId::NONE,
    };
    fields(names).map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, write};

    #[test]
    fn counters_by_cpu_of_every_file() {
        let tree = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert!(bench.pass(0).unwrap_err().is_no_data());
        write(tree.path(), "proc/net/stat/arp_cache", "entries  lookups\n00000014  0000000a\n00000014  ff\n");
        write(tree.path(), "proc/net/stat/empty", "");
        let expected = [
            "node_lnstat_entries_total{cpu=\"0\",subsystem=\"arp_cache\"} 20",
            "node_lnstat_entries_total{cpu=\"1\",subsystem=\"arp_cache\"} 20",
            "node_lnstat_lookups_total{cpu=\"0\",subsystem=\"arp_cache\"} 10",
            "node_lnstat_lookups_total{cpu=\"1\",subsystem=\"arp_cache\"} 255",
        ];
        assert_eq!(bench.pass(1000).unwrap(), expected);
        assert_eq!(bench.pass(2000).unwrap(), expected);
    }

    #[test]
    fn name_that_no_metric_can_have_is_left_out() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/stat/rt_cache", "entries h\"itsé last\n1 2 3\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let subsystem = "{cpu=\"0\",subsystem=\"rt_cache\"}";
        let expected = [
            format!("node_lnstat_entries_total{subsystem} 1"),
            format!("node_lnstat_last_total{subsystem} 3"),
        ];
        assert_eq!(bench.pass(1000).unwrap(), expected);
    }

    #[test]
    fn cpu_that_goes_and_names_that_change() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/stat/rt_cache", "entries hits\n1 2\n3 4\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(bench.pass(1000).unwrap().len(), 4);
        write(tree.path(), "proc/net/stat/rt_cache", "entries new hits\n1 9 zz\n");
        let lines = bench.pass(2000).unwrap();
        bench.catalog.sweep();
        bench.catalog.sweep();
        assert_eq!(lines, bench.pass(3000).unwrap());
        assert_eq!(lines.len(), 2);
        assert_eq!(bench.catalog.read().iter().count(), 3);
    }
}
