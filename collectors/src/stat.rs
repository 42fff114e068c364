//! Interrupts, forks, context switches, boot time, from /proc/stat.

use fieldpost_model::{Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::text::{fields, lines, number};

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Gives `node_softirqs_total` by vector.
    pub softirq: bool,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

/// Soft interrupts in the order of the file.
const VECTORS: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu"];

struct Stat {
    file: KeptFile,
    buffer: Vec<u8>,
    interrupts: SeriesId,
    context_switches: SeriesId,
    forks: SeriesId,
    boot_time: SeriesId,
    running: SeriesId,
    blocked: SeriesId,
    softirqs: Vec<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let counter = |name, help| env.tick.counter(name, help, &[]);
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    let softirq = |vector: &&str| {
        env.tick.counter("node_softirqs_total", "Number of softirq calls.", &[("vector", *vector)])
    };
    Ok(Box::new(Stat {
        file: KeptFile::new(env.roots.procfs.join("stat")),
        buffer: Vec::new(),
        interrupts: counter("node_intr_total", "Total number of interrupts serviced."),
        context_switches: counter("node_context_switches_total", "Total number of context switches."),
        forks: counter("node_forks_total", "Total number of forks."),
        boot_time: gauge("node_boot_time_seconds", "Node boot time, in unixtime."),
        running: gauge("node_procs_running", "Number of processes in runnable state."),
        blocked: gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete."),
        softirqs: VECTORS.iter().filter(|_| env.config.stat.softirq).map(softirq).collect(),
    }))
}

impl Collector for Stat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        for (name, first, rest) in lines(text).filter_map(parse) {
            let id = match name {
                b"intr" => self.interrupts,
                b"ctxt" => self.context_switches,
                b"processes" => self.forks,
                b"btime" => self.boot_time,
                b"procs_running" => self.running,
                b"procs_blocked" => self.blocked,
                b"softirq" => {
                    for (id, value) in self.softirqs.iter().zip(fields(rest).map_while(number)) {
                        tick.set(*id, value as f64);
                    }
                    continue;
                }
                _ => continue,
            };
            tick.set(id, first as f64);
        }
        match tick.samples().is_empty() {
            true => Err(CollectError::parse(self.file.path(), "it has no line such as intr or ctxt")),
            false => Ok(()),
        }
    }
}

/// A line of /proc/stat that is not of a core: its name, its first number and what follows.
/// The rest is left alone: that of `intr` has thousands of numbers on big machines.
fn parse(line: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    if line.starts_with(b"cpu") {
        return None;
    }
    let blank = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let (name, rest) = line.split_at(blank(line));
    let rest = rest.get(1..)?;
    let (first, rest) = rest.split_at(blank(rest));
    Some((name, number(first)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const STAT: &str = "cpu  301854 612 111922\ncpu0 44490 19 21045\nintr 8885917 17 0 0\nctxt 38014093\n\
        btime 1418183276\nprocesses 26442\nprocs_running 2\nprocs_blocked 0\n\
        softirq 5057579 250191 1481983 1647 211099 186066 0 1783454 622196 12499 508444\n";

    #[test]
    fn numbers_of_the_machine_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/stat", STAT);
        let mut config = crate::Config::default();
        let page = Bench::new(tree.path(), build, &config).unwrap().pass(0).unwrap();
        assert_eq!(
            page,
            [
                "node_boot_time_seconds 1418183276",
                "node_context_switches_total 38014093",
                "node_forks_total 26442",
                "node_intr_total 8885917",
                "node_procs_blocked 0",
                "node_procs_running 2",
            ]
        );
        config.stat.softirq = true;
        let page = Bench::new(tree.path(), build, &config).unwrap().pass(0).unwrap();
        assert!(page.contains(&r#"node_softirqs_total{vector="hi"} 250191"#.to_owned()));
        assert!(page.contains(&r#"node_softirqs_total{vector="rcu"} 508444"#.to_owned()));
    }

    #[test]
    fn cut_file_gives_what_it_has() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/stat", "cpu 1\nintr 5 4");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(bench.pass(0).unwrap(), ["node_intr_total 5"]);
        write(tree.path(), "proc/stat", "");
        assert!(bench.pass(0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
