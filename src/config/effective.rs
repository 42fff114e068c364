//! The effective config, one row a key: its value, and who gave it.

use std::collections::HashMap;
use std::fmt;

use super::key::KeyPath;
use super::problem::Source;
use super::root::Root;
use super::yaml::{self, Place, Value};

/// Who gave a value, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub source: Source,
    /// Where the value stands in the file.
    pub place: Option<Place>,
    /// Where the key stands in the file.
    pub key_place: Option<Place>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        self.key_place.map_or(Ok(()), |place| write!(f, ":{}", place.line))
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its path.
    pub key: String,
    /// Its value as YAML has it.
    pub value: Value,
    /// Who gave it.
    pub origin: Origin,
}

/// Every key; those that somebody set come first, each part in alphabetical order.
pub fn rows<R: Root>(config: &R, tree: &Value, origins: &HashMap<KeyPath, Origin>) -> Vec<Row> {
    let worked_out = config.worked_out();
    let row = |(key, value): (KeyPath, &Value)| {
        let default = Origin { source: Source::Default, place: None, key_place: None };
        let value = match value {
            Value::Null => worked_out.get(&key.to_string()).cloned().unwrap_or(Value::Null),
            value => value.clone(),
        };
        Row { key: key.to_string(), value, origin: origins.get(&key).cloned().unwrap_or(default) }
    };
    let mut rows: Vec<Row> = yaml::leaves(tree).into_iter().map(row).collect();
    rows.sort_by_key(|row| (row.origin.source == Source::Default, row.key.clone()));
    rows
}
