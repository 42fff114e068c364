//! Counters of virtual memory, from /proc/vmstat.

use fieldpost_model::{Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, float, is_name, lines};

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Which fields to give.
    pub fields: Pattern,
}

impl Default for Config {
    fn default() -> Self {
        let fields = Pattern::unanchored("^(oom_kill|pgpg|pswp|pg.*fault).*")
            .expect("the pattern is a literal that a test compiles");
        Self { enabled: None, interval: None, fields }
    }
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Vmstat {
    file: KeptFile,
    buffer: Vec<u8>,
    wanted: Pattern,
    seen: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Vmstat {
        file: KeptFile::new(env.roots.procfs.join("vmstat")),
        buffer: Vec::new(),
        wanted: env.config.vmstat.fields.clone(),
        seen: Seen::default(),
    }))
}

impl Collector for Vmstat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for (name, value) in lines(text).filter_map(parse) {
            let id = *self.seen.get(name, || series(tick, &self.wanted, name));
            if id != SeriesId::NONE
                && let Some(value) = float(value)
            {
                tick.set(id, value);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, wanted: &Pattern, name: &[u8]) -> SeriesId {
    match std::str::from_utf8(name) {
        Ok(field) if is_name(name) && wanted.is_match(field) => tick.untyped(
            &format!("node_vmstat_{field}"),
            &format!("/proc/vmstat information field {field}."),
            &[],
        ),
        _ => SeriesId::NONE,
    }
}

/// A line `name value` of /proc/vmstat. The number is read only if somebody wants it.
fn parse(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = fields(line);
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const VMSTAT: &str =
        "nr_free_pages 977769\npgpgin 7344136\npswpin 1476\noom_kill 0\npgfault 2.5\npgmajfault x\n";

    #[test]
    fn wanted_fields_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/vmstat", VMSTAT);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_vmstat_oom_kill 0",
                "node_vmstat_pgfault 2.5",
                "node_vmstat_pgpgin 7344136",
                "node_vmstat_pswpin 1476"
            ]
        );
        let mut config = crate::Config::default();
        config.vmstat.fields = Pattern::unanchored("free").unwrap();
        let page = Bench::new(tree.path(), build, &config).unwrap().pass(0).unwrap();
        assert_eq!(page, ["node_vmstat_nr_free_pages 977769"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
