//! Netlink: how the kernel lists links, routes, queueing disciplines and sockets. One request, many
//! small messages in answer, read through one buffer however many there are.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// The kernel fills at most this much at a time when the reader offers it (`NLMSG_GOODSIZE` and
/// `netlink_dump`), bytes.
const BUFFER_SIZE_BYTES: usize = 32 << 10;

/// How long an answer may take. The kernel answers at once, unless a driver holds the lock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// `struct nlmsghdr`, bytes.
const HEADER_SIZE: usize = 16;
/// `NLMSG_ERROR`
const KIND_ERROR: u16 = 2;
/// `NLMSG_DONE`
const KIND_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const FLAGS_DUMP: u16 = 0x301;

/// `RTM_GETLINK`: all links.
pub const GET_LINK: u16 = 18;
/// `RTM_GETROUTE`: all routes.
pub const GET_ROUTE: u16 = 26;
/// `RTM_GETQDISC`: all queueing disciplines.
pub const GET_QDISC: u16 = 38;
/// `SOCK_DIAG_BY_FAMILY`: all sockets of a family and protocol.
pub const SOCK_DIAG: u16 = 20;

/// A socket to one of the kernel's netlink services, made when it is first needed.
pub struct Netlink {
    protocol: Option<Protocol>,
    socket: Option<OwnedFd>,
    request: Vec<u8>,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Netlink {
    /// `None` stands for `NETLINK_ROUTE`. Opens nothing yet.
    pub fn new(protocol: Option<Protocol>) -> Self {
        Self { protocol, socket: None, request: Vec::new(), buffer: Vec::new(), sequence: 0 }
    }

    /// Asks for a list and calls `f` with the body of each message of it. After an error the
    /// socket is closed, so that no late answer is taken for another one.
    pub fn dump(&mut self, kind: u16, body: &[u8], f: impl FnMut(&[u8])) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(self.protocol)?,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.write_request(kind, body);
        self.buffer.resize(BUFFER_SIZE_BYTES, 0);
        send(&socket, &self.request, SendFlags::empty())?;
        receive(&socket, &mut self.buffer, self.sequence, f)?;
        self.socket = Some(socket);
        Ok(())
    }

    fn write_request(&mut self, kind: u16, body: &[u8]) {
        let length = (HEADER_SIZE + body.len()) as u32;
        self.request.clear();
        self.request.extend_from_slice(&length.to_ne_bytes());
        self.request.extend_from_slice(&kind.to_ne_bytes());
        self.request.extend_from_slice(&FLAGS_DUMP.to_ne_bytes());
        self.request.extend_from_slice(&self.sequence.to_ne_bytes());
        self.request.extend_from_slice(&0_u32.to_ne_bytes());
        self.request.extend_from_slice(body);
    }
}

fn connect(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8], sequence: u32, mut f: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (length, full) = match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        if full > length {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "netlink message larger than 32 KiB"));
        }
        for message in messages(&buffer[..length]).filter(|message| message.sequence == sequence) {
            match message.kind {
                KIND_DONE => return Ok(()),
                KIND_ERROR => return Err(refusal(message.body)),
                _ => f(message.body),
            }
        }
    }
}

/// What `struct nlmsgerr` tells.
fn refusal(body: &[u8]) -> io::Error {
    match int(body, 0) {
        Some(code) => io::Error::from_raw_os_error((code as i32).wrapping_neg()),
        None => io::Error::new(io::ErrorKind::InvalidData, "netlink error without a code"),
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of a datagram, up to the first that is not whole.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = int(rest, 0)? as usize;
        let body = rest.get(HEADER_SIZE..length)?;
        let message = Message { kind: short(rest, 4)?, sequence: int(rest, 8)?, body };
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes (`struct rtattr`) in the part of a message that follows its fixed head: kind
/// without its flag bits, and value.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let value = rest.get(4..length)?;
        let kind = short(rest, 2)? & 0x3fff;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A 16 bit number of this machine's byte order.
pub fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A 32 bit number of this machine's byte order.
pub fn int(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A 64 bit number of this machine's byte order.
pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A name as netlink carries it, without the zero byte at its end.
pub fn name(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Builds messages as the kernel does.
#[cfg(test)]
pub mod build {
    /// An attribute, padded.
    pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loopback_is_among_the_links_at_every_dump() {
        let mut netlink = Netlink::new(None);
        for _ in 0..3 {
            let mut loopback = false;
            let body = [0; 16];
            netlink
                .dump(GET_LINK, &body, |link| {
                    let named = attributes(&link[16..]).find(|(kind, _)| *kind == 3);
                    loopback |= named.is_some_and(|(_, value)| name(value) == b"lo");
                })
                .unwrap();
            assert!(loopback);
        }
    }

    #[test]
    fn refused_request_is_an_error_and_the_next_one_works() {
        let mut netlink = Netlink::new(None);
        assert!(netlink.dump(9999, &[0; 16], |_| {}).is_err());
        assert!(netlink.dump(GET_LINK, &[0; 16], |_| {}).is_ok());
    }

    #[test]
    fn attributes_stop_at_one_cut_short() {
        let mut bytes = [build::attribute(1, b"a"), build::attribute(0x8002, b"four")].concat();
        let all = |bytes: &[u8]| attributes(bytes).map(|(k, v)| (k, v.to_vec())).collect::<Vec<_>>();
        assert_eq!(all(&bytes), [(1, b"a".to_vec()), (2, b"four".to_vec())]);
        bytes.pop();
        assert_eq!(all(&bytes).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            messages(&bytes).for_each(|message| assert!(message.body.len() <= bytes.len()));
            attributes(&bytes).for_each(|(_, value)| assert!(value.len() <= bytes.len()));
        }
    }
}
