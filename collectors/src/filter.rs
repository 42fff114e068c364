//! Which devices, mounts and file systems a collector shows: one include or one exclude pattern,
//! as node_exporter's flags have them. Asked once per thing, never once per pass.

use fieldpost_model::{Pattern, Period};
use serde::{Deserialize, Serialize};

use crate::collector::CollectError;
use crate::config::Common;

/// Settings of a collector that shows some network devices and not others.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Only devices whose names match.
    pub device_include: Option<Pattern>,
    /// No device whose name matches.
    pub device_exclude: Option<Pattern>,
}

impl DeviceConfig {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }

    /// The filter; `what` names the settings in an error, such as `collectors.arp.device`.
    pub fn filter(&self, what: &str) -> Result<Filter, CollectError> {
        Filter::new(what, self.device_include.as_ref(), self.device_exclude.as_ref(), "")
    }
}

/// An include or an exclude pattern, or neither.
pub struct Filter {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

impl Filter {
    /// Takes the settings `<what>_include` and `<what>_exclude`. An empty pattern counts as unset,
    /// and an include pattern displaces the exclude pattern that nobody has set. Both set by hand
    /// is an error, for nobody could say which one was meant.
    pub fn new(
        what: &str,
        include: Option<&Pattern>,
        exclude: Option<&Pattern>,
        exclude_default: &str,
    ) -> Result<Self, CollectError> {
        let set = |pattern: Option<&Pattern>| pattern.filter(|p| !p.as_str().is_empty()).cloned();
        let (include, mut exclude) = (set(include), set(exclude));
        if include.is_some() {
            exclude = exclude.filter(|pattern| pattern.as_str() != exclude_default);
        }
        if include.is_some() && exclude.is_some() {
            return Err(CollectError::Other(format!(
                "{what}_include and {what}_exclude are both set; keep one and remove the other"
            )));
        }
        Ok(Self { include, exclude })
    }

    /// Is a thing of this name shown?
    pub fn allows(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|pattern| pattern.is_match(name))
            && !self.exclude.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
}

/// Compiles a default that is written in the source.
pub fn default_pattern(source: &str) -> Option<Pattern> {
    Some(Pattern::unanchored(source).expect("defaults are valid: the tests build each of them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::unanchored(source).unwrap()
    }

    #[test]
    fn include_displaces_the_default_exclude_only() {
        let (include, default, own) = (pattern("^sd"), pattern("^sda1$"), pattern("^vd"));
        let filter = Filter::new("device", Some(&include), Some(&default), "^sda1$").unwrap();
        assert!(filter.allows("sda1") && !filter.allows("vda"));
        assert!(Filter::new("device", Some(&include), Some(&own), "^sda1$").is_err());
    }

    #[test]
    fn empty_pattern_is_unset() {
        let empty = pattern("");
        let filter = Filter::new("device", Some(&empty), Some(&empty), "x").unwrap();
        assert!(filter.allows("anything"));
        let filter = Filter::new("device", None, Some(&pattern("^loop")), "x").unwrap();
        assert!(!filter.allows("loop0") && filter.allows("sda"));
    }
}
