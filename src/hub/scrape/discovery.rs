//! Targets out of files, as Prometheus' `file_sd_configs` has them. A file that cannot be read or
//! understood leaves the targets that it gave before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::config::{FileSdConfig, StaticConfig, fault_of_labels};

/// A longer file is not read.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// More files of one job are not looked at.
const N_FILES_MAX: usize = 1_000;

/// Reads the groups of targets in the text of a YAML file, or says what is wrong and where.
pub type ReadGroups = fn(&str) -> Result<Vec<StaticConfig>, String>;

/// The files of one job.
pub(super) struct Discovery {
    patterns: Vec<PathBuf>,
    every: Duration,
    read_yaml: ReadGroups,
    known: BTreeMap<PathBuf, Known>,
    /// When all were read.
    read_at: Option<Instant>,
    /// Folders that cannot be looked through.
    faults: Vec<String>,
}

/// What is known of a file.
struct Known {
    mark: Mark,
    groups: Vec<StaticConfig>,
    fault: Option<String>,
}

/// By what a change is seen: inode, bytes, seconds and nanoseconds of the last change.
type Mark = (u64, u64, i64, i64);

impl Discovery {
    pub(super) fn new(configs: &[FileSdConfig], read_yaml: ReadGroups) -> Self {
        let every = configs.iter().map(|config| config.refresh_interval.0).min().unwrap_or_default();
        let patterns = configs.iter().flat_map(|config| config.files.clone()).collect();
        Self { patterns, every, read_yaml, known: BTreeMap::new(), read_at: None, faults: Vec::new() }
    }

    /// Are there any files to look at?
    pub(super) fn is_any(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Reads what has changed since it was read last, and all now and then. Is anything different?
    pub(super) fn look(&mut self) -> bool {
        let is_due = self.read_at.is_none_or(|at| at.elapsed() >= self.every);
        if is_due {
            self.read_at = Some(Instant::now());
        }
        let Some(paths) = self.list() else { return true };
        let n_before = self.known.len();
        self.known.retain(|path, _| paths.contains(path));
        let mut is_changed = self.known.len() != n_before;
        for path in paths {
            let mark = std::fs::metadata(&path)
                .map(|metadata| (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()));
            let mark = mark.unwrap_or_default();
            let known = self.known.get(&path);
            if !is_due && known.is_some_and(|known| known.mark == mark) {
                continue;
            }
            let former = known.map(|known| (known.groups.clone(), known.fault.clone()));
            let known = match self.read(&path) {
                Ok(groups) => Known { mark, groups, fault: None },
                Err(error) => {
                    let groups = former.clone().map(|(groups, _)| groups).unwrap_or_default();
                    Known { mark, groups, fault: Some(format!("{}: {error:#}", path.display())) }
                }
            };
            is_changed |= former.is_none_or(|former| former != (known.groups.clone(), known.fault.clone()));
            self.known.insert(path, known);
        }
        is_changed
    }

    /// All groups with the file that each is of.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Path, &StaticConfig)> {
        self.known
            .iter()
            .flat_map(|(path, known)| known.groups.iter().map(move |group| (path.as_path(), group)))
    }

    /// What is wrong with which file.
    pub(super) fn faults(&self) -> Vec<String> {
        let of_files = self.known.values().filter_map(|known| known.fault.clone());
        self.faults.iter().cloned().chain(of_files).collect()
    }

    /// The files that there are; none if a folder cannot be looked through: then all stays as it was.
    fn list(&mut self) -> Option<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut faults = Vec::new();
        for pattern in &self.patterns {
            if let Err(error) = matching(pattern, &mut found) {
                faults.push(format!("{}: {error}", pattern.display()));
            }
        }
        let is_whole = faults.is_empty();
        if found.len() > N_FILES_MAX {
            faults.push(format!("there are {} files; the first {N_FILES_MAX} are read", found.len()));
            found = found.into_iter().take(N_FILES_MAX).collect();
        }
        let is_news = faults != self.faults;
        self.faults = faults;
        match is_whole {
            true => Some(found),
            false if is_news => None,
            // Known already: what can be looked at still is.
            false => Some(found.into_iter().chain(self.known.keys().cloned()).collect()),
        }
    }

    fn read(&self, path: &Path) -> anyhow::Result<Vec<StaticConfig>> {
        let file = std::fs::File::open(path).context("cannot be opened")?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).context("cannot be read")?;
        ensure!(text.len() as u64 <= FILE_BYTES_MAX, "is longer than {} MiB", FILE_BYTES_MAX >> 20);
        let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let groups = match is_json {
            true => serde_json::from_str(&text).context("is no list of targets and labels")?,
            false => (self.read_yaml)(&text).map_err(|error| anyhow::anyhow!(error))?,
        };
        let fault = groups.iter().find_map(|group| fault_of_labels(&group.labels));
        fault.map_or(Ok(groups), |fault| Err(anyhow::anyhow!(fault)))
    }
}

/// Adds the files of a pattern. A folder that is not there has none.
fn matching(pattern: &Path, found: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    let Some(name) = pattern.file_name() else { return Ok(()) };
    if !name.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?')) {
        // One that is there and cannot be read is told of.
        if std::fs::symlink_metadata(pattern).is_ok() {
            found.insert(pattern.to_owned());
        }
        return Ok(());
    }
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?.file_name();
        if is_like(name.as_bytes(), entry.as_bytes()) {
            found.insert(folder.join(entry));
        }
        if found.len() > N_FILES_MAX {
            break;
        }
    }
    Ok(())
}

/// `*` stands for any bytes, `?` for one.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                // The last star takes one byte more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Period;

    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", ".yml", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("**", "", true),
            ("", "a", false),
        ] {
            assert_eq!(is_like(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn broken_file_keeps_its_targets_and_one_that_is_gone_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let files = FileSdConfig {
            files: vec![folder.path().join("*.json")],
            refresh_interval: Period::from_secs(300),
        };
        let mut discovery = Discovery::new(&[files], |_| Err("no YAML here".to_owned()));
        let targets = |discovery: &Discovery| -> Vec<String> {
            discovery.groups().flat_map(|(_, group)| group.targets.clone()).collect()
        };
        assert!(!discovery.look());
        std::fs::write(&file, r#"[{"targets": ["a:1", "b:1"], "labels": {"x": "y"}}]"#).unwrap();
        assert!(discovery.look());
        assert_eq!(targets(&discovery), ["a:1", "b:1"]);
        assert!(!discovery.look());
        std::fs::write(&file, r#"[{"targets": ["a:1", "#).unwrap();
        assert!(discovery.look());
        assert_eq!(targets(&discovery), ["a:1", "b:1"]);
        let faults = discovery.faults();
        assert!(faults.len() == 1 && faults[0].contains("a.json: is no list of targets"), "{faults:?}");
        std::fs::write(&file, r#"[{"targets": ["c:1"]}]"#).unwrap();
        assert!(discovery.look());
        assert_eq!((targets(&discovery), discovery.faults()), (vec!["c:1".to_owned()], vec![]));
        std::fs::remove_file(&file).unwrap();
        assert!(discovery.look());
        assert_eq!(targets(&discovery), [""; 0]);
    }
}
