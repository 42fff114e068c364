//! Memory of the machine, from /proc/meminfo.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, lines, number, split_once};

/// Settings.
pub type Config = Common;

struct Meminfo {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Meminfo {
        file: KeptFile::new(env.roots.procfs.join("meminfo")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Meminfo {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for (name, bytes) in lines(text).filter_map(parse) {
            let id = *self.seen.get(name, || series(tick, name));
            tick.set(id, bytes as f64);
        }
        self.seen.end(tick);
        match self.seen.is_empty() {
            true => Err(CollectError::parse(self.file.path(), "it has no line such as MemTotal: 1 kB")),
            false => Ok(()),
        }
    }
}

/// Every line becomes a series, also what newer kernels add: node_exporter did so until 1.9, and
/// its newer fixed list would take `KReclaimable` and others from who comes from there.
fn series(tick: &Tick, name: &[u8]) -> SeriesId {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'(' | b')');
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|byte| plain(&byte)))
    else {
        return SeriesId::NONE;
    };
    let mut name = name.replace('(', "_").replace(')', "");
    if !name.starts_with("HugePages_") {
        name.push_str("_bytes");
    }
    tick.gauge(&format!("node_memory_{name}"), &format!("Memory information field {name}."), &[])
}

/// A line `MemTotal:  1234 kB` or `HugePages_Free:  0` of /proc/meminfo, in bytes or pieces.
fn parse(line: &[u8]) -> Option<(&[u8], u64)> {
    let (name, rest) = split_once(line, b':')?;
    let mut fields = fields(rest);
    let value = number(fields.next()?)?;
    match (fields.next(), fields.next()) {
        (None, _) => Some((name, value)),
        (Some(b"kB"), None) => Some((name, value.wrapping_mul(1024))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn lines_are_read() {
        assert_eq!(parse(b"MemTotal:       16042172 kB"), Some((&b"MemTotal"[..], 16_427_184_128)));
        assert_eq!(parse(b"HugePages_Free:        3"), Some((&b"HugePages_Free"[..], 3)));
        for line in ["MemTotal:", "MemTotal: x kB", "MemTotal 1 kB", "MemTotal: 1 MB", "MemTotal: 1 kB x"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn broken_lines_do_not_lose_the_others_and_new_ones_are_taken() {
        let tree = tempfile::tempdir().unwrap();
        let text = "MemTotal: 2 kB\nMemFree: none kB\nBrandNew: 7 kB\nBro-ken: 1 kB\nActive(anon): 1 kB\nHugePages_Total: 4\n";
        write(tree.path(), "proc/meminfo", text);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_memory_Active_anon_bytes 1024",
                "node_memory_BrandNew_bytes 7168",
                "node_memory_HugePages_Total 4",
                "node_memory_MemTotal_bytes 2048"
            ]
        );
    }

    #[test]
    fn empty_file_is_an_error() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/meminfo", "");
        assert!(page(tree.path(), build).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
