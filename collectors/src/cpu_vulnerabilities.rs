//! Weaknesses of the processor and what the kernel does against them, from
//! /sys/devices/system/cpu/vulnerabilities.

use std::io::ErrorKind;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::{KeptFile, list};
use crate::seen::Seen;
use crate::text::label;

/// Settings.
pub type Config = Common;

const STATES: [&str; 4] = ["not affected", "vulnerable", "mitigation", "unknown"];

/// A file with its name; what it says changes only when new microcode is loaded.
struct CpuVulnerabilities {
    files: Vec<(String, KeptFile, Seen<SeriesId>)>,
    buffer: Vec<u8>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let folder = env.roots.sysfs.join("devices/system/cpu/vulnerabilities");
    // Old kernels do not tell; that is no fault.
    let names = match list(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| CollectError::read(&folder, error))?,
    };
    let file = |name: &std::ffi::OsString| {
        (name.to_string_lossy().into_owned(), KeptFile::new(folder.join(name)), Seen::default())
    };
    Ok(Box::new(CpuVulnerabilities { files: names.iter().map(file).collect(), buffer: Vec::new() }))
}

impl Collector for CpuVulnerabilities {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for (name, file, seen) in &mut self.files {
            let text = file.collect(&mut self.buffer)?.trim_ascii();
            seen.begin();
            let id = *seen.get(text, || {
                let text = label(text);
                let (state, mitigation) = parse(&text);
                let help = "Details of each CPU vulnerability reported by sysfs. The value of the series is an int \
                            encoded state of the vulnerability. The same state is stored as a string in the label";
                let labels = [("codename", name.as_str()), ("mitigation", &mitigation), ("state", state)];
                tick.gauge("node_cpu_vulnerabilities_info", help, &labels)
            });
            seen.end(tick);
            tick.set(id, 1.0);
        }
        Ok(())
    }
}

/// State and mitigation of a text such as `Mitigation: PTI`. A text of no known form is kept whole.
fn parse(text: &str) -> (&'static str, String) {
    let lower = text.to_lowercase();
    let Some(state) = STATES.into_iter().find(|state| lower.starts_with(state)) else {
        return ("unknown", text.to_owned());
    };
    let rest = if state == "not affected" { Vec::new() } else { text.split_whitespace().skip(1).collect() };
    (state, rest.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn texts_are_read() {
        for (text, state, mitigation) in [
            ("Not affected", "not affected", ""),
            ("Vulnerable", "vulnerable", ""),
            (
                "Vulnerable: Clear CPU buffers attempted, no microcode",
                "vulnerable",
                "Clear CPU buffers attempted, no microcode",
            ),
            ("Mitigation: PTI", "mitigation", "PTI"),
            ("KVM: Mitigation: VMX disabled", "unknown", "KVM: Mitigation: VMX disabled"),
        ] {
            assert_eq!(parse(text), (state, mitigation.to_owned()), "{text}");
        }
    }

    #[test]
    fn files_are_given() {
        let tree = tempfile::tempdir().unwrap();
        assert!(page(tree.path(), build).unwrap().is_empty());
        write(tree.path(), "sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [r#"node_cpu_vulnerabilities_info{codename="mds",mitigation="",state="vulnerable"} 1"#]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
