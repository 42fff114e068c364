//! Pressure stall information: how long work waited for CPU, memory, I/O and interrupts, from
//! /proc/pressure (Linux 4.20 and newer; interrupts 6.1).

use std::io;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::text::{fields, lines, number};

/// Settings.
pub type Config = Common;

const MICROSECONDS: f64 = 1000.0;

/// What the kernel answers to a read where it was started with `psi=0`.
const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

struct Resource {
    file: KeptFile,
    waiting: SeriesId,
    stalled: SeriesId,
}

struct Pressure {
    resources: [Resource; 4],
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let counter = |name, help| env.tick.counter(name, help, &[]);
    let resource = |name, waiting, stalled| Resource {
        file: KeptFile::new(env.roots.procfs.join("pressure").join(name)),
        waiting,
        stalled,
    };
    let cpu_waiting = counter(
        "node_pressure_cpu_waiting_seconds_total",
        "Total time in seconds that processes have waited for CPU time",
    );
    let io_waiting = counter(
        "node_pressure_io_waiting_seconds_total",
        "Total time in seconds that processes have waited due to IO congestion",
    );
    let io_stalled = counter(
        "node_pressure_io_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IO congestion",
    );
    let memory_waiting = counter(
        "node_pressure_memory_waiting_seconds_total",
        "Total time in seconds that processes have waited for memory",
    );
    let memory_stalled = counter(
        "node_pressure_memory_stalled_seconds_total",
        "Total time in seconds no process could make progress due to memory congestion",
    );
    let irq_stalled = counter(
        "node_pressure_irq_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IRQ congestion",
    );
    Ok(Box::new(Pressure {
        resources: [
            resource("cpu", cpu_waiting, SeriesId::NONE),
            resource("io", io_waiting, io_stalled),
            resource("memory", memory_waiting, memory_stalled),
            resource("irq", SeriesId::NONE, irq_stalled),
        ],
        buffer: Vec::new(),
    }))
}

impl Collector for Pressure {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for resource in &mut self.resources {
            match resource.file.read(&mut self.buffer) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.raw_os_error() == Some(NOT_SUPPORTED) => {
                    return Err(CollectError::NoData("this kernel was started with psi=0".into()));
                }
                Err(error) => return Err(CollectError::read(resource.file.path(), error)),
            }
            for (kind, total) in lines(&self.buffer).filter_map(parse) {
                let id = match kind {
                    b"some" => resource.waiting,
                    b"full" => resource.stalled,
                    _ => continue,
                };
                tick.set(id, total as f64 / MICROSECONDS / MICROSECONDS);
            }
        }
        match tick.samples().is_empty() {
            true => Err(CollectError::NoData("this kernel has no pressure stall information".into())),
            false => Ok(()),
        }
    }
}

/// A line `some avg10=0.00 avg60=0.25 avg300=0.67 total=22727365` of a file of /proc/pressure:
/// its kind and the total in microseconds.
fn parse(line: &[u8]) -> Option<(&[u8], u64)> {
    let mut fields = fields(line);
    let kind = fields.next()?;
    let total = fields.find_map(|field| field.strip_prefix(b"total="))?;
    Some((kind, number(total)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    const SOME: &str = "some avg10=0.06 avg60=0.21 avg300=0.99 total=14036781\n";
    const FULL: &str = "full avg10=0.00 avg60=0.13 avg300=0.96 total=8494\n";

    #[test]
    fn totals_are_given_in_seconds() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/pressure/cpu", format!("{SOME}{FULL}"));
        write(tree.path(), "proc/pressure/irq", FULL);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_pressure_cpu_waiting_seconds_total 14.036781000000001",
                "node_pressure_irq_stalled_seconds_total 0.008494",
            ]
        );
    }

    #[test]
    fn kernel_without_it_has_no_data() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
