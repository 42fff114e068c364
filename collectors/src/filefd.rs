//! Open file descriptors of the machine and their limit, from /proc/sys/fs/file-nr.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::text::{fields, float};

/// Settings.
pub type Config = Common;

struct Filefd {
    file: KeptFile,
    buffer: Vec<u8>,
    allocated: SeriesId,
    maximum: SeriesId,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    Ok(Box::new(Filefd {
        file: KeptFile::new(env.roots.procfs.join("sys/fs/file-nr")),
        buffer: Vec::new(),
        allocated: gauge("node_filefd_allocated", "File descriptor statistics: allocated."),
        maximum: gauge("node_filefd_maximum", "File descriptor statistics: maximum."),
    }))
}

impl Collector for Filefd {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        let (allocated, maximum) =
            parse(text).ok_or_else(|| CollectError::parse(self.file.path(), "expected three numbers"))?;
        tick.set(self.allocated, allocated);
        tick.set(self.maximum, maximum);
        Ok(())
    }
}

/// Allocated and maximum of /proc/sys/fs/file-nr; the number between them is always 0.
fn parse(text: &[u8]) -> Option<(f64, f64)> {
    let mut fields = fields(text.trim_ascii());
    let allocated = float(fields.next()?)?;
    Some((allocated, float(fields.nth(1)?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_and_third_number_are_read() {
        assert_eq!(parse(b"1024\t0\t1631329\n"), Some((1024.0, 1_631_329.0)));
        assert_eq!(parse(b"1024\t0"), None);
        assert_eq!(parse(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text);
        }
    }
}
