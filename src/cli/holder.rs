//! Who holds a port: for the error that says why the agent cannot listen there.

use std::net::SocketAddr;
use std::path::Path;

use super::terminal;

/// Connections in state LISTEN, as /proc/net/tcp writes it.
const STATE_LISTEN: &str = "0A";

/// Process id and name of whoever listens at this port, as far as this user may know.
pub fn of_port(address: SocketAddr) -> Option<(u32, String)> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, address.port()))?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| has_descriptor(Path::new(&format!("/proc/{pid}/fd")), &wanted))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, terminal::printable(name.trim()).into_owned()))
}

fn has_descriptor(folder: &Path, wanted: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let mut links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.any(|link| link.as_os_str() == wanted)
}

/// The inode of the socket that listens at this port (`Documentation/networking/proc_net_tcp.rst`).
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&port) && *fields.get(3)? == STATE_LISTEN;
        is_it.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_is_found_by_port_and_state() {
        let table = "  sl  local_address rem_address   st ...\n\
             0: 0100007F:1E15 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n\
             1: 0100007F:1E16 0100007F:1E15 01 00000000:00000000 00:00000000 00000000     0        0 4243 1\n";
        assert_eq!(listening_inode(table, 0x1E15), Some(4242));
        assert_eq!(listening_inode(table, 0x1E16), None);
        assert_eq!(listening_inode("", 1), None);
    }

    #[test]
    fn own_listener_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (pid, _) = of_port(listener.local_addr().unwrap()).unwrap();
        assert_eq!(pid, std::process::id());
    }
}
