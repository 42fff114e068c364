//! Facts about cores from /proc/cpuinfo: model, microcode, flags, bugs, frequency.
//! A part of the cpu collector, off unless the config asks for it.

use fieldpost_model::{Pattern, SeriesId, Tick};

use crate::collector::{CollectError, Env};
use crate::list::COLLECTORS;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, float, label, lines, split_once};

/// One paragraph of /proc/cpuinfo. Other processors than Intel's and AMD's have other names for
/// some of it and leave the rest out.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Paragraph<'a> {
    cachesize: &'a [u8],
    core: &'a [u8],
    cpu: &'a [u8],
    family: &'a [u8],
    microcode: &'a [u8],
    model: &'a [u8],
    model_name: &'a [u8],
    package: &'a [u8],
    stepping: &'a [u8],
    vendor: &'a [u8],
    flags: &'a [u8],
    bugs: &'a [u8],
    mhz: f64,
}

impl<'a> Paragraph<'a> {
    fn labels(&self) -> [(&'static str, &'a [u8]); 10] {
        [
            ("cachesize", self.cachesize),
            ("core", self.core),
            ("cpu", self.cpu),
            ("family", self.family),
            ("microcode", self.microcode),
            ("model", self.model),
            ("model_name", self.model_name),
            ("package", self.package),
            ("stepping", self.stepping),
            ("vendor", self.vendor),
        ]
    }

    fn take(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"vendor" | b"vendor_id" | b"cpu" => self.vendor = value,
            b"cpu family" | b"CPU Family" => self.family = value,
            b"model" => self.model = value,
            b"model name" | b"Model Name" | b"cpu model" => self.model_name = value,
            b"stepping" => self.stepping = value,
            b"microcode" => self.microcode = value,
            b"cache size" => self.cachesize = value,
            b"physical id" => self.package = value,
            b"core id" => self.core = value,
            b"flags" | b"Features" => self.flags = value,
            b"bugs" => self.bugs = value,
            b"cpu MHz" => self.mhz = float(value).unwrap_or(0.0),
            b"clock" => self.mhz = float(value.strip_suffix(b"MHz").unwrap_or(value)).unwrap_or(0.0),
            _ => {}
        }
    }
}

/// What /proc/cpuinfo gives.
pub(crate) struct CpuInfo {
    file: KeptFile,
    with_frequency: bool,
    flags_include: Option<Pattern>,
    bugs_include: Option<Pattern>,
    key: Vec<u8>,
    cores: Seen<[SeriesId; 2]>,
    flags: Seen<SeriesId>,
    bugs: Seen<SeriesId>,
}

impl CpuInfo {
    /// Nothing unless the config asks for it. The frequency is given only if the cpufreq
    /// collector is on, as node_exporter does.
    pub fn new(env: &Env<'_>) -> Option<Self> {
        let config = &env.config.cpu;
        let wanted = config.info || config.info_flags_include.is_some() || config.info_bugs_include.is_some();
        let cpufreq = COLLECTORS.iter().find(|entry| entry.name == "cpufreq");
        wanted.then(|| Self {
            file: KeptFile::new(env.roots.procfs.join("cpuinfo")),
            with_frequency: cpufreq.is_some_and(|entry| env.config.is_on(entry)),
            flags_include: config.info_flags_include.clone(),
            bugs_include: config.info_bugs_include.clone(),
            key: Vec::new(),
            cores: Seen::default(),
            flags: Seen::default(),
            bugs: Seen::default(),
        })
    }

    /// Records a pass.
    pub fn collect(&mut self, tick: &mut Tick, buffer: &mut Vec<u8>) -> Result<(), CollectError> {
        let text = self.file.collect(buffer)?;
        let (cores, key, with_frequency) = (&mut self.cores, &mut self.key, self.with_frequency);
        let mut first = None;
        cores.begin();
        parse(text, |core| {
            first.get_or_insert(*core);
            key.clear();
            for (_, value) in core.labels() {
                key.extend_from_slice(value);
                key.push(0);
            }
            let ids = *cores.get(key, || core_series(tick, core, with_frequency));
            tick.set(ids[0], 1.0);
            tick.set(ids[1], core.mhz * 1e6);
        });
        cores.end(tick);
        let first = first.unwrap_or_default();
        words(
            tick,
            &mut self.flags,
            first.flags,
            self.flags_include.as_ref(),
            ("node_cpu_flag_info", "flag"),
            "The `flags` field of CPU information from /proc/cpuinfo taken from the first core.",
        );
        words(
            tick,
            &mut self.bugs,
            first.bugs,
            self.bugs_include.as_ref(),
            ("node_cpu_bug_info", "bug"),
            "The `bugs` field of CPU information from /proc/cpuinfo taken from the first core.",
        );
        Ok(())
    }
}

fn core_series(tick: &Tick, core: &Paragraph<'_>, with_frequency: bool) -> [SeriesId; 2] {
    let values = core.labels().map(|(name, value)| (name, label(value)));
    let labels: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    let info = tick.gauge("node_cpu_info", "CPU information from /proc/cpuinfo.", &labels);
    if !with_frequency {
        return [info, SeriesId::NONE];
    }
    let (core_id, cpu, package) = (label(core.core), label(core.cpu), label(core.package));
    let labels = [("core", core_id.as_ref()), ("cpu", cpu.as_ref()), ("package", package.as_ref())];
    let help = "CPU frequency in hertz from /proc/cpuinfo.";
    [info, tick.gauge("node_cpu_frequency_hertz", help, &labels)]
}

/// One series for each word of the line that matches.
fn words(
    tick: &mut Tick,
    seen: &mut Seen<SeriesId>,
    line: &[u8],
    include: Option<&Pattern>,
    (name, label_name): (&str, &str),
    help: &str,
) {
    let Some(include) = include else { return };
    seen.begin();
    for word in fields(line) {
        let id = *seen.get(word, || {
            let word = label(word);
            match include.is_match(&word) {
                true => tick.gauge(name, help, &[(label_name, &word)]),
                false => SeriesId::NONE,
            }
        });
        tick.set(id, 1.0);
    }
    seen.end(tick);
}

/// The paragraphs of /proc/cpuinfo; what stands before the first `processor` belongs to all.
fn parse<'a>(text: &'a [u8], mut f: impl FnMut(&Paragraph<'a>)) {
    let (mut common, mut core): (Paragraph<'a>, Option<Paragraph<'a>>) = (Paragraph::default(), None);
    for line in lines(text) {
        let Some((name, value)) = split_once(line, b':') else { continue };
        let (name, value) = (name.trim_ascii(), value.trim_ascii());
        if name == b"processor" {
            if let Some(done) = core.replace(Paragraph { cpu: value, ..common }) {
                f(&done);
            }
        } else {
            core.as_mut().unwrap_or(&mut common).take(name, value);
        }
    }
    if let Some(last) = core {
        f(&last);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, write};

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 142\n\
        model name\t: Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz\nstepping\t: 10\nmicrocode\t: 0xb4\n\
        cpu MHz\t\t: 799.998\ncache size\t: 8192 KB\nphysical id\t: 0\ncore id\t\t: 0\n\
        flags\t\t: fpu aes avx2\nbugs\t\t: mds swapgs\npower management:\n\n\
        processor\t: 1\nvendor_id\t: GenuineIntel\nphysical id\t: 0\ncore id\t\t: 1\n\n";

    #[test]
    fn facts_flags_and_bugs_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/stat", "cpu 1 1\ncpu0 1 1\n");
        write(tree.path(), "proc/cpuinfo", CPUINFO);
        let mut config = crate::Config::default();
        config.cpu.info_flags_include = Some(Pattern::unanchored("^(aes|avx.?)$").unwrap());
        config.cpu.info_bugs_include = Some(Pattern::unanchored("^mds$").unwrap());
        let page = Bench::new(tree.path(), crate::cpu::build, &config).unwrap().pass(0).unwrap();
        for line in [
            r#"node_cpu_flag_info{flag="aes"} 1"#,
            r#"node_cpu_flag_info{flag="avx2"} 1"#,
            r#"node_cpu_bug_info{bug="mds"} 1"#,
            r#"node_cpu_frequency_hertz{core="0",cpu="0",package="0"} 799998000"#,
            r#"node_cpu_info{cachesize="8192 KB",core="0",cpu="0",family="6",microcode="0xb4",model="142",model_name="Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz",package="0",stepping="10",vendor="GenuineIntel"} 1"#,
        ] {
            assert!(page.iter().any(|have| have == line), "{line}\n{page:#?}");
        }
        assert_eq!(page.iter().filter(|line| line.contains("_info{")).count(), 5);
    }

    #[test]
    fn arm_has_fewer_facts() {
        let text = b"processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n";
        let mut seen = Vec::new();
        parse(text, |core| seen.push((core.cpu.to_vec(), core.flags.to_vec())));
        assert_eq!(seen, [(b"0".to_vec(), b"fp asimd".to_vec())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&text, |_| {});
        }

        #[test]
        fn cut_file_is_survived(length in 0..CPUINFO.len()) {
            let mut n = 0;
            parse(&CPUINFO.as_bytes()[..length], |_| n += 1);
            prop_assert!(n <= 2);
        }
    }
}
