//! Units of systemd by state, its timers and sockets, as `systemctl show` tells them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fieldpost_model::{Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::command::output;
use crate::config::Common;
use crate::filter::default_pattern;
use crate::seen::{HoldsSeries, Seen, SeriesSet};
use crate::text::{fields, label, lines, number, parse, split_once};

/// How long `systemctl` may take. It asks a process that may be busy, once per call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// node_exporter's defaults.
const UNIT_INCLUDE: &str = ".+";
const UNIT_EXCLUDE: &str = r".+\.(automount|device|mount|scope|slice)";

/// States that are shown of every unit, whether it is in one of them or not.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

const MANAGER_PROPERTIES: &str = "--property=Version,Virtualization,SystemState";
const UNIT_PROPERTIES: &str = "--property=Id,LoadState,ActiveState,Type,NRestarts,TasksCurrent,TasksMax,ActiveEnterTimestamp,LastTriggerUSec,NAccepted,NConnections,NRefused";

/// Settings. A unit is shown when it matches the include pattern whole and not the exclude
/// pattern, as with node_exporter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval; never shorter than the base interval.
    pub interval: Option<Period>,
    /// Units that are shown, the whole name.
    pub unit_include: Option<Pattern>,
    /// Units that are not, the whole name.
    pub unit_exclude: Option<Pattern>,
    /// Also show how many tasks services have and may have.
    pub enable_task_metrics: bool,
    /// Also show how often services were restarted.
    pub enable_restarts_metrics: bool,
    /// Also show when units became active.
    pub enable_start_time_metrics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: None,
            interval: None,
            unit_include: default_pattern(UNIT_INCLUDE),
            unit_exclude: default_pattern(UNIT_EXCLUDE),
            enable_task_metrics: false,
            enable_restarts_metrics: false,
            enable_start_time_metrics: false,
        }
    }
}

impl Config {
    /// The settings that all have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Systemd {
    /// Exists where systemd is process 1 (`sd_booted(3)`).
    booted: PathBuf,
    shown: Shown,
    config: Config,
    series: SeriesSet,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = env.config.systemd.clone();
    Ok(Box::new(Systemd {
        booted: env.roots.rootfs.join("run/systemd/system"),
        shown: Shown::new(&config)?,
        config,
        series: SeriesSet::default(),
    }))
}

impl Collector for Systemd {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        if !self.booted.is_dir() {
            return Err(CollectError::NoData("this machine does not run systemd".into()));
        }
        let manager = output(systemctl(&[MANAGER_PROPERTIES]), TIMEOUT)?;
        let units = output(systemctl(&["--all", UNIT_PROPERTIES, "*"]), TIMEOUT)?;
        self.record(&manager, &units, tick);
        Ok(())
    }
}

/// Times are written for people and in the local zone unless told otherwise. The options that
/// would make them plain numbers are not in every version.
fn systemctl(arguments: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager"]).args(arguments).env("TZ", "UTC").env("LC_ALL", "C");
    command
}

impl Systemd {
    fn record(&mut self, manager: &[u8], units: &[u8], tick: &mut Tick) {
        self.series.begin();
        self.record_manager(manager, tick);
        self.record_summary(units, tick);
        self.shown.of_units.begin();
        for unit in blocks(units).filter(|unit| unit.get("LoadState") == Some(b"loaded")) {
            let name = label(unit.get("Id").unwrap_or_default());
            if self.shown.allows(&name) {
                self.record_state(&name, &unit, tick);
                self.record_extras(&name, &unit, tick);
                self.record_timer(&name, &unit, tick);
                self.record_socket(&name, &unit, tick);
            }
        }
        self.shown.of_units.end(tick);
        self.series.end(tick);
    }

    fn record_manager(&mut self, manager: &[u8], tick: &mut Tick) {
        let manager = Block { text: manager };
        let text = label(manager.get("Version").unwrap_or_default());
        let version = version(text.as_bytes());
        let shown = if version.is_some() { &*text } else { "" };
        let (name, help) = ("node_systemd_version", "Detected systemd version");
        self.series.gauge(tick, name, help, &[("version", shown)], version.unwrap_or(0.0));
        let kind = manager.get("Virtualization").filter(|kind| !kind.is_empty()).unwrap_or(b"none");
        let (name, help) = ("node_systemd_virtualization_info", "Detected virtualization technology");
        self.series.gauge(tick, name, help, &[("virtualization_type", &label(kind))], 1.0);
        if let Some(state) = manager.get("SystemState") {
            let help = "Whether the system is operational (see 'systemctl is-system-running')";
            self.series.gauge(tick, "node_systemd_system_running", help, &[], flag(state == b"running"));
        }
    }

    /// How many units are in each state, those that are filtered out included.
    fn record_summary(&mut self, units: &[u8], tick: &mut Tick) {
        let mut counts: Vec<(&[u8], f64)> = STATES.iter().map(|state| (state.as_bytes(), 0.0)).collect();
        for state in blocks(units).filter_map(|unit| unit.get("ActiveState")) {
            match counts.iter_mut().find(|(known, _)| *known == state) {
                Some((_, count)) => *count += 1.0,
                None => counts.push((state, 1.0)),
            }
        }
        for (state, count) in counts {
            let help = "Summary of systemd unit states";
            self.series.gauge(tick, "node_systemd_units", help, &[("state", &label(state))], count);
        }
    }

    fn record_state(&mut self, name: &str, unit: &Block<'_>, tick: &mut Tick) {
        let has_type = name.ends_with(".service") || name.ends_with(".mount");
        let kind = label(unit.get("Type").filter(|_| has_type).unwrap_or_default());
        for state in STATES {
            let labels = [("name", name), ("state", state), ("type", &*kind)];
            let is = flag(unit.get("ActiveState") == Some(state.as_bytes()));
            self.series.gauge(tick, "node_systemd_unit_state", "Systemd unit", &labels, is);
        }
    }

    /// What is off unless the config asks for it.
    fn record_extras(&mut self, name: &str, unit: &Block<'_>, tick: &mut Tick) {
        let labels = [("name", name)];
        if self.config.enable_start_time_metrics {
            let is_active = unit.get("ActiveState") == Some(b"active");
            let seconds = unit.get("ActiveEnterTimestamp").filter(|_| is_active).and_then(timestamp);
            let help = "Start time of the unit since unix epoch in seconds.";
            let family = "node_systemd_unit_start_time_seconds";
            self.series.gauge(tick, family, help, &labels, seconds.unwrap_or(0.0));
        }
        if !name.ends_with(".service") {
            return;
        }
        if let Some(restarts) = unit.number("NRestarts").filter(|_| self.config.enable_restarts_metrics) {
            let help = "Service unit count of Restart triggers";
            self.series.counter(tick, "node_systemd_service_restart_total", help, &labels, restarts);
        }
        let with_tasks = self.config.enable_task_metrics;
        if let Some(tasks) = unit.number("TasksCurrent").filter(|_| with_tasks) {
            let help = "Current number of tasks per Systemd unit";
            self.series.gauge(tick, "node_systemd_unit_tasks_current", help, &labels, tasks);
        }
        if let Some(tasks) = unit.number("TasksMax").filter(|_| with_tasks) {
            let help = "Maximum number of tasks per Systemd unit";
            self.series.gauge(tick, "node_systemd_unit_tasks_max", help, &labels, tasks);
        }
    }

    fn record_timer(&mut self, name: &str, unit: &Block<'_>, tick: &mut Tick) {
        if !name.ends_with(".timer") {
            return;
        }
        if let Some(last) = unit.get("LastTriggerUSec") {
            let (family, help) =
                ("node_systemd_timer_last_trigger_seconds", "Seconds since epoch of last trigger.");
            // A timer that was never due has no time, which node_exporter shows as 0.
            let seconds = timestamp(last).unwrap_or(0.0);
            self.series.gauge(tick, family, help, &[("name", name)], seconds);
        }
    }

    fn record_socket(&mut self, name: &str, unit: &Block<'_>, tick: &mut Tick) {
        if !name.ends_with(".socket") {
            return;
        }
        let labels = [("name", name)];
        if let Some(accepted) = unit.number("NAccepted") {
            let family = "node_systemd_socket_accepted_connections_total";
            self.series.counter(
                tick,
                family,
                "Total number of accepted socket connections",
                &labels,
                accepted,
            );
        }
        if let Some(current) = unit.number("NConnections") {
            let family = "node_systemd_socket_current_connections";
            self.series.gauge(tick, family, "Current number of socket connections", &labels, current);
        }
        if let Some(refused) = unit.number("NRefused") {
            // A gauge with node_exporter, whatever its name says.
            let family = "node_systemd_socket_refused_connections_total";
            self.series.gauge(tick, family, "Total number of refused socket connections", &labels, refused);
        }
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Which units are shown, decided once for each.
struct Shown {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
    of_units: Seen<Decision>,
}

struct Decision {
    is_shown: bool,
}

impl HoldsSeries for Decision {
    fn each(&self, _: &mut dyn FnMut(SeriesId)) {}
}

impl Shown {
    fn new(config: &Config) -> Result<Self, CollectError> {
        let anchored = |pattern: &Option<Pattern>| {
            let sources = pattern.iter().map(Pattern::as_str).filter(|source| !source.is_empty());
            sources
                .map(Pattern::new)
                .next()
                .transpose()
                .map_err(|error| CollectError::Other(error.to_string()))
        };
        let (include, exclude) = (anchored(&config.unit_include)?, anchored(&config.unit_exclude)?);
        Ok(Self { include, exclude, of_units: Seen::default() })
    }

    fn allows(&mut self, unit: &str) -> bool {
        let (include, exclude) = (&self.include, &self.exclude);
        let decision = self.of_units.get(unit.as_bytes(), || Decision {
            is_shown: include.as_ref().is_none_or(|pattern| pattern.is_match(unit))
                && !exclude.as_ref().is_some_and(|pattern| pattern.is_match(unit)),
        });
        decision.is_shown
    }
}

/// Lines `Property=value`. A property that its kind of unit does not have has no line.
#[derive(Clone, Copy)]
struct Block<'a> {
    text: &'a [u8],
}

impl<'a> Block<'a> {
    fn get(&self, property: &str) -> Option<&'a [u8]> {
        let pairs = lines(self.text).filter_map(|line| split_once(line, b'='));
        pairs.into_iter().find(|(name, _)| *name == property.as_bytes()).map(|(_, value)| value)
    }

    /// A number; what is unset or without bound (`[not set]`, `infinity`, all ones) has none.
    fn number(&self, property: &str) -> Option<f64> {
        self.get(property).and_then(number).filter(|value| *value != u64::MAX).map(|value| value as f64)
    }
}

/// The units, one block of lines each, with empty lines in between.
fn blocks(text: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let end = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        rest = after;
        (!text.is_empty()).then_some(Block { text })
    })
}

/// `252.38-1~deb12u1` is 252.38: the first three digits or more, with what follows one point.
fn version(text: &[u8]) -> Option<f64> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let mut start = 0;
    while start < text.len() {
        let n_digits = text[start..].iter().take_while(|byte| is_digit(byte)).count();
        if n_digits >= 3 {
            let whole = start + n_digits;
            let n_after = match text.get(whole) {
                Some(b'.') => text[whole + 1..].iter().take_while(|byte| is_digit(byte)).count(),
                _ => 0,
            };
            let end = if n_after > 0 { whole + 1 + n_after } else { whole };
            return parse(&text[start..end]);
        }
        start += n_digits.max(1);
    }
    None
}

/// `Tue 2023-11-14 22:13:20 UTC` in seconds since 1970; unset times (`n/a`, empty) have none.
fn timestamp(text: &[u8]) -> Option<f64> {
    let mut words = fields(text).skip(1);
    let (date, time) = (words.next()?, words.next()?);
    let [year, month, day] = numbers(date, b'-')?;
    let [hour, minute, second] = numbers(time, b':')?;
    let in_range = year <= 9_999 && (1..=12).contains(&month) && (1..=31).contains(&day);
    let in_range = in_range && hour < 24 && minute < 60 && second <= 60;
    let days = in_range.then(|| days_since_1970(year, month, day))?;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) as f64)
}

fn numbers(text: &[u8], separator: u8) -> Option<[i64; 3]> {
    let mut parts = text.split(|byte| *byte == separator).map(|part| number(part)?.try_into().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

/// Days of the Gregorian calendar. Years are counted from March, so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
