//! What /sys/devices/system/cpu tells about cores: throttling, which are isolated and online.
//! A part of the cpu collector.

use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Env};
use crate::number_file::NumberFile;
use crate::read::{list, read_number, read_once, read_text};
use crate::text::{number, split_once};

/// The most cores of a range such as `0-63`; more is no list of this kernel.
const CORES_LIMIT: u64 = 65_536;

/// Cores as sysfs knows them. Looked at anew only when cores come or go, but for the counters.
pub(crate) struct Cores {
    folder: PathBuf,
    isolated: Vec<SeriesId>,
    throttles: Vec<NumberFile>,
    online: Vec<(SeriesId, f64)>,
}

impl Cores {
    /// Reads which cores are isolated: that is settled when the kernel starts.
    pub fn new(env: &Env<'_>) -> Result<Self, CollectError> {
        let folder = env.roots.sysfs.join("devices/system/cpu");
        let path = folder.join("isolated");
        let cores = match read_once(&path) {
            Ok(text) => core_list(&text)
                .ok_or_else(|| CollectError::parse(&path, "expected a list of cores such as 0-3,5"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(CollectError::read(&path, error)),
        };
        let help = "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.";
        let gauge = |core: &u64| env.tick.gauge("node_cpu_isolated", help, &[("cpu", &core.to_string())]);
        let isolated = cores.iter().map(gauge).collect();
        Ok(Self { folder, isolated, throttles: Vec::new(), online: Vec::new() })
    }

    /// Looks at all cores anew.
    pub fn discover(&mut self, tick: &Tick) {
        let cores: Vec<PathBuf> = core_folders(&self.folder).into_iter().map(|(_, path)| path).collect();
        let throttles = throttles(&cores, tick);
        let online = online(&cores, tick);
        for old in &self.throttles {
            if !throttles.iter().any(|new| new.id == old.id) {
                tick.retire(old.id);
            }
        }
        for (old, _) in &self.online {
            if !online.iter().any(|(new, _)| new == old) {
                tick.retire(*old);
            }
        }
        (self.throttles, self.online) = (throttles, online);
    }

    /// Records a pass. A core that is just going away has no sample.
    pub fn collect(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>) {
        for id in &self.isolated {
            tick.set(*id, 1.0);
        }
        for file in &mut self.throttles {
            if let Ok(count) = file.read(buffer) {
                tick.set(file.id, count);
            }
        }
        for (id, value) in &self.online {
            tick.set(*id, *value);
        }
    }
}

/// The folders `cpu0`, `cpu1`, ... with their numbers, in the order of names.
pub(crate) fn core_folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let names = list(folder).unwrap_or_default();
    let core = |name: std::ffi::OsString| {
        let digits = name.to_str()?.strip_prefix("cpu")?.to_owned();
        number(digits.as_bytes()).map(|_| (digits, folder.join(name)))
    };
    names.into_iter().filter_map(core).collect()
}

/// Counters of throttling: one per core and one per package, however many threads share it.
fn throttles(cores: &[PathBuf], tick: &Tick) -> Vec<NumberFile> {
    let mut files: Vec<NumberFile> = Vec::new();
    for core in cores {
        let (Ok(package), Ok(core_id)) = (
            read_number(&core.join("topology/physical_package_id")),
            read_number(&core.join("topology/core_id")),
        ) else {
            continue;
        };
        let (package, core_id) = (package.to_string(), core_id.to_string());
        let folder = core.join("thermal_throttle");
        let mut add = |file: &str, name, help, labels: &[(&str, &str)]| {
            let path = folder.join(file);
            if read_number(&path).is_err() {
                return;
            }
            let id = tick.counter(name, help, labels);
            if !files.iter().any(|known| known.id == id) {
                files.push(NumberFile::new(path, id));
            }
        };
        add(
            "core_throttle_count",
            "node_cpu_core_throttles_total",
            "Number of times this CPU core has been throttled.",
            &[("core", &core_id), ("package", &package)],
        );
        add(
            "package_throttle_count",
            "node_cpu_package_throttles_total",
            "Number of times this CPU package has been throttled.",
            &[("package", &package)],
        );
    }
    files
}

/// Which cores are online. Nothing where the first core cannot be set offline: there the kernel
/// does not show it for that core, and the rest would be told without it.
fn online(cores: &[PathBuf], tick: &Tick) -> Vec<(SeriesId, f64)> {
    if !cores.first().is_some_and(|first| first.join("online").exists()) {
        return Vec::new();
    }
    let of_core = |core: &PathBuf| {
        let name = core.file_name()?.to_str()?.strip_prefix("cpu")?;
        let help = "CPUs that are online and being scheduled.";
        let online = read_text(&core.join("online")).is_ok_and(|text| text == "1");
        Some((tick.gauge("node_cpu_online", help, &[("cpu", name)]), f64::from(u8::from(online))))
    };
    cores.iter().filter_map(of_core).collect()
}

/// A list of cores such as `1,3-5`.
pub(crate) fn core_list(text: &[u8]) -> Option<Vec<u64>> {
    let mut cores = Vec::new();
    for part in text.trim_ascii().split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
        let (first, last) = match split_once(part, b'-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if last >= CORES_LIMIT {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(core_list(b"1,3-5,9\n"), Some(vec![1, 3, 4, 5, 9]));
        assert_eq!(core_list(b"\n"), Some(vec![]));
        for text in ["a", "1-", "0-99999999999", "-"] {
            assert_eq!(core_list(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn throttles_are_counted_once_for_threads_of_a_core() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/stat", "cpu 1 1\ncpu0 1 1\ncpu1 1 1\n");
        for (cpu, core_count) in [("cpu0", "5"), ("cpu1", "6")] {
            let file = |name: &str| format!("sys/devices/system/cpu/{cpu}/{name}");
            write(tree.path(), &file("topology/physical_package_id"), "0\n");
            write(tree.path(), &file("topology/core_id"), "0\n");
            write(tree.path(), &file("thermal_throttle/core_throttle_count"), core_count);
            write(tree.path(), &file("thermal_throttle/package_throttle_count"), "30\n");
            write(tree.path(), &file("online"), if cpu == "cpu0" { "1\n" } else { "0\n" });
        }
        write(tree.path(), "sys/devices/system/cpu/isolated", "1\n");
        let page = page(tree.path(), crate::cpu::build).unwrap();
        let own: Vec<&str> =
            page.iter().map(String::as_str).filter(|line| !line.contains("seconds_total")).collect();
        assert_eq!(
            own,
            [
                r#"node_cpu_core_throttles_total{core="0",package="0"} 5"#,
                r#"node_cpu_isolated{cpu="1"} 1"#,
                r#"node_cpu_online{cpu="0"} 1"#,
                r#"node_cpu_online{cpu="1"} 0"#,
                r#"node_cpu_package_throttles_total{package="0"} 30"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn any_list_is_survived(text in "[0-9,\\-\n]{0,12}") {
            let _ = core_list(text.as_bytes());
        }
    }
}
