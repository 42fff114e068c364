//! Relabelling in the words and with the rules of Prometheus: steps that rewrite the labels of a
//! target or of a series, or drop it (relabel_config in its documentation of the configuration).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fieldpost_model::Pattern;
use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Labels by name; none is without a value.
pub(super) type Labels = BTreeMap<String, String>;

/// The longest value that a step may make, bytes: templates may repeat what they matched.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// What a step has unless it says otherwise.
const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";
/// The same, compiled.
static EVERYTHING: LazyLock<Option<Pattern>> = LazyLock::new(|| Pattern::new(REGEX).ok());

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelabelConfig {
    /// Labels whose values, joined, are looked at.
    pub source_labels: Vec<String>,
    /// Between the values.
    pub separator: String,
    /// The label that is set or compared.
    pub target_label: String,
    /// What the joined values, or the names of labels, have to match as a whole.
    pub regex: Anchored,
    /// By what the hash of the joined values is divided.
    pub modulus: u64,
    /// The new value, with `$1` and `${name}` for what matched.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.to_owned(),
            target_label: String::new(),
            regex: Anchored::default(),
            modulus: 0,
            replacement: REPLACEMENT.to_owned(),
            action: Action::default(),
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets the target label if the regex matches.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops what is not equal to the target label.
    KeepEqual,
    /// Drops what is equal to the target label.
    DropEqual,
    /// Sets the target label to the rest of a hash.
    HashMod,
    /// Copies labels whose names match to other names.
    LabelMap,
    /// Takes labels away whose names match.
    LabelDrop,
    /// Takes labels away whose names do not match.
    LabelKeep,
    /// Sets the target label in small letters.
    Lowercase,
    /// Sets the target label in capital letters.
    Uppercase,
}

/// A regular expression that has to match the whole text; none given matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Anchored(Option<Pattern>);

impl Anchored {
    fn is_match(&self, text: &str) -> bool {
        self.0.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }

    /// The template with what the text has; none if the text does not match.
    fn expand(&self, text: &str, template: &str) -> Option<String> {
        match &self.0 {
            Some(pattern) => pattern.expand(text, template),
            // `(.*)` without the work, as most steps have it.
            None if template == REPLACEMENT => Some(text.to_owned()),
            None if !template.contains('$') => Some(template.to_owned()),
            None => EVERYTHING.as_ref()?.expand(text, template),
        }
    }
}

impl Serialize for Anchored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_ref().map_or(REGEX, Pattern::as_str))
    }
}

impl<'de> Deserialize<'de> for Anchored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        if source == REGEX {
            return Ok(Self(None));
        }
        Pattern::new(&source).map(|pattern| Self(Some(pattern))).map_err(serde::de::Error::custom)
    }
}

impl RelabelConfig {
    /// What is wrong with it: the key, and the words.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace};
        let word = serde_json::to_value(self.action).unwrap_or_default();
        let word = word.as_str().unwrap_or_default();
        let sets =
            matches!(self.action, Replace | HashMod | Lowercase | Action::Uppercase | KeepEqual | DropEqual);
        if sets && self.target_label.is_empty() {
            return Some(("action", format!("{word} needs target_label beside it")));
        }
        if self.action == HashMod && self.modulus == 0 {
            return Some(("action", "hashmod needs a modulus of 1 or more beside it".to_owned()));
        }
        let is_template = matches!(self.action, Replace) && self.target_label.contains('$');
        if sets && !is_template && !is_label(&self.target_label) {
            let text = format!("{:?} is no name of a label", self.target_label);
            return Some(("target_label", text));
        }
        if self.action == LabelMap && !self.replacement.contains('$') && !is_label(&self.replacement) {
            return Some(("replacement", format!("{:?} is no name of a label", self.replacement)));
        }
        let unused = match self.action {
            KeepEqual | DropEqual => [("regex", self.regex.0.is_some()), self.other_replacement()],
            LabelDrop | LabelKeep => {
                [("source_labels", !self.source_labels.is_empty()), self.other_replacement()]
            }
            Lowercase | Action::Uppercase => [self.other_replacement(), ("regex", self.regex.0.is_some())],
            _ => return None,
        };
        let (key, _) = unused.into_iter().find(|(_, is_given)| *is_given)?;
        Some((key, format!("means nothing with the action {word}; take it away")))
    }

    fn other_replacement(&self) -> (&'static str, bool) {
        ("replacement", self.replacement != REPLACEMENT)
    }

    /// Does the step. False: what has these labels is dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        let values = self.source_labels.iter().map(|name| labels.get(name).map_or("", String::as_str));
        let value = values.collect::<Vec<_>>().join(&self.separator);
        let target = || labels.get(&self.target_label).map_or("", String::as_str);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::KeepEqual => return target() == value,
            Action::DropEqual => return target() != value,
            Action::Replace => self.replace(&value, labels),
            Action::HashMod => {
                set(labels, &self.target_label, (hash(&value) % self.modulus.max(1)).to_string());
            }
            Action::Lowercase => set(labels, &self.target_label, value.to_lowercase()),
            Action::Uppercase => set(labels, &self.target_label, value.to_uppercase()),
            Action::LabelMap => {
                let renamed = labels.iter().filter_map(|(name, value)| {
                    Some((self.regex.expand(name, &self.replacement)?, value.clone()))
                });
                renamed.collect::<Vec<_>>().into_iter().for_each(|(name, value)| set(labels, &name, value));
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut Labels) {
        let Some(target) = self.regex.expand(value, &self.target_label) else { return };
        if !is_label(&target) {
            return;
        }
        if let Some(new) = self.regex.expand(value, &self.replacement) {
            set(labels, &target, new);
        }
    }
}

/// Does all steps, one after the other. False: what has these labels is dropped.
pub(super) fn relabel(steps: &[RelabelConfig], labels: &mut Labels) -> bool {
    steps.iter().all(|step| step.apply(labels))
}

/// A label without a value is none.
fn set(labels: &mut Labels, name: &str, mut value: String) {
    value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX));
    if value.is_empty() || name.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// The last eight bytes of the MD5, as Prometheus takes them: targets are spread the same way there
/// and here.
fn hash(value: &str) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    digest.iter().skip(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// May a label be called so?
pub(super) fn is_label(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(json: &str) -> RelabelConfig {
        serde_json::from_str(json).unwrap()
    }

    /// The labels after one step, or none if it drops them.
    fn after(json: &str, labels: &[(&str, &str)]) -> Option<String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut labels: Labels = labels.iter().map(own).collect();
        let is_kept = relabel(&[step(json)], &mut labels);
        let texts: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        is_kept.then(|| texts.join(" "))
    }

    #[test]
    fn each_action_does_what_it_does_in_prometheus() {
        let labels = [("a", "foo"), ("b", "Bar"), ("c", "foo;Bar")];
        for (json, expected) in [
            (
                r#"{"source_labels":["a"],"regex":"f(.*)","target_label":"d","replacement":"ch${1}-ch$1"}"#,
                Some("a=foo b=Bar c=foo;Bar d=choo-choo"),
            ),
            (
                r#"{"source_labels":["a","b"],"regex":"f(.)o;B(.*)","target_label":"$1$2","replacement":"x"}"#,
                Some("a=foo b=Bar c=foo;Bar oar=x"),
            ),
            (r#"{"source_labels":["a"],"regex":"o","target_label":"d"}"#, Some("a=foo b=Bar c=foo;Bar")),
            (r#"{"source_labels":["none"],"target_label":"a"}"#, Some("b=Bar c=foo;Bar")),
            (
                r#"{"source_labels":["a"],"target_label":"${1}-","replacement":"x"}"#,
                Some("a=foo b=Bar c=foo;Bar"),
            ),
            (r#"{"source_labels":["b"],"regex":"(?i)bar","action":"keep"}"#, Some("a=foo b=Bar c=foo;Bar")),
            (r#"{"source_labels":["a"],"regex":"fo","action":"keep"}"#, None),
            (r#"{"source_labels":["a"],"regex":"fo.","action":"drop"}"#, None),
            (
                r#"{"source_labels":["a","b"],"target_label":"c","action":"keepequal"}"#,
                Some("a=foo b=Bar c=foo;Bar"),
            ),
            (r#"{"source_labels":["a"],"target_label":"c","action":"keepequal"}"#, None),
            (r#"{"source_labels":["a","b"],"target_label":"c","action":"dropequal"}"#, None),
            (
                r#"{"source_labels":["c"],"target_label":"d","action":"hashmod","modulus":1000}"#,
                Some("a=foo b=Bar c=foo;Bar d=716"),
            ),
            (
                r#"{"regex":"(a|b)","replacement":"x_${1}","action":"labelmap"}"#,
                Some("a=foo b=Bar c=foo;Bar x_a=foo x_b=Bar"),
            ),
            (r#"{"regex":"a|b","action":"labeldrop"}"#, Some("c=foo;Bar")),
            (r#"{"regex":"a|b","action":"labelkeep"}"#, Some("a=foo b=Bar")),
            (
                r#"{"source_labels":["c"],"target_label":"c","action":"uppercase"}"#,
                Some("a=foo b=Bar c=FOO;BAR"),
            ),
            (
                r#"{"source_labels":["b"],"target_label":"b","action":"lowercase"}"#,
                Some("a=foo b=bar c=foo;Bar"),
            ),
        ] {
            assert_eq!(step(json).fault(), None, "{json}");
            assert_eq!(after(json, &labels).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn faults_name_the_key() {
        for (json, key, text) in [
            (r#"{"action":"replace"}"#, "action", "replace needs target_label"),
            (r#"{"action":"hashmod","target_label":"a"}"#, "action", "hashmod needs a modulus"),
            (r#"{"target_label":"a-b"}"#, "target_label", "\"a-b\" is no name"),
            (r#"{"action":"labelmap","replacement":"-"}"#, "replacement", "\"-\" is no name"),
            (
                r#"{"action":"labeldrop","source_labels":["a"]}"#,
                "source_labels",
                "means nothing with the action labeldrop",
            ),
            (r#"{"action":"dropequal","target_label":"a","regex":"x"}"#, "regex", "means nothing"),
        ] {
            let fault = step(json).fault().unwrap();
            assert!(fault.0 == key && fault.1.contains(text), "{json}: {fault:?}");
        }
        assert!(serde_json::from_str::<RelabelConfig>(r#"{"regex":"("}"#).is_err());
        assert!(serde_json::from_str::<RelabelConfig>(r#"{"action":"none"}"#).is_err());
    }
}
