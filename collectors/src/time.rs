//! The wall clock, its zone and its source, from the tick itself, the C library and
//! /sys/devices/system/clocksource.

use std::path::Path;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::kernel_clock::local_zone;
use crate::read::{KeptFile, list};
use crate::seen::Seen;
use crate::text::{fields, label};

/// Settings.
pub type Config = Common;

struct Time {
    now: SeriesId,
    zone_name: Vec<u8>,
    zones: Seen<SeriesId>,
    sources: Vec<Source>,
    buffer: Vec<u8>,
}

/// A device that gives time; mostly there is one.
struct Source {
    device: String,
    available: KeptFile,
    current: KeptFile,
    available_ids: Seen<SeriesId>,
    current_ids: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Time {
        now: env.tick.gauge("node_time_seconds", "System time in seconds since epoch (1970).", &[]),
        zone_name: Vec::new(),
        zones: Seen::default(),
        sources: sources(&env.roots.sysfs.join("devices/system/clocksource")),
        buffer: Vec::new(),
    }))
}

/// The label `device` counts them; it is not the number in the folder's name.
fn sources(folder: &Path) -> Vec<Source> {
    let names = list(folder).unwrap_or_default();
    let is_source = |name: &str| {
        let number = name.strip_prefix("clocksource").unwrap_or_default();
        number.starts_with(|c: char| c.is_ascii_digit())
    };
    let names = names.iter().filter_map(|name| name.to_str()).filter(|name| is_source(name));
    let source = |(index, name): (usize, &str)| Source {
        device: index.to_string(),
        available: KeptFile::new(folder.join(name).join("available_clocksource")),
        current: KeptFile::new(folder.join(name).join("current_clocksource")),
        available_ids: Seen::default(),
        current_ids: Seen::default(),
    };
    names.enumerate().map(source).collect()
}

impl Collector for Time {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let now_ms = tick.time_ms();
        tick.set(self.now, now_ms as f64 / 1000.0);
        if let Some(offset) = local_zone(now_ms.div_euclid(1000), &mut self.zone_name) {
            self.zones.begin();
            let id = *self.zones.get(&self.zone_name, || {
                let zone = label(&self.zone_name);
                let help = "System time zone offset in seconds.";
                tick.gauge("node_time_zone_offset_seconds", help, &[("time_zone", &zone)])
            });
            self.zones.end(tick);
            tick.set(id, offset as f64);
        }
        for source in &mut self.sources {
            source.collect(tick, &mut self.buffer);
        }
        Ok(())
    }
}

impl Source {
    fn collect(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>) {
        let device = &self.device;
        let mut words = |file: &mut KeptFile, ids: &mut Seen<SeriesId>, name: &str, help: &str| {
            if file.read(buffer).is_err() {
                return;
            }
            ids.begin();
            for word in fields(buffer.trim_ascii()) {
                let id = *ids.get(word, || {
                    let labels = [("clocksource", &*label(word)), ("device", device)];
                    tick.gauge(name, help, &labels)
                });
                tick.set(id, 1.0);
            }
            ids.end(tick);
        };
        words(
            &mut self.available,
            &mut self.available_ids,
            "node_time_clocksource_available_info",
            "Available clocksources read from '/sys/devices/system/clocksource'.",
        );
        words(
            &mut self.current,
            &mut self.current_ids,
            "node_time_clocksource_current_info",
            "Current clocksource read from '/sys/devices/system/clocksource'.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, write};

    #[test]
    fn clock_and_sources_are_given_and_a_change_of_source_is_followed() {
        let tree = tempfile::tempdir().unwrap();
        let folder = "sys/devices/system/clocksource/clocksource0";
        write(tree.path(), &format!("{folder}/available_clocksource"), "tsc hpet \n");
        write(tree.path(), &format!("{folder}/current_clocksource"), "tsc\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let page = bench.pass(1_700_000_000_250).unwrap();
        assert!(page.contains(&"node_time_seconds 1700000000.25".to_owned()));
        assert!(page.iter().any(|line| line.starts_with("node_time_zone_offset_seconds{time_zone=")));
        let current = |page: &[String]| page.iter().find(|line| line.contains("current_info")).cloned();
        assert_eq!(
            current(&page).unwrap(),
            r#"node_time_clocksource_current_info{clocksource="tsc",device="0"} 1"#
        );
        assert_eq!(page.iter().filter(|line| line.contains("available_info")).count(), 2);
        write(tree.path(), &format!("{folder}/current_clocksource"), "hpet\n");
        let page = bench.pass(1_700_000_001_250).unwrap();
        assert!(current(&page).unwrap().contains(r#"clocksource="hpet""#));
    }
}
