//! The output of a run on disk: records in segments, of which the first is kept for good and of the
//! others the newest. The shim writes, anybody reads at the same time.
//!
//! ```text
//! out-000000                         the head
//! out-000007 ... out-000011          the tail
//! segment  "FPo1", u32 0, u64 number of its first record, u64 bytes of output before it
//! record   u32 length, u8 level, 3 bytes 0, i64 time, u64 number, bytes
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fieldpost_model::TimeMs;

const MAGIC: &[u8; 4] = b"FPo1";
const SEGMENT_HEAD_BYTES: usize = 24;
/// What stands before the bytes of each record.
pub const RECORD_HEAD_BYTES: usize = 24;
/// The tail is kept in so many segments, and one that grows.
const N_TAIL_SEGMENTS: u64 = 4;
/// A longer record is no record, bytes.
const RECORD_BYTES_MAX: usize = 2 << 20;
const FILE_MODE: u32 = 0o600;
const PREFIX: &str = "out-";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number; the first is 1, without holes in what was said.
    pub seq: u64,
    /// When it was read.
    pub time_ms: TimeMs,
    /// 1 standard output, 2 standard error, others by the level protocol.
    pub level: u8,
    /// What was said.
    pub bytes: Vec<u8>,
    /// Bytes just before it that are not kept.
    pub missing_bytes: u64,
}

/// Bytes that were written, by their fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// On the disk.
    pub kept_bytes: u64,
    /// Were, but had to make room for later ones.
    pub dropped_bytes: u64,
    /// The disk refused them.
    pub lost_bytes: u64,
}

/// The end at which a shim writes.
pub struct Segments {
    folder: PathBuf,
    head_bytes: u64,
    segment_bytes: u64,
    /// Numbers of the tail's segments and the bytes of output in each, oldest first.
    tail: std::collections::VecDeque<(u64, u64)>,
    file: Option<File>,
    number: u64,
    file_bytes: u64,
    seq: u64,
    output_bytes: u64,
    counts: Kept,
}

impl Segments {
    /// Begins in this folder.
    pub fn new(folder: &Path, head_bytes: u64, tail_bytes: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            head_bytes,
            segment_bytes: tail_bytes / N_TAIL_SEGMENTS,
            tail: std::collections::VecDeque::new(),
            file: None,
            number: 0,
            file_bytes: 0,
            seq: 0,
            output_bytes: 0,
            counts: Kept::default(),
        }
    }

    /// What became of the bytes so far.
    pub fn counts(&self) -> Kept {
        self.counts
    }

    /// Writes a record. What the disk refuses is counted, and the run goes on.
    pub fn append(&mut self, level: u8, time_ms: TimeMs, bytes: &[u8]) {
        self.seq += 1;
        let n_bytes = bytes.len() as u64;
        match self.write(level, time_ms, bytes) {
            Ok(()) => {
                self.counts.kept_bytes += n_bytes;
                if let Some(last) = self.tail.back_mut() {
                    last.1 += n_bytes;
                }
            }
            Err(_) => self.counts.lost_bytes += n_bytes,
        }
        self.output_bytes += n_bytes;
    }

    fn write(&mut self, level: u8, time_ms: TimeMs, bytes: &[u8]) -> io::Result<()> {
        let room = if self.number == 0 { self.head_bytes } else { self.segment_bytes };
        let needed = (RECORD_HEAD_BYTES + bytes.len()) as u64;
        let is_full = self.file_bytes > 0 && self.file_bytes + needed > room;
        if is_full {
            self.number += 1;
            self.file = None;
        }
        if self.file.is_none() {
            self.file = Some(self.begin()?);
        }
        let mut record = Vec::with_capacity(RECORD_HEAD_BYTES + bytes.len());
        record.extend((bytes.len() as u32).to_le_bytes());
        record.extend([level, 0, 0, 0]);
        record.extend(time_ms.to_le_bytes());
        record.extend(self.seq.to_le_bytes());
        record.extend_from_slice(bytes);
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&record) {
            // Half a record would hide those behind it.
            let end = (SEGMENT_HEAD_BYTES as u64) + self.file_bytes;
            if file.set_len(end).is_err() {
                self.file = None;
                self.number += 1;
            }
            return Err(error);
        }
        self.file_bytes += record.len() as u64;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<File> {
        let path = self.folder.join(name(self.number));
        let mut file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
        let mut head = Vec::with_capacity(SEGMENT_HEAD_BYTES);
        head.extend(MAGIC);
        head.extend([0; 4]);
        head.extend(self.seq.to_le_bytes());
        head.extend(self.output_bytes.to_le_bytes());
        file.set_len(0)?;
        file.write_all(&head)?;
        self.file_bytes = 0;
        if self.number > 0 {
            self.tail.push_back((self.number, 0));
        }
        while self.tail.len() as u64 > N_TAIL_SEGMENTS + 1 {
            if let Some((number, n_bytes)) = self.tail.pop_front() {
                fs::remove_file(self.folder.join(name(number)))?;
                self.counts.kept_bytes -= n_bytes;
                self.counts.dropped_bytes += n_bytes;
            }
        }
        Ok(file)
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:06}")
}

/// A segment as a reader finds it.
struct Found {
    path: PathBuf,
    first_seq: u64,
    bytes_before: u64,
}

/// Records behind the one of number `after`, `n_max` of them and about `bytes_max` at most.
pub fn read(folder: &Path, after: u64, n_max: usize, bytes_max: usize) -> io::Result<Vec<Record>> {
    let segments = list(folder)?;
    let mut records = Vec::new();
    let mut n_bytes = 0;
    // Output up to here is accounted for, where that is known.
    let mut bytes_to = (after == 0).then_some(0);
    for (place, segment) in segments.iter().enumerate() {
        if segments.get(place + 1).is_some_and(|next| next.first_seq <= after + 1) {
            continue;
        }
        let file = match File::open(&segment.path) {
            Ok(file) => file,
            // It has just made room for a later one.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut reader = io::BufReader::with_capacity(64 << 10, file);
        reader.seek_relative(SEGMENT_HEAD_BYTES as i64)?;
        let mut at = segment.bytes_before;
        while let Some(mut record) = next(&mut reader)? {
            let begins = at;
            at += record.bytes.len() as u64;
            if record.seq <= after {
                bytes_to = Some(at);
                continue;
            }
            record.missing_bytes = bytes_to.map_or(0, |to| begins.saturating_sub(to));
            bytes_to = Some(at);
            n_bytes += record.bytes.len();
            records.push(record);
            if records.len() >= n_max || n_bytes >= bytes_max {
                return Ok(records);
            }
        }
    }
    Ok(records)
}

fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours).collect();
    paths.sort();
    Ok(paths.into_iter().filter_map(|path| head(&path)).collect())
}

/// The head of a segment; none while it is being made, and when it is gone again.
fn head(path: &Path) -> Option<Found> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let number = |from: usize| head[from..from + 8].try_into().ok().map(u64::from_le_bytes);
    (head[..4] == *MAGIC).then_some(())?;
    Some(Found { path: path.to_owned(), first_seq: number(8)?, bytes_before: number(16)? })
}

/// The next record; none at the end, and where the rest of one is still to come.
fn next(reader: &mut impl Read) -> io::Result<Option<Record>> {
    let mut head = [0; RECORD_HEAD_BYTES];
    if !filled(reader, &mut head)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if length > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    if !filled(reader, &mut bytes)? {
        return Ok(None);
    }
    let number = |from: usize| <[u8; 8]>::try_from(&head[from..from + 8]).unwrap_or_default();
    Ok(Some(Record {
        level: head[4],
        time_ms: i64::from_le_bytes(number(8)),
        seq: u64::from_le_bytes(number(16)),
        bytes,
        missing_bytes: 0,
    }))
}

fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_are_kept_with_exact_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(folder.path(), 1_000, 2_000);
        let all: Vec<Vec<u8>> = (0..200_u32).map(|n| format!("{n:0100}").into_bytes()).collect();
        for (number, bytes) in all.iter().enumerate() {
            segments.append(1 + (number % 2) as u8, number as i64, bytes);
            // Whoever follows sees each of them.
            let seq = number as u64;
            assert_eq!(read(folder.path(), seq, 10, 1 << 20).unwrap()[0].bytes, *bytes);
        }
        let counts = segments.counts();
        assert_eq!(counts.kept_bytes + counts.dropped_bytes, 20_000);
        assert!(counts.dropped_bytes > 10_000 && counts.lost_bytes == 0, "{counts:?}");
        let records = read(folder.path(), 0, 1_000, 1 << 20).unwrap();
        assert_eq!(records.iter().map(|record| record.bytes.len() as u64).sum::<u64>(), counts.kept_bytes);
        assert_eq!(records.iter().map(|record| record.missing_bytes).sum::<u64>(), counts.dropped_bytes);
        assert_eq!((records[0].seq, records.last().unwrap().seq), (1, 200));
        assert_eq!(records[0].level, 1);
        let size: u64 =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 1_000 + 5 * 500 + 6 * SEGMENT_HEAD_BYTES as u64, "{size}");
        assert_eq!(read(folder.path(), 200, 9, 99).unwrap(), []);
        assert_eq!(read(folder.path(), 0, 3, 1 << 20).unwrap().len(), 3);
    }

    #[test]
    fn torn_record_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(folder.path(), 1_000, 2_000);
        segments.append(1, 5, b"whole");
        let path = folder.path().join(name(0));
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.clone();
        bytes.extend_from_slice(&whole[SEGMENT_HEAD_BYTES..whole.len() - 1]);
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(folder.path(), 0, 10, 99).unwrap().len(), 1);
    }
}
