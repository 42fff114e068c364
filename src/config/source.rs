//! Where a config comes from: which files, in which order, and reading them with care.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::key::KeyPath;
use super::problem::{Problem, Source};
use super::root::Names;

/// A config file is at most this long.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Mode bits with which somebody else may write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Files to be read, and whose word on them counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// A folder or file that was named; else the first of `searched` that exists.
    pub named_dir: Option<PathBuf>,
    /// One file that was named; then nothing else is read.
    pub named_file: Option<PathBuf>,
    /// Folders that are tried when none was named.
    pub searched: Vec<PathBuf>,
    /// Refuse what others may write: for root, whose process does what its config says.
    pub owner_only: bool,
}

impl Files {
    /// The folder that is used, if there is one.
    pub fn dir(&self) -> Option<&Path> {
        match &self.named_dir {
            Some(dir) => Some(dir),
            None => self.searched.iter().find(|dir| dir.is_dir()).map(PathBuf::as_path),
        }
    }

    /// The files of a face, lowest rank first, and what is wrong with the folders.
    pub fn list(&self, names: &Names) -> (Vec<PathBuf>, Vec<Problem>) {
        if let Some(file) = &self.named_file {
            return (vec![file.clone()], Vec::new());
        }
        let Some(dir) = self.dir() else { return (Vec::new(), Vec::new()) };
        if !dir.is_dir() {
            return (
                Vec::new(),
                vec![problem(dir, &format!("no such folder; name one that holds {}", names.main_file))],
            );
        }
        let drop_in_dir = dir.join(names.drop_in_dir);
        let mut problems: Vec<Problem> = self.refused(dir).into_iter().collect();
        let mut files =
            Some(dir.join(names.main_file)).filter(|file| file.exists()).into_iter().collect::<Vec<_>>();
        if drop_in_dir.is_dir() {
            problems.extend(self.refused(&drop_in_dir));
            match drop_ins(&drop_in_dir) {
                Ok(more) => files.extend(more),
                Err(error) => problems.push(problem(&drop_in_dir, &format!("cannot be listed: {error}"))),
            }
        }
        (files, problems)
    }

    /// The YAML files of any folder, and what is wrong with that.
    pub fn yaml_files(&self, folder: &Path) -> (Vec<PathBuf>, Vec<Problem>) {
        let mut problems: Vec<Problem> = self.refused(folder).into_iter().collect();
        let files = drop_ins(folder).unwrap_or_else(|error| {
            problems.push(problem(folder, &format!("cannot be listed: {error}")));
            Vec::new()
        });
        (files, problems)
    }

    /// The text of a file, or why there is none.
    pub fn text(&self, path: &Path) -> Result<String, Problem> {
        let cannot = |error: std::io::Error| problem(path, &format!("cannot be read: {}", reason(&error)));
        let metadata = fs::metadata(path).map_err(cannot)?;
        if !metadata.is_file() {
            return Err(problem(path, "is no regular file"));
        }
        if let Some(refused) = self.refused(path) {
            return Err(refused);
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(cannot)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(problem(path, "is longer than 1 MiB; this is no config"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n');
            problem(path, &format!("is not UTF-8 in line {}", line.count() + 1))
        })
    }

    /// What others may write is no config for root. The group of root itself is no other.
    fn refused(&self, path: &Path) -> Option<Problem> {
        let metadata = fs::metadata(path).ok().filter(|_| self.owner_only)?;
        let by_group = metadata.mode() & GROUP_WRITES != 0 && metadata.gid() != 0;
        let by_others = metadata.mode() & OTHERS_WRITE != 0;
        let was_named = self.named_dir.is_some() || self.named_file.is_some();
        if by_group || by_others {
            return Some(problem(path, "others may write it; run: chmod go-w and the path"));
        }
        let foreign = metadata.uid() != 0 && !was_named;
        foreign.then(|| problem(path, "does not belong to root; run: chown root and the path"))
    }
}

/// `Permission denied`, without the number of the error.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn drop_ins(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if !is_hidden && Path::new(&name).extension().is_some_and(|extension| extension == "yaml") {
            files.push(dir.join(name));
        }
    }
    files.sort();
    Ok(files)
}

fn problem(path: &Path, text: &str) -> Problem {
    Problem {
        source: Source::File(path.to_owned()),
        place: None,
        key: KeyPath::top(),
        text: text.replace("and the path", &path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Config;
    use super::super::root::Root;
    use super::*;
    use crate::hub;

    fn write(path: &Path, text: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    #[test]
    fn drop_ins_come_after_the_main_file_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "conf.d/20-b.yaml",
            "agent.yaml",
            "conf.d/10-a.yaml",
            "conf.d/x.yml",
            "conf.d/.y.yaml",
            "hub.d/30-c.yaml",
        ] {
            write(&dir.path().join(name), b"");
        }
        let files = Files { named_dir: Some(dir.path().to_owned()), ..Files::default() };
        let found = |names: &Names| {
            let (found, problems) = files.list(names);
            assert!(problems.is_empty());
            let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
            found.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(found(&Config::NAMES), ["agent.yaml", "10-a.yaml", "20-b.yaml"]);
        assert_eq!(found(&hub::Config::NAMES), ["30-c.yaml"]);
    }

    #[test]
    fn a_folder_that_was_named_must_exist_and_a_searched_one_need_not() {
        let missing = PathBuf::from("/nonexistent/fieldpost");
        let named = Files { named_dir: Some(missing.clone()), ..Files::default() };
        assert_eq!(named.list(&Config::NAMES).1.len(), 1);
        let searched = Files { searched: vec![missing], ..Files::default() };
        assert_eq!(searched.list(&Config::NAMES), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_others_may_write_is_refused_for_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        write(&path, b"");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let named = Some(dir.path().to_owned());
        let lax = Files { named_dir: named.clone(), ..Files::default() };
        assert!(lax.text(&path).is_ok());
        let strict = Files { named_dir: named, owner_only: true, ..Files::default() };
        assert!(strict.text(&path).unwrap_err().text.starts_with("others may write it; run: chmod go-w /"));
    }

    #[test]
    fn texts_that_cannot_be_read_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        let wrong = |name: &str, bytes: &[u8]| {
            write(&dir.path().join(name), bytes);
            files.text(&dir.path().join(name)).unwrap_err().text
        };
        assert_eq!(wrong("latin1.yaml", b"a: 1\nb: \xe4\n"), "is not UTF-8 in line 2");
        assert_eq!(wrong("long.yaml", &vec![b'#'; (1 << 20) + 1]), "is longer than 1 MiB; this is no config");
        assert_eq!(files.text(dir.path()).unwrap_err().text, "is no regular file");
        let missing = files.text(&dir.path().join("none.yaml")).unwrap_err().text;
        assert_eq!(missing, "cannot be read: No such file or directory");
    }
}
