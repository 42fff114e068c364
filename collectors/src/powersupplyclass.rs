//! Batteries and mains, from /sys/class/power_supply.

use fieldpost_model::{Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::attributes::{AttributeBuffer, Attributes, DeviceFolder, Fact, KeptFolder, texts};
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// No power supply whose name matches.
    pub ignored_supplies: Option<Pattern>,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

/// Files that hold a number as it is shown, and the rest of the series' name.
const PLAIN: [(&str, &str); 10] = [
    ("authentic", "authentic"),
    ("calibrate", "calibrate"),
    ("capacity", "capacity"),
    ("capacity_alert_max", "capacity_alert_max"),
    ("capacity_alert_min", "capacity_alert_min"),
    ("cycle_count", "cyclecount"),
    ("online", "online"),
    ("present", "present"),
    ("time_to_empty_now", "time_to_empty_seconds"),
    ("time_to_full_now", "time_to_full_seconds"),
];

/// Files that hold millionths.
const MILLIONTHS: [(&str, &str); 31] = [
    ("current_boot", "current_boot"),
    ("current_max", "current_max"),
    ("current_now", "current_ampere"),
    ("energy_empty", "energy_empty"),
    ("energy_empty_design", "energy_empty_design"),
    ("energy_full", "energy_full"),
    ("energy_full_design", "energy_full_design"),
    ("energy_now", "energy_watthour"),
    ("voltage_boot", "voltage_boot"),
    ("voltage_max", "voltage_max"),
    ("voltage_max_design", "voltage_max_design"),
    ("voltage_min", "voltage_min"),
    ("voltage_min_design", "voltage_min_design"),
    ("voltage_now", "voltage_volt"),
    ("voltage_ocv", "voltage_ocv"),
    ("charge_control_limit", "charge_control_limit"),
    ("charge_control_limit_max", "charge_control_limit_max"),
    ("charge_counter", "charge_counter"),
    ("charge_empty", "charge_empty"),
    ("charge_empty_design", "charge_empty_design"),
    ("charge_full", "charge_full"),
    ("charge_full_design", "charge_full_design"),
    ("charge_now", "charge_ampere"),
    ("charge_term_current", "charge_term_current"),
    ("constant_charge_current", "constant_charge_current"),
    ("constant_charge_current_max", "constant_charge_current_max"),
    ("constant_charge_voltage", "constant_charge_voltage"),
    ("constant_charge_voltage_max", "constant_charge_voltage_max"),
    ("precharge_current", "precharge_current"),
    ("input_current_limit", "input_current_limit"),
    ("power_now", "power_watt"),
];

/// Files that hold tenths of a degree.
const TENTHS: [(&str, &str); 8] = [
    ("temp", "temp_celsius"),
    ("temp_alert_max", "temp_alert_max_celsius"),
    ("temp_alert_min", "temp_alert_min_celsius"),
    ("temp_ambient", "temp_ambient_celsius"),
    ("temp_ambient_max", "temp_ambient_max_celsius"),
    ("temp_ambient_min", "temp_ambient_min_celsius"),
    ("temp_max", "temp_max_celsius"),
    ("temp_min", "temp_min_celsius"),
];

const N_NUMBERS: usize = PLAIN.len() + MILLIONTHS.len() + TENTHS.len();

/// Files that become labels of `node_power_supply_info`, unless they are empty.
const TEXTS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

struct PowerSupplyClass {
    folder: KeptFolder,
    ignored: Option<Pattern>,
    buffer: AttributeBuffer,
    scratch: Vec<u8>,
    supplies: Seen<Supply>,
}

struct Supply {
    ignored: bool,
    folder: DeviceFolder,
    /// `NONE` until the file first gives a number.
    numbers: [SeriesId; N_NUMBERS],
    info: Fact,
}

impl HoldsSeries for Supply {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        self.numbers.each(f);
        self.info.each(f);
    }
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let ignored = env.config.powersupplyclass.ignored_supplies.clone();
    Ok(Box::new(PowerSupplyClass {
        folder: KeptFolder::new(env.roots.sysfs.join("class/power_supply")),
        ignored: ignored.filter(|pattern| !pattern.as_str().is_empty()),
        buffer: AttributeBuffer::default(),
        scratch: Vec::new(),
        supplies: Seen::default(),
    }))
}

impl Collector for PowerSupplyClass {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { folder, ignored, buffer, scratch, supplies } = self;
        supplies.begin();
        folder.each(|entry| {
            supplies.get(entry.name, || Supply::new(entry.name, ignored.as_ref())).folder.meet(entry.inode);
        })?;
        supplies.end(tick);
        for (name, supply) in supplies.iter_mut().filter(|(_, supply)| !supply.ignored) {
            let Supply { folder: own, numbers, info, .. } = supply;
            if let Some(attributes) = own.open(folder.path(), name) {
                record_numbers(attributes, numbers, name, buffer, tick);
                scratch.clear();
                TEXTS.iter().for_each(|file| attributes.append(*file, buffer, scratch));
                info.record(scratch, tick, |tick| info_series(scratch, name, tick));
            }
        }
        Ok(())
    }
}

impl Supply {
    fn new(name: &[u8], ignored: Option<&Pattern>) -> Self {
        Self {
            ignored: ignored.is_some_and(|pattern| pattern.is_match(&label(name))),
            folder: DeviceFolder::default(),
            numbers: [SeriesId::NONE; N_NUMBERS],
            info: Fact::default(),
        }
    }
}

fn record_numbers(
    attributes: &Attributes,
    ids: &mut [SeriesId; N_NUMBERS],
    supply: &[u8],
    buffer: &mut AttributeBuffer,
    tick: &mut Tick,
) {
    let divided = |files: &'static [(&str, &str)], by| files.iter().map(move |file| (file, by));
    let files = divided(&PLAIN, 1.0).chain(divided(&MILLIONTHS, 1e6)).chain(divided(&TENTHS, 10.0));
    for (((file, key), divisor), id) in files.zip(ids) {
        let Some(value) = attributes.number(*file, buffer) else { continue };
        if *id == SeriesId::NONE {
            let help = format!("{key} value of /sys/class/power_supply/<power_supply>.");
            let labels = [("power_supply", &*label(supply))];
            *id = tick.gauge(&format!("node_power_supply_{key}"), &help, &labels);
        }
        tick.set(*id, value as f64 / divisor);
    }
}

/// `joined` are the files of `TEXTS`.
fn info_series(joined: &[u8], supply: &[u8], tick: &Tick) -> SeriesId {
    let values: [_; TEXTS.len()] = texts(joined);
    let supply = label(supply);
    let mut labels: Vec<(&str, &str)> = TEXTS.into_iter().zip(values.iter().map(|value| &**value)).collect();
    labels.retain(|(_, value)| !value.is_empty());
    labels.push(("power_supply", &supply));
    labels.sort_unstable();
    tick.gauge("node_power_supply_info", "info of /sys/class/power_supply/<power_supply>.", &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, page, write};

    #[test]
    fn numbers_are_shown_in_their_units_and_empty_texts_left_out() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        for (file, content) in [
            ("capacity", "81\n"),
            ("energy_now", "36580000\n"),
            ("temp", "305\n"),
            ("status", "Discharging\n"),
            ("type", "Battery\n"),
            ("model_name", "\n"),
            ("current_now", "unknown\n"),
        ] {
            write(tree.path(), &format!("sys/class/power_supply/BAT0/{file}"), content);
        }
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_power_supply_capacity{power_supply=\"BAT0\"} 81",
                "node_power_supply_energy_watthour{power_supply=\"BAT0\"} 36.58",
                "node_power_supply_info{power_supply=\"BAT0\",status=\"Discharging\",type=\"Battery\"} 1",
                "node_power_supply_temp_celsius{power_supply=\"BAT0\"} 30.5",
            ]
        );
    }

    #[test]
    fn charger_that_is_pulled_ends_and_others_may_be_ignored() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "sys/class/power_supply/AC/online", "1\n");
        write(tree.path(), "sys/class/power_supply/USB/online", "1\n");
        let mut config = crate::Config::default();
        config.powersupplyclass.ignored_supplies = Some(Pattern::unanchored("^USB$").unwrap());
        let mut bench = Bench::new(tree.path(), build, &config).unwrap();
        assert_eq!(
            bench.pass(1000).unwrap(),
            [
                "node_power_supply_info{power_supply=\"AC\"} 1",
                "node_power_supply_online{power_supply=\"AC\"} 1"
            ]
        );
        std::fs::remove_dir_all(tree.path().join("sys/class/power_supply/AC")).unwrap();
        assert!(bench.pass(2000).unwrap().is_empty());
    }
}
