//! YAML with places: a text becomes a tree of values, and each key and value keeps its line and
//! column, so that what is wrong can be shown where it stands. The one home of YAML: the events of
//! saphyr-parser give structure and places, serde_yaml gives the values and what is built of them.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::{KeyPath, Step};

pub use serde_yaml::{Mapping, Value};

/// Sections within sections, at most.
const DEPTH_MAX: usize = 32;
/// Values in one file, at most, with those that aliases repeat: a file of 1 MiB stays small.
const N_VALUES_MAX: usize = 50_000;

/// A place in a text; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// Something wrong with a text or a value, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which key.
    pub key: KeyPath,
    /// Where; unknown where there is no text.
    pub place: Option<Place>,
    /// What is wrong, and what to write instead.
    pub text: String,
}

/// A text that was read.
#[derive(Debug, Default)]
pub struct Document {
    /// Its values; `Null` if it is empty.
    pub root: Value,
    /// What was wrong with it. The tree holds what could be kept.
    pub faults: Vec<Fault>,
    keys: HashMap<KeyPath, Place>,
    values: HashMap<KeyPath, Place>,
}

impl Document {
    /// Reads one document. Never fails: what is wrong is in `faults`.
    pub fn read(text: &str) -> Self {
        let mut reader = Reader {
            parser: Parser::new_from_str(text),
            document: Self::default(),
            anchors: HashMap::new(),
            n_values: 0,
        };
        if let Err(stop) = reader.stream() {
            reader.document.faults.push(stop.into_fault(text));
        }
        reader.document
    }

    /// Where the key stands, or else the nearest one above it.
    pub fn place_of_key(&self, key: &KeyPath) -> Option<Place> {
        find_up(key, |key| self.keys.get(key).or_else(|| self.values.get(key)))
    }

    /// Where the value stands, or else the nearest one above it.
    pub fn place_of_value(&self, key: &KeyPath) -> Option<Place> {
        find_up(key, |key| self.values.get(key).or_else(|| self.keys.get(key)))
    }
}

fn find_up<'a>(key: &KeyPath, find: impl Fn(&KeyPath) -> Option<&'a Place>) -> Option<Place> {
    let mut key = Some(key.clone());
    while let Some(here) = key {
        if let Some(place) = find(&here) {
            return Some(*place);
        }
        key = here.parent();
    }
    None
}

/// Why reading ended early.
enum Stop {
    Scan(ScanError),
    Fault(Fault),
}

impl Stop {
    fn into_fault(self, text: &str) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Scan(error) => scan_fault(&error, text),
        }
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

/// The scanner's words for a tab are hard to understand, so a tab that indents is looked for first.
fn scan_fault(error: &ScanError, text: &str) -> Fault {
    let until = error.marker().line();
    let tab = text.lines().take(until).enumerate().find_map(|(number, line)| {
        let indent = line.find(|c: char| c != ' ' && c != '\t').unwrap_or(line.len());
        let column = line[..indent].find('\t')?;
        Some(Place { line: number + 1, column: column + 1 })
    });
    let (place, text) = match tab {
        Some(place) => (place, "a tab indents here; YAML wants spaces".to_owned()),
        None => (
            Place { line: until.max(1), column: error.marker().col() + 1 },
            format!("this is no YAML: {}", error.info()),
        ),
    };
    Fault { key: KeyPath::top(), place: Some(place), text }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    document: Document,
    anchors: HashMap<usize, Value>,
    n_values: usize,
}

type Next<'a> = Result<(Event<'a>, Span), Stop>;

impl<'a> Reader<'a> {
    fn next(&mut self) -> Next<'a> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stream(&mut self) -> Result<(), Stop> {
        let mut n_documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) if n_documents == 1 => {
                    return Err(stop(&KeyPath::top(), &span, "a second document begins; write one per file"));
                }
                Event::DocumentStart(_) => {
                    n_documents += 1;
                    let first = self.next()?;
                    self.document.root = self.value(first, &KeyPath::top(), 0)?;
                }
                _ => {}
            }
        }
    }

    fn value(
        &mut self,
        (event, span): (Event<'a>, Span),
        key: &KeyPath,
        depth: usize,
    ) -> Result<Value, Stop> {
        self.document.values.insert(key.clone(), place(&span));
        self.count(1, key, &span)?;
        if depth > DEPTH_MAX {
            return Err(stop(key, &span, &format!("nested more than {DEPTH_MAX} deep")));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    self.fault(key, &span, "tags (!name) are not read; remove it");
                }
                Ok(self.keep(anchor, scalar(&text, style)))
            }
            Event::SequenceStart(anchor, _) => {
                let value = self.sequence(key, depth)?;
                Ok(self.keep(anchor, value))
            }
            Event::MappingStart(anchor, _) => {
                let value = self.mapping(key, depth)?;
                Ok(self.keep(anchor, value))
            }
            Event::Alias(anchor) => self.alias(anchor, key, &span),
            _ => Ok(Value::Null),
        }
    }

    fn keep(&mut self, anchor: usize, value: Value) -> Value {
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        value
    }

    fn alias(&mut self, anchor: usize, key: &KeyPath, span: &Span) -> Result<Value, Stop> {
        let Some(value) = self.anchors.get(&anchor).cloned() else {
            return Err(stop(key, span, "this alias stands within the value that it repeats"));
        };
        self.count(n_values(&value), key, span)?;
        Ok(value)
    }

    fn count(&mut self, n: usize, key: &KeyPath, span: &Span) -> Result<(), Stop> {
        self.n_values += n;
        if self.n_values > N_VALUES_MAX {
            return Err(stop(key, span, &format!("more than {N_VALUES_MAX} values in one file")));
        }
        Ok(())
    }

    fn sequence(&mut self, key: &KeyPath, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Value::Sequence(items));
            }
            let item = self.value(next, &key.index(items.len()), depth + 1)?;
            items.push(item);
        }
    }

    fn mapping(&mut self, key: &KeyPath, depth: usize) -> Result<Value, Stop> {
        let mut mapping = Mapping::new();
        loop {
            let (event, span) = self.next()?;
            let name = match event {
                Event::MappingEnd | Event::StreamEnd => return Ok(Value::Mapping(mapping)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(stop(key, &span, "a list or a section cannot be a key")),
            };
            let here = key.name(&name);
            let first = self.document.keys.get(&here).copied();
            self.document.keys.entry(here.clone()).or_insert(place(&span));
            if name == "<<" {
                self.fault(&here, &span, "merge keys are not read; write the keys out");
            } else if let Some(first) = first {
                self.fault(&here, &span, &format!("given twice in this file, first in line {}", first.line));
            }
            let next = self.next()?;
            let value = self.value(next, &here, depth + 1)?;
            if first.is_none() && name != "<<" {
                mapping.insert(Value::String(name), value);
            }
        }
    }

    fn fault(&mut self, key: &KeyPath, span: &Span, text: &str) {
        let fault = Fault { key: key.clone(), place: Some(place(span)), text: text.to_owned() };
        self.document.faults.push(fault);
    }
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

fn stop(key: &KeyPath, span: &Span, text: &str) -> Stop {
    Stop::Fault(Fault { key: key.clone(), place: Some(place(span)), text: text.to_owned() })
}

fn n_values(value: &Value) -> usize {
    match value {
        Value::Sequence(items) => 1 + items.iter().map(n_values).sum::<usize>(),
        Value::Mapping(mapping) => 1 + mapping.values().map(n_values).sum::<usize>(),
        _ => 1,
    }
}

/// A plain scalar is a number or a boolean if it looks like one; anything quoted is text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    let looks_like_text = text.contains(['\n', '#', '&', '*', '!', '{', '[', '"', '\'', '%']);
    if style != ScalarStyle::Plain || looks_like_text {
        return Value::String(text.to_owned());
    }
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        Ok(Value::Null) if !text.starts_with('-') => Value::Null,
        _ => Value::String(text.to_owned()),
    }
}

/// Reads one value from a command line or the environment. What is no YAML is text.
pub fn value_of(text: &str) -> Value {
    let document = Document::read(text);
    if document.faults.is_empty() { document.root } else { Value::String(text.to_owned()) }
}

/// What serde found wrong with a value: the key, and serde's own words.
#[derive(Debug)]
pub struct Misfit {
    /// The key as far as it is known.
    pub key: KeyPath,
    /// Serde's words.
    pub text: String,
}

/// Builds a type from a value.
pub fn build<T: DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(value.clone()).map_err(|error| Misfit {
        key: KeyPath(error.path().iter().filter_map(step).collect()),
        text: error.into_inner().to_string(),
    })
}

fn step(segment: &serde_path_to_error::Segment) -> Option<Step> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Name(key.clone())),
        Segment::Enum { variant } => Some(Step::Name(variant.clone())),
        Segment::Unknown => None,
    }
}

/// The value of a type. Config types hold nothing that YAML cannot: `Null` stands for the impossible.
pub fn value_from(thing: &impl Serialize) -> Value {
    serde_yaml::to_value(thing).unwrap_or(Value::Null)
}

/// A thing as the text of a file.
pub fn text_of(thing: &impl Serialize) -> String {
    serde_yaml::to_string(thing).unwrap_or_default()
}

/// The value at this key.
pub fn find<'a>(root: &'a Value, key: &KeyPath) -> Option<&'a Value> {
    key.0.iter().try_fold(root, |value, step| match step {
        Step::Name(name) => value.as_mapping()?.get(name.as_str()),
        Step::Index(index) => value.as_sequence()?.get(*index),
    })
}

/// Takes the value at this key out of the tree. In a list it is replaced by nothing, so that the
/// positions of the others stay.
pub fn remove(root: &mut Value, key: &KeyPath) -> Option<Value> {
    let (last, above) = key.0.split_last()?;
    let parent = above.iter().try_fold(root, |value, step| match step {
        Step::Name(name) => value.as_mapping_mut()?.get_mut(name.as_str()),
        Step::Index(index) => value.as_sequence_mut()?.get_mut(*index),
    })?;
    match last {
        Step::Name(name) => parent.as_mapping_mut()?.remove(name.as_str()),
        Step::Index(index) => parent.as_sequence_mut()?.get_mut(*index).map(std::mem::take),
    }
}

/// Puts a value at this key, with the sections above it. Names only.
pub fn insert(root: &mut Value, key: &KeyPath, value: Value) {
    let mut here = root;
    for step in &key.0 {
        let Step::Name(name) = step else { return };
        if !here.is_mapping() {
            *here = Value::Mapping(Mapping::new());
        }
        let Value::Mapping(mapping) = here else { return };
        here = mapping.entry(Value::String(name.clone())).or_insert(Value::Null);
    }
    *here = value;
}

/// Lays one tree over another: sections are merged, anything else replaces what was there.
/// An empty value says nothing and so changes nothing.
pub fn overlay(under: &mut Value, over: &Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Mapping(under), Value::Mapping(over)) => {
            for (name, value) in over {
                overlay(under.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Every value that is no section, with its key. Lists count as one value.
pub fn leaves(root: &Value) -> Vec<(KeyPath, &Value)> {
    let mut found = Vec::new();
    collect_leaves(root, &KeyPath::top(), &mut found);
    found
}

fn collect_leaves<'a>(value: &'a Value, key: &KeyPath, found: &mut Vec<(KeyPath, &'a Value)>) {
    match value {
        Value::Mapping(mapping) if !mapping.is_empty() || key.is_top() => {
            for (name, value) in mapping {
                let name = name.as_str().unwrap_or_default();
                collect_leaves(value, &key.name(name), found);
            }
        }
        Value::Null if key.is_top() => {}
        _ => found.push((key.clone(), value)),
    }
}

/// A value on one line, as it would be written in a file.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Sequence(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Mapping(mapping) => {
            let entry = |(name, value): (&Value, &Value)| format!("{}: {}", show(name), show(value));
            format!("{{{}}}", mapping.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Tagged(tagged) => show(&tagged.value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let show = |fault: &Fault| {
            let place = fault.place.unwrap();
            format!("{}:{}: {}: {}", place.line, place.column, fault.key, fault.text)
        };
        Document::read(text).faults.iter().map(show).collect()
    }

    #[test]
    fn values_have_the_types_that_serde_yaml_gives_them() {
        let text = "a: 1\nb: 1.5\nc: true\nd: ~\ne: '1'\nf: yes\ng: [1, x]\nh: {i: 0}\nj: 12:30\nk: - \n";
        let text = text.trim_end_matches("k: - \n");
        let ours = Document::read(text);
        assert!(ours.faults.is_empty());
        assert_eq!(ours.root, serde_yaml::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let document = Document::read("store:\n  path: /x\nlist:\n  - 1\n  - a: 2\n");
        let at = |line, column| Some(Place { line, column });
        assert_eq!(document.place_of_key(&KeyPath::dotted("store.path")), at(2, 3));
        assert_eq!(document.place_of_value(&KeyPath::dotted("store.path")), at(2, 9));
        assert_eq!(document.place_of_value(&KeyPath::dotted("list").index(1).name("a")), at(5, 8));
        assert_eq!(document.place_of_value(&KeyPath::dotted("store.nothing.here")), at(2, 3));
    }

    #[test]
    fn texts_that_are_no_config_are_refused_where_they_go_wrong() {
        assert_eq!(faults("a: 1\nb: 2\na: 3\n"), ["3:1: a: given twice in this file, first in line 1"]);
        assert_eq!(faults("a:\n\tb: 1\n"), ["2:1: : a tab indents here; YAML wants spaces"]);
        assert_eq!(faults("a: 1\n---\nb: 1\n"), ["2:1: : a second document begins; write one per file"]);
        assert_eq!(faults("a: !x 1\n"), ["1:7: a: tags (!name) are not read; remove it"]);
        assert_eq!(faults("<<: {a: 1}\n"), ["1:1: <<: merge keys are not read; write the keys out"]);
        assert_eq!(faults("[1]: 2\n"), ["1:1: : a list or a section cannot be a key"]);
        assert_eq!(faults("a: [1\n").len(), 1);
    }

    #[test]
    fn aliases_repeat_values_but_not_without_limit() {
        let document = Document::read("a: &x [1, 2]\nb: *x\n");
        assert_eq!(find(&document.root, &KeyPath::dotted("b")), find(&document.root, &KeyPath::dotted("a")));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let items = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{items}]\n");
        }
        assert!(faults(&bomb)[0].ends_with("more than 50000 values in one file"));
        assert_eq!(faults(&"[".repeat(100)).len(), 1);
    }

    #[test]
    fn trees_are_laid_over_each_other() {
        let mut under = value_of("{a: {b: 1, c: 2}, d: [1]}");
        overlay(&mut under, &value_of("{a: {b: 3, c: ~}, d: [], e: x}"));
        assert_eq!(under, value_of("{a: {b: 3, c: 2}, d: [], e: x}"));
        insert(&mut under, &KeyPath::dotted("e.f"), Value::Bool(true));
        assert_eq!(show(&under), "{a: {b: 3, c: 2}, d: [], e: {f: true}}");
        assert_eq!(remove(&mut under, &KeyPath::dotted("a.b")), Some(value_of("3")));
        assert_eq!(find(&under, &KeyPath::dotted("a.b")), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\PC\n\t :#&*!|>{}\\[\\]'\"%@`,?-]{0,200}") {
            Document::read(&text);
        }

        #[test]
        fn lines_like_a_config_are_read_as_serde_yaml_reads_them(
            text in "(( ){0,4}(a|bb|- c|- ):( ){1,2}[a-z0-9.~\"'\\[\\]{},-]{0,6}\n){0,12}"
        ) {
            let ours = Document::read(&text);
            if let (true, Ok(theirs)) = (ours.faults.is_empty(), serde_yaml::from_str::<Value>(&text)) {
                prop_assert_eq!(ours.root, theirs);
            }
        }
    }
}
