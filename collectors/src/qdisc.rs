//! Queueing disciplines: the root one of each device, as netlink lists them.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::filter::{DeviceConfig, Filter};
use crate::links::Links;
use crate::netlink::{GET_QDISC, Netlink, attributes, int, long, name};
use crate::seen::Seen;
use crate::text::label;

/// Settings.
pub type Config = DeviceConfig;

/// `struct tcmsg`, bytes.
const HEAD_SIZE: usize = 20;
/// `TC_H_ROOT`: the parent of a device's root discipline.
const ROOT: u32 = u32::MAX;
/// `TCA_KIND`
const KIND: u16 = 1;
/// `TCA_STATS2`
const STATS: u16 = 7;
/// `TCA_STATS_BASIC`
const BASIC: u16 = 1;
/// `TCA_STATS_QUEUE`
const QUEUE: u16 = 3;
/// `TCA_STATS_PKT64`
const PACKETS: u16 = 8;

struct Qdisc {
    netlink: Netlink,
    links: Links,
    filter: Filter,
    disciplines: Seen<[SeriesId; 7]>,
    scratch: Vec<u8>,
}

/// A device's root discipline.
#[derive(Debug, PartialEq)]
struct Discipline<'a> {
    interface: u32,
    kind: &'a [u8],
    /// Bytes, packets, drops, requeues, overlimits, length of the queue in packets and in bytes.
    values: [u64; 7],
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let config = &env.config.qdisc;
    Ok(Box::new(Qdisc {
        netlink: Netlink::new(None),
        links: Links::default(),
        filter: config.filter("collectors.qdisc.device")?,
        disciplines: Seen::default(),
        scratch: Vec::new(),
    }))
}

impl Collector for Qdisc {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { netlink, links, filter, disciplines, scratch } = self;
        let failed = |error| CollectError::Other(format!("cannot list queueing disciplines: {error}"));
        links.learn(netlink).map_err(failed)?;
        disciplines.begin();
        let record = |message: &[u8]| {
            let Some(discipline) = parse(message) else { return };
            let device = links.name(discipline.interface);
            scratch.clear();
            scratch.extend_from_slice(device);
            scratch.push(0);
            scratch.extend_from_slice(discipline.kind);
            let ids = disciplines.get(scratch, || match filter.allows(&label(device)) {
                true => series(device, discipline.kind, tick),
                false => [SeriesId::NONE; 7],
            });
            for (id, value) in ids.iter().zip(discipline.values) {
                tick.set(*id, value as f64);
            }
        };
        netlink.dump(GET_QDISC, &[0; HEAD_SIZE], record).map_err(failed)?;
        disciplines.end(tick);
        Ok(())
    }
}

fn series(device: &[u8], kind: &[u8], tick: &Tick) -> [SeriesId; 7] {
    let (device, kind) = (label(device), label(kind));
    let labels = [("device", &*device), ("kind", &*kind)];
    let counter = |name, help| tick.counter(name, help, &labels);
    let gauge = |name, help| tick.gauge(name, help, &labels);
    [
        counter("node_qdisc_bytes_total", "Number of bytes sent."),
        counter("node_qdisc_packets_total", "Number of packets sent."),
        counter("node_qdisc_drops_total", "Number of packets dropped."),
        counter("node_qdisc_requeues_total", "Number of packets dequeued, not transmitted, and requeued."),
        counter("node_qdisc_overlimits_total", "Number of overlimit packets."),
        gauge("node_qdisc_current_queue_length", "Number of packets currently in queue to be sent."),
        gauge("node_qdisc_backlog", "Number of bytes currently in queue to be sent."),
    ]
}

/// Nothing for disciplines below another one, and for those without counters.
fn parse(message: &[u8]) -> Option<Discipline<'_>> {
    let (interface, parent) = (int(message, 4)?, int(message, 12)?);
    if parent != ROOT && parent != 0 {
        return None;
    }
    let (mut kind, mut values) = (None, None);
    for (attribute, value) in attributes(message.get(HEAD_SIZE..)?) {
        match attribute {
            KIND => kind = Some(name(value)),
            STATS => values = parse_statistics(value),
            _ => {}
        }
    }
    Some(Discipline { interface, kind: kind?, values: values? })
}

/// `struct gnet_stats_basic` (bytes and packets), `struct gnet_stats_queue` (length, backlog, drops,
/// requeues, overlimits), and newer kernels' 64 bits of packets.
fn parse_statistics(value: &[u8]) -> Option<[u64; 7]> {
    let (mut basic, mut queue, mut packets) = (None, [0; 5], None);
    for (attribute, value) in attributes(value) {
        match attribute {
            BASIC => basic = Some((long(value, 0)?, u64::from(int(value, 8)?))),
            QUEUE => {
                for (position, slot) in queue.iter_mut().enumerate() {
                    *slot = u64::from(int(value, 4 * position)?);
                }
            }
            PACKETS => packets = long(value, 0),
            _ => {}
        }
    }
    let (bytes, packets32) = basic?;
    let [length, backlog, drops, requeues, overlimits] = queue;
    Some([bytes, packets.unwrap_or(packets32), drops, requeues, overlimits, length, backlog])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::build::attribute;
    use crate::testing::page;

    fn message(parent: u32, packets64: bool) -> Vec<u8> {
        let ints = |values: &[u32]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
        let basic = [&5_000_000_000_u64.to_ne_bytes()[..], &ints(&[6, 0])].concat();
        let mut statistics = [attribute(BASIC, &basic), attribute(QUEUE, &ints(&[1, 2, 3, 4, 5]))].concat();
        if packets64 {
            statistics.extend(attribute(PACKETS, &7_000_000_000_u64.to_ne_bytes()));
        }
        let mut message = ints(&[0, 2, 0x8001_0000, parent, 1]);
        message.extend(attribute(KIND, b"fq_codel\0"));
        message.extend(attribute(STATS | 0x8000, &statistics));
        message
    }

    #[test]
    fn counters_of_a_root_discipline() {
        let root = message(ROOT, false);
        let discipline = parse(&root).unwrap();
        assert_eq!((discipline.interface, discipline.kind), (2, &b"fq_codel"[..]));
        assert_eq!(discipline.values, [5_000_000_000, 6, 3, 4, 5, 1, 2]);
        assert_eq!(parse(&message(ROOT, true)).unwrap().values[1], 7_000_000_000);
        assert_eq!(parse(&message(0x8001_0001, false)), None);
    }

    #[test]
    fn message_cut_short_is_no_discipline() {
        let whole = message(ROOT, false);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn this_machine_can_be_asked() {
        for line in page(tempfile::tempdir().unwrap().path(), build).unwrap() {
            assert!(line.starts_with("node_qdisc_") && line.contains("device=") && line.contains("kind="));
        }
    }

    proptest! {
        #[test]
        fn any_message_is_survived(message: Vec<u8>) {
            parse(&message);
            parse_statistics(&message);
        }
    }
}
