//! The files in which the host's owner defines jobs: jobs.d/*.yaml, each with a list `jobs`. They
//! are read as the config is, so that all that is wrong with them is told at once, with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fieldpost_model::job::{Job, Limits, Queue, Restart, Retry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::agent::Config;
use super::key::KeyPath;
use super::load::{Layer, in_order, sound_tree};
use super::problem::{Problem, Problems, Source};
use super::root::Root;
use super::source::Files;
use super::yaml::{self, Document, Value};
use crate::jobs::faults_of;

/// The folder within the config directory.
const FOLDER: &str = "jobs.d";

/// One file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobFile {
    jobs: Vec<Job>,
}

/// What stands in all files: the jobs that are sound, each with its file, and all that is wrong
/// with the others.
pub fn job_files(files: &Files, dir: Option<&Path>) -> (Vec<(PathBuf, Job)>, Option<Problems>) {
    let folder = match dir {
        Some(dir) => Some(dir.to_owned()),
        None if files.named_file.is_some() => None,
        None => files.dir().map(|dir| dir.join(FOLDER)),
    };
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else { return (Vec::new(), None) };
    let (paths, mut problems) = files.yaml_files(&folder);
    let (mut jobs, mut layers) = (Vec::new(), Vec::new());
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        let text = match files.text(&path) {
            Ok(text) => text,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let layer = Layer { source: Source::File(path.clone()), document: Document::read(&text) };
        for (place, job) in jobs_of(&layer, &mut problems) {
            let key = KeyPath::dotted("jobs").index(place).name("name");
            match places.get(&job.name) {
                Some(first) => {
                    let text = format!("{} is defined in {} already", job.name, first.display());
                    problems.push(layer.problem(layer.document.place_of_value(&key), key, text));
                }
                None => {
                    places.insert(job.name.clone(), path.clone());
                    jobs.push((path.clone(), job));
                }
            }
        }
        layers.push(layer);
    }
    let problems = (!problems.is_empty()).then(|| in_order(problems, &layers));
    (jobs, problems)
}

/// The jobs of one file that are sound, with their places in its list.
fn jobs_of(layer: &Layer, problems: &mut Vec<Problem>) -> Vec<(usize, Job)> {
    let n_before = problems.len();
    let tree = sound_tree::<JobFile>(layer, &known(), &Config::NAMES, "jobs:", problems);
    // What was taken out of a job may have been what it is about.
    let is_faulty = |place: usize, problems: &[Problem]| {
        let key = KeyPath::dotted("jobs").index(place);
        problems[n_before..].iter().any(|problem| problem.key.0.starts_with(&key.0))
    };
    let file: JobFile = yaml::build(&tree).unwrap_or_default();
    let mut sound = Vec::new();
    for (place, job) in file.jobs.into_iter().enumerate() {
        let key = KeyPath::dotted("jobs").index(place);
        if is_faulty(place, problems) {
            continue;
        }
        let mut faults = faults_of(&job);
        if job.name.is_empty() && !faults.iter().any(|(key, _)| key == "name") {
            faults.push(("name".to_owned(), "missing; a job in a file needs one".to_owned()));
        }
        for (name, text) in &faults {
            let steps = KeyPath::indexed(name).0;
            let key = KeyPath(key.0.iter().cloned().chain(steps).collect());
            problems.push(layer.problem(layer.document.place_of_value(&key), key, text.clone()));
        }
        if faults.is_empty() {
            sound.push((place, job));
        }
    }
    sound
}

/// Everything that is wrong with a job, or with what holds one under this key, in a text of JSON: each
/// fault with its place, and what was probably meant.
pub fn faults_of_text<T: DeserializeOwned>(text: &str, under: Option<&str>) -> Vec<String> {
    let layer = Layer { source: Source::Default, document: Document::read(text) };
    let job = yaml::value_from(&every_key());
    let known = match under {
        Some(key) => Value::Mapping([(Value::from(key), job)].into_iter().collect()),
        None => job,
    };
    let mut problems = Vec::new();
    sound_tree::<T>(&layer, &known, &Config::NAMES, "job:", &mut problems);
    let told = problems.iter().map(|problem| {
        let place = problem.place.map_or_else(String::new, |place| format!("line {}: ", place.line));
        let key = if problem.key.is_top() { String::new() } else { format!("{}: ", problem.key) };
        format!("{place}{key}{}", problem.text)
    });
    told.collect()
}

/// A text of YAML, or of JSON, which is YAML too, that holds a job under a key.
pub struct JobText {
    layer: Layer,
}

/// Something wrong with such a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTextFault {
    /// The key, such as `job.timeout`; empty if it is about the text as a whole.
    pub key: String,
    /// What is wrong, and what was probably meant.
    pub text: String,
    /// In which line, from 1.
    pub line: Option<usize>,
}

impl JobText {
    /// Takes a text; what it says is read later.
    pub fn new(text: &str) -> Self {
        Self { layer: Layer { source: Source::Default, document: Document::read(text) } }
    }

    /// What it says, or everything that is wrong with it. The job stands under this key.
    pub fn read<T: DeserializeOwned>(&self, under: &str) -> Result<T, Vec<JobTextFault>> {
        let known =
            Value::Mapping([(Value::from(under), yaml::value_from(&every_key()))].into_iter().collect());
        let mut problems = Vec::new();
        let tree = sound_tree::<T>(&self.layer, &known, &Config::NAMES, "job:", &mut problems);
        match yaml::build(&tree) {
            Ok(read) if problems.is_empty() => return Ok(read),
            Ok(_) => {}
            Err(misfit) if problems.is_empty() => {
                return Err(vec![JobTextFault { key: String::new(), text: misfit.text, line: None }]);
            }
            Err(_) => {}
        }
        let fault = |problem: Problem| JobTextFault {
            key: if problem.key.is_top() { String::new() } else { problem.key.to_string() },
            text: problem.text,
            line: problem.place.map(|place| place.line),
        };
        Err(problems.into_iter().map(fault).collect())
    }

    /// The line in which the value of this key stands, or of the nearest one above it.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.layer.document.place_of_value(&KeyPath::indexed(key)).map(|place| place.line)
    }
}

/// A tree that has every key, for words that resemble one.
fn known() -> Value {
    yaml::value_from(&JobFile { jobs: vec![every_key()] })
}

fn every_key() -> Job {
    let queue = Queue { name: "q".into(), width: 1, priority: 0 };
    Job {
        restart: Some(Restart::default()),
        retry: Some(Retry::default()),
        queue: Some(queue),
        limits: Limits { nice: Some(0), ..Limits::default() },
        ..Job::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (jobs, problems) = job_files(&Files::default(), Some(folder.path()));
        let text = problems.map_or_else(String::new, |problems| problems.to_string());
        let text = text.replace(&format!("{}/", folder.path().display()), "");
        (jobs.into_iter().map(|(_, job)| job.name).collect(), text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn faults_of_json_are_told_all_at_once() {
        let text = "{\"comand\": \"date\",\n \"every\": \"often\", \"overlap\": \"forbid\"}";
        let expected = [
            "line 1: comand: no such key; did you mean command?",
            "line 2: every: \"often\" is no duration; write 500ms, 5s, 2m, 1h30m",
        ];
        assert_eq!(faults_of_text::<Job>(text, None), expected);
    }

    #[test]
    fn sound_jobs_are_taken_and_faults_told_with_their_places() {
        let good = "jobs:\n  - name: beat\n    command: date\n    every: 30s\n  - name: nightly\n    shell: report | mail\n    \
                    cron: '30 2 * * *'\n    tz: Europe/Berlin\n    limits: {memory: 512M, cpu: 50%}\n";
        let bad = "jobs:\n  - name: a\n    comand: date\n  - name: b\n    command: date\n    every: 500ms\n  - name: c\n    \
                   command: date\n    cron: 61 * * * *\n    overlap: forbit\n  - name: beat\n    command: date\n";
        let (jobs, problems) = read(&[("10-good.yaml", good), ("20-bad.yaml", bad), ("x.txt", "no")]);
        assert_eq!(jobs, ["beat", "nightly"]);
        let expected = [
            "20-bad.yaml:3:5: jobs[0].comand: no such key; did you mean command?",
            "20-bad.yaml:6:12: jobs[1].every: 500ms is too short; a schedule counts whole seconds: write 1s or more",
            "20-bad.yaml:10:14: jobs[2].overlap: \"forbit\" is not known here; did you mean forbid?",
            "20-bad.yaml:11:11: jobs[3].name: beat is defined in 10-good.yaml already",
            "4 errors in 1 file",
        ];
        assert_eq!(problems, expected);
        assert_eq!(read(&[("a.yaml", "# nothing\n")]), (Vec::new(), Vec::new()));
    }
}
