//! Temperatures, fans, voltages, power, from the chips of /sys/class/hwmon. What a chip has is
//! looked up when chips come or go and once in a while; a pass only reads the files found then.

mod meaning;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fieldpost_model::{Family, Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use self::meaning::{Meaning, Scale, clean, take_apart};
use crate::attributes::{AttributeBuffer, Attributes, KeptFolder};
use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::filter::Filter;
use crate::read::{list, read_text};
use crate::text::label;

/// Passes after which the chips are looked up again although none came or went: a driver may
/// add files to a chip later.
const PASSES_BETWEEN_LOOKUPS: u32 = 30;

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Only chips whose names match.
    pub chip_include: Option<Pattern>,
    /// No chip whose name matches.
    pub chip_exclude: Option<Pattern>,
    /// Only sensors of which `chip;sensor` matches, as in `platform_coretemp_0;temp3`.
    pub sensor_include: Option<Pattern>,
    /// No sensor of which `chip;sensor` matches.
    pub sensor_exclude: Option<Pattern>,
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Hwmon {
    folder: KeptFolder,
    chips_filter: Filter,
    sensors_filter: Filter,
    buffer: AttributeBuffer,
    /// Of the names and inodes of the chips at the last lookup.
    fingerprint: u64,
    passes_left: u32,
    found: Found,
}

/// What the last lookup found.
#[derive(Default)]
struct Found {
    folders: Vec<Attributes>,
    readings: Vec<Reading>,
    /// Series of value 1: names of chips, labels of sensors.
    facts: Vec<SeriesId>,
    /// Chips may share a sensor's name; a series is shown once.
    ids: HashSet<SeriesId>,
}

/// A file that is read at every pass.
struct Reading {
    folder: usize,
    file: Box<str>,
    scale: Scale,
    id: SeriesId,
}

/// A chip's folder, and what its names are made of.
struct Chip {
    path: PathBuf,
    base_name: String,
    name_file: Option<String>,
}

/// The files of a sensor by element: the folder (the chip's own or that of its device) and the name.
type Elements = BTreeMap<String, (usize, String)>;

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.hwmon;
    let filter = |what, include: &Option<Pattern>, exclude: &Option<Pattern>| {
        Filter::new(what, include.as_ref(), exclude.as_ref(), "")
    };
    Ok(Box::new(Hwmon {
        folder: KeptFolder::new(env.roots.sysfs.join("class/hwmon")),
        chips_filter: filter("collectors.hwmon.chip", &config.chip_include, &config.chip_exclude)?,
        sensors_filter: filter("collectors.hwmon.sensor", &config.sensor_include, &config.sensor_exclude)?,
        buffer: AttributeBuffer::default(),
        fingerprint: 0,
        passes_left: 0,
        found: Found::default(),
    }))
}

impl Collector for Hwmon {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let mut hasher = DefaultHasher::new();
        self.folder.each(|entry| (entry.name, entry.inode).hash(&mut hasher))?;
        let fingerprint = hasher.finish();
        if fingerprint != self.fingerprint || self.passes_left == 0 {
            self.look_up(tick)?;
            self.fingerprint = fingerprint;
            self.passes_left = PASSES_BETWEEN_LOOKUPS;
        }
        self.passes_left -= 1;
        self.found.facts.iter().for_each(|id| tick.set(*id, 1.0));
        for reading in &self.found.readings {
            let text = self.found.folders[reading.folder].read(&*reading.file, &mut self.buffer);
            if let Some(value) = text.ok().and_then(|text| reading.scale.apply(text)) {
                tick.set(reading.id, value);
            }
        }
        Ok(())
    }
}

impl Hwmon {
    /// Series that are still there are taken up again right after they ended.
    fn look_up(&mut self, tick: &Tick) -> Result<(), CollectError> {
        let names =
            list(self.folder.path()).map_err(|error| CollectError::read(self.folder.path(), error))?;
        let chips: Vec<Chip> =
            names.iter().filter_map(|name| Chip::new(self.folder.path().join(name))).collect();
        self.found.ids.iter().for_each(|id| tick.retire(*id));
        self.found = Found::default();
        for chip in &chips {
            let name = unique_name(chip, &chips);
            if self.chips_filter.allows(&name) {
                self.found.add_chip(chip, &name, &self.sensors_filter, &mut self.buffer, tick);
            }
        }
        Ok(())
    }
}

impl Chip {
    /// Nothing where this is no folder.
    fn new(path: PathBuf) -> Option<Self> {
        if !path.is_dir() {
            return None;
        }
        let name_file = read_text(&path.join("name")).ok();
        let base_name = device_name(&path)
            .or_else(|| name_file.as_deref().map(clean).filter(|name| !name.is_empty()))
            .or_else(|| Some(clean(&last_part(&path.canonicalize().ok()?))))
            .filter(|name| !name.is_empty())?;
        Some(Self { path, base_name, name_file })
    }
}

/// The numbers of chips depend on the order in which drivers are loaded, but the path of the
/// chip's device does not: its last two parts (bus and device) make the name.
fn device_name(chip: &Path) -> Option<String> {
    let device = chip.join("device").canonicalize().ok()?;
    let name = clean(&last_part(&device));
    let bus = device.parent().map(|parent| clean(&last_part(parent))).unwrap_or_default();
    match (bus.is_empty(), name.is_empty()) {
        (_, true) => None,
        (true, false) => Some(name),
        (false, false) => Some(format!("{bus}_{name}")),
    }
}

fn last_part(path: &Path) -> String {
    label(path.file_name().unwrap_or_default().as_bytes()).into_owned()
}

/// Chips of one device are told apart by what they call themselves, or else by their number.
fn unique_name(chip: &Chip, chips: &[Chip]) -> String {
    let same_base = || chips.iter().filter(|other| other.base_name == chip.base_name);
    if same_base().count() == 1 {
        return chip.base_name.clone();
    }
    let own = clean(chip.name_file.as_deref().unwrap_or_default());
    let same_file = |other: &&Chip| {
        other.name_file.as_deref().unwrap_or_default() == chip.name_file.as_deref().unwrap_or_default()
    };
    let suffix = match own.is_empty() || same_base().filter(same_file).count() > 1 {
        true => clean(&last_part(&chip.path)),
        false => own,
    };
    format!("{}_{suffix}", chip.base_name)
}

impl Found {
    fn add_chip(
        &mut self,
        chip: &Chip,
        name: &str,
        filter: &Filter,
        buffer: &mut AttributeBuffer,
        tick: &Tick,
    ) {
        let human = clean(chip.name_file.as_deref().unwrap_or_default());
        if !human.is_empty() {
            let help = "Annotation metric for human-readable chip names";
            let labels = [("chip", name), ("chip_name", &*human)];
            self.add_fact(tick.gauge("node_hwmon_chip_names", help, &labels));
        }
        let mut sensors = BTreeMap::new();
        self.add_folder(&chip.path, &mut sensors);
        self.add_folder(&chip.path.join("device"), &mut sensors);
        for (sensor, elements) in &sensors {
            if filter.allows(&format!("{name};{sensor}")) {
                self.add_sensor((name, sensor), elements, buffer, tick);
            }
        }
    }

    /// Files of the device's folder go before those of the same name in the chip's own.
    fn add_folder(&mut self, path: &Path, sensors: &mut BTreeMap<String, Elements>) {
        let (Ok(folder), Ok(names)) = (Attributes::open(path), list(path)) else { return };
        self.folders.push(folder);
        let files = names.iter().filter_map(|name| name.to_str());
        for (file, parts) in files.filter_map(|file| Some((file, take_apart(file)?))) {
            let elements = sensors.entry(format!("{}{}", parts.kind, parts.number)).or_default();
            elements.insert(parts.element.to_owned(), (self.folders.len() - 1, file.to_owned()));
        }
    }

    fn add_sensor(
        &mut self,
        (chip, sensor): (&str, &str),
        elements: &Elements,
        buffer: &mut AttributeBuffer,
        tick: &Tick,
    ) {
        let mut read = |element: &str| {
            let (folder, file) = elements.get(element)?;
            let text = self.folders[*folder].read(&**file, buffer).ok()?;
            Some(label(text).into_owned())
        };
        let (has_plain, sensor_label) = (read("").is_some(), read("label"));
        if let Some(text) = &sensor_label {
            let labels = [("chip", chip), ("label", &**text), ("sensor", sensor)];
            self.add_fact(tick.gauge("node_hwmon_sensor_label", "Label for given chip and sensor", &labels));
        }
        for (folder, file) in elements.values() {
            let parts = take_apart(file);
            let Some(meaning) = parts.and_then(|p| meaning::meaning(&p, has_plain, sensor_label.is_some()))
            else {
                continue;
            };
            let clean_label = sensor_label.as_deref().map(clean).unwrap_or_default();
            let shown_as = if meaning.by_label { &*clean_label } else { sensor };
            let id = series(&meaning, chip, shown_as, tick);
            if self.ids.insert(id) {
                let reading =
                    Reading { folder: *folder, file: file.as_str().into(), scale: meaning.scale, id };
                self.readings.push(reading);
            }
        }
    }

    fn add_fact(&mut self, id: SeriesId) {
        if self.ids.insert(id) {
            self.facts.push(id);
        }
    }
}

fn series(meaning: &Meaning, chip: &str, sensor: &str, tick: &Tick) -> SeriesId {
    let family =
        Family { name: meaning.name.as_str().into(), help: meaning.help.as_str().into(), kind: meaning.kind };
    tick.series(&family, "", &[("chip", chip), ("sensor", sensor)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, page, write};

    /// A chip whose device is /sys/devices/platform/coretemp.0.
    fn coretemp(tree: &Path) {
        let device = "sys/devices/platform/coretemp.0";
        let chip = format!("{device}/hwmon/hwmon0");
        for (file, content) in [
            ("name", "coretemp\n"),
            ("temp1_input", "55000\n"),
            ("temp1_label", "Package \"0\"\n"),
            ("temp1_crit_alarm", "0\n"),
            ("uevent", ""),
        ] {
            write(tree, &format!("{chip}/{file}"), content);
        }
        std::fs::create_dir_all(tree.join("sys/class/hwmon")).unwrap();
        link(&tree.join(device), &tree.join(&chip).join("device"));
        link(&tree.join(&chip), &tree.join("sys/class/hwmon/hwmon0"));
    }

    fn link(to: &Path, from: &Path) {
        std::os::unix::fs::symlink(to, from).unwrap();
    }

    const CORETEMP: [&str; 4] = [
        "node_hwmon_chip_names{chip=\"platform_coretemp_0\",chip_name=\"coretemp\"} 1",
        "node_hwmon_sensor_label{chip=\"platform_coretemp_0\",label=\"Package \\\"0\\\"\",sensor=\"temp1\"} 1",
        "node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 55",
        "node_hwmon_temp_crit_alarm_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 0",
    ];

    #[test]
    fn chip_is_named_after_its_device() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        coretemp(tree.path());
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        for time in 0..2 * i64::from(PASSES_BETWEEN_LOOKUPS) {
            assert_eq!(bench.pass(time).unwrap(), CORETEMP);
        }
        bench.catalog.sweep();
        bench.catalog.sweep();
        assert_eq!(bench.catalog.read().iter().count(), CORETEMP.len());
    }

    #[test]
    fn chip_that_comes_is_found_at_once_and_one_that_goes_ends() {
        let tree = tempfile::tempdir().unwrap();
        coretemp(tree.path());
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        bench.pass(1000).unwrap();
        write(tree.path(), "sys/class/hwmon/hwmon1/fan1_input", "1200\n");
        let lines = bench.pass(2000).unwrap();
        assert!(lines.contains(&"node_hwmon_fan_rpm{chip=\"hwmon1\",sensor=\"fan1\"} 1200".to_owned()));
        std::fs::remove_dir_all(tree.path().join("sys/class/hwmon/hwmon1")).unwrap();
        assert_eq!(bench.pass(3000).unwrap(), CORETEMP);
    }

    #[test]
    fn sensor_that_cannot_be_read_is_left_out_and_comes_back() {
        let tree = tempfile::tempdir().unwrap();
        coretemp(tree.path());
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        bench.pass(1000).unwrap();
        let file = "sys/devices/platform/coretemp.0/hwmon/hwmon0/temp1_input";
        write(tree.path(), file, "");
        assert_eq!(bench.pass(2000).unwrap().len(), 3);
        write(tree.path(), file, "55000\n");
        assert_eq!(bench.pass(3000).unwrap(), CORETEMP);
    }

    #[test]
    fn chips_of_one_device_are_told_apart() {
        let tree = tempfile::tempdir().unwrap();
        for (chip, name) in [("hwmon1", "asus_fan"), ("hwmon2", "asus_wmi"), ("hwmon3", "asus_wmi")] {
            write(tree.path(), &format!("sys/class/hwmon/{chip}/name"), name);
            write(tree.path(), &format!("sys/class/hwmon/{chip}/pwm1"), "1");
            let device = tree.path().join("sys/devices/asus-nb-wmi");
            std::fs::create_dir_all(&device).unwrap();
            link(&device, &tree.path().join("sys/class/hwmon").join(chip).join("device"));
        }
        let lines = page(tree.path(), build).unwrap();
        for chip in
            ["devices_asus_nb_wmi_asus_fan", "devices_asus_nb_wmi_hwmon2", "devices_asus_nb_wmi_hwmon3"]
        {
            let line = format!("node_hwmon_pwm{{chip=\"{chip}\",sensor=\"pwm1\"}} 1");
            assert!(lines.contains(&line), "{line} is not in {lines:?}");
        }
    }

    #[test]
    fn chips_and_sensors_are_filtered() {
        let tree = tempfile::tempdir().unwrap();
        coretemp(tree.path());
        let mut config = crate::Config::default();
        config.hwmon.sensor_exclude = Some(Pattern::unanchored("coretemp_0;temp1$").unwrap());
        let lines = Bench::new(tree.path(), build, &config).unwrap().pass(1000).unwrap();
        assert_eq!(lines, CORETEMP[..1]);
        config.hwmon.chip_include = Some(Pattern::unanchored("nothing").unwrap());
        assert!(Bench::new(tree.path(), build, &config).unwrap().pass(1000).unwrap().is_empty());
        config.hwmon.chip_exclude = Some(Pattern::unanchored("coretemp").unwrap());
        assert!(Bench::new(tree.path(), build, &config).is_err());
    }
}
