//! Watchdog timers, from /sys/class/watchdog.

use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;
use crate::read::{KeptFile, list};
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// Settings.
pub type Config = Common;

/// Files with a number and what follows `node_watchdog_` in their series.
const NUMBERS: [(&str, &str); 7] = [
    ("access_cs0", "access_cs0"),
    ("bootstatus", "bootstatus"),
    ("fw_version", "fw_version"),
    ("nowayout", "nowayout"),
    ("pretimeout", "pretimeout_seconds"),
    ("timeleft", "timeleft_seconds"),
    ("timeout", "timeout_seconds"),
];

/// Files with a text, which are labels of the same name.
const TEXTS: [&str; 5] = ["identity", "options", "pretimeout_governor", "state", "status"];

struct Watchdog {
    folder: PathBuf,
    devices: Seen<Device>,
    buffer: Vec<u8>,
    texts: Vec<u8>,
}

struct Device {
    numbers: Vec<NumberFile>,
    texts: [KeptFile; 5],
    known: Vec<u8>,
    info: SeriesId,
}

impl HoldsSeries for Device {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.numbers.iter().for_each(|file| file.each(f));
        f(self.info);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Watchdog {
        folder: env.roots.sysfs.join("class/watchdog"),
        devices: Seen::default(),
        buffer: Vec::new(),
        texts: Vec::new(),
    }))
}

impl Collector for Watchdog {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let names = list(&self.folder).map_err(|error| CollectError::read(&self.folder, error))?;
        self.devices.begin();
        for name in names {
            let name = name.to_string_lossy();
            let device =
                self.devices.get(name.as_bytes(), || Device::new(tick, &name, &self.folder.join(&*name)));
            device.collect(tick, &name, &mut self.buffer, &mut self.texts);
        }
        self.devices.end(tick);
        Ok(())
    }
}

impl Device {
    fn new(tick: &Tick, name: &str, folder: &Path) -> Self {
        let there = NUMBERS.iter().map(|(file, series)| (folder.join(file), file, series));
        let number = |(path, file, series): (PathBuf, &&str, &&str)| {
            let help = format!("Value of /sys/class/watchdog/<watchdog>/{file}");
            NumberFile::new(path, tick.gauge(&format!("node_watchdog_{series}"), &help, &[("name", name)]))
        };
        Self {
            numbers: there.filter(|(path, ..)| path.exists()).map(number).collect(),
            texts: TEXTS.map(|file| KeptFile::new(folder.join(file))),
            known: Vec::new(),
            info: SeriesId::NONE,
        }
    }

    fn collect(&mut self, tick: &mut Tick, name: &str, buffer: &mut Vec<u8>, texts: &mut Vec<u8>) {
        for file in &mut self.numbers {
            if let Ok(value) = file.read_and_close(buffer) {
                tick.set(file.id, value);
            }
        }
        texts.clear();
        for file in &mut self.texts {
            if file.read(buffer).is_ok() {
                texts.extend_from_slice(buffer.trim_ascii());
            }
            texts.push(0);
            file.close();
        }
        if self.info == SeriesId::NONE || *texts != self.known {
            tick.retire(self.info);
            self.info = info(tick, name, texts);
            self.known.clone_from(texts);
        }
        tick.set(self.info, 1.0);
    }
}

/// `texts` are those of `TEXTS`, each with a zero byte behind it.
fn info(tick: &Tick, name: &str, texts: &[u8]) -> SeriesId {
    let values: Vec<_> = texts.split(|byte| *byte == 0).map(label).collect();
    let mut labels: Vec<(&str, &str)> =
        TEXTS.iter().zip(&values).map(|(name, value)| (*name, &**value)).collect();
    labels.push(("name", name));
    labels.sort_unstable();
    tick.gauge("node_watchdog_info", "Info of /sys/class/watchdog/<watchdog>", &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, write};

    #[test]
    fn devices_are_given_and_a_change_is_followed() {
        let tree = tempfile::tempdir().unwrap();
        let file = |name: &str| format!("sys/class/watchdog/watchdog0/{name}");
        write(tree.path(), &file("timeout"), "60\n");
        write(tree.path(), &file("identity"), "Software Watchdog\n");
        write(tree.path(), &file("state"), "inactive\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(
            bench.pass(0).unwrap(),
            [
                r#"node_watchdog_info{identity="Software Watchdog",name="watchdog0",options="",pretimeout_governor="",state="inactive",status=""} 1"#,
                r#"node_watchdog_timeout_seconds{name="watchdog0"} 60"#,
            ]
        );
        write(tree.path(), &file("state"), "active\n");
        assert!(bench.pass(1).unwrap()[0].contains(r#"state="active""#));
    }
}
