//! What differs between two configs, and whether a running process can take it over.

use super::key::KeyPath;
use super::root::Root;
use super::yaml::{self, Value};

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
pub fn changes<R: Root>(old: &R, new: &R) -> Vec<Change> {
    let (old, new) = (yaml::value_from(old), yaml::value_from(new));
    let (before, after) = (yaml::leaves(&old), yaml::leaves(&new));
    let is_known = |key: &KeyPath| before.iter().any(|(known, _)| known == key);
    let gone = before.iter().map(|(key, value)| (key, Some(*value), yaml::find(&new, key)));
    let come = after.iter().filter(|(key, _)| !is_known(key)).map(|(key, value)| (key, None, Some(*value)));
    gone.chain(come)
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| change::<R>(key, old, new))
        .collect()
}

/// What is in force after a running process took over what it can of a new config: what needs a
/// restart keeps its old value.
pub fn taken_over<R: Root>(old: &R, new: &R) -> R {
    let (old_tree, mut tree) = (yaml::value_from(old), yaml::value_from(new));
    for key in R::NEED_RESTART.iter().map(|key| KeyPath::dotted(key)) {
        let kept = yaml::find(&old_tree, &key).cloned().unwrap_or(Value::Null);
        yaml::insert(&mut tree, &key, kept);
    }
    // Both trees were written from this very type, so that what is put together of them fits it.
    yaml::build(&tree).unwrap_or_else(|_| old.clone())
}

fn change<R: Root>(key: &KeyPath, old: Option<&Value>, new: Option<&Value>) -> Change {
    let show = |value: Option<&Value>| value.map_or_else(|| "unset".to_owned(), yaml::show);
    let key = key.to_string();
    let is_under =
        |root: &str| key.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let needs_restart = R::NEED_RESTART.iter().any(|root| is_under(root));
    Change { old: show(old), new: show(new), needs_restart, key }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Period;

    use super::super::Config;
    use super::*;
    use crate::hub;

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
        fn check<R: Root>() {
            let tree = yaml::value_from(&R::default());
            for key in R::NEED_RESTART {
                assert!(yaml::find(&tree, &KeyPath::dotted(key)).is_some(), "{key}");
            }
        }
        check::<Config>();
        check::<hub::Config>();
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value() {
        let old = hub::Config::default();
        let mut new = old.clone();
        new.listen = ([10, 0, 0, 1], 1).into();
        new.api.socket = Some("/elsewhere".into());
        new.log.level = crate::telemetry::Level::Debug;
        let expected = hub::Config { log: new.log.clone(), ..old.clone() };
        assert_eq!(taken_over(&old, &new), expected);
        assert_eq!(taken_over(&new, &old).api, new.api);
    }
}
