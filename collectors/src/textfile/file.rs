//! One file of metrics, read again only when it has changed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use fieldpost_formats::ParsedFamily;
use fieldpost_formats::parse::{TEXT_BYTES_MAX, parse};
use fieldpost_model::TimeMs;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, stat};

/// How long after its last change a file is read anew at every pass: a second change within the clock's grain,
/// of the same size, would go unseen.
const SETTLED_AFTER_MS: u64 = 2_000;

/// What changes with a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    mtime_seconds: i64,
    mtime_ns: i64,
}

impl Stamp {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "these fields differ by platform")]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as i64,
            mtime_seconds: stat.st_mtime as i64,
            mtime_ns: stat.st_mtime_nsec as i64,
        }
    }

    fn is_settled(&self, now_ms: TimeMs) -> bool {
        let mtime_ms = self.mtime_seconds.saturating_mul(1_000).saturating_add(self.mtime_ns / 1_000_000);
        now_ms.abs_diff(mtime_ms) > SETTLED_AFTER_MS
    }
}

/// A file as it was last seen.
pub(super) struct MetricsFile {
    pub(super) path: PathBuf,
    /// Its families, or what is wrong with it.
    pub(super) content: Result<Vec<ParsedFamily>, String>,
    stamp: Option<Stamp>,
    settled: bool,
}

impl MetricsFile {
    /// Not read yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, content: Ok(Vec::new()), stamp: None, settled: false }
    }

    /// Reads the file if it has changed, and tells whether anything is new. What is wrong is logged once.
    pub(super) fn refresh(&mut self, now_ms: TimeMs, buffer: &mut Vec<u8>) -> bool {
        let (stamp, content) = match look(&self.path) {
            Ok(stamp) if self.settled && self.stamp == Some(stamp) => return false,
            Ok(stamp) => match read(&self.path, buffer) {
                Ok((stamp, families)) => (Some(stamp), Ok(families)),
                Err(wrong) => (Some(stamp), Err(wrong)),
            },
            Err(wrong) => (None, Err(wrong)),
        };
        self.settled = stamp.is_some_and(|stamp| stamp.is_settled(now_ms));
        if stamp == self.stamp && content == self.content {
            return false;
        }
        if let Err(wrong) = &content {
            tracing::warn!(
                "textfile: {}: {wrong}; the file is skipped until it changes",
                self.path.display()
            );
        }
        (self.stamp, self.content) = (stamp, content);
        true
    }

    /// When it was last changed, whole seconds since 1970.
    pub(super) fn mtime_seconds(&self) -> f64 {
        self.stamp.map_or(0, |stamp| stamp.mtime_seconds) as f64
    }
}

/// Looks without opening: opening a device may act on it, and opening a pipe may wait for ever.
fn look(path: &Path) -> Result<Stamp, String> {
    let found = stat(path).map_err(|error| format!("cannot be opened: {error}"))?;
    check(&found)?;
    Ok(Stamp::of(&found))
}

fn check(found: &Stat) -> Result<(), String> {
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err("is no ordinary file; a *.prom file must be one".into());
    }
    let size = u64::try_from(found.st_size).unwrap_or(u64::MAX);
    if size > TEXT_BYTES_MAX as u64 {
        return Err(format!("has {size} bytes; at most {TEXT_BYTES_MAX} are read"));
    }
    Ok(())
}

/// Reads and parses. The stamp is of what was opened, which may be newer than what was looked at.
fn read(path: &Path, buffer: &mut Vec<u8>) -> Result<(Stamp, Vec<ParsedFamily>), String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
    let found = fstat(&file).map_err(|error| failed(error.into()))?;
    check(&found)?;
    buffer.clear();
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(buffer).map_err(failed)?;
    let families = parse(buffer);
    // One big file must not be paid for in memory from then on.
    buffer.shrink_to(64 << 10);
    let families = families.map_err(|error| error.to_string())?;
    match families.iter().find(|family| family.samples.iter().any(|sample| sample.time_ms.is_some())) {
        Some(family) => Err(format!("\"{}\" has an instant after its value; leave it out", family.name)),
        None => Ok((Stamp::of(&found), families)),
    }
}
