//! Whether SELinux guards this machine, from /sys/fs/selinux and /etc/selinux/config.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;
use crate::read::KeptFile;
use crate::text::{lines, split_once};

/// Settings.
pub type Config = Common;

const ENFORCING: f64 = 1.0;
const PERMISSIVE: f64 = 0.0;
const DISABLED: f64 = -1.0;

struct Selinux {
    enforce: NumberFile,
    own_label: KeptFile,
    config: KeptFile,
    buffer: Vec<u8>,
    enabled: SeriesId,
    modes: Option<[SeriesId; 2]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let help = "SELinux is enabled, 1 is true, 0 is false";
    Ok(Box::new(Selinux {
        enforce: NumberFile::new(env.roots.sysfs.join("fs/selinux/enforce"), SeriesId::NONE),
        own_label: KeptFile::new(env.roots.procfs.join("self/attr/current")),
        config: KeptFile::new(env.roots.rootfs.join("etc/selinux/config")),
        buffer: Vec::new(),
        enabled: env.tick.gauge("node_selinux_enabled", help, &[]),
        modes: None,
    }))
}

impl Collector for Selinux {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Some(current) = self.current_mode() else {
            tick.set(self.enabled, 0.0);
            return Ok(());
        };
        tick.set(self.enabled, 1.0);
        let [config_id, current_id] = *self.modes.get_or_insert_with(|| {
            let gauge = |name, help| tick.gauge(name, help, &[]);
            [
                gauge("node_selinux_config_mode", "Configured SELinux enforcement mode"),
                gauge("node_selinux_current_mode", "Current SELinux enforcement mode"),
            ]
        });
        let configured = match self.config.read(&mut self.buffer) {
            Ok(()) => config_mode(&self.buffer),
            Err(_) => DISABLED,
        };
        // An editor puts another file in its place.
        self.config.close();
        tick.set(config_id, configured);
        tick.set(current_id, current);
        Ok(())
    }
}

impl Selinux {
    /// Nothing where SELinux is off: its file system is not there, or no policy is loaded, so
    /// that every process still has the label `kernel`.
    fn current_mode(&mut self) -> Option<f64> {
        let mode = self.enforce.read_and_close(&mut self.buffer).ok()?;
        let labelled = self.own_label.read(&mut self.buffer).is_ok();
        self.own_label.close();
        let own = self.buffer.trim_ascii_end();
        (!labelled || own.strip_suffix(b"\0").unwrap_or(own) != b"kernel").then_some(mode)
    }
}

/// The mode that /etc/selinux/config asks for.
fn config_mode(text: &[u8]) -> f64 {
    let settings = lines(text).filter_map(|line| split_once(line.trim_ascii(), b'='));
    let mode = settings.filter(|(name, _)| name.trim_ascii() == b"SELINUX").last();
    match mode.map(|(_, value)| value.trim_ascii().to_ascii_lowercase()).as_deref() {
        Some(b"enforcing") => ENFORCING,
        Some(b"permissive") => PERMISSIVE,
        _ => DISABLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn machine_without_selinux_says_so() {
        let tree = tempfile::tempdir().unwrap();
        assert_eq!(page(tree.path(), build).unwrap(), ["node_selinux_enabled 0"]);
    }

    #[test]
    fn modes_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "sys/fs/selinux/enforce", "0");
        write(tree.path(), "proc/self/attr/current", "system_u:system_r:init_t:s0\0");
        write(
            tree.path(),
            "etc/selinux/config",
            "# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
        );
        assert_eq!(
            page(tree.path(), build).unwrap(),
            ["node_selinux_config_mode 1", "node_selinux_current_mode 0", "node_selinux_enabled 1"]
        );
        write(tree.path(), "proc/self/attr/current", "kernel\0");
        assert_eq!(page(tree.path(), build).unwrap(), ["node_selinux_enabled 0"]);
    }
}
