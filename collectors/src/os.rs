//! The distribution, from /etc/os-release or /usr/lib/os-release.

use std::io::ErrorKind;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::text::{label, lines};

/// Settings.
pub type Config = Common;

/// Keys of the file and the labels they become, in the order of labels.
const LABELS: [(&str, &str); 12] = [
    ("BUILD_ID", "build_id"),
    ("ID", "id"),
    ("ID_LIKE", "id_like"),
    ("IMAGE_ID", "image_id"),
    ("IMAGE_VERSION", "image_version"),
    ("NAME", "name"),
    ("PRETTY_NAME", "pretty_name"),
    ("VARIANT", "variant"),
    ("VARIANT_ID", "variant_id"),
    ("VERSION", "version"),
    ("VERSION_CODENAME", "version_codename"),
    ("VERSION_ID", "version_id"),
];

struct Os {
    files: [KeptFile; 2],
    buffer: Vec<u8>,
    known: Vec<u8>,
    samples: Vec<(SeriesId, f64)>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let file = |path| KeptFile::new(env.roots.rootfs.join(path));
    Ok(Box::new(Os {
        files: [file("etc/os-release"), file("usr/lib/os-release")],
        buffer: Vec::new(),
        known: Vec::new(),
        samples: Vec::new(),
    }))
}

impl Collector for Os {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.read()?;
        if self.samples.is_empty() || self.buffer != self.known {
            self.samples.drain(..).for_each(|(id, _)| tick.retire(id));
            self.samples = describe(tick, &self.buffer);
            self.known.clone_from(&self.buffer);
        }
        self.samples.iter().for_each(|(id, value)| tick.set(*id, *value));
        Ok(())
    }
}

impl Os {
    /// Opens it anew each time: an upgrade of the distribution puts another file in its place.
    fn read(&mut self) -> Result<(), CollectError> {
        for file in &mut self.files {
            let result = file.read(&mut self.buffer);
            file.close();
            match result {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(CollectError::read(file.path(), error)),
            }
        }
        Err(CollectError::NoData("no os-release file".into()))
    }
}

fn describe(tick: &Tick, text: &[u8]) -> Vec<(SeriesId, f64)> {
    let value_of = |key: &str| {
        let values = lines(text).filter_map(assignment).filter(|(name, _)| *name == key.as_bytes());
        values.last().map(|(_, value)| label(&value).into_owned()).unwrap_or_default()
    };
    let values = LABELS.map(|(key, name)| (name, value_of(key)));
    let labels = values.each_ref().map(|(name, value)| (*name, value.as_str()));
    let help = "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, \
                name, pretty_name, variant, variant_id, version, version_codename, version_id.";
    let mut samples = vec![(tick.gauge("node_os_info", help, &labels), 1.0)];
    let version = major_minor(&value_of("VERSION_ID"));
    if version > 0.0 {
        let help = "Metric containing the major.minor part of the OS version.";
        samples.push((tick.gauge("node_os_version", help, &[labels[1], labels[2], labels[5]]), version));
    }
    if let Some(end) = date_seconds(&value_of("SUPPORT_END")) {
        let help = "Metric containing the end-of-life date timestamp of the OS.";
        samples.push((tick.gauge("node_os_support_end_timestamp_seconds", help, &[]), end as f64));
    }
    samples
}

/// A line `NAME="value"` of os-release(5). Quotes are those of a shell: within double ones a
/// backslash takes the next character as it is.
fn assignment(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return None;
    }
    let (name, value) = crate::text::split_once(line, b'=')?;
    let (mut plain, mut quote, mut bytes) = (Vec::with_capacity(value.len()), None, value.iter());
    while let Some(&byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(b'"') | None, b'\\') => plain.extend(bytes.next()),
            _ => plain.push(byte),
        }
    }
    Some((name.trim_ascii(), plain))
}

/// The number at the start of a version: 20.04 of `20.04.2`; 0 if there is none.
fn major_minor(version: &str) -> f64 {
    let mut points = 0;
    let end = version.find(|c: char| {
        points += u8::from(c == '.');
        !(c.is_ascii_digit() || c == '.' && points == 1)
    });
    version[..end.unwrap_or(version.len())].parse().unwrap_or(0.0)
}

/// Midnight UTC of a date `2030-12-31`, in seconds since 1970.
fn date_seconds(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counts from March, so that the leap day is the last one of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const DAYS_TO_1970: i64 = 719_468;
    Some((days - DAYS_TO_1970) * 86_400)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const RELEASE: &str = "NAME=\"Ubuntu\"\nVERSION=\"20.04.2 LTS (Focal Fossa)\"\nID=ubuntu\nID_LIKE='debian'\n\
        # a comment\nVERSION_ID=\"20.04\"\nSUPPORT_END=2030-12-31\n";

    #[test]
    fn distribution_is_described_and_an_upgrade_is_followed() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "usr/lib/os-release", RELEASE);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let page = bench.pass(0).unwrap();
        assert_eq!(
            page,
            [
                r#"node_os_info{build_id="",id="ubuntu",id_like="debian",image_id="",image_version="",name="Ubuntu",pretty_name="",variant="",variant_id="",version="20.04.2 LTS (Focal Fossa)",version_codename="",version_id="20.04"} 1"#,
                "node_os_support_end_timestamp_seconds 1924905600",
                r#"node_os_version{id="ubuntu",id_like="debian",name="Ubuntu"} 20.04"#,
            ]
        );
        write(tree.path(), "etc/os-release", "ID=arch\n");
        let page = bench.pass(1).unwrap();
        assert_eq!(page.len(), 1);
        assert!(page[0].contains(r#"id="arch""#));
    }

    #[test]
    fn versions_and_dates_are_read() {
        for (text, version) in [("20.04.2", 20.04), ("9", 9.0), ("", 0.0), ("rolling", 0.0), ("12.", 12.0)] {
            assert_eq!(major_minor(text), version, "{text}");
        }
        assert_eq!(date_seconds("1970-01-01"), Some(0));
        assert_eq!(date_seconds("2024-02-29"), Some(1_709_164_800));
        assert_eq!(date_seconds("2024-13-01"), None);
    }

    #[test]
    fn quotes_are_those_of_a_shell() {
        assert_eq!(assignment(br#"A="x \"y\" z""#), Some((&b"A"[..], br#"x "y" z"#.to_vec())));
        assert_eq!(assignment(b"# A=b"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,40}") {
            let _ = assignment(text.as_bytes());
            let _ = date_seconds(&text);
            let _ = major_minor(&text);
        }
    }
}
