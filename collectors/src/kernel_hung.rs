//! Tasks that the kernel found hung, from /proc/sys/kernel/hung_task_detect_count.

use fieldpost_model::Tick;

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;

/// Settings.
pub type Config = Common;

struct KernelHung {
    file: NumberFile,
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let path = env.roots.procfs.join("sys/kernel/hung_task_detect_count");
    let help = "Total number of tasks that have been detected as hung since the system booted.";
    let id = env.tick.counter("node_kernel_hung_tasks_total", help, &[]);
    Ok(Box::new(KernelHung { file: NumberFile::new(path, id), buffer: Vec::new() }))
}

impl Collector for KernelHung {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let count = self.file.read(&mut self.buffer)?;
        tick.set(self.file.id, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn count_is_given_where_the_kernel_counts() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap_err().is_no_data());
        write(tree.path(), "proc/sys/kernel/hung_task_detect_count", "42\n");
        assert_eq!(page(tree.path(), build).unwrap(), ["node_kernel_hung_tasks_total 42"]);
    }
}
