//! A file of the kernel that holds one number, and the series that it feeds.

use std::io::ErrorKind;
use std::path::PathBuf;

use fieldpost_model::SeriesId;

use crate::collector::CollectError;
use crate::read::KeptFile;
use crate::seen::HoldsSeries;
use crate::text::float;

/// One number in one file.
pub(crate) struct NumberFile {
    file: KeptFile,
    /// The series it feeds.
    pub id: SeriesId,
}

impl NumberFile {
    /// Opens nothing yet.
    pub fn new(path: impl Into<PathBuf>, id: SeriesId) -> Self {
        Self { file: KeptFile::new(path), id }
    }

    /// The number now; the descriptor stays open.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> Result<f64, CollectError> {
        let number = float(self.file.collect(buffer)?.trim_ascii());
        number.ok_or_else(|| CollectError::parse(self.file.path(), "expected one number"))
    }

    /// The number now; the descriptor is closed again. For the many files of drivers that are
    /// read seldom: kept open they would use up the descriptors of a machine with many cores.
    pub fn read_and_close(&mut self, buffer: &mut Vec<u8>) -> Result<f64, CollectError> {
        let number = self.read(buffer);
        self.file.close();
        number
    }
}

impl HoldsSeries for NumberFile {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.id);
    }
}

/// Is this what a file answers that is not there, or not for us? Then there is just no sample.
pub(crate) fn is_absent(error: &CollectError) -> bool {
    match error {
        CollectError::NoData(_) => true,
        CollectError::Read { source, .. } => source.kind() == ErrorKind::PermissionDenied,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_read_with_blanks_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        std::fs::write(&path, " -12\n").unwrap();
        let mut file = NumberFile::new(&path, SeriesId::NONE);
        assert_eq!(file.read(&mut Vec::new()).unwrap(), -12.0);
        std::fs::write(&path, "<unknown>\n").unwrap();
        assert!(file.read_and_close(&mut Vec::new()).is_err());
    }

    #[test]
    fn missing_file_is_absent_and_broken_one_is_not() {
        let missing = NumberFile::new("/nonexistent/n", SeriesId::NONE).read(&mut Vec::new()).unwrap_err();
        assert!(is_absent(&missing));
        assert!(!is_absent(&CollectError::Other("broken".into())));
    }
}
