//! Loads a config: reads every layer, finds everything that is wrong with all of them, and lays
//! them over each other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::effective::{Origin, Row, rows};
use super::key::{KeyPath, Step};
use super::limits;
use super::problem::{Problem, Problems, Source, explain};
use super::root::{Names, Root};
use super::source::Files;
use super::yaml::{self, Document, Mapping, Place, Value};

/// Faults that are looked for in one layer; who has more will look again.
const N_FAULTS_MAX: usize = 200;
/// Variables of the environment that are settings begin so.
pub const VARIABLE_PREFIX: &str = "FIELDPOST__";

/// One setting of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag that gave it.
    pub flag: &'static str,
    /// `store.path`.
    pub key: String,
    /// Read as YAML.
    pub value: String,
}

/// Where a config is to come from. Can be loaded again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The files.
    pub files: Files,
    /// Names and values of the variables `FIELDPOST__*`.
    pub variables: Vec<(String, String)>,
    /// Settings of the command line, later ones win.
    pub settings: Vec<Setting>,
    /// The folder of the present user's state, in which `store.path` has its default.
    pub state_dir: PathBuf,
    /// Relative paths in the config start here; unset: they stay as they were written.
    pub base: Option<PathBuf>,
    /// The settings of the command line are meant for both faces: each leaves out what only the
    /// other one knows.
    pub for_both: bool,
}

/// A config that is sound.
#[derive(Debug, Clone)]
pub struct Loaded<R> {
    /// The config.
    pub config: R,
    /// The files it was read from, lowest rank first.
    pub files: Vec<PathBuf>,
    tree: Value,
    origins: HashMap<KeyPath, Origin>,
}

impl<R: Root> Loaded<R> {
    /// Every key with its value and who gave it; those that somebody set come first.
    pub fn rows(&self) -> Vec<Row> {
        rows(&self.config, &self.tree, &self.origins)
    }
}

/// What one source says.
pub(super) struct Layer {
    pub(super) source: Source,
    pub(super) document: Document,
}

impl Layer {
    pub(super) fn problem(&self, place: Option<Place>, key: KeyPath, text: String) -> Problem {
        Problem { source: self.source.clone(), place, key, text }
    }
}

/// All layers over each other, and what was wrong with them.
struct Merged {
    tree: Value,
    origins: HashMap<KeyPath, Origin>,
    files: Vec<PathBuf>,
    layers: Vec<Layer>,
    problems: Vec<Problem>,
}

impl Request {
    /// Loads it, or tells everything that is wrong.
    pub fn load<R: Root>(&self) -> Result<Loaded<R>, Problems> {
        let mut merged = self.merge::<R>();
        match yaml::build::<R>(&merged.tree) {
            Ok(config) => {
                let faults = limits::faults(&config, &merged.origins);
                merged.problems.extend(faults.into_iter().map(|fault| at_its_place(fault, &merged.layers)));
                if !merged.problems.is_empty() {
                    return Err(in_order(merged.problems, &merged.layers));
                }
                let Merged { tree, origins, files, .. } = merged;
                Ok(Loaded { config: self.placed(config), files, tree, origins })
            }
            Err(misfit) => {
                let (source, key, text) = (Source::Default, misfit.key, misfit.text);
                merged.problems.push(Problem { source, place: None, key, text });
                Err(in_order(merged.problems, &merged.layers))
            }
        }
    }

    /// What can be used of it, however much is wrong: for whoever only has to find the running
    /// process.
    pub fn sound<R: Root>(&self) -> R {
        self.placed(yaml::build(&self.merge::<R>().tree).unwrap_or_default())
    }

    /// The same request for a process that leaves this folder.
    pub fn absolute(&self, base: &Path) -> Self {
        let mut request = self.clone();
        request.base = Some(base.to_owned());
        let Files { named_dir, named_file, .. } = &mut request.files;
        for named in [named_dir, named_file] {
            *named = named.take().map(|path| base.join(path));
        }
        request
    }

    fn placed<R: Root>(&self, config: R) -> R {
        match &self.base {
            Some(base) => config.absolute(base),
            None => config,
        }
    }

    fn merge<R: Root>(&self) -> Merged {
        let defaults = self.defaults::<R>();
        let (files, mut problems) = self.files.list(&R::NAMES);
        let (mut tree, mut origins) = (defaults.clone(), HashMap::new());
        let (layers, unreadable) = self.layers::<R>(&files, &defaults);
        problems.extend(unreadable);
        for layer in &layers {
            let sound = sound_part::<R>(layer, &defaults, &mut problems);
            note_origins(layer, &sound, &mut origins);
            yaml::overlay(&mut tree, &sound);
        }
        problems.extend(limits::check(&tree, &defaults, &origins));
        Merged { tree, origins, files, layers, problems }
    }

    fn defaults<R: Root>(&self) -> Value {
        let config = R::default();
        match self.state_dir.as_os_str().is_empty() {
            true => yaml::value_from(&config),
            false => yaml::value_from(&config.in_state_dir(&self.state_dir)),
        }
    }

    fn layers<R: Root>(&self, paths: &[PathBuf], defaults: &Value) -> (Vec<Layer>, Vec<Problem>) {
        let (mut layers, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            match self.files.text(path) {
                Ok(text) => {
                    let source = Source::File(path.clone());
                    layers.push(Layer { source, document: Document::read(&text) });
                }
                Err(problem) => problems.push(problem),
            }
        }
        let others = Others::of::<R>(defaults);
        for (name, value) in &self.variables {
            let key = name.trim_start_matches(VARIABLE_PREFIX).to_ascii_lowercase().replace("__", ".");
            if !others.own(&key) {
                layers.push(single(Source::Environment(name.clone()), &key, value));
            }
        }
        let is_meant = |setting: &&Setting| !self.for_both || !others.own(&setting.key);
        for setting in self.settings.iter().filter(is_meant) {
            layers.push(single(Source::Flag(setting.flag), &setting.key, &setting.value));
        }
        (layers, problems)
    }
}

/// What is wrong within a list stands further in than the list.
fn at_its_place(mut problem: Problem, layers: &[Layer]) -> Problem {
    if problem.key.0.iter().any(|step| matches!(step, Step::Index(_))) {
        let layer = layers.iter().find(|layer| layer.source == problem.source);
        problem.place = layer.and_then(|layer| layer.document.place_of_value(&problem.key)).or(problem.place);
    }
    problem
}

/// A layer that sets one key.
fn single(source: Source, key: &str, value: &str) -> Layer {
    let mut document = Document::default();
    yaml::insert(&mut document.root, &KeyPath::dotted(key), yaml::value_of(value));
    Layer { source, document }
}

/// Which keys only the other face knows.
struct Others<'a> {
    ours: &'a Value,
    theirs: Value,
}

impl<'a> Others<'a> {
    fn of<R: Root>(defaults: &'a Value) -> Self {
        Self { ours: defaults, theirs: yaml::value_from(&R::Other::default()) }
    }

    fn own(&self, key: &str) -> bool {
        let key = KeyPath::dotted(key);
        yaml::find(self.ours, &key).is_none() && yaml::find(&self.theirs, &key).is_some()
    }
}

/// What is left of a layer when everything that is wrong with it is taken out and told.
fn sound_part<R: Root>(layer: &Layer, known: &Value, problems: &mut Vec<Problem>) -> Value {
    sound_tree::<R>(layer, known, &R::NAMES, R::NAMES.setting, problems)
}

/// The same for a file of any type; `setting` is an example of what may stand at its top.
pub(super) fn sound_tree<T: DeserializeOwned>(
    layer: &Layer,
    known: &Value,
    names: &Names,
    setting: &str,
    problems: &mut Vec<Problem>,
) -> Value {
    for fault in &layer.document.faults {
        problems.push(layer.problem(fault.place, fault.key.clone(), fault.text.clone()));
    }
    let mut tree = layer.document.root.clone();
    drop_empty(&mut tree);
    if !matches!(tree, Value::Mapping(_) | Value::Null) {
        let place = layer.document.place_of_value(&KeyPath::top());
        let text = format!("the top must be a section, with keys such as \"{setting}\"");
        problems.push(layer.problem(place, KeyPath::top(), text));
        return Value::Null;
    }
    if tree.is_null() {
        tree = Value::Mapping(Mapping::new());
    }
    for _ in 0..N_FAULTS_MAX {
        let Err(misfit) = yaml::build::<T>(&tree) else { return tree };
        let explained = explain(&misfit, &tree, known, names);
        let document = &layer.document;
        let place = match explained.at_key {
            true => document.place_of_key(&explained.key),
            false => document.place_of_value(&explained.key),
        };
        problems.push(layer.problem(place, explained.key.clone(), explained.text));
        if yaml::remove(&mut tree, &explained.key).is_none() {
            return Value::Null;
        }
    }
    Value::Null
}

/// A key without a value says nothing: its children may all be commented out.
fn drop_empty(value: &mut Value) {
    if let Value::Mapping(mapping) = value {
        mapping.values_mut().for_each(drop_empty);
        mapping.retain(|_, value| !value.is_null());
    }
}

fn note_origins(layer: &Layer, sound: &Value, origins: &mut HashMap<KeyPath, Origin>) {
    for (key, _) in yaml::leaves(sound) {
        let place = layer.document.place_of_value(&key);
        let key_place = layer.document.place_of_key(&key);
        origins.insert(key, Origin { source: layer.source.clone(), place, key_place });
    }
}

/// By source, as they were read; within one by place. Of what was found twice one is enough.
pub(super) fn in_order(mut problems: Vec<Problem>, layers: &[Layer]) -> Problems {
    let rank = |source: &Source| layers.iter().position(|layer| layer.source == *source);
    problems.sort_by(|a, b| {
        let by_file = rank(&a.source).cmp(&rank(&b.source)).then_with(|| a.source.cmp(&b.source));
        by_file.then(a.place.cmp(&b.place))
    });
    problems.dedup();
    Problems(problems)
}
