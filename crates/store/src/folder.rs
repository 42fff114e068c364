//! The data folder: made safe, locked, and what is in it by name.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::StoreError;
use crate::calendar::{DAY_HOURS, DAY_MS, HOUR_MS, day_name, parse_day};

/// Magic numbers of file systems that answer from another machine: NFS, SMB, CIFS, AFS, Ceph,
/// Coda, NCP, 9P.
const NETWORK_MAGICS: [u64; 9] =
    [0x6969, 0x517b, 0xfe53_4d42, 0xff53_4d42, 0x5346_414f, 0x00c3_6400, 0x7375_7245, 0x564c, 0x0102_1997];

/// Links on the way to the data folder; as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// What a file of the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileKind {
    /// Merged samples of a day.
    Day,
    /// Merged samples of an hour.
    Hour,
    /// Sealed windows of an hour as they came.
    Hot,
    /// Tables of processes and units of a day.
    Tables,
    /// Rollups to minutes of a day.
    Minutes,
    /// Rollups to hours of a month, named after its first day.
    Hours,
}

/// A file of the store, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreFile {
    /// First hour since 1970 of what it holds.
    pub(crate) hour: i64,
    /// What it holds.
    pub(crate) kind: FileKind,
    /// First number of a hot file's windows; 0 for the others.
    pub(crate) seq: i64,
    /// Where it is.
    pub(crate) path: PathBuf,
}

impl StoreFile {
    /// The file that holds this under this folder.
    pub(crate) fn new(folder: &Path, kind: FileKind, hour: i64, seq: i64) -> Self {
        let day = day_name(hour.div_euclid(DAY_HOURS));
        let of_day = hour.rem_euclid(DAY_HOURS);
        let name = match kind {
            FileKind::Hot => format!("hot-{day}T{of_day:02}-{seq}.db"),
            FileKind::Hour => format!("hour-{day}T{of_day:02}.db"),
            FileKind::Day => format!("day-{day}.db"),
            FileKind::Tables => format!("tables-{day}.db"),
            FileKind::Minutes => format!("minutes-{day}.db"),
            FileKind::Hours => format!("hours-{day}.db"),
        };
        Self { hour, kind, seq, path: folder.join(name) }
    }

    /// Reads a file's name; none where it is no file of windows, rows or tables.
    pub(crate) fn parse(folder: &Path, name: &str) -> Option<Self> {
        let (kind, rest) = name.strip_suffix(".db")?.split_once('-')?;
        let (kind, rest, seq) = match kind {
            "hot" => {
                let (hour, seq) = rest.split_once('-')?;
                (FileKind::Hot, hour, seq.parse().ok()?)
            }
            "hour" => (FileKind::Hour, rest, 0),
            "day" => (FileKind::Day, rest, 0),
            "tables" => (FileKind::Tables, rest, 0),
            "minutes" => (FileKind::Minutes, rest, 0),
            "hours" => (FileKind::Hours, rest, 0),
            _ => return None,
        };
        let hour = match kind {
            FileKind::Hot | FileKind::Hour => {
                let (day, of_day) = rest.split_once('T')?;
                parse_day(day)? * DAY_HOURS + of_day.parse::<i64>().ok()?
            }
            _ => parse_day(rest)? * DAY_HOURS,
        };
        let file = Self::new(folder, kind, hour, seq);
        (file.path.file_name()?.to_str()? == name).then_some(file)
    }

    /// The day since 1970 on which it begins.
    pub(crate) fn day(&self) -> i64 {
        self.hour.div_euclid(DAY_HOURS)
    }

    /// First instant of the span in its name.
    pub(crate) fn begin_ms(&self) -> i64 {
        self.hour * HOUR_MS
    }

    /// First instant after the span in its name.
    pub(crate) fn end_ms(&self) -> i64 {
        match self.kind {
            FileKind::Hot | FileKind::Hour => self.begin_ms() + HOUR_MS,
            FileKind::Hours => self.begin_ms() + 31 * DAY_MS,
            _ => self.begin_ms() + DAY_MS,
        }
    }

    /// Bytes it takes with its log.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(&self.path) + size(&beside(&self.path, "-wal"))
    }

    /// Removes it with its log and index. What is gone already is as good as removed.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let path = beside(&self.path, suffix);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `x.db-wal` beside `x.db`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// All files of windows, rows and tables in the folder, oldest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<StoreFile>, StoreError> {
    let entries = std::fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        if let Some(file) = entry.file_name().to_str().and_then(|name| StoreFile::parse(folder, name)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes the names of files durable after one was made, renamed or removed.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let opened = File::open(folder).map_err(StoreError::io("open", folder))?;
    opened.sync_all().map_err(StoreError::io("sync", folder))
}

/// Makes the folder if need be, checks it, and takes its lock. The lock lasts as long as the file.
pub(crate) fn prepare(path: &Path) -> Result<(PathBuf, File), StoreError> {
    check_way(path)?;
    if !path.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(StoreError::io("make", path))?;
    }
    let folder = path.canonicalize().map_err(StoreError::io("find", path))?;
    check_components(&folder)?;
    refuse_network(&folder)?;
    let lock_path = folder.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = lock.map_err(StoreError::io("open", &lock_path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((folder, lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy(folder)),
        Err(error) => Err(StoreError::io("lock", &lock_path)(error.into())),
    }
}

/// Refuses a path on which somebody else could turn a link or swap a folder: every component on
/// the way is checked, links as well, up to what does not exist yet.
fn check_way(path: &Path) -> Result<(), StoreError> {
    let mut here = PathBuf::new();
    let mut ahead = components_reversed(path);
    let mut n_links = 0;
    while let Some(component) = ahead.pop() {
        let next = here.join(&component);
        let metadata = match std::fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("look at", &next)(error)),
        };
        if !metadata.is_symlink() {
            check_component(&next, &metadata)?;
            here = next;
            continue;
        }
        check_owner(&next, &metadata)?;
        n_links += 1;
        if n_links > LINKS_MAX {
            return Err(StoreError::io("follow", &next)(rustix::io::Errno::LOOP.into()));
        }
        let target = std::fs::read_link(&next).map_err(StoreError::io("follow", &next))?;
        ahead.extend(components_reversed(&target));
    }
    Ok(())
}

fn components_reversed(path: &Path) -> Vec<PathBuf> {
    let components = path.components().rev();
    components.map(|component| PathBuf::from(component.as_os_str())).collect()
}

/// Refuses a folder that somebody else could swap or fill: every component has to belong to us
/// or root, and be writable by nobody else, but for sticky folders such as /tmp.
fn check_components(folder: &Path) -> Result<(), StoreError> {
    for component in folder.ancestors() {
        let metadata = std::fs::metadata(component).map_err(StoreError::io("look at", component))?;
        check_component(component, &metadata)?;
    }
    let private = std::fs::Permissions::from_mode(0o700);
    let metadata = std::fs::metadata(folder).map_err(StoreError::io("look at", folder))?;
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, private).map_err(StoreError::io("make private", folder))?;
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &std::fs::Metadata) -> Result<(), StoreError> {
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == 0 || owner == us {
        return Ok(());
    }
    let reason = format!("it belongs to uid {owner}, who could change what is in it");
    let fix = format!("chown it to uid {us}, or set another store.path");
    Err(StoreError::Unsafe { path: path.to_owned(), reason, fix })
}

fn check_component(path: &Path, metadata: &std::fs::Metadata) -> Result<(), StoreError> {
    check_owner(path, metadata)?;
    let (mode, group) = (metadata.mode(), metadata.gid());
    let refused =
        |reason: String, fix: String| Err(StoreError::Unsafe { path: path.to_owned(), reason, fix });
    let sticky = mode & 0o1000 != 0;
    if mode & 0o002 != 0 && !sticky {
        return refused("everybody may write to it".into(), format!("chmod o-w {}", path.display()));
    }
    let own_group = group == 0 || group == rustix::process::getegid().as_raw();
    if mode & 0o020 != 0 && !sticky && !own_group {
        let reason = format!("the group {group} may write to it");
        return refused(reason, format!("chmod g-w {}", path.display()));
    }
    Ok(())
}

fn refuse_network(folder: &Path) -> Result<(), StoreError> {
    let statistics =
        rustix::fs::statfs(folder).map_err(|error| StoreError::io("look at", folder)(error.into()))?;
    let magic = statistics.f_type as u64 & 0xffff_ffff;
    if NETWORK_MAGICS.contains(&magic) {
        return Err(StoreError::NetworkFileSystem(folder.to_owned()));
    }
    Ok(())
}

/// Bytes of the file system that this process may still fill.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let statistics = rustix::fs::statvfs(folder).ok()?;
    Some(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_come_back() {
        let folder = Path::new("/data");
        let kinds = [FileKind::Hot, FileKind::Hour, FileKind::Day, FileKind::Tables, FileKind::Minutes];
        for kind in kinds {
            let hour = if matches!(kind, FileKind::Hot | FileKind::Hour) { 494_321 } else { 494_304 };
            let seq = if kind == FileKind::Hot { 77 } else { 0 };
            let file = StoreFile::new(folder, kind, hour, seq);
            let name = file.path.file_name().unwrap().to_str().unwrap();
            assert_eq!(StoreFile::parse(folder, name).as_ref(), Some(&file));
        }
        for name in
            ["state.db", "hot-20261121T24-1.db", "hour-1.db", "day-20261121.db-wal", "hot-20261121T01-01.db"]
        {
            assert_eq!(StoreFile::parse(folder, name), None, "{name}");
        }
    }

    #[test]
    fn folder_that_others_may_write_is_refused_by_name() {
        let outer = tempfile::tempdir().unwrap();
        let open = outer.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = prepare(&open.join("data")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("open: everybody may write to it; chmod o-w "), "{text}");
    }

    #[test]
    fn second_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = prepare(folder.path()).unwrap();
        assert!(matches!(prepare(folder.path()), Err(StoreError::Busy(_))));
        drop(first);
        prepare(folder.path()).unwrap();
    }
}
