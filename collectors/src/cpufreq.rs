//! Frequencies of cores and their governors, from /sys/devices/system/cpu/cpu*/cpufreq.

use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::cpu_cores::{core_folders, core_list};
use crate::number_file::NumberFile;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label};

/// Settings.
pub type Config = Common;

/// The kernel counts in kHz.
const HERTZ_PER_KHZ: f64 = 1000.0;

/// Files, their series and help texts.
const FILES: [(&str, &str, &str); 7] = [
    ("cpuinfo_cur_freq", "node_cpu_frequency_hertz", "Current CPU thread frequency in hertz."),
    ("cpuinfo_avg_freq", "node_cpu_frequency_avg_hertz", "Average CPU thread frequency in hertz."),
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz", "Minimum CPU thread frequency in hertz."),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz", "Maximum CPU thread frequency in hertz."),
    ("scaling_cur_freq", "node_cpu_scaling_frequency_hertz", "Current scaled CPU thread frequency in hertz."),
    (
        "scaling_min_freq",
        "node_cpu_scaling_frequency_min_hertz",
        "Minimum scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_max_freq",
        "node_cpu_scaling_frequency_max_hertz",
        "Maximum scaled CPU thread frequency in hertz.",
    ),
];

struct Cpufreq {
    folder: PathBuf,
    offline: KeptFile,
    offline_known: Option<Vec<u8>>,
    cores: Vec<Core>,
    buffer: Vec<u8>,
    governor: Vec<u8>,
}

struct Core {
    name: String,
    frequencies: Vec<NumberFile>,
    available: KeptFile,
    governor: KeptFile,
    governors: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.sysfs.join("devices/system/cpu");
    Ok(Box::new(Cpufreq {
        offline: KeptFile::new(folder.join("offline")),
        folder,
        offline_known: None,
        cores: Vec::new(),
        buffer: Vec::new(),
        governor: Vec::new(),
    }))
}

impl Collector for Cpufreq {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let offline = self.offline.collect(&mut self.buffer)?;
        if self.offline_known.as_deref() != Some(offline) {
            let cores = core_list(offline).ok_or_else(|| {
                CollectError::parse(self.offline.path(), "expected a list of cores such as 0-3,5")
            })?;
            self.offline_known = Some(offline.to_vec());
            self.discover(tick, &cores);
        }
        for core in &mut self.cores {
            core.collect(tick, &mut self.buffer, &mut self.governor);
        }
        Ok(())
    }
}

impl Cpufreq {
    fn discover(&mut self, tick: &Tick, offline: &[u64]) {
        for core in &mut self.cores {
            core.frequencies.iter().for_each(|file| file.each(&mut |id| tick.retire(id)));
            core.governors.iter_mut().for_each(|(_, id)| tick.retire(*id));
        }
        let is_online = |name: &str| name.parse().is_ok_and(|number| !offline.contains(&number));
        let folders = core_folders(&self.folder).into_iter().filter(|(name, _)| is_online(name));
        let cores =
            folders.map(|(name, path)| (name, path.join("cpufreq"))).filter(|(_, path)| path.is_dir());
        self.cores = cores.map(|(name, path)| Core::new(tick, name, &path)).collect();
    }
}

impl Core {
    fn new(tick: &Tick, name: String, folder: &Path) -> Self {
        // Some files are only for root or only of some drivers: those are not asked again.
        let readable = FILES
            .iter()
            .map(|file| (folder.join(file.0), file))
            .filter(|(path, _)| std::fs::File::open(path).is_ok());
        let file = |(path, (_, family, help)): (PathBuf, &(&str, &str, &str))| {
            NumberFile::new(path, tick.gauge(family, help, &[("cpu", &name)]))
        };
        Self {
            frequencies: readable.map(file).collect(),
            available: KeptFile::new(folder.join("scaling_available_governors")),
            governor: KeptFile::new(folder.join("scaling_governor")),
            governors: Seen::default(),
            name,
        }
    }

    /// A core that is just going away, and a driver that tells `<unknown>`, have no sample.
    fn collect(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>, governor: &mut Vec<u8>) {
        for file in &mut self.frequencies {
            if let Ok(khz) = file.read_and_close(buffer) {
                tick.set(file.id, khz * HERTZ_PER_KHZ);
            }
        }
        let read = self.governor.read(governor).and_then(|()| self.available.read(buffer));
        self.governor.close();
        self.available.close();
        let current = governor.trim_ascii();
        if read.is_err() || current.is_empty() {
            return;
        }
        self.governors.begin();
        for word in fields(buffer.trim_ascii()) {
            let id = *self.governors.get(word, || {
                let help = "Current enabled CPU frequency governor.";
                tick.gauge(
                    "node_cpu_scaling_governor",
                    help,
                    &[("cpu", &self.name), ("governor", &label(word))],
                )
            });
            tick.set(id, f64::from(u8::from(word == current)));
        }
        self.governors.end(tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, write};

    #[test]
    fn frequencies_and_governors_of_online_cores_are_given() {
        let tree = tempfile::tempdir().unwrap();
        let folder = "sys/devices/system/cpu";
        for cpu in [0, 1] {
            let file = |name: &str| format!("{folder}/cpu{cpu}/cpufreq/{name}");
            write(tree.path(), &file("scaling_cur_freq"), "1699981\n");
            write(tree.path(), &file("scaling_max_freq"), "<unknown>\n");
            write(tree.path(), &file("scaling_governor"), "powersave\n");
            write(tree.path(), &file("scaling_available_governors"), "performance powersave \n");
        }
        write(tree.path(), &format!("{folder}/offline"), "1\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(
            bench.pass(0).unwrap(),
            [
                r#"node_cpu_scaling_frequency_hertz{cpu="0"} 1699981000"#,
                r#"node_cpu_scaling_governor{cpu="0",governor="performance"} 0"#,
                r#"node_cpu_scaling_governor{cpu="0",governor="powersave"} 1"#,
            ]
        );
        write(tree.path(), &format!("{folder}/offline"), "\n");
        assert_eq!(bench.pass(1).unwrap().len(), 6);
    }
}
