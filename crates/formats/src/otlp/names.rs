//! Names of OpenTelemetry in the words of Prometheus: allowed letters only, the unit and `_total` at the end. The same
//! names as Prometheus' own OTLP receiver gives, so that dashboards fit.

use std::borrow::Cow;

/// Units of UCUM that have a name in Prometheus.
const UNITS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units after a stroke: `By/s` is bytes per second.
const UNITS_PER: &[(&str, &str)] = &[
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// What a metric's kind does to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// `_total`.
    Counter,
    /// `_ratio`, where the unit is 1.
    Gauge,
    /// None.
    Other,
}

/// The name of the family; none where no letter of it can be kept.
pub(super) fn metric_name(name: &str, unit: &str, ending: Ending) -> Option<String> {
    let mut words: Vec<&str> = name.split(|c: char| !is_kept(c)).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return None;
    }
    let (unit_word, per_word) = unit_words(unit);
    if !unit_word.is_empty() && !words.contains(&&*unit_word) {
        words.push(&unit_word);
    }
    if !per_word.is_empty() {
        words.extend(["per", &per_word]);
    }
    let last = match ending {
        Ending::Counter => "total",
        Ending::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    if !last.is_empty() {
        words.retain(|word| *word != last);
        words.push(last);
    }
    let joined = words.join("_");
    match joined.bytes().next()? {
        b'0'..=b'9' => Some(format!("_{joined}")),
        _ => Some(joined),
    }
}

/// The unit as metadata tells it: `bytes_per_second`.
pub(super) fn unit_name(unit: &str) -> String {
    let (unit_word, per_word) = unit_words(unit);
    match (&*unit_word, &*per_word) {
        (_, "") => unit_word.into_owned(),
        ("", per) => format!("per_{per}"),
        (unit, per) => format!("{unit}_per_{per}"),
    }
}

/// The name of a label: other letters become `_`, and it begins as a name must.
pub(super) fn label_name(key: &str) -> String {
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match name.as_bytes() {
        [b'0'..=b'9', ..] => format!("key_{name}"),
        [b'_', b'_', ..] => name,
        [b'_', ..] => format!("key{name}"),
        _ => name,
    }
}

/// The words for a unit and for what follows its stroke; empty for none, and for what stands in braces.
fn unit_words(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (unit, per) = unit.split_once('/').unwrap_or((unit, ""));
    (unit_word(unit, UNITS), unit_word(per, UNITS_PER))
}

fn unit_word<'a>(unit: &'a str, words: &[(&str, &'static str)]) -> Cow<'a, str> {
    let unit = unit.trim();
    if unit.contains(['{', '}']) {
        return Cow::Borrowed("");
    }
    match words.iter().find(|(symbol, _)| *symbol == unit) {
        Some((_, word)) => Cow::Borrowed(word),
        None if unit.chars().all(is_kept) => Cow::Borrowed(unit),
        None => {
            let parts: Vec<&str> =
                unit.split(|c: char| !is_kept(c)).filter(|part| !part.is_empty()).collect();
            Cow::Owned(parts.join("_"))
        }
    }
}

fn is_kept(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn metrics_are_named_as_prometheus_names_them() {
        for (name, unit, ending, wanted) in [
            ("http.server.duration", "s", Ending::Other, "http_server_duration_seconds"),
            ("system.cpu.time", "s", Ending::Counter, "system_cpu_time_seconds_total"),
            ("requests.count", "1", Ending::Counter, "requests_count_total"),
            ("requests_total", "", Ending::Counter, "requests_total"),
            ("total.sent", "By", Ending::Counter, "sent_bytes_total"),
            ("memory.usage", "By", Ending::Gauge, "memory_usage_bytes"),
            ("memory.bytes.used", "By", Ending::Gauge, "memory_bytes_used"),
            ("system.memory.utilization", "1", Ending::Gauge, "system_memory_utilization_ratio"),
            ("hw.ratio.fan", "1", Ending::Gauge, "hw_fan_ratio"),
            ("system.network.io", "By/s", Ending::Gauge, "system_network_io_bytes_per_second"),
            ("events", "1/m", Ending::Gauge, "events_per_minute"),
            ("system.network.dropped", "{packets}", Ending::Counter, "system_network_dropped_total"),
            ("system.network.dropped", "packets", Ending::Other, "system_network_dropped_packets"),
            ("x", "{items}/s", Ending::Other, "x_per_second"),
            ("x", "fish & chips", Ending::Other, "x_fish_chips"),
            ("(lambda).function.executions(#)", "", Ending::Other, "lambda_function_executions"),
            ("__a..b__c", "", Ending::Other, "a_b_c"),
            ("job:rate:5m", "", Ending::Gauge, "job:rate:5m"),
            ("1st.metric", "", Ending::Other, "_1st_metric"),
            ("température", "Cel", Ending::Gauge, "temp_rature_celsius"),
        ] {
            assert_eq!(metric_name(name, unit, ending).as_deref(), Some(wanted), "{name} {unit}");
        }
        for nameless in ["", "...", "µ"] {
            assert_eq!(metric_name(nameless, "s", Ending::Counter), None);
        }
    }

    #[test]
    fn units_have_names() {
        for (unit, wanted) in [
            ("s", "seconds"),
            ("By/s", "bytes_per_second"),
            ("1/s", "per_second"),
            ("{x}", ""),
            ("", ""),
            ("1", ""),
        ] {
            assert_eq!(unit_name(unit), wanted, "{unit}");
        }
    }

    #[test]
    fn labels_begin_as_names_must() {
        for (key, wanted) in [
            ("http.method", "http_method"),
            ("1st", "key_1st"),
            ("_private", "key_private"),
            ("__name", "__name"),
            ("über", "key_ber"),
            ("", ""),
        ] {
            assert_eq!(label_name(key), wanted);
        }
    }

    proptest! {
        #[test]
        fn any_name_becomes_a_good_one(name in ".{0,20}", unit in ".{0,8}") {
            let good = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
            for ending in [Ending::Counter, Ending::Gauge, Ending::Other] {
                if let Some(found) = metric_name(&name, &unit, ending) {
                    prop_assert!(good(&found) && !found.is_empty() && !found.starts_with(|c: char| c.is_ascii_digit()));
                }
            }
            prop_assert!(good(&label_name(&name)));
            prop_assert!(good(&unit_name(&unit)));
        }
    }
}
