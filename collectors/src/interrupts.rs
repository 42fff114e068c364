//! Interrupts by line and core, from /proc/interrupts.

use fieldpost_model::{Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::filter::Filter;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, label, lines, number, split_once};

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Only lines whose `name;info;devices` matches.
    pub name_include: Option<Pattern>,
    /// No lines whose `name;info;devices` matches.
    pub name_exclude: Option<Pattern>,
    /// Gives counters that are zero, too.
    pub include_zeros: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: None, interval: None, name_include: None, name_exclude: None, include_zeros: true }
    }
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Interrupts {
    file: KeptFile,
    buffer: Vec<u8>,
    key: Vec<u8>,
    filter: Filter,
    include_zeros: bool,
    seen: Seen<Option<Vec<SeriesId>>>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.interrupts;
    let filter = Filter::new("name", config.name_include.as_ref(), config.name_exclude.as_ref(), "")?;
    Ok(Box::new(Interrupts {
        file: KeptFile::new(env.roots.procfs.join("interrupts")),
        buffer: Vec::new(),
        key: Vec::new(),
        filter,
        include_zeros: config.include_zeros,
        seen: Seen::default(),
    }))
}

impl Collector for Interrupts {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        let mut lines = lines(text);
        let header = lines.next().ok_or_else(|| CollectError::parse(self.file.path(), "it is empty"))?;
        let n_cpus = fields(header).count();
        self.seen.begin();
        for line in lines.filter_map(|line| parse(line, n_cpus)) {
            // The same number may be given to another device later.
            self.key.clear();
            self.key.extend_from_slice(line.name);
            self.key.push(0);
            self.key.extend_from_slice(line.details);
            let make = || series(tick, &self.filter, &line, n_cpus);
            let Some(ids) = self.seen.get(&self.key, make) else { continue };
            for (id, count) in ids.iter().zip(fields(line.counts).map_while(number)) {
                if count != 0 || self.include_zeros {
                    tick.set(*id, count as f64);
                }
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

/// The series of a line, one for each core; none if the filter leaves it out.
fn series(tick: &Tick, filter: &Filter, line: &Line<'_>, n_cpus: usize) -> Option<Vec<SeriesId>> {
    let mut words = fields(line.details).map(label);
    // Numbered lines name the chip first and the devices then; the others have one description.
    let info = if number(line.name).is_some() {
        words.next().unwrap_or_default().into_owned()
    } else {
        String::new()
    };
    let rest = words.collect::<Vec<_>>().join(" ");
    let (info, devices) = if number(line.name).is_some() { (info, rest) } else { (rest, String::new()) };
    let name = label(line.name);
    if !filter.allows(&format!("{name};{info};{devices}")) {
        return None;
    }
    let of_cpu = |cpu: usize| {
        let labels = [("cpu", &*cpu.to_string()), ("devices", &devices), ("info", &info), ("type", &name)];
        tick.counter("node_interrupts_total", "Interrupt details.", &labels)
    };
    Some((0..n_cpus).map(of_cpu).collect())
}

/// A line of /proc/interrupts.
struct Line<'a> {
    name: &'a [u8],
    counts: &'a [u8],
    details: &'a [u8],
}

/// A line `0:  18 0 IR-IO-APIC-edge timer`. On ARM no blank may stand between the name and the
/// first count. Lines without details (ERR, MIS) count for no core and are left out.
fn parse(line: &[u8], n_cpus: usize) -> Option<Line<'_>> {
    let (name, rest) = split_once(line, b':')?;
    let mut details = rest;
    for _ in 0..n_cpus {
        details = details.trim_ascii_start();
        let end = details.iter().position(u8::is_ascii_whitespace)?;
        details = &details[end..];
    }
    let counts = &rest[..rest.len() - details.len()];
    let details = details.trim_ascii();
    (!details.is_empty()).then_some(Line { name: name.trim_ascii(), counts, details })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const INTERRUPTS: &str = "           CPU0       CPU1\n\
        \x20 0:         18          0  IR-IO-APIC-edge      timer\n\
        \x20 9:         18          0  IR-IO-APIC   9-fasteoi   acpi, other\n\
        NMI:         47       5031   Non-maskable interrupts\nERR:          0\nMIS:          0\n";

    #[test]
    fn lines_are_given_by_core() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/interrupts", INTERRUPTS);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                r#"node_interrupts_total{cpu="0",devices="",info="Non-maskable interrupts",type="NMI"} 47"#,
                r#"node_interrupts_total{cpu="0",devices="9-fasteoi acpi, other",info="IR-IO-APIC",type="9"} 18"#,
                r#"node_interrupts_total{cpu="0",devices="timer",info="IR-IO-APIC-edge",type="0"} 18"#,
                r#"node_interrupts_total{cpu="1",devices="",info="Non-maskable interrupts",type="NMI"} 5031"#,
                r#"node_interrupts_total{cpu="1",devices="9-fasteoi acpi, other",info="IR-IO-APIC",type="9"} 0"#,
                r#"node_interrupts_total{cpu="1",devices="timer",info="IR-IO-APIC-edge",type="0"} 0"#,
            ]
        );
    }

    #[test]
    fn filter_and_zeros_are_followed() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/interrupts", INTERRUPTS);
        let mut config = crate::Config::default();
        config.interrupts.include_zeros = false;
        config.interrupts.name_exclude = Some(Pattern::unanchored("^NMI;|;acpi|other$").unwrap());
        let page = Bench::new(tree.path(), build, &config).unwrap().pass(0).unwrap();
        assert_eq!(page.len(), 1, "{page:?}");
        config.interrupts.name_include = Some(Pattern::unanchored("x").unwrap());
        assert!(Bench::new(tree.path(), build, &config).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64), n_cpus in 0_usize..5) {
            let _ = parse(&line, n_cpus);
        }
    }
}
