//! Temperatures of zones and states of cooling devices, from /sys/class/thermal.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;
use crate::read::{list, read_text};
use crate::seen::{HoldsSeries, Seen};

/// Settings.
pub type Config = Common;

const MILLIDEGREES_PER_DEGREE: f64 = 1000.0;

struct ThermalZone {
    folder: PathBuf,
    zones: Seen<NumberFile>,
    devices: Seen<CoolingDevice>,
    buffer: Vec<u8>,
}

struct CoolingDevice {
    current: NumberFile,
    max: NumberFile,
}

impl HoldsSeries for CoolingDevice {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.current.each(f);
        self.max.each(f);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(ThermalZone {
        folder: env.roots.sysfs.join("class/thermal"),
        zones: Seen::default(),
        devices: Seen::default(),
        buffer: Vec::new(),
    }))
}

impl Collector for ThermalZone {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        // A machine without thermal zones is no fault: there is just nothing to tell.
        let names = match list(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| CollectError::read(&self.folder, error))?,
        };
        self.zones.begin();
        self.devices.begin();
        for name in &names {
            let path = self.folder.join(name);
            if let Some(number) = number_of(name, "thermal_zone") {
                let zone = self.zones.get(number.as_bytes(), || zone(tick, number, &path));
                // A zone whose sensor cannot be read has no sample; 0 °C would be a lie.
                if let Ok(temperature) = zone.read_and_close(&mut self.buffer) {
                    tick.set(zone.id, temperature / MILLIDEGREES_PER_DEGREE);
                }
            } else if let Some(number) = number_of(name, "cooling_device") {
                let device = self.devices.get(number.as_bytes(), || CoolingDevice::new(tick, number, &path));
                device.collect(tick, &mut self.buffer);
            }
        }
        self.zones.end(tick);
        self.devices.end(tick);
        Ok(())
    }
}

fn number_of<'a>(name: &'a OsString, prefix: &str) -> Option<&'a str> {
    let number = name.to_str()?.strip_prefix(prefix)?;
    number.starts_with(|c: char| c.is_ascii_digit()).then_some(number)
}

fn zone(tick: &Tick, number: &str, path: &Path) -> NumberFile {
    let kind = read_text(&path.join("type")).unwrap_or_default();
    let labels = [("type", kind.as_str()), ("zone", number)];
    NumberFile::new(
        path.join("temp"),
        tick.gauge("node_thermal_zone_temp", "Zone temperature in Celsius", &labels),
    )
}

impl CoolingDevice {
    fn new(tick: &Tick, number: &str, path: &Path) -> Self {
        let kind = read_text(&path.join("type")).unwrap_or_default();
        let labels = [("name", number), ("type", kind.as_str())];
        Self {
            current: NumberFile::new(
                path.join("cur_state"),
                tick.gauge(
                    "node_cooling_device_cur_state",
                    "Current throttle state of the cooling device",
                    &labels,
                ),
            ),
            max: NumberFile::new(
                path.join("max_state"),
                tick.gauge(
                    "node_cooling_device_max_state",
                    "Maximum throttle state of the cooling device",
                    &labels,
                ),
            ),
        }
    }

    /// Both numbers or none: a driver that does not answer one is broken.
    fn collect(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>) {
        let (current, max) = (self.current.read_and_close(buffer), self.max.read_and_close(buffer));
        if let (Ok(current), Ok(max)) = (current, max) {
            tick.set(self.current.id, current);
            tick.set(self.max.id, max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, write};

    #[test]
    fn zones_and_devices_come_and_go() {
        let tree = tempfile::tempdir().unwrap();
        let file = |name: &str| format!("sys/class/thermal/{name}");
        write(tree.path(), &file("thermal_zone0/type"), "cpu-thermal\n");
        write(tree.path(), &file("thermal_zone0/temp"), "12376\n");
        write(tree.path(), &file("thermal_zone1/type"), "broken\n");
        write(tree.path(), &file("cooling_device0/type"), "Processor\n");
        write(tree.path(), &file("cooling_device0/cur_state"), "-1\n");
        write(tree.path(), &file("cooling_device0/max_state"), "3\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(
            bench.pass(0).unwrap(),
            [
                r#"node_cooling_device_cur_state{name="0",type="Processor"} -1"#,
                r#"node_cooling_device_max_state{name="0",type="Processor"} 3"#,
                r#"node_thermal_zone_temp{type="cpu-thermal",zone="0"} 12.376"#,
            ]
        );
        std::fs::remove_dir_all(tree.path().join(file("cooling_device0"))).unwrap();
        assert_eq!(bench.pass(1).unwrap().len(), 1);
    }
}
