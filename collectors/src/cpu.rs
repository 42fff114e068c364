//! CPU seconds by core and mode from /proc/stat; with `cpu_info` and `cpu_cores` also facts
//! about the cores.

use fieldpost_model::{Pattern, Period, SeriesId, Tick, USER_HZ};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::cpu_cores::Cores;
use crate::cpu_info::CpuInfo;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number};

/// Idle time that goes back this much tells that the core was away and came back: its counters
/// began anew.
const IDLE_JUMP_BACK_TICKS: u64 = 300;

const IDLE: usize = 3;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const N_COUNTERS: usize = 10;

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Gives `node_cpu_guest_seconds_total`.
    pub guest: bool,
    /// Gives `node_cpu_info` and what else /proc/cpuinfo tells.
    pub info: bool,
    /// Gives `node_cpu_flag_info` for flags that match; sets `info` on.
    pub info_flags_include: Option<Pattern>,
    /// Gives `node_cpu_bug_info` for bugs that match; sets `info` on.
    pub info_bugs_include: Option<Pattern>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: None,
            interval: None,
            guest: true,
            info: false,
            info_flags_include: None,
            info_bugs_include: None,
        }
    }
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

/// One line of /proc/stat: counters in the order of the file.
struct Core {
    ticks: [u64; N_COUNTERS],
    ids: [SeriesId; N_COUNTERS],
}

impl HoldsSeries for Core {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.ids.each(f);
    }
}

impl Core {
    fn new(tick: &Tick, name: &[u8], guest: bool) -> Self {
        let cpu = label(name);
        let mut ids = [SeriesId::NONE; N_COUNTERS];
        for (id, mode) in ids.iter_mut().zip(MODES) {
            let help = "Seconds the CPUs spent in each mode.";
            *id = tick.counter("node_cpu_seconds_total", help, &[("cpu", &cpu), ("mode", mode)]);
        }
        for (id, mode) in ids[MODES.len()..].iter_mut().zip(["user", "nice"]).filter(|_| guest) {
            let help = "Seconds the CPUs spent in guests (VMs) for each mode.";
            *id = tick.counter("node_cpu_guest_seconds_total", help, &[("cpu", &cpu), ("mode", mode)]);
        }
        Self { ticks: [0; N_COUNTERS], ids }
    }

    /// Takes new counters. Some kernels let single counters go back a little: then the old value
    /// stands, for a counter that goes back looks like a restart to whoever computes rates.
    fn update(&mut self, new: &[u64; N_COUNTERS]) {
        if self.ticks[IDLE].saturating_sub(new[IDLE]) >= IDLE_JUMP_BACK_TICKS {
            self.ticks = [0; N_COUNTERS];
        }
        for (old, new) in self.ticks.iter_mut().zip(new) {
            *old = (*old).max(*new);
        }
    }
}

struct Cpu {
    file: KeptFile,
    buffer: Vec<u8>,
    guest: bool,
    seen: Seen<Core>,
    info: Option<CpuInfo>,
    cores: Cores,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Cpu {
        file: KeptFile::new(env.roots.procfs.join("stat")),
        buffer: Vec::new(),
        guest: env.config.cpu.guest,
        seen: Seen::default(),
        info: CpuInfo::new(env),
        cores: Cores::new(env)?,
    }))
}

impl Collector for Cpu {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        if self.seconds(tick)? {
            self.cores.discover(tick);
        }
        self.cores.collect(tick, &mut self.buffer);
        match &mut self.info {
            Some(info) => info.collect(tick, &mut self.buffer),
            None => Ok(()),
        }
    }
}

impl Cpu {
    /// Reads /proc/stat. Tells whether cores came or went.
    fn seconds(&mut self, tick: &mut Tick) -> Result<bool, CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        let (before, mut came) = (self.seen.len(), false);
        self.seen.begin();
        for line in lines(text).take_while(|line| line.starts_with(b"cpu")) {
            let (name, counters) =
                parse(line).ok_or_else(|| CollectError::parse(self.file.path(), "a line of a CPU is cut"))?;
            if name.is_empty() {
                continue;
            }
            let core = self.seen.get(name, || {
                came = true;
                Core::new(tick, name, self.guest)
            });
            core.update(&counters);
            for (id, ticks) in core.ids.iter().zip(core.ticks) {
                tick.set(*id, ticks as f64 / f64::from(USER_HZ));
            }
        }
        self.seen.end(tick);
        if self.seen.is_empty() {
            return Err(CollectError::parse(self.file.path(), "it has no line of a CPU"));
        }
        Ok(came || self.seen.len() < before)
    }
}

/// A line `cpu3 user nice system idle ...` of /proc/stat: the core's number (empty for the sum
/// of all) and its counters. Old kernels have fewer counters; the rest is zero.
fn parse(line: &[u8]) -> Option<(&[u8], [u64; N_COUNTERS])> {
    let mut fields = fields(line);
    let name = fields.next()?.strip_prefix(b"cpu")?;
    if !name.is_empty() {
        number(name)?;
    }
    let (mut counters, mut n_read) = ([0; N_COUNTERS], 0);
    for (counter, field) in counters.iter_mut().zip(fields) {
        *counter = number(field)?;
        n_read += 1;
    }
    (n_read > 0).then_some((name, counters))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const STAT: &str = "cpu  301854 612 111922 8979004 3552 2 3944 0 44 36\n\
        cpu0 44490 19 21045 1087069 220 1 3410 0 2 1\n\
        cpu1 47869 23 16474 1110787 591 0 46 0 3 2\n\
        intr 8885917 17 0\nctxt 38014093\n";

    fn bench(stat: &str) -> (tempfile::TempDir, Bench) {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/stat", stat);
        let bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        (tree, bench)
    }

    #[test]
    fn seconds_of_each_core_are_given() {
        let (_tree, mut bench) = bench(STAT);
        let page = bench.pass(0).unwrap();
        assert_eq!(page.len(), 20);
        assert!(page.contains(&r#"node_cpu_seconds_total{cpu="0",mode="idle"} 10870.69"#.to_owned()));
        assert!(page.contains(&r#"node_cpu_guest_seconds_total{cpu="1",mode="nice"} 0.02"#.to_owned()));
    }

    #[test]
    fn core_that_goes_offline_ends() {
        let (tree, mut bench) = bench(STAT);
        bench.pass(0).unwrap();
        write(
            tree.path(),
            "proc/stat",
            "cpu 1 1 1 1\ncpu0 44490 19 21045 1087069 220 1 3410 0 2 1\nintr 1\n",
        );
        assert_eq!(bench.pass(1).unwrap().len(), 10);
    }

    #[test]
    fn counter_that_goes_back_a_little_stands_and_a_restart_is_taken() {
        let mut core = Core { ticks: [0; N_COUNTERS], ids: [SeriesId::NONE; N_COUNTERS] };
        core.update(&[100, 0, 0, 1000, 50, 0, 0, 0, 0, 0]);
        core.update(&[101, 0, 0, 900, 40, 0, 0, 0, 0, 0]);
        assert_eq!((core.ticks[0], core.ticks[IDLE], core.ticks[4]), (101, 1000, 50));
        core.update(&[7, 0, 0, 8, 9, 0, 0, 0, 0, 0]);
        assert_eq!((core.ticks[0], core.ticks[IDLE], core.ticks[4]), (7, 8, 9));
    }

    #[test]
    fn file_without_cores_is_an_error() {
        let (_tree, mut bench) = bench("intr 1\n");
        assert!(bench.pass(0).is_err());
        assert_eq!(parse(b"cpu0 1 2"), Some((&b"0"[..], [1, 2, 0, 0, 0, 0, 0, 0, 0, 0])));
        assert_eq!(parse(b"cpu0"), None);
        assert_eq!(parse(b"cpufoo 1 2"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
            let _ = parse(&[b"cpu", line.as_slice()].concat());
        }
    }
}
