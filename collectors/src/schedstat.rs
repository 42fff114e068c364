//! Time that cores ran tasks and that tasks waited for cores, from /proc/schedstat.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, label, lines, number};

/// Settings.
pub type Config = Common;

const NANOSECONDS_PER_SECOND: f64 = 1e9;

struct Schedstat {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<[SeriesId; 3]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Schedstat {
        file: KeptFile::new(env.roots.procfs.join("schedstat")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Schedstat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for (cpu, [running, waiting, slices]) in lines(text).filter_map(parse) {
            let ids = *self.seen.get(cpu, || series(tick, cpu));
            tick.set(ids[0], running as f64 / NANOSECONDS_PER_SECOND);
            tick.set(ids[1], waiting as f64 / NANOSECONDS_PER_SECOND);
            tick.set(ids[2], slices as f64);
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, cpu: &[u8]) -> [SeriesId; 3] {
    let cpu = label(cpu);
    let counter = |name, help| tick.counter(name, help, &[("cpu", &cpu)]);
    [
        counter("node_schedstat_running_seconds_total", "Number of seconds CPU spent running a process."),
        counter(
            "node_schedstat_waiting_seconds_total",
            "Number of seconds spent by processing waiting for this CPU.",
        ),
        counter("node_schedstat_timeslices_total", "Number of timeslices executed by CPU."),
    ]
}

/// A line `cpu0 ...` of /proc/schedstat: the core and its seventh to ninth number
/// (`Documentation/scheduler/sched-stats.rst`).
fn parse(line: &[u8]) -> Option<(&[u8], [u64; 3])> {
    let mut fields = fields(line);
    let cpu = fields.next()?.strip_prefix(b"cpu")?;
    number(cpu)?;
    let running = number(fields.nth(6)?)?;
    Some((cpu, [running, number(fields.next()?)?, number(fields.next()?)?]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn seconds_are_given_by_core() {
        let tree = tempfile::tempdir().unwrap();
        let text = "version 15\ntimestamp 15819019232\n\
            cpu0 498494191 0 3533438552 2553969831 3853684107 2465731542 2045936778163039 343796328169361 4767485306\n\
            domain0 00000000,00000003 212499247 210112015 1861015\ncpu1 1 2 3\n";
        write(tree.path(), "proc/schedstat", text);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                r#"node_schedstat_running_seconds_total{cpu="0"} 2045936.778163039"#,
                r#"node_schedstat_timeslices_total{cpu="0"} 4767485306"#,
                r#"node_schedstat_waiting_seconds_total{cpu="0"} 343796.328169361"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
            let _ = parse(&[b"cpu", line.as_slice()].concat());
        }
    }
}
