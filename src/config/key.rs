//! The path of a key in the config, such as `store.path` or `collectors.process_table.groups[2]`.

use std::fmt;

/// One step down the tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a section, by name.
    Name(String),
    /// Into a list, by position.
    Index(usize),
}

/// Where a value stands, from the top of the config.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct KeyPath(pub Vec<Step>);

impl KeyPath {
    /// The top itself.
    pub fn top() -> Self {
        Self::default()
    }

    /// Reads `store.path`; names only.
    pub fn dotted(text: &str) -> Self {
        Self(text.split('.').map(|name| Step::Name(name.to_owned())).collect())
    }

    /// Reads `scrape[0].job_name` as well.
    pub fn indexed(text: &str) -> Self {
        let steps = text.split('.').flat_map(|part| {
            let (name, rest) = part.split_once('[').unwrap_or((part, ""));
            let index = |text: &str| text.trim_end_matches(']').parse().ok().map(Step::Index);
            let indices: Vec<Step> = rest.split('[').filter_map(index).collect();
            std::iter::once(Step::Name(name.to_owned())).chain(indices)
        });
        Self(steps.collect())
    }

    /// One step further, into a section.
    pub fn name(&self, name: &str) -> Self {
        self.step(Step::Name(name.to_owned()))
    }

    /// One step further, into a list.
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// One step back; nothing above the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Is this the top?
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if position == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_people_write_them() {
        assert_eq!(KeyPath::dotted("a.b").index(2).name("c").to_string(), "a.b[2].c");
        let path = "a[2].b.c[0][13].d";
        assert_eq!(KeyPath::indexed(path).to_string(), path);
        assert_eq!(KeyPath::indexed(path).0.len(), 7);
        assert_eq!(KeyPath::dotted("a.b").parent(), Some(KeyPath::dotted("a")));
        assert_eq!(KeyPath::top().parent(), None);
    }
}
