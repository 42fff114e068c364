//! Memory errors that EDAC found, from /sys/devices/system/edac/mc.

use std::io;
use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::number_file::NumberFile;
use crate::read::{list, read_text};
use crate::seen::HoldsSeries;

/// Settings.
pub type Config = Common;

struct Edac {
    folder: PathBuf,
    files: Vec<NumberFile>,
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Edac {
        folder: env.roots.sysfs.join("devices/system/edac/mc"),
        files: Vec::new(),
        buffer: Vec::new(),
    }))
}

impl Collector for Edac {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        if self.files.is_empty() {
            self.files = match discover(&self.folder, tick) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                files => files.map_err(|error| CollectError::read(&self.folder, error))?,
            };
        }
        for position in 0..self.files.len() {
            match self.files[position].read_and_close(&mut self.buffer) {
                Ok(count) => tick.set(self.files[position].id, count),
                Err(error) => {
                    // The driver was unloaded or another one came: look anew next time.
                    self.files.drain(..).for_each(|file| file.each(&mut |id| tick.retire(id)));
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// All counters of all controllers; none where no driver is loaded, which is no fault, their rows and channels.
fn discover(folder: &Path, tick: &Tick) -> io::Result<Vec<NumberFile>> {
    let mut files = Vec::new();
    for (controller, path) in numbered(folder, "mc")? {
        let mut add = |file: &str, id: SeriesId| files.push(NumberFile::new(path.join(file), id));
        let labels = [("controller", controller.as_str())];
        add(
            "ce_count",
            tick.counter("node_edac_correctable_errors_total", "Total correctable memory errors.", &labels),
        );
        add(
            "ue_count",
            tick.counter(
                "node_edac_uncorrectable_errors_total",
                "Total uncorrectable memory errors.",
                &labels,
            ),
        );
        add("ce_noinfo_count", row_series(tick, CORRECTABLE, &controller, "unknown"));
        add("ue_noinfo_count", row_series(tick, UNCORRECTABLE, &controller, "unknown"));
        for (row, path) in numbered(&path, "csrow")? {
            files.push(NumberFile::new(
                path.join("ce_count"),
                row_series(tick, CORRECTABLE, &controller, &row),
            ));
            files.push(NumberFile::new(
                path.join("ue_count"),
                row_series(tick, UNCORRECTABLE, &controller, &row),
            ));
            channels(&path, tick, (&controller, &row), &mut files)?;
        }
    }
    Ok(files)
}

/// Folders such as `mc0` with their numbers.
fn numbered(folder: &Path, prefix: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let numbered = |name: &std::ffi::OsString| {
        let number = name.to_str()?.strip_prefix(prefix)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| (number.to_owned(), folder.join(name)))
    };
    Ok(list(folder)?.iter().filter_map(numbered).collect())
}

const CORRECTABLE: &str = "correctable";
const UNCORRECTABLE: &str = "uncorrectable";

fn row_series(tick: &Tick, kind: &str, controller: &str, row: &str) -> SeriesId {
    tick.counter(
        &format!("node_edac_csrow_{kind}_errors_total"),
        &format!("Total {kind} memory errors for this csrow."),
        &[("controller", controller), ("csrow", row)],
    )
}

fn channels(
    folder: &Path,
    tick: &Tick,
    (controller, row): (&str, &str),
    files: &mut Vec<NumberFile>,
) -> io::Result<()> {
    for name in list(folder)? {
        let channel = name.to_str().and_then(|name| name.strip_prefix("ch")?.strip_suffix("_ce_count"));
        let Some(channel) = channel.filter(|channel| channel.parse::<u32>().is_ok()) else { continue };
        let dimm = dimm_label(&folder.join(format!("ch{channel}_dimm_label")));
        let labels =
            [("channel", channel), ("controller", controller), ("csrow", row), ("dimm_label", &dimm)];
        for (kind, file) in [(CORRECTABLE, "ce_count"), (UNCORRECTABLE, "ue_count")] {
            let path = folder.join(format!("ch{channel}_{file}"));
            if path.exists() {
                let name = format!("node_edac_channel_{kind}_errors_total");
                let help = format!("Total {kind} memory errors for this channel.");
                files.push(NumberFile::new(path, tick.counter(&name, &help, &labels)));
            }
        }
    }
    Ok(())
}

/// A label such as `mc#0csrow#1channel#0` becomes `mc0_csrow1_channel0`.
fn dimm_label(path: &Path) -> String {
    match read_text(path) {
        Ok(text) => text.replace('#', "").replace("csrow", "_csrow").replace("channel", "_channel"),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, page, write};

    #[test]
    fn counters_are_given_and_an_unloaded_driver_is_followed() {
        let tree = tempfile::tempdir().unwrap();
        let mc = "sys/devices/system/edac/mc/mc0";
        for (file, value) in [
            ("ce_count", 1),
            ("ce_noinfo_count", 2),
            ("ue_count", 5),
            ("ue_noinfo_count", 6),
            ("csrow0/ce_count", 3),
            ("csrow0/ue_count", 4),
            ("csrow0/ch0_ce_count", 0),
        ] {
            write(tree.path(), &format!("{mc}/{file}"), format!("{value}\n"));
        }
        write(tree.path(), &format!("{mc}/csrow0/ch0_dimm_label"), "mc#0csrow#0channel#0\n");
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        assert_eq!(
            bench.pass(0).unwrap(),
            [
                r#"node_edac_channel_correctable_errors_total{channel="0",controller="0",csrow="0",dimm_label="mc0_csrow0_channel0"} 0"#,
                r#"node_edac_correctable_errors_total{controller="0"} 1"#,
                r#"node_edac_csrow_correctable_errors_total{controller="0",csrow="0"} 3"#,
                r#"node_edac_csrow_correctable_errors_total{controller="0",csrow="unknown"} 2"#,
                r#"node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="0"} 4"#,
                r#"node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="unknown"} 6"#,
                r#"node_edac_uncorrectable_errors_total{controller="0"} 5"#,
            ]
        );
        std::fs::remove_dir_all(tree.path().join(mc)).unwrap();
        assert!(bench.pass(1).unwrap_err().is_no_data());
        assert!(bench.pass(2).unwrap().is_empty());
    }

    #[test]
    fn machine_without_edac_gives_nothing_and_that_is_no_fault() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap().is_empty());
    }
}
