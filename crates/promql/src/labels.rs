//! Labels of a series as queries see them: sorted, shared, the name among them.

use std::fmt;
use std::sync::Arc;

/// The label that holds the name of the metric.
pub const METRIC_NAME: &str = "__name__";

/// One label.
type Label = (Arc<str>, Arc<str>);

/// Names and values, by rising name, none empty. The name of the metric is the label `__name__`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from(Vec::new()))
    }
}

impl Labels {
    /// Sorts them; empty values are no labels, of equal names the last one counts.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut labels: Vec<Label> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.reverse();
        labels.dedup_by(|a, b| a.0 == b.0);
        labels.reverse();
        labels.retain(|(_, value)| !value.is_empty());
        Self(labels.into())
    }

    /// The value of a label; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(other, _)| **other == *name);
        found.map_or("", |(_, value)| value)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only these.
    pub(crate) fn keep(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// Without the name of the metric, and without the labels that say of which type and unit it is:
    /// what is made of it is of another.
    pub(crate) fn without_name(&self) -> Self {
        self.keep(|name| !matches!(name, METRIC_NAME | "__type__" | "__unit__"))
    }

    /// Without the name of the metric, if so.
    pub(crate) fn without_name_if(&self, without: bool) -> Self {
        if without { self.without_name() } else { self.clone() }
    }

    /// With this value of this label; without it if the value is empty.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut labels: Vec<Label> = self.0.iter().filter(|(n, _)| **n != *name).cloned().collect();
        if !value.is_empty() {
            let at = labels.partition_point(|(n, _)| **n < *name);
            labels.insert(at, (Arc::from(name), Arc::from(value)));
        }
        Self(labels.into())
    }
}

/// As Prometheus writes them in messages.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={}", crate::syntax::quote(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_none_is_empty() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!(labels.with("a", "").with("aa", "x").to_string(), r#"{aa="x", b="3"}"#);
    }
}
