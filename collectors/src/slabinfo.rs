//! The kernel's object caches, from /proc/slabinfo, which only root may read.

use fieldpost_model::{Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, label, lines, number};

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Only caches that match; unset: all.
    pub slabs_include: Option<Pattern>,
    /// No caches that match.
    pub slabs_exclude: Option<Pattern>,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }

    fn wants(&self, name: &str) -> bool {
        !self.slabs_exclude.as_ref().is_some_and(|pattern| pattern.is_match(name))
            && self.slabs_include.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

struct Slabinfo {
    file: KeptFile,
    buffer: Vec<u8>,
    config: Config,
    seen: Seen<[SeriesId; 5]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Slabinfo {
        file: KeptFile::new(env.roots.procfs.join("slabinfo")),
        buffer: Vec::new(),
        config: env.config.slabinfo.clone(),
        seen: Seen::default(),
    }))
}

impl Collector for Slabinfo {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for line in lines(text).filter(|line| !line.starts_with(b"#") && !line.starts_with(b"slabinfo - ")) {
            let (name, numbers) = parse(line).ok_or_else(|| {
                CollectError::parse(self.file.path(), "a line has not the form of version 2.1")
            })?;
            let ids = *self.seen.get(name, || series(tick, &self.config, name));
            for (id, value) in ids.iter().zip(numbers) {
                tick.set(*id, value as f64);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, config: &Config, name: &[u8]) -> [SeriesId; 5] {
    let slab = label(name);
    if !config.wants(&slab) {
        return [SeriesId::NONE; 5];
    }
    let gauge = |name, help| tick.gauge(name, help, &[("slab", &slab)]);
    [
        gauge(
            "node_slabinfo_active_objects",
            "The number of objects that are currently active (i.e., in use).",
        ),
        gauge(
            "node_slabinfo_objects",
            "The total number of allocated objects (i.e., objects that are both in use and not in use).",
        ),
        gauge("node_slabinfo_object_size_bytes", "The size of objects in this slab, in bytes."),
        gauge("node_slabinfo_objects_per_slab", "The number of objects stored in each slab."),
        gauge("node_slabinfo_pages_per_slab", "The number of pages allocated for each slab."),
    ]
}

/// A line of /proc/slabinfo version 2.1: a name and its first five numbers.
fn parse(line: &[u8]) -> Option<(&[u8], [u64; 5])> {
    let mut fields = fields(line);
    let name = fields.next()?;
    let mut numbers = [0; 5];
    for value in &mut numbers {
        *value = number(fields.next()?)?;
    }
    Some((name, numbers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const SLABINFO: &str = "slabinfo - version: 2.1\n# name <active_objs> <num_objs>\n\
        tw_sock_TCP  704 864 256 32 2 : tunables 0 0 0 : slabdata 27 27 0\n\
        kmalloc-8192 132 148 8192 4 8 : tunables 0 0 0 : slabdata 37 37 0\n";

    #[test]
    fn wanted_caches_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/slabinfo", SLABINFO);
        let mut config = crate::Config::default();
        config.slabinfo.slabs_exclude = Some(Pattern::unanchored("^kmalloc").unwrap());
        let page = Bench::new(tree.path(), build, &config).unwrap().pass(0).unwrap();
        assert_eq!(
            page,
            [
                r#"node_slabinfo_active_objects{slab="tw_sock_TCP"} 704"#,
                r#"node_slabinfo_object_size_bytes{slab="tw_sock_TCP"} 256"#,
                r#"node_slabinfo_objects_per_slab{slab="tw_sock_TCP"} 32"#,
                r#"node_slabinfo_objects{slab="tw_sock_TCP"} 864"#,
                r#"node_slabinfo_pages_per_slab{slab="tw_sock_TCP"} 2"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
