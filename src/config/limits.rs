//! What a value may be beyond its type: shortest intervals, keys that exclude each other.

use std::collections::HashMap;

use fieldpost_model::Period;

use super::effective::Origin;
use super::key::{KeyPath, Step};
use super::problem::{Problem, Source};
use super::root::Root;
use super::yaml::{self, Value};

/// Sampling more often costs more than it tells.
const INTERVAL_MIN: Period = Period::from_millis(100);
/// Rarer than this is no monitoring; it guards against `1h` where `1s` was meant.
const INTERVAL_MAX: Period = Period::from_secs(3_600);
/// A window holds at least so many ticks, for its columns to be worth compressing.
const WINDOW_TICKS_MIN: u32 = 6;
/// The longest path of a Unix socket (`sun_path` in unix(7), less the closing zero).
const SOCKET_BYTES_MAX: usize = 107;

type Origins = HashMap<KeyPath, Origin>;

/// Everything that is out of bounds in the merged tree, each fault at whoever gave the value. Keys
/// that this face does not have are not looked at.
pub fn check(tree: &Value, defaults: &Value, origins: &Origins) -> Vec<Problem> {
    let look = Look { tree, defaults, origins };
    let mut problems = Vec::new();
    look.interval(&mut problems);
    look.window(&mut problems);
    look.paths(&mut problems);
    look.collectors(&mut problems);
    look.pairs(&mut problems);
    problems
}

/// What the rooms find wrong with their own sections.
pub fn faults<R: Root>(config: &R, origins: &Origins) -> Vec<Problem> {
    let faults = config.faults().into_iter();
    faults.map(|(key, text)| problem(origins, &KeyPath::indexed(&key), text)).collect()
}

fn problem(origins: &Origins, key: &KeyPath, text: String) -> Problem {
    // A list is given as a whole: whoever gave it gave what is in it.
    let above = std::iter::successors(Some(key.clone()), KeyPath::parent);
    let origin = above.take_while(|key| !key.is_top()).find_map(|key| origins.get(&key));
    Problem {
        source: origin.map_or(Source::Default, |origin| origin.source.clone()),
        place: origin.and_then(|origin| origin.place),
        key: key.clone(),
        text,
    }
}

struct Look<'a> {
    tree: &'a Value,
    defaults: &'a Value,
    origins: &'a Origins,
}

impl Look<'_> {
    fn period(&self, key: &str) -> Option<Period> {
        yaml::find(self.tree, &KeyPath::dotted(key))?.as_str()?.parse().ok()
    }

    fn is_set(&self, key: &KeyPath) -> bool {
        self.origins.contains_key(key)
    }

    fn problem(&self, key: &KeyPath, text: String) -> Problem {
        problem(self.origins, key, text)
    }

    fn interval(&self, problems: &mut Vec<Problem>) {
        let key = KeyPath::dotted("interval");
        let Some(interval) = self.period("interval") else { return };
        if interval < INTERVAL_MIN {
            problems
                .push(self.problem(&key, format!("{interval} is too short; write {INTERVAL_MIN} or more")));
        } else if interval > INTERVAL_MAX {
            problems
                .push(self.problem(&key, format!("{interval} is too long; write {INTERVAL_MAX} or less")));
        }
    }

    /// A window that nobody set grows with the interval.
    fn window(&self, problems: &mut Vec<Problem>) {
        let key = KeyPath::dotted("store.window");
        let (Some(window), Some(interval)) = (self.period("store.window"), self.period("interval")) else {
            return;
        };
        let least = Period(interval.0.saturating_mul(WINDOW_TICKS_MIN));
        if window < least && self.is_set(&key) {
            let text = format!(
                "{window} holds fewer than {WINDOW_TICKS_MIN} ticks of {interval}; write {least} or more"
            );
            problems.push(self.problem(&key, text));
        }
    }

    fn paths(&self, problems: &mut Vec<Problem>) {
        for key in ["collectors.procfs", "collectors.sysfs", "collectors.rootfs"] {
            let key = KeyPath::dotted(key);
            if yaml::find(self.tree, &key).and_then(Value::as_str) == Some("") {
                problems.push(self.problem(&key, "is empty; write the path of a folder".to_owned()));
            }
        }
        let key = KeyPath::dotted("api.socket");
        let socket = yaml::find(self.tree, &key).and_then(Value::as_str);
        if socket.is_some_and(|socket| socket.len() > SOCKET_BYTES_MAX) {
            let text =
                format!("is longer than the {SOCKET_BYTES_MAX} bytes that a Unix socket's path may have");
            problems.push(self.problem(&key, text));
        }
    }

    fn collectors(&self, problems: &mut Vec<Problem>) {
        let Some(base) = self.period("interval") else { return };
        for entry in fieldpost_collectors::COLLECTORS {
            let key = KeyPath::dotted(&format!("collectors.{}.interval", entry.name));
            let interval = self.period(&key.to_string());
            if let Some(interval) = interval.filter(|interval| *interval < base && self.is_set(&key)) {
                let text = format!("{interval} is shorter than the base interval; write {base} or more");
                problems.push(self.problem(&key, text));
            }
        }
    }

    /// Of `x_include` and `x_exclude` only one may be set, as in node_exporter; but where the
    /// include has a default, it is meant to be narrowed by the exclude.
    fn pairs(&self, problems: &mut Vec<Problem>) {
        for exclude in self.origins.keys() {
            let Some(include) = counterpart(exclude) else { continue };
            let goes_together = !is_empty(self.defaults, &include);
            let are_set =
                self.is_set(&include) && !is_empty(self.tree, &include) && !is_empty(self.tree, exclude);
            if are_set && !goes_together {
                let text = format!("set together with {include}; set only one of the two");
                problems.push(self.problem(exclude, text));
            }
        }
    }
}

fn is_empty(tree: &Value, key: &KeyPath) -> bool {
    match yaml::find(tree, key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Sequence(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// `x.y_include` for `x.y_exclude`.
fn counterpart(exclude: &KeyPath) -> Option<KeyPath> {
    let (Step::Name(last), above) = exclude.0.split_last()? else { return None };
    let stem = last.strip_suffix("exclude")?;
    Some(KeyPath(above.to_vec()).name(&format!("{stem}include")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tree: &str) -> Vec<String> {
        let (tree, defaults) = (yaml::value_of(tree), yaml::value_of("{b: {unit_include: .+}}"));
        let origin = Origin { source: Source::Flag("--set"), place: None, key_place: None };
        let origins = yaml::leaves(&tree).into_iter().map(|(key, _)| (key, origin.clone())).collect();
        check(&tree, &defaults, &origins).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_out_of_bounds_are_told_with_what_to_write() {
        assert_eq!(texts("{interval: 1s, store: {window: 10s}}"), [""; 0]);
        assert_eq!(texts("{interval: 10ms}"), ["--set: interval: 10ms is too short; write 100ms or more"]);
        assert_eq!(texts("{interval: 2h}"), ["--set: interval: 2h is too long; write 1h or less"]);
        assert_eq!(
            texts("{interval: 2s, store: {window: 10s}}"),
            ["--set: store.window: 10s holds fewer than 6 ticks of 2s; write 12s or more"]
        );
        assert_eq!(
            texts("{interval: 2s, collectors: {cpu: {interval: 1s}}}"),
            ["--set: collectors.cpu.interval: 1s is shorter than the base interval; write 2s or more"]
        );
    }

    #[test]
    fn include_and_exclude_are_not_set_together() {
        assert_eq!(texts("{a: {device_include: x}}"), [""; 0]);
        assert_eq!(texts("{b: {unit_include: x, unit_exclude: y}}"), [""; 0]);
        assert_eq!(
            texts("{a: {device_include: x, device_exclude: y}}"),
            ["--set: a.device_exclude: set together with a.device_include; set only one of the two"]
        );
    }
}
