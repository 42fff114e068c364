//! Sockets in use and their memory, from /proc/net/sockstat and /proc/net/sockstat6.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, float, label, lines};

/// Settings.
pub type Config = Common;

/// What a protocol's line may tell, and what is shown of it: `mem` counts pages, so it is shown
/// in bytes as well, at the last position.
const STATES: [&str; 7] = ["inuse", "orphan", "tw", "alloc", "mem", "memory", "mem_bytes"];

/// Positions in `STATES`.
const INUSE: usize = 0;
const MEM: usize = 4;
const MEM_BYTES: usize = 6;

struct Sockstat {
    files: [KeptFile; 2],
    buffer: Vec<u8>,
    page_size_bytes: f64,
    used: SeriesId,
    /// By protocol; `NONE` at what its line does not tell.
    protocols: Seen<[SeriesId; STATES.len()]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Sockstat {
        files: ["sockstat", "sockstat6"].map(|name| KeptFile::new(env.roots.procfs.join("net").join(name))),
        buffer: Vec::new(),
        page_size_bytes: rustix::param::page_size() as f64,
        used: SeriesId::NONE,
        protocols: Seen::default(),
    }))
}

impl Collector for Sockstat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { files, buffer, page_size_bytes, used, protocols } = self;
        protocols.begin();
        for file in files {
            let text = match file.collect(buffer) {
                Err(error) if error.is_no_data() => continue,
                result => result?,
            };
            for (protocol, line) in lines(text).filter_map(split_protocol) {
                if protocol == b"sockets" {
                    record_used(line, used, tick);
                } else {
                    let ids = protocols.get(protocol, || [SeriesId::NONE; STATES.len()]);
                    record(protocol, line, ids, *page_size_bytes, tick);
                }
            }
        }
        protocols.end(tick);
        Ok(())
    }
}

/// The number of sockets of all protocols; only the file of IPv4 has it.
fn record_used(line: &[u8], used: &mut SeriesId, tick: &mut Tick) {
    let number = pairs(line).find(|(key, _)| *key == b"used").map(|(_, value)| value);
    if *used == SeriesId::NONE {
        *used = tick.gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.", &[]);
    }
    tick.set(*used, number.unwrap_or_default());
}

/// `inuse` is shown even where the line lacks it.
fn record(protocol: &[u8], line: &[u8], ids: &mut [SeriesId], page_size_bytes: f64, tick: &mut Tick) {
    let mut values = [None; STATES.len()];
    values[INUSE] = Some(0.0);
    for (key, value) in pairs(line) {
        if let Some(position) = STATES.iter().position(|state| state.as_bytes() == key) {
            values[position] = Some(value);
        }
    }
    values[MEM_BYTES] = values[MEM].map(|pages| pages * page_size_bytes);
    for ((state, id), value) in STATES.iter().zip(ids).zip(values) {
        let Some(value) = value else { continue };
        if *id == SeriesId::NONE {
            *id = gauge(&label(protocol), state, tick);
        }
        tick.set(*id, value);
    }
}

fn gauge(protocol: &str, state: &str, tick: &Tick) -> SeriesId {
    let help = format!("Number of {protocol} sockets in state {state}.");
    tick.gauge(&format!("node_sockstat_{protocol}_{state}"), &help, &[])
}

/// A protocol, and the rest of its line.
fn split_protocol(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (protocol, rest) = crate::text::split_once(line, b':')?;
    let is_name =
        |name: &[u8]| !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    is_name(protocol).then_some((protocol, rest))
}

/// The keys and numbers of a line; what is no number is left out.
fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], f64)> {
    let mut rest = fields(line);
    let all = std::iter::from_fn(move || Some((rest.next()?, rest.next()?)));
    all.filter_map(|(key, value)| Some((key, float(value)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    const SOCKSTAT: &str = "sockets: used 229\nTCP: inuse 4 orphan 0 tw 4 alloc 17 mem 1\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";

    #[test]
    fn protocols_of_both_versions() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/sockstat", SOCKSTAT);
        write(tree.path(), "proc/net/sockstat6", "TCP6: inuse 17\nshort\nUDP6: inuse x\n");
        let page_size = rustix::param::page_size();
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_sockstat_FRAG_inuse 0".to_owned(),
                "node_sockstat_FRAG_memory 0".to_owned(),
                "node_sockstat_RAW_inuse 0".to_owned(),
                "node_sockstat_TCP6_inuse 17".to_owned(),
                "node_sockstat_TCP_alloc 17".to_owned(),
                "node_sockstat_TCP_inuse 4".to_owned(),
                "node_sockstat_TCP_mem 1".to_owned(),
                format!("node_sockstat_TCP_mem_bytes {page_size}"),
                "node_sockstat_TCP_orphan 0".to_owned(),
                "node_sockstat_TCP_tw 4".to_owned(),
                "node_sockstat_UDP6_inuse 0".to_owned(),
                "node_sockstat_sockets_used 229".to_owned(),
            ]
        );
    }

    #[test]
    fn without_any_file_there_is_nothing_and_no_error() {
        assert!(page(tempfile::tempdir().unwrap().path(), build).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line: Vec<u8>) {
            if let Some((_, rest)) = split_protocol(&line) {
                pairs(rest).count();
            }
        }
    }
}
