//! ZFS: the counters of ARC and friends, of pools and of datasets, from /proc/spl/kstat/zfs.

use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::{KeptFile, list};
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number, parse};

/// Files of counters of the whole machine: prefix of the families, file.
const KSTATS: [(&str, &str); 11] = [
    ("node_zfs_abd", "abdstats"),
    ("node_zfs_arc", "arcstats"),
    ("node_zfs_dbuf", "dbufstats"),
    ("node_zfs_dmu_tx", "dmu_tx"),
    ("node_zfs_dnode", "dnodestats"),
    ("node_zfs_fm", "fm"),
    ("node_zfs_vdev_cache", "vdev_cache_stats"),
    ("node_zfs_vdev_mirror", "vdev_mirror_stats"),
    ("node_zfs_xuio", "xuio_stats"),
    ("node_zfs_zfetch", "zfetchstats"),
    ("node_zfs_zil", "zil"),
];

/// What a pool may be, as the file `state` has it in capitals.
const POOL_STATES: [&str; 7] =
    ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

/// Settings.
pub type Config = Common;

struct Zfs {
    folder: PathBuf,
    buffer: Vec<u8>,
    kstats: Vec<(KeptFile, Counters)>,
    pools: Seen<Pool>,
    datasets: Seen<Counters>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.procfs.join("spl/kstat/zfs");
    let kstat = |(prefix, file): &(&'static str, &str)| {
        let counters = Counters { prefix, help: format!("kstat.zfs.misc.{file}"), ..Counters::default() };
        (KeptFile::new(folder.join(file)), counters)
    };
    let kstats = KSTATS.iter().map(kstat).collect();
    Ok(Box::new(Zfs {
        folder,
        buffer: Vec::new(),
        kstats,
        pools: Seen::default(),
        datasets: Seen::default(),
    }))
}

impl Collector for Zfs {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let names = list(&self.folder).map_err(|error| CollectError::read(&self.folder, error))?;
        for (file, counters) in &mut self.kstats {
            // Files come with features of ZFS: one that is missing is not missed.
            if file.read(&mut self.buffer).is_ok() {
                counters.record(kstat_lines(&self.buffer), &[], tick);
            }
        }
        self.pools.begin();
        self.datasets.begin();
        for pool in names {
            self.collect_pool(&label(pool.as_encoded_bytes()), &self.folder.join(&pool), tick);
        }
        self.pools.end(tick);
        self.datasets.end(tick);
        Ok(())
    }
}

impl Zfs {
    /// A folder is a pool. It may go while it is read: what cannot be read is left out.
    fn collect_pool(&mut self, name: &str, folder: &Path, tick: &mut Tick) {
        let Ok(files) = list(folder) else { return };
        let pool = self.pools.get(name.as_bytes(), Pool::default);
        // Thousands of datasets would need as many descriptors: these files are not kept open.
        if KeptFile::new(folder.join("io")).read(&mut self.buffer).is_ok() {
            pool.io.record(io_pairs(&self.buffer), &[("zpool", name)], tick);
        }
        if KeptFile::new(folder.join("state")).read(&mut self.buffer).is_ok() {
            pool.record_state(name, &self.buffer, tick);
        }
        for file in files.iter().filter(|file| file.as_encoded_bytes().starts_with(b"objset-")) {
            if KeptFile::new(folder.join(file)).read(&mut self.buffer).is_ok() {
                record_dataset(name, &self.buffer, &mut self.datasets, tick);
            }
        }
    }
}

fn record_dataset(pool: &str, text: &[u8], datasets: &mut Seen<Counters>, tick: &mut Tick) {
    let Some(dataset) = dataset_name(text) else { return };
    let key = [pool.as_bytes(), dataset].join(&0);
    let counters = datasets.get(&key, || Counters {
        prefix: "node_zfs_zpool_dataset",
        help: "kstat.zfs.misc.objset".into(),
        ..Counters::default()
    });
    counters.record(kstat_lines(text), &[("dataset", &label(dataset)), ("zpool", pool)], tick);
}

/// Counters of one file, whose names the file itself brings along.
#[derive(Default)]
struct Counters {
    prefix: &'static str,
    help: String,
    ids: Seen<SeriesId>,
}

impl HoldsSeries for Counters {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.ids.iter().for_each(|(_, id)| f(*id));
    }
}

impl Counters {
    fn record<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], f64)>,
        labels: &[(&str, &str)],
        tick: &mut Tick,
    ) {
        self.ids.begin();
        for (name, value) in pairs {
            let (prefix, help) = (self.prefix, &self.help);
            let id = *self.ids.get(name, || {
                let name = label(name);
                let last = name.rsplit('.').next().unwrap_or_default().replace('-', "_");
                tick.untyped(&format!("{prefix}_{last}"), &format!("{help}.{name}"), labels)
            });
            tick.set(id, value);
        }
        self.ids.end(tick);
    }
}

/// A pool's own series.
struct Pool {
    io: Counters,
    states: Vec<SeriesId>,
}

impl Default for Pool {
    fn default() -> Self {
        let io =
            Counters { prefix: "node_zfs_zpool", help: "kstat.zfs.misc.io".into(), ..Counters::default() };
        Self { io, states: Vec::new() }
    }
}

impl HoldsSeries for Pool {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.io.each(f);
        self.states.each(f);
    }
}

impl Pool {
    fn record_state(&mut self, name: &str, text: &[u8], tick: &mut Tick) {
        if self.states.is_empty() {
            let state = |state: &&str| {
                let labels = [("state", *state), ("zpool", name)];
                tick.gauge("node_zfs_zpool_state", "kstat.zfs.misc.state", &labels)
            };
            self.states = POOL_STATES.iter().map(state).collect();
        }
        for (id, state) in self.states.iter().zip(POOL_STATES) {
            let is = text.trim_ascii().eq_ignore_ascii_case(state.as_bytes());
            tick.set(*id, f64::from(u8::from(is)));
        }
    }
}

/// May this be part of a metric's name?
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Lines `name type value` below the line `name type data`. Types 3 and 4 are signed and unsigned
/// 64-bit numbers (`sys/kstat.h`); others are passed over.
fn kstat_lines(text: &[u8]) -> impl Iterator<Item = (&[u8], f64)> {
    below_header(text).filter_map(|line| {
        let mut words = fields(line);
        let (name, kind, data) = (words.next()?, words.next()?, words.next()?);
        let value = match kind {
            b"4" => number(data)? as f64,
            b"3" => parse::<i64>(data)? as f64,
            _ => return None,
        };
        is_name(name).then_some((name, value))
    })
}

fn below_header(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let header: [&[u8]; 3] = [b"name", b"type", b"data"];
    lines(text).skip_while(move |line| !fields(line).eq(header)).skip(1)
}

/// `dataset_name 7 pool/data set`: everything after the type, for names may have blanks in them.
fn dataset_name(text: &[u8]) -> Option<&[u8]> {
    let line = below_header(text).find(|line| fields(line).next() == Some(b"dataset_name"))?;
    let rest = line.trim_ascii_start().strip_prefix(b"dataset_name")?.trim_ascii_start();
    let name = rest.strip_prefix(fields(rest).next()?)?.trim_ascii();
    (!name.is_empty()).then_some(name)
}

/// The file `io`: a line of names, a line of numbers.
fn io_pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], f64)> {
    let mut rest = lines(text).skip_while(|line| fields(line).next() != Some(b"nread"));
    let (names, values) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
    let pairs = fields(names).zip(fields(values).map(number));
    pairs.filter_map(|(name, value)| Some((name, value? as f64))).filter(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const OBJSET: &str = "30 1 0x01 7 2160 217993779684 2621674546179\n\
        name                            type data\n\
        dataset_name                    7    tank/data  set\n\
        writes                          4    7\n\
        nread                           4    x\n";

    #[test]
    fn counters_are_named_by_the_file() {
        let tree = tempfile::tempdir().unwrap();
        let text = "6 1 0x01 91 4368 5 9\nname type data\nhits 4 8772612\nmemory_available_bytes 3 -922337203\nerpt-dropped 4 18\nflag 1 3\n";
        write(tree.path(), "proc/spl/kstat/zfs/arcstats", text);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_zfs_arc_erpt_dropped 18",
                "node_zfs_arc_hits 8772612",
                "node_zfs_arc_memory_available_bytes -922337203",
            ]
        );
    }

    #[test]
    fn pool_has_state_io_and_datasets_and_goes_whole() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/spl/kstat/zfs/tank/state", "DEGRADED\n");
        write(tree.path(), "proc/spl/kstat/zfs/tank/io", "12 3 0\nnread nwritten reads\n188 320 22\n");
        write(tree.path(), "proc/spl/kstat/zfs/tank/objset-0x36", OBJSET);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let page = bench.pass(1).unwrap();
        for line in [
            "node_zfs_zpool_state{state=\"degraded\",zpool=\"tank\"} 1",
            "node_zfs_zpool_state{state=\"online\",zpool=\"tank\"} 0",
            "node_zfs_zpool_nwritten{zpool=\"tank\"} 320",
            "node_zfs_zpool_dataset_writes{dataset=\"tank/data  set\",zpool=\"tank\"} 7",
        ] {
            assert!(page.iter().any(|other| other == line), "{line}");
        }
        assert_eq!(page.len(), 7 + 3 + 1);
        std::fs::remove_dir_all(tree.path().join("proc/spl/kstat/zfs/tank")).unwrap();
        assert!(bench.pass(2).unwrap().is_empty());
        bench.catalog.sweep();
        bench.catalog.sweep();
        assert_eq!(bench.catalog.read().iter().count(), 0);
    }

    #[test]
    fn machine_without_zfs_has_no_data() {
        assert!(page(tempfile::tempdir().unwrap().path(), build).unwrap_err().is_no_data());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [b"name type data\ndataset_name 7".as_slice(), &text].concat();
            kstat_lines(&text).for_each(drop);
            io_pairs(&text).for_each(drop);
            dataset_name(&text);
        }

        #[test]
        fn truncated_file_is_survived(length in 0..OBJSET.len()) {
            let text = &OBJSET.as_bytes()[..length];
            prop_assert!(kstat_lines(text).count() <= 1);
            dataset_name(text);
        }
    }
}
