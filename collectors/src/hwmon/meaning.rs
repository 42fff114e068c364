//! What a sensor's file means: the name, help and unit of its series, as node_exporter has them.

use fieldpost_model::Kind;

/// The kinds of sensors that are shown; other files of a chip's folder are none.
const SENSOR_TYPES: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// A sensor's file, its name taken apart: `temp1_crit_alarm` is (temp, 1, `crit_alarm`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorFile<'a> {
    /// One of `SENSOR_TYPES`.
    pub kind: &'static str,
    /// Number of the sensor among those of its type; 0 where there is none.
    pub number: u64,
    /// What of the sensor it tells; empty where it is the sensor's only file.
    pub element: &'a str,
}

/// Takes a file's name apart; nothing where it is no sensor's.
pub fn take_apart(name: &str) -> Option<SensorFile<'_>> {
    let type_end = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let kind = SENSOR_TYPES.into_iter().find(|known| *known == &name[..type_end])?;
    let rest = &name[type_end..];
    let digits_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number = match &rest[..digits_end] {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let element = match &rest[digits_end..] {
        "" => "",
        tail => tail.strip_prefix('_').filter(|element| !element.is_empty())?,
    };
    Some(SensorFile { kind, number, element })
}

/// How the text of a file becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    One,
    /// Thousandths.
    Milli,
    /// Millionths.
    Micro,
    /// 1 where the text is `1`, else 0.
    Switch,
}

impl Scale {
    /// The number; nothing where the text is none.
    pub fn apply(self, text: &[u8]) -> Option<f64> {
        if self == Scale::Switch {
            return Some(f64::from(u8::from(text == b"1")));
        }
        let value = crate::text::float(text)?;
        Some(match self {
            Scale::Milli => value * 0.001,
            Scale::Micro => value / 1_000_000.0,
            Scale::One | Scale::Switch => value,
        })
    }
}

/// The series of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Name of the family.
    pub name: String,
    /// Help of the family.
    pub help: String,
    /// Counter or gauge.
    pub kind: Kind,
    /// Unit of the file.
    pub scale: Scale,
    /// The label of the sensor goes in place of its name.
    pub by_label: bool,
}

fn gauge(name: String, help: impl Into<String>, scale: Scale) -> Option<Meaning> {
    Some(Meaning { name, help: help.into(), kind: Kind::Gauge, scale, by_label: false })
}

/// What this file means. `has_plain` says that the sensor has a file without element as well,
/// `has_label` that it has a label. Nothing for files that are not shown on their own.
pub fn meaning(file: &SensorFile<'_>, has_plain: bool, has_label: bool) -> Option<Meaning> {
    let element = file.element;
    let special = match file.kind {
        "beep_enable" => Some(("node_hwmon_beep_enabled", "Hardware beep enabled", Scale::Switch)),
        "vrm" => Some(("node_hwmon_voltage_regulator_version", "Hardware voltage regulator", Scale::One)),
        "update_interval" => {
            Some(("node_hwmon_update_interval_seconds", "Hardware monitor update interval", Scale::Milli))
        }
        _ => None,
    };
    if let Some((name, help, scale)) = special {
        return if element.is_empty() { gauge(name.to_owned(), help, scale) } else { None };
    }
    let mut name = format!("node_hwmon_{}", file.kind);
    match element {
        "label" => return None,
        "" => {}
        "input" if !has_plain => {}
        _ => name = format!("{name}_{}", clean(element)),
    }
    match element {
        "fault" | "alarm" => {
            gauge(name, format!("Hardware sensor {element} status ({})", file.kind), Scale::One)
        }
        "beep" => gauge(name + "_enabled", "Hardware monitor sensor has beeping enabled", Scale::One),
        _ => with_unit(file, name, has_label),
    }
}

fn with_unit(file: &SensorFile<'_>, name: String, has_label: bool) -> Option<Meaning> {
    let element = file.element;
    let help = |subject: &str| format!("Hardware monitor {subject} ({element})");
    match (file.kind, element) {
        ("in" | "cpu", _) => gauge(name + "_volts", help("for voltage"), Scale::Milli),
        ("temp", "") => gauge(name + "_celsius", "Hardware monitor for temperature (input)", Scale::Milli),
        ("temp", element) if element != "type" => {
            gauge(name + "_celsius", help("for temperature"), Scale::Milli)
        }
        ("curr", _) => gauge(name + "_amps", help("for current"), Scale::Milli),
        ("energy", _) => {
            let joules = gauge(name + "_joule_total", help("for joules used so far"), Scale::Micro)?;
            Some(Meaning { kind: Kind::Counter, ..joules })
        }
        ("power", "accuracy") => {
            gauge(name, "Hardware monitor power meter accuracy, as a ratio", Scale::Micro)
        }
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            gauge(name + "_seconds", help("power usage update interval"), Scale::Milli)
        }
        ("power", _) => gauge(name + "_watt", help("for power usage in watts"), Scale::Micro),
        ("humidity", _) => {
            let subject =
                "for humidity, as a ratio (multiply with 100.0 to get the humidity as a percentage)";
            gauge(name, help(subject), Scale::Micro)
        }
        ("fan", "input" | "min" | "max" | "target") => {
            gauge(name + "_rpm", help("for fan revolutions per minute"), Scale::One)
        }
        ("freq", "input") if !has_label => None,
        ("freq", "input") => {
            let help = "Hardware monitor for GPU frequency in MHz";
            let megahertz = gauge(name + "_freq_mhz", help, Scale::Micro)?;
            Some(Meaning { by_label: true, ..megahertz })
        }
        (kind, element) => gauge(name, format!("Hardware monitor {kind} element {element}"), Scale::One),
    }
}

/// A text as part of a name: lower case, other characters than letters, digits and colons
/// become underscores, none of which stay at the ends.
pub fn clean(text: &str) -> String {
    let lower = text.to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':';
    let replaced: String = lower.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    replaced.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(file: &str) -> Option<(String, Scale)> {
        let meaning = meaning(&take_apart(file)?, false, true)?;
        Some((meaning.name, meaning.scale))
    }

    #[test]
    fn names_are_taken_apart() {
        let sensor = |kind, number, element| Some(SensorFile { kind, number, element });
        assert_eq!(take_apart("temp1_crit_alarm"), sensor("temp", 1, "crit_alarm"));
        assert_eq!(take_apart("pwm1_auto_point1_pwm"), sensor("pwm", 1, "auto_point1_pwm"));
        assert_eq!(take_apart("pwm1"), sensor("pwm", 1, ""));
        assert_eq!(take_apart("update_interval"), sensor("update_interval", 0, ""));
        for name in
            ["name", "uevent", "temp1_", "temp1b", "in_input", "temp99999999999999999999_input", "1", ""]
        {
            assert_eq!(take_apart(name), None, "{name}");
        }
    }

    #[test]
    fn units_by_type_and_element() {
        for (file, name, scale) in [
            ("temp1_input", "node_hwmon_temp_celsius", Scale::Milli),
            ("temp1_crit_alarm", "node_hwmon_temp_crit_alarm_celsius", Scale::Milli),
            ("temp1_type", "node_hwmon_temp_type", Scale::One),
            ("temp1_fault", "node_hwmon_temp_fault", Scale::One),
            ("in0_min", "node_hwmon_in_min_volts", Scale::Milli),
            ("fan1_input", "node_hwmon_fan_rpm", Scale::One),
            ("fan1_div", "node_hwmon_fan_div", Scale::One),
            ("pwm1_beep", "node_hwmon_pwm_beep_enabled", Scale::One),
            ("energy2_input", "node_hwmon_energy_joule_total", Scale::Micro),
            ("power1_average", "node_hwmon_power_average_watt", Scale::Micro),
            ("power1_average_interval", "node_hwmon_power_average_interval_seconds", Scale::Milli),
            ("power1_accuracy", "node_hwmon_power_accuracy", Scale::Micro),
            ("freq1_input", "node_hwmon_freq_freq_mhz", Scale::Micro),
            ("beep_enable", "node_hwmon_beep_enabled", Scale::Switch),
            ("vrm", "node_hwmon_voltage_regulator_version", Scale::One),
            ("update_interval", "node_hwmon_update_interval_seconds", Scale::Milli),
        ] {
            assert_eq!(shown(file), Some((name.to_owned(), scale)), "{file}");
        }
        assert_eq!(shown("temp1_label"), None);
    }

    #[test]
    fn value_beside_a_plain_file_is_called_input() {
        let file = take_apart("pwm1_input").unwrap();
        assert_eq!(meaning(&file, true, false).unwrap().name, "node_hwmon_pwm_input");
        assert_eq!(meaning(&take_apart("freq1_input").unwrap(), false, false), None);
    }

    #[test]
    fn texts_are_cleaned() {
        assert_eq!(clean(" Core-0 (x):Ü\u{fffd}"), "core_0__x_:");
        assert_eq!(Scale::Switch.apply(b"1"), Some(1.0));
        assert_eq!(Scale::Micro.apply(b"-2500000"), Some(-2.5));
        assert_eq!(Scale::One.apply(b"none"), None);
    }

    proptest! {
        #[test]
        fn any_name_is_survived(name: String) {
            if let Some(file) = take_apart(&name) {
                meaning(&file, true, false);
            }
            prop_assert!(!clean(&name).starts_with('_'));
        }
    }
}
