//! Soft interrupts by kind and core, from /proc/softirqs.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, lines, number, split_once};

/// Settings.
pub type Config = Common;

const KINDS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

struct Softirqs {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<Vec<SeriesId>>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Softirqs {
        file: KeptFile::new(env.roots.procfs.join("softirqs")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Softirqs {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for (kind, counts) in lines(text).skip(1).filter_map(parse) {
            let ids = self.seen.get(kind.as_bytes(), Vec::new);
            for (cpu, count) in fields(counts).map_while(number).enumerate() {
                if ids.len() == cpu {
                    let labels = [("cpu", cpu.to_string()), ("type", kind.to_owned())];
                    let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
                    let help = "Softirq counts per CPU.";
                    ids.push(tick.counter("node_softirqs_functions_total", help, &labels));
                }
                tick.set(ids[cpu], count as f64);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

/// A line `TIMER:  1 2 3` of /proc/softirqs: a known kind and the counts of all cores.
fn parse(line: &[u8]) -> Option<(&'static str, &[u8])> {
    let (name, counts) = split_once(line, b':')?;
    let name = name.trim_ascii();
    let kind = KINDS.iter().find(|kind| kind.as_bytes() == name)?;
    Some((kind, counts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn counts_are_given_by_kind_and_core() {
        let tree = tempfile::tempdir().unwrap();
        let text = "                    CPU0       CPU1\n          HI:          7          1\n\
            NET_RX: 5 x\n     UNKNOWN: 1 2\n";
        write(tree.path(), "proc/softirqs", text);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                r#"node_softirqs_functions_total{cpu="0",type="HI"} 7"#,
                r#"node_softirqs_functions_total{cpu="0",type="NET_RX"} 5"#,
                r#"node_softirqs_functions_total{cpu="1",type="HI"} 1"#,
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
