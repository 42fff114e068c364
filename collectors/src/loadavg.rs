//! Load averages, from /proc/loadavg.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::text::{fields, float};

/// Settings.
pub type Config = Common;

struct Loadavg {
    file: KeptFile,
    buffer: Vec<u8>,
    ids: [SeriesId; 3],
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    Ok(Box::new(Loadavg {
        file: KeptFile::new(env.roots.procfs.join("loadavg")),
        buffer: Vec::new(),
        ids: [
            gauge("node_load1", "1m load average."),
            gauge("node_load5", "5m load average."),
            gauge("node_load15", "15m load average."),
        ],
    }))
}

impl Collector for Loadavg {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        let loads =
            parse(text).ok_or_else(|| CollectError::parse(self.file.path(), "expected three numbers"))?;
        for (id, load) in self.ids.iter().zip(loads) {
            tick.set(*id, load);
        }
        Ok(())
    }
}

/// The first three fields of /proc/loadavg (`Documentation/filesystems/proc.rst`).
fn parse(text: &[u8]) -> Option<[f64; 3]> {
    let mut numbers = fields(text).map(float);
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read() {
        assert_eq!(parse(b"0.21 0.37 0.39 1/719 19737\n"), Some([0.21, 0.37, 0.39]));
        assert_eq!(parse(b"0.21 x"), None);
        assert_eq!(parse(b""), None);
    }
}
