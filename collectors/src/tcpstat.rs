//! TCP connections by state, as the kernel's socket diagnosis lists them. Where that is not to be
//! had (another tree is read, or the kernel lacks it), from /proc/net/tcp and /proc/net/tcp6.

use std::io;
use std::path::Path;

use fieldpost_model::{SeriesId, Tick};
use rustix::net::AddressFamily;

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::netlink::{Netlink, SOCK_DIAG, int};
use crate::socket_table::{SocketRow, SocketTable};

/// Settings.
pub type Config = Common;

/// Names of the kernel's states, from 1 on.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

/// `IPPROTO_TCP`
const PROTOCOL_TCP: u8 = 6;
/// The states that are asked for, a bit each.
const STATES_MASK: u32 = 0xfff;
/// `struct inet_diag_req_v2`, bytes.
const REQUEST_SIZE: usize = 56;

struct Tcpstat {
    netlink: Option<Netlink>,
    tables: [SocketTable; 2],
    states: [SeriesId; STATES.len()],
    rx_queued: SeriesId,
    tx_queued: SeriesId,
}

/// Sums over all sockets.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    n_sockets: u64,
    by_state: [u64; STATES.len()],
    rx_queue_bytes: u64,
    tx_queue_bytes: u64,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let gauge = |state| {
        env.tick.gauge("node_tcp_connection_states", "Number of connection states.", &[("state", state)])
    };
    let is_live = env.roots.procfs == Path::new("/proc");
    Ok(Box::new(Tcpstat {
        netlink: is_live.then(|| Netlink::new(Some(rustix::net::netlink::SOCK_DIAG))),
        tables: ["tcp", "tcp6"].map(|name| SocketTable::new(env.roots.procfs.join("net").join(name))),
        states: STATES.map(gauge),
        rx_queued: gauge("rx_queued_bytes"),
        tx_queued: gauge("tx_queued_bytes"),
    }))
}

impl Collector for Tcpstat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let counts = match self.netlink.as_mut().map(ask) {
            Some(Ok(counts)) => counts,
            Some(Err(_)) | None => self.read()?,
        };
        for (id, n) in self.states.iter().zip(counts.by_state).filter(|(_, n)| *n > 0) {
            tick.set(*id, n as f64);
        }
        if counts.n_sockets > 0 {
            tick.set(self.rx_queued, counts.rx_queue_bytes as f64);
            tick.set(self.tx_queued, counts.tx_queue_bytes as f64);
        }
        Ok(())
    }
}

impl Tcpstat {
    fn read(&mut self) -> Result<Counts, CollectError> {
        let mut counts = Counts::default();
        let [v4, v6] = &mut self.tables;
        v4.each(|row| counts.add(row))?;
        match v6.each(|row| counts.add(row)) {
            Err(error) if !error.is_no_data() => Err(error),
            _ => Ok(counts),
        }
    }
}

impl Counts {
    fn add(&mut self, row: SocketRow) {
        self.n_sockets += 1;
        self.rx_queue_bytes = self.rx_queue_bytes.wrapping_add(row.rx_queue_bytes);
        self.tx_queue_bytes = self.tx_queue_bytes.wrapping_add(row.tx_queue_bytes);
        if let Some(n) = self.by_state.get_mut(usize::from(row.state).wrapping_sub(1)) {
            *n += 1;
        }
    }
}

fn ask(netlink: &mut Netlink) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let body = request(family.as_raw() as u8);
        netlink.dump(SOCK_DIAG, &body, |message| {
            if let Some(row) = parse_message(message) {
                counts.add(row);
            }
        })?;
    }
    Ok(counts)
}

/// `struct inet_diag_req_v2`: family, protocol, no extensions, states, and an empty socket identity.
fn request(family: u8) -> [u8; REQUEST_SIZE] {
    let mut body = [0; REQUEST_SIZE];
    body[0] = family;
    body[1] = PROTOCOL_TCP;
    body[4..8].copy_from_slice(&STATES_MASK.to_ne_bytes());
    body
}

/// `struct inet_diag_msg`: the state is its second byte, the queues follow the 48 bytes of the
/// socket's identity and a timer.
fn parse_message(message: &[u8]) -> Option<SocketRow> {
    Some(SocketRow {
        state: *message.get(1)?,
        rx_queue_bytes: u64::from(int(message, 56)?),
        tx_queue_bytes: u64::from(int(message, 60)?),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn states_are_counted_over_both_versions() {
        let tree = tempfile::tempdir().unwrap();
        let row = |state: &str| format!("0: 0:0 0:0 {state} 00000002:00000001 00:0 0 0 0 1\n");
        write(tree.path(), "proc/net/tcp", format!("sl\n{}{}{}", row("0A"), row("01"), row("0C")));
        write(tree.path(), "proc/net/tcp6", format!("sl\n{}", row("01")));
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_tcp_connection_states{state=\"established\"} 2",
                "node_tcp_connection_states{state=\"listen\"} 1",
                "node_tcp_connection_states{state=\"rx_queued_bytes\"} 4",
                "node_tcp_connection_states{state=\"tx_queued_bytes\"} 8",
            ]
        );
    }

    #[test]
    fn own_connection_is_among_those_the_kernel_lists() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut netlink = Netlink::new(Some(rustix::net::netlink::SOCK_DIAG));
        for _ in 0..2 {
            let counts = ask(&mut netlink).unwrap();
            assert!(counts.by_state[0] >= 2 && counts.by_state[9] >= 1, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_survived(message: Vec<u8>) {
            if let Some(row) = parse_message(&message) {
                Counts::default().add(row);
            }
        }
    }
}
