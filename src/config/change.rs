//! What differs between two configs, and whether a running agent can take it over.

use super::Config;
use super::key::KeyPath;
use super::yaml::{self, Value};

/// Keys that a running agent cannot change: they hold open files and sockets.
const NEED_RESTART: [&str; 5] = ["store", "metrics.listen", "api.socket", "log.file", "collectors.backend"];

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Before, as it would be written in a file.
    pub old: String,
    /// After.
    pub new: String,
    /// Does it take a restart to make it count?
    pub needs_restart: bool,
}

/// Every key whose value differs, in the order of the config.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (yaml::value_from(old), yaml::value_from(new));
    let (before, after) = (yaml::leaves(&old), yaml::leaves(&new));
    let is_known = |key: &KeyPath| before.iter().any(|(known, _)| known == key);
    let gone = before.iter().map(|(key, value)| (key, Some(*value), yaml::find(&new, key)));
    let come = after.iter().filter(|(key, _)| !is_known(key)).map(|(key, value)| (key, None, Some(*value)));
    gone.chain(come).filter(|(_, old, new)| old != new).map(|(key, old, new)| change(key, old, new)).collect()
}

fn change(key: &KeyPath, old: Option<&Value>, new: Option<&Value>) -> Change {
    let show = |value: Option<&Value>| value.map_or_else(|| "unset".to_owned(), yaml::show);
    let key = key.to_string();
    let is_under =
        |root: &str| key.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let needs_restart = NEED_RESTART.iter().any(|root| is_under(root));
    Change { old: show(old), new: show(new), needs_restart, key }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Period;

    use super::*;

    #[test]
    fn changes_say_whether_they_need_a_restart() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(changes(&old, &new), []);
        new.interval = Period::from_secs(2);
        new.store.path = "/elsewhere".into();
        let found = changes(&old, &new);
        let told: Vec<_> = found.iter().map(|change| (change.key.as_str(), change.needs_restart)).collect();
        assert_eq!(told, [("interval", false), ("store.path", true)]);
        assert_eq!((found[0].old.as_str(), found[0].new.as_str()), ("1s", "2s"));
    }

    #[test]
    fn every_key_that_needs_a_restart_exists() {
        let tree = yaml::value_from(&Config::default());
        for key in NEED_RESTART {
            assert!(yaml::find(&tree, &KeyPath::dotted(key)).is_some(), "{key}");
        }
    }
}
