//! The process table on the machine that the test runs on: what the groups are charged is what
//! the kernel says that the machine used.

#![expect(clippy::unwrap_used, reason = "where the machine cannot be read the test has failed")]

use std::collections::HashMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fieldpost_collectors::{Config, Unit, build_all};
use fieldpost_model::{Catalog, Kind};

/// How long processes are forked, and how long the machine must be busy at least to compare.
const STORM: Duration = Duration::from_secs(6);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

struct Table {
    unit: Unit,
    catalog: Arc<Catalog>,
}

impl Table {
    fn new() -> Self {
        let (catalog, mut config) = (Catalog::new(), Config::default());
        config.process_table.enabled = Some(true);
        let units = build_all(&Arc::new(config), &catalog, Duration::from_secs(1));
        let unit = units.into_iter().find(|unit| unit.entry.name == "process_table").unwrap();
        Self { unit, catalog }
    }

    /// One pass: the values of all series, by their text.
    fn pass(&mut self) -> HashMap<String, (Kind, f64)> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let pass = self.unit.run(i64::try_from(now.as_millis()).unwrap());
        assert!(pass.error.is_none(), "{:?}", pass.error);
        let view = self.catalog.read();
        let values = self.unit.tick().samples().iter().map(|sample| {
            let series = view.get(sample.id).unwrap();
            (series.text.to_string(), (series.family.kind, sample.value))
        });
        values.collect()
    }
}

/// Time of the machine, seconds: user, nice and system; and interrupts and steal, which the kernel
/// may or may not count as part of a process' time.
fn machine_seconds() -> [f64; 2] {
    let mut text = String::new();
    std::fs::File::open("/proc/stat").unwrap().read_to_string(&mut text).unwrap();
    let numbers = text.lines().next().unwrap().split_whitespace().skip(1);
    let seconds: Vec<f64> = numbers.map(|number| number.parse::<f64>().unwrap() / 100.0).collect();
    [seconds[..3].iter().sum(), seconds[5..8].iter().sum()]
}

fn cpu_seconds(page: &HashMap<String, (Kind, f64)>) -> f64 {
    let groups = page.iter().filter(|(text, _)| text.starts_with("fieldpost_process_cpu_seconds_total{"));
    groups.map(|(_, (_, value))| value).sum()
}

/// Forks short-lived processes, in a tree of shells, until it is killed.
fn storm() -> Child {
    let script = "while :; do sh -c '/bin/true; /bin/true; (/bin/true; :); :'; /bin/true; done";
    Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn groups_account_for_the_machine_under_a_storm_of_forks_and_no_counter_falls() {
    let mut table = Table::new();
    let mut storms = [storm(), storm()];
    table.pass();
    let started = Instant::now();
    // A pass takes a while in which the machine goes on: it counts from its begin for the most that may
    // be charged, from its end for the least.
    let first_begun = machine_seconds();
    let (mut page, first_ended) = (table.pass(), machine_seconds());
    let at_start = cpu_seconds(&page);
    let mut last_begun = first_ended;
    while started.elapsed() < STORM {
        std::thread::sleep(INTERVAL);
        last_begun = machine_seconds();
        let next = table.pass();
        for (text, (kind, value)) in &page {
            if let (Kind::Counter, Some((_, after))) = (kind, next.get(text)) {
                assert!(after >= value, "{text} fell from {value} to {after}");
            }
        }
        page = next;
    }
    let last_ended = machine_seconds();
    let least = last_begun[0] - first_ended[0];
    let (most, around) = (last_ended[0] - first_begun[0], last_ended[1] - first_begun[1]);
    let charged = cpu_seconds(&page) - at_start;
    for storm in &mut storms {
        storm.kill().unwrap();
        storm.wait().unwrap();
    }
    let unattributed = page.get("fieldpost_process_cpu_seconds_total{group=\"unattributed\"}").unwrap().1;
    println!(
        "machine {least:.2} to {most:.2} s and {around:.2} s, groups {charged:.2} s, of which unattributed \
         {unattributed:.2} s"
    );
    assert!(charged >= 0.95 * least, "groups have {charged:.2} s of the machine's {least:.2} s");
    assert!(
        charged <= 1.02 * (most + around),
        "groups have {charged:.2} s of the machine's {most:.2} s and {around:.2} s of interrupts and steal"
    );
}
