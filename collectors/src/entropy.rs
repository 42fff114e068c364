//! Entropy of the kernel's pool, from /proc/sys/kernel/random.

use fieldpost_model::Tick;

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;

/// Settings.
pub type Config = Common;

struct Entropy {
    files: [NumberFile; 2],
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.procfs.join("sys/kernel/random");
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    Ok(Box::new(Entropy {
        files: [
            NumberFile::new(
                folder.join("entropy_avail"),
                gauge("node_entropy_available_bits", "Bits of available entropy."),
            ),
            NumberFile::new(
                folder.join("poolsize"),
                gauge("node_entropy_pool_size_bits", "Bits of entropy pool."),
            ),
        ],
        buffer: Vec::new(),
    }))
}

impl Collector for Entropy {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for file in &mut self.files {
            let bits = file.read(&mut self.buffer)?;
            tick.set(file.id, bits);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn bits_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/sys/kernel/random/entropy_avail", "1337\n");
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(tree.path(), "proc/sys/kernel/random/poolsize", "4096\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            ["node_entropy_available_bits 1337", "node_entropy_pool_size_bits 4096"]
        );
    }
}
