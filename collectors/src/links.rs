//! The names of interfaces by their index, as netlink's other answers speak of them.

use std::io;

use crate::netlink::{GET_LINK, Netlink, attributes, int, name};

/// `struct ifinfomsg`, bytes.
const LINK_HEAD_SIZE: usize = 16;
/// `IFLA_IFNAME`
const NAME: u16 = 3;

/// `IFLA_EXT_MASK`, and `RTEXT_FILTER_SKIP_STATS` of it: the counters are not asked for.
const MASK: u16 = 29;
const WITHOUT_COUNTERS: u32 = 8;

/// The longest name with the zero byte after it (`IFNAMSIZ`).
const NAME_SIZE: usize = 16;

/// Names by index, learnt anew at every pass: interfaces may be renamed.
#[derive(Default)]
pub struct Links {
    names: Vec<(u32, [u8; NAME_SIZE])>,
}

impl Links {
    /// Asks the kernel.
    pub fn learn(&mut self, netlink: &mut Netlink) -> io::Result<()> {
        self.names.clear();
        netlink.dump(GET_LINK, &request(), |message| self.names.extend(parse_link(message)))?;
        self.names.sort_unstable();
        Ok(())
    }

    /// The name of an interface; empty where there is none of this index.
    pub fn name(&self, index: u32) -> &[u8] {
        match self.names.binary_search_by_key(&index, |(known, _)| *known) {
            Ok(position) => name(&self.names[position].1),
            Err(_) => b"",
        }
    }
}

/// An empty `struct ifinfomsg` and one attribute.
fn request() -> [u8; LINK_HEAD_SIZE + 8] {
    let mut body = [0; LINK_HEAD_SIZE + 8];
    body[16..18].copy_from_slice(&8_u16.to_ne_bytes());
    body[18..20].copy_from_slice(&MASK.to_ne_bytes());
    body[20..24].copy_from_slice(&WITHOUT_COUNTERS.to_ne_bytes());
    body
}

fn parse_link(message: &[u8]) -> Option<(u32, [u8; NAME_SIZE])> {
    let index = int(message, 4)?;
    let (_, value) = attributes(message.get(LINK_HEAD_SIZE..)?).find(|(kind, _)| *kind == NAME)?;
    let text = name(value);
    let mut padded = [0; NAME_SIZE];
    padded.get_mut(..text.len())?.copy_from_slice(text);
    Some((index, padded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::build::attribute;

    #[test]
    fn loopback_is_the_first_interface() {
        let (mut links, mut netlink) = (Links::default(), Netlink::new(None));
        for _ in 0..2 {
            links.learn(&mut netlink).unwrap();
            assert_eq!(links.name(1), b"lo");
            assert_eq!(links.name(u32::MAX), b"");
        }
    }

    #[test]
    fn name_is_found_among_other_attributes() {
        let mut message = vec![0; LINK_HEAD_SIZE];
        message[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        message.extend(attribute(1, b"\x01\x02"));
        message.extend(attribute(NAME, b"eth\xff\0"));
        let (index, padded) = parse_link(&message).unwrap();
        assert_eq!((index, name(&padded)), (7, &b"eth\xff"[..]));
    }

    proptest! {
        #[test]
        fn any_message_is_survived(message: Vec<u8>) {
            parse_link(&message);
        }
    }
}
