//! Routes by device, as netlink lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::links::Links;
use crate::netlink::{GET_ROUTE, Netlink, attributes, int, short};
use crate::seen::{HoldsSeries, Seen};
use crate::text::label;

/// Settings.
pub type Config = Common;

/// `struct rtmsg`, bytes.
const HEAD_SIZE: usize = 12;
/// `RTN_UNICAST`: a gateway or a direct route, and none to this machine itself.
const UNICAST: u8 = 1;
/// `RTA_DST`
const DESTINATION: u16 = 1;
/// `RTA_OIF`
const INTERFACE: u16 = 4;
/// `RTA_GATEWAY`
const GATEWAY: u16 = 5;
/// `RTA_PRIORITY`
const PRIORITY: u16 = 6;
/// `RTA_PREFSRC`
const SOURCE: u16 = 7;
/// `RTA_MULTIPATH`
const MULTIPATH: u16 = 9;
/// `struct rtnexthop`, bytes.
const HOP_HEAD_SIZE: usize = 8;

struct NetworkRoute {
    netlink: Netlink,
    links: Links,
    routes: Seen<SeriesId>,
    devices: Seen<Device>,
    scratch: Vec<u8>,
}

/// A device and the number of its routes in this pass.
struct Device {
    id: SeriesId,
    n_routes: u32,
}

impl HoldsSeries for Device {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.id);
    }
}

/// A route, addresses as the kernel has them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Route<'a> {
    destination: &'a [u8],
    prefix_length: u8,
    source: &'a [u8],
    priority: u32,
    protocol: u8,
    multipath: &'a [u8],
    hop: Hop<'a>,
}

/// Where a route leads to; those with several hops give each a weight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Hop<'a> {
    interface: u32,
    gateway: &'a [u8],
    weight: Option<u32>,
}

/// Makes the collector.
pub fn build(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(NetworkRoute {
        netlink: Netlink::new(None),
        links: Links::default(),
        routes: Seen::default(),
        devices: Seen::default(),
        scratch: Vec::new(),
    }))
}

impl Collector for NetworkRoute {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { netlink, links, routes, devices, scratch } = self;
        let failed = |error| CollectError::Other(format!("cannot list routes: {error}"));
        links.learn(netlink).map_err(failed)?;
        devices.begin();
        devices.iter_mut().for_each(|(_, device)| device.n_routes = 0);
        routes.begin();
        let mut record = |route: &Route<'_>, hop: &Hop<'_>| {
            let name = links.name(hop.interface);
            devices.get(name, || Device::new(name, tick)).n_routes += 1;
            write_key(route, hop, name, scratch);
            routes.get(scratch, || route_series(route, hop, name, tick));
        };
        let each = |message: &[u8]| {
            let Some(route) = parse(message) else { return };
            match route.multipath.is_empty() {
                true => record(&route, &route.hop),
                false => hops(route.multipath).for_each(|hop| record(&route, &hop)),
            }
        };
        netlink.dump(GET_ROUTE, &[0; HEAD_SIZE], each).map_err(failed)?;
        routes.end(tick);
        devices.end(tick);
        routes.iter_mut().for_each(|(_, id)| tick.set(*id, 1.0));
        devices.iter_mut().for_each(|(_, device)| tick.set(device.id, f64::from(device.n_routes)));
        Ok(())
    }
}

impl Device {
    fn new(name: &[u8], tick: &Tick) -> Self {
        let labels = [("device", &*label(name))];
        Self { id: tick.gauge("node_network_routes", "network routes by interface", &labels), n_routes: 0 }
    }
}

/// All that the labels are made of. Lengths go before what may be of any length.
fn write_key(route: &Route<'_>, hop: &Hop<'_>, name: &[u8], key: &mut Vec<u8>) {
    key.clear();
    for part in [name, route.source, route.destination, hop.gateway] {
        key.push(part.len() as u8);
        key.extend_from_slice(part);
    }
    key.extend_from_slice(&[route.prefix_length, route.protocol]);
    key.extend_from_slice(&route.priority.to_ne_bytes());
    key.extend_from_slice(&hop.weight.unwrap_or_default().to_ne_bytes());
}

fn route_series(route: &Route<'_>, hop: &Hop<'_>, name: &[u8], tick: &Tick) -> SeriesId {
    let destination = match route.prefix_length {
        0 => "default".to_owned(),
        length => format!("{}/{length}", address(route.destination)),
    };
    let weight = hop.weight.map(|weight| weight.to_string()).unwrap_or_default();
    let labels = [
        ("dest", &*destination),
        ("device", &*label(name)),
        ("gw", &*address(hop.gateway)),
        ("priority", &*route.priority.to_string()),
        ("proto", protocol_name(route.protocol)),
        ("src", &*address(route.source)),
        ("weight", &*weight),
    ];
    tick.gauge("node_network_route_info", "network routing table information", &labels)
}

/// An address in the usual letters; empty where there is none.
fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)).to_canonical());
    v4.or(v6).map(|address| address.to_string()).unwrap_or_default()
}

/// Who made a route (`include/uapi/linux/rtnetlink.h`).
fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => "unknown",
    }
}

/// Nothing for routes of other types than unicast.
fn parse(message: &[u8]) -> Option<Route<'_>> {
    if *message.get(7)? != UNICAST {
        return None;
    }
    let mut route = Route { prefix_length: message[1], protocol: message[5], ..Route::default() };
    for (kind, value) in attributes(message.get(HEAD_SIZE..)?) {
        match kind {
            DESTINATION => route.destination = value,
            SOURCE => route.source = value,
            PRIORITY => route.priority = int(value, 0)?,
            INTERFACE => route.hop.interface = int(value, 0)?,
            GATEWAY => route.hop.gateway = value,
            MULTIPATH => route.multipath = value,
            _ => {}
        }
    }
    Some(route)
}

/// The hops of a route that has several: each a head with its length, and attributes.
fn hops(mut rest: &[u8]) -> impl Iterator<Item = Hop<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let hop = rest.get(..length)?;
        let gateway = attributes(hop.get(HOP_HEAD_SIZE..)?).find(|(kind, _)| *kind == GATEWAY);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Hop {
            interface: int(hop, 4)?,
            gateway: gateway.map(|(_, value)| value).unwrap_or_default(),
            weight: Some(u32::from(hop[3]) + 1),
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::build::attribute;
    use crate::testing::Bench;

    fn message(kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut message = vec![2, 24, 0, 0, 254, 16, 0, kind, 0, 0, 0, 0];
        message.extend(attributes.concat());
        message
    }

    fn hop(interface: u32, weight: u8, gateway: [u8; 4]) -> Vec<u8> {
        let mut hop = vec![16, 0, 0, weight - 1];
        hop[..2].copy_from_slice(&16_u16.to_ne_bytes());
        hop.extend(interface.to_ne_bytes());
        hop.extend(attribute(GATEWAY, &gateway));
        hop
    }

    #[test]
    fn route_through_one_gateway() {
        let message = message(
            UNICAST,
            &[
                attribute(DESTINATION, &[192, 168, 1, 0]),
                attribute(GATEWAY, &[10, 0, 0, 1]),
                attribute(INTERFACE, &2_u32.to_ne_bytes()),
                attribute(PRIORITY, &100_u32.to_ne_bytes()),
            ],
        );
        let route = parse(&message).unwrap();
        assert_eq!((address(route.destination), route.prefix_length), ("192.168.1.0".into(), 24));
        assert_eq!((route.hop.interface, address(route.hop.gateway)), (2, "10.0.0.1".into()));
        assert_eq!((route.priority, protocol_name(route.protocol)), (100, "dhcp"));
        assert_eq!(address(route.source), "");
    }

    #[test]
    fn hops_of_a_route_have_weights() {
        let value = [hop(2, 1, [10, 0, 0, 1]), hop(3, 5, [10, 0, 0, 2])].concat();
        let all: Vec<_> = hops(&value).map(|hop| (hop.interface, hop.weight, address(hop.gateway))).collect();
        assert_eq!(all, [(2, Some(1), "10.0.0.1".into()), (3, Some(5), "10.0.0.2".into())]);
    }

    #[test]
    fn local_and_broadcast_routes_are_left_out() {
        assert_eq!(parse(&message(2, &[])), None);
        assert_eq!(parse(&message(3, &[])), None);
    }

    #[test]
    fn this_machine_can_be_asked_again_and_again() {
        let tree = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let first = bench.pass(1000).unwrap();
        assert_eq!(first, bench.pass(2000).unwrap());
        assert!(first.iter().all(|line| line.starts_with("node_network_route")));
    }

    proptest! {
        #[test]
        fn any_message_is_survived(message: Vec<u8>) {
            parse(&message);
            hops(&message).for_each(|hop| {
                address(hop.gateway);
            });
        }
    }
}
