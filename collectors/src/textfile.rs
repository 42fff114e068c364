//! Metrics that other programs leave in *.prom files (`collectors.textfile.directory`).
//!
//! A file that has not changed is not read again; what it gave is given again. Whatever is wrong with a file or a
//! folder is logged once, keeps nothing else from being read, and sets `node_textfile_scrape_error`.

mod file;
mod folders;
mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use fieldpost_model::{Period, SeriesId, Tick};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read;
use file::MetricsFile;
use merge::Merged;

/// The most files that are read. A folder with more of them was not meant for this.
const FILES_MAX: usize = 1_000;

/// Settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Folders with *.prom files: one or a list, each with `*`, `?` and `[a-z]` if you like. None: nothing is read.
    #[serde(deserialize_with = "one_or_many")]
    pub directory: Vec<String>,
}

impl Config {
    /// What every collector may be told.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a folder or a list of folders")
        }

        fn visit_str<E>(self, folder: &str) -> Result<Self::Value, E> {
            Ok(if folder.is_empty() { Vec::new() } else { vec![folder.to_owned()] })
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut folders: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(folder) = folders.next_element()? {
                all.push(folder);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

struct Textfile {
    directories: Vec<String>,
    files: BTreeMap<PathBuf, MetricsFile>,
    /// The files of the last pass, in the order in which they count: of two that clash, the first is right.
    order: Vec<PathBuf>,
    folder_problems: BTreeSet<String>,
    merged: Merged,
    scrape_error: SeriesId,
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Textfile {
        directories: env.config.textfile.directory.clone(),
        files: BTreeMap::new(),
        order: Vec::new(),
        folder_problems: BTreeSet::new(),
        merged: Merged::default(),
        scrape_error: env.tick.gauge(
            "node_textfile_scrape_error",
            "1 if there was an error opening or reading a file, 0 otherwise",
            &[],
        ),
        buffer: Vec::new(),
    }))
}

impl Collector for Textfile {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let order = self.look();
        let mut changed = order != self.order;
        self.order = order;
        self.files.retain(|path, _| self.order.contains(path));
        for path in &self.order {
            let file = self.files.entry(path.clone()).or_insert_with(|| MetricsFile::new(path.clone()));
            changed |= file.refresh(tick.time_ms(), &mut self.buffer);
        }
        if changed {
            let files: Vec<&MetricsFile> =
                self.order.iter().filter_map(|path| self.files.get(path)).collect();
            self.merged.renew(&files, tick);
        }
        for (id, value) in &self.merged.samples {
            tick.set(*id, *value);
        }
        let files_well = self.files.values().all(|file| file.content.is_ok());
        let well = files_well && self.folder_problems.is_empty() && self.merged.problems.is_empty();
        tick.set(self.scrape_error, f64::from(u8::from(!well)));
        Ok(())
    }
}

impl Textfile {
    /// The files there are now. Problems with folders are logged when they are new.
    fn look(&mut self) -> Vec<PathBuf> {
        let (mut files, mut problems) = (Vec::new(), BTreeSet::new());
        for folder in self.directories.iter().flat_map(|pattern| folders::expand(pattern)) {
            match read::list(&folder) {
                Ok(names) => {
                    let names = names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".prom"));
                    files.extend(names.map(|name| plain(&folder).join(name)));
                }
                Err(error) => {
                    problems.insert(format!("cannot list {}: {error}", folder.display()));
                }
            }
        }
        let mut known = BTreeSet::new();
        files.retain(|path| known.insert(path.clone()));
        if files.len() > FILES_MAX {
            problems.insert(format!("more than {FILES_MAX} *.prom files; the rest is not read"));
            files.truncate(FILES_MAX);
        }
        for problem in problems.difference(&self.folder_problems) {
            tracing::warn!("textfile: {problem}");
        }
        self.folder_problems = problems;
        files
    }
}

/// The path without `.` and doubled slashes, so that each file has one name.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

#[cfg(test)]
mod tests;
