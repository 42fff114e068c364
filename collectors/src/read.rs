//! Reading kernel files: descriptors that stay open, buffers that are used again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::collector::CollectError;

/// The most that is read of one kernel file, bytes. /proc/slabinfo or the routes of a big router
/// stay below; what exceeds it is no kernel file.
const READ_LIMIT_BYTES: usize = 16 << 20;

/// A file of the kernel that is read over and over: opened once, read with `pread`.
/// Opened anew when the descriptor has gone stale (the device went and came back).
pub struct KeptFile {
    path: PathBuf,
    file: Option<File>,
}

impl KeptFile {
    /// Opens nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }

    /// The path it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the descriptor; the next read opens it again.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Reads the whole file into `buffer` (which is emptied first).
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        if let Some(file) = &self.file
            && pread_all(file, buffer).is_ok()
        {
            return Ok(());
        }
        self.file = None;
        let file = File::open(&self.path)?;
        let result = pread_all(&file, buffer);
        self.file = Some(file);
        result
    }

    /// As `read`, with the error of a collector.
    pub fn collect<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], CollectError> {
        match self.read(buffer) {
            Ok(()) => Ok(buffer),
            Err(source) => Err(CollectError::read(&self.path, source)),
        }
    }
}

/// Reads from the start to the end, as many reads as it takes: a seq_file gives at most a page
/// at a time however large the buffer is.
fn pread_all(file: &File, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut length = 0;
    if buffer.capacity() == 0 {
        buffer.reserve(4096);
    }
    buffer.resize(buffer.capacity(), 0);
    loop {
        if length == buffer.len() {
            if length >= READ_LIMIT_BYTES {
                buffer.clear();
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
            }
            buffer.resize(2 * length, 0);
        }
        match file.read_at(&mut buffer[length..], length as u64) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                buffer.clear();
                return Err(error);
            }
        }
    }
    buffer.truncate(length);
    Ok(())
}

/// Reads a file that is needed once or seldom.
pub fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    pread_all(&File::open(path)?, &mut buffer)?;
    Ok(buffer)
}

/// Reads a small file as trimmed text; bytes that are no UTF-8 are replaced.
pub fn read_text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(read_once(path)?.trim_ascii()).into_owned())
}

/// Reads a small file that holds one whole number.
pub fn read_number(path: &Path) -> io::Result<u64> {
    let text = read_text(path)?;
    text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number")))
}

/// The names in a directory, sorted, so that series appear in the same order at every pass.
pub fn list(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_file_is_read_whole_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let text = vec![b'x'; 100_000];
        std::fs::write(&path, &text).unwrap();
        let (mut kept, mut buffer) = (KeptFile::new(&path), Vec::new());
        for _ in 0..2 {
            kept.read(&mut buffer).unwrap();
            assert_eq!(buffer, text);
        }
    }

    #[test]
    fn missing_file_is_no_data() {
        let error = KeptFile::new("/nonexistent/f").collect(&mut Vec::new()).unwrap_err();
        assert!(error.is_no_data());
    }
}
