//! NFS mounts in detail, from /proc/self/mountstats. Its order is that of /proc/self/mountinfo,
//! which knows the server's address.

use fieldpost_model::{Kind, SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number};

/// Settings.
pub type Config = Common;

/// Name, after `node_mountstats_nfs_`, and help of a series.
type Line = (&'static str, &'static str);

const AGE: Line = ("age_seconds_total", "The age of the NFS mount in seconds.");

/// The numbers of the line `bytes:` in their order.
const BYTES: [Line; 8] = [
    ("read_bytes_total", "Number of bytes read using the read() syscall."),
    ("write_bytes_total", "Number of bytes written using the write() syscall."),
    ("direct_read_bytes_total", "Number of bytes read using the read() syscall in O_DIRECT mode."),
    ("direct_write_bytes_total", "Number of bytes written using the write() syscall in O_DIRECT mode."),
    ("total_read_bytes_total", "Number of bytes read from the NFS server, in total."),
    ("total_write_bytes_total", "Number of bytes written to the NFS server, in total."),
    ("read_pages_total", "Number of pages read directly via mmap()'d files."),
    ("write_pages_total", "Number of pages written directly via mmap()'d files."),
];

/// The numbers of the line `events:` in their order; one of them is not shown.
const EVENTS: [Line; 27] = [
    (
        "event_inode_revalidate_total",
        "Number of times cached inode attributes are re-validated from the server.",
    ),
    ("event_dnode_revalidate_total", "Number of times cached dentry nodes are re-validated from the server."),
    ("event_data_invalidate_total", "Number of times an inode cache is cleared."),
    ("event_attribute_invalidate_total", "Number of times cached inode attributes are invalidated."),
    ("event_vfs_open_total", "Number of times cached inode attributes are invalidated."),
    ("event_vfs_lookup_total", "Number of times a directory lookup has occurred."),
    ("event_vfs_access_total", "Number of times permissions have been checked."),
    ("event_vfs_update_page_total", "Number of updates (and potential writes) to pages."),
    ("event_vfs_read_page_total", "Number of pages read directly via mmap()'d files."),
    ("event_vfs_read_pages_total", "Number of times a group of pages have been read."),
    ("event_vfs_write_page_total", "Number of pages written directly via mmap()'d files."),
    ("event_vfs_write_pages_total", "Number of times a group of pages have been written."),
    ("event_vfs_getdents_total", "Number of times directory entries have been read with getdents()."),
    ("event_vfs_setattr_total", "Number of times directory entries have been read with getdents()."),
    ("event_vfs_flush_total", "Number of pending writes that have been forcefully flushed to the server."),
    ("event_vfs_fsync_total", "Number of times fsync() has been called on directories and files."),
    ("event_vfs_lock_total", "Number of times locking has been attempted on a file."),
    ("event_vfs_file_release_total", "Number of times files have been closed and released."),
    ("", ""),
    ("event_truncation_total", "Number of times files have been truncated."),
    (
        "event_write_extension_total",
        "Number of times a file has been grown due to writes beyond its existing end.",
    ),
    ("event_silly_rename_total", "Number of times a file was removed while still open by another process."),
    ("event_short_read_total", "Number of times the NFS server gave less data than expected while reading."),
    (
        "event_short_write_total",
        "Number of times the NFS server wrote less data than expected while writing.",
    ),
    (
        "event_jukebox_delay_total",
        "Number of times the NFS server indicated EJUKEBOX; retrieving data from offline storage.",
    ),
    ("event_pnfs_read_total", "Number of NFS v4.1+ pNFS reads."),
    ("event_pnfs_write_total", "Number of NFS v4.1+ pNFS writes."),
];

/// What is shown of a line `xprt:`.
const TRANSPORT: [Line; 10] = [
    (
        "transport_bind_total",
        "Number of times the client has had to establish a connection from scratch to the NFS server.",
    ),
    ("transport_connect_total", "Number of times the client has made a TCP connection to the NFS server."),
    ("transport_idle_time_seconds", "Duration since the NFS mount last saw any RPC traffic, in seconds."),
    ("transport_sends_total", "Number of RPC requests for this mount sent to the NFS server."),
    ("transport_receives_total", "Number of RPC responses for this mount received from the NFS server."),
    (
        "transport_bad_transaction_ids_total",
        "Number of times the NFS server sent a response with a transaction ID unknown to this client.",
    ),
    ("transport_backlog_queue_total", "Total number of items added to the RPC backlog queue."),
    ("transport_maximum_rpc_slots", "Maximum number of simultaneously active RPC requests ever used."),
    ("transport_sending_queue_total", "Total number of items added to the RPC transmission sending queue."),
    ("transport_pending_queue_total", "Total number of items added to the RPC transmission pending queue."),
];

/// Where the numbers of `TRANSPORT` are among those of a TCP transport.
const TRANSPORT_POSITIONS: [usize; 10] = [1, 2, 4, 5, 6, 7, 9, 10, 11, 12];

/// Numbers of a TCP transport.
const N_TRANSPORT: usize = 13;

/// The numbers of an operation's line in their order; the last three are in milliseconds.
const OPERATION: [Line; 8] = [
    ("operations_requests_total", "Number of requests performed for a given operation."),
    (
        "operations_transmissions_total",
        "Number of times an actual RPC request has been transmitted for a given operation.",
    ),
    (
        "operations_major_timeouts_total",
        "Number of times a request has had a major timeout for a given operation.",
    ),
    (
        "operations_sent_bytes_total",
        "Number of bytes sent for a given operation, including RPC headers and payload.",
    ),
    (
        "operations_received_bytes_total",
        "Number of bytes received for a given operation, including RPC headers and payload.",
    ),
    (
        "operations_queue_time_seconds_total",
        "Duration all requests spent queued for transmission for a given operation before they were sent, in seconds.",
    ),
    (
        "operations_response_time_seconds_total",
        "Duration all requests took to get a reply back after a request for a given operation was transmitted, in seconds.",
    ),
    (
        "operations_request_time_seconds_total",
        "Duration all requests took from when a request was enqueued to when it was completely handled for a given operation, in seconds.",
    ),
];

/// The first position of milliseconds in `OPERATION`.
const FIRST_TIME: usize = 5;

/// Durations are shown modulo this, so that a float can hold them to the unit.
const DURATION_MODULUS: u64 = 1 << 53;

struct Mountstats {
    stats: KeptFile,
    info: KeptFile,
    buffers: [Vec<u8>; 2],
    mountpoints: Seen<SeriesId>,
    exports: Seen<Export>,
    key: Vec<u8>,
}

/// What is mounted from a server over one protocol; several mount points may share it.
struct Export {
    /// In this pass: a second mount point does not record it again.
    recorded: bool,
    age: SeriesId,
    bytes: [SeriesId; BYTES.len()],
    events: [SeriesId; EVENTS.len()],
    transports: Vec<[SeriesId; TRANSPORT.len()]>,
    operations: Seen<[SeriesId; OPERATION.len()]>,
}

impl HoldsSeries for Export {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.age);
        self.bytes.each(f);
        self.events.each(f);
        self.transports.iter().for_each(|ids| ids.each(f));
        self.operations.iter().for_each(|(_, ids)| ids.each(f));
    }
}

/// The texts that all series of an export have as labels.
#[derive(Clone, Copy)]
struct Names<'a> {
    export: &'a [u8],
    protocol: &'a [u8],
    address: &'a [u8],
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let file = |name| KeptFile::new(env.roots.procfs.join("self").join(name));
    Ok(Box::new(Mountstats {
        stats: file("mountstats"),
        info: file("mountinfo"),
        buffers: [Vec::new(), Vec::new()],
        mountpoints: Seen::default(),
        exports: Seen::default(),
        key: Vec::new(),
    }))
}

impl Collector for Mountstats {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let Self { stats, info, buffers: [stats_buffer, info_buffer], mountpoints, exports, key } = self;
        let stats = stats.collect(stats_buffer)?;
        let mut info = lines(info.collect(info_buffer)?);
        mountpoints.begin();
        exports.begin();
        exports.iter_mut().for_each(|(_, export)| export.recorded = false);
        for (head, body) in sections(stats) {
            let address = info.next().map(server_address).unwrap_or_default();
            let Some((export, mountpoint)) = nfs_mount(head) else { continue };
            for (protocol, _) in transports(body) {
                let names = Names { export, protocol, address };
                names.write_key(key);
                let known = exports.get(key, || Export::new(names, tick));
                if !std::mem::replace(&mut known.recorded, true) {
                    known.record(names, body, tick);
                }
                key.extend_from_slice(mountpoint);
                mountpoints.get(key, || names.mountpoint_series(mountpoint, tick));
            }
        }
        exports.end(tick);
        mountpoints.end(tick);
        mountpoints.iter().for_each(|(_, id)| tick.set(*id, 1.0));
        Ok(())
    }
}

impl Names<'_> {
    /// Zero bytes are in none of the texts.
    fn write_key(self, key: &mut Vec<u8>) {
        key.clear();
        for part in [self.export, self.protocol, self.address] {
            key.extend_from_slice(part);
            key.push(0);
        }
    }

    /// A series of this export; `own` is one more label, and sorts after `mountaddr`.
    fn series(self, (name, help): Line, kind: Kind, own: Option<(&str, &str)>, tick: &Tick) -> SeriesId {
        if name.is_empty() {
            return SeriesId::NONE;
        }
        let [export, protocol, address] = [self.export, self.protocol, self.address].map(label);
        let mut labels = vec![("export", &*export), ("mountaddr", &*address), ("protocol", &*protocol)];
        labels.extend(own);
        labels.sort_unstable();
        let name = format!("node_mountstats_nfs_{name}");
        match kind {
            Kind::Counter => tick.counter(&name, help, &labels),
            _ => tick.gauge(&name, help, &labels),
        }
    }

    fn mountpoint_series(self, mountpoint: &[u8], tick: &Tick) -> SeriesId {
        let line = ("mountpoint_info", "Info metric for an NFS mountpoint.");
        self.series(line, Kind::Gauge, Some(("mountpoint", &label(mountpoint))), tick)
    }
}

impl Export {
    fn new(names: Names<'_>, tick: &Tick) -> Self {
        let counter = |line| names.series(line, Kind::Counter, None, tick);
        Self {
            recorded: false,
            age: counter(AGE),
            bytes: BYTES.map(counter),
            events: EVENTS.map(counter),
            transports: Vec::new(),
            operations: Seen::default(),
        }
    }

    fn record(&mut self, names: Names<'_>, body: &[u8], tick: &mut Tick) {
        record_line(body, b"age:", &[self.age], tick);
        record_line(body, b"bytes:", &self.bytes, tick);
        record_line(body, b"events:", &self.events, tick);
        for (position, (_, numbers)) in transports(body).enumerate() {
            if position == self.transports.len() {
                self.transports.push(transport_series(names, position, tick));
            }
            for (id, at) in self.transports[position].iter().zip(TRANSPORT_POSITIONS) {
                tick.set(*id, numbers[at] as f64);
            }
        }
        self.record_operations(names, body, tick);
    }

    fn record_operations(&mut self, names: Names<'_>, body: &[u8], tick: &mut Tick) {
        self.operations.begin();
        for (operation, numbers) in operations(body) {
            let ids = self.operations.get(operation, || {
                let own = Some(("operation", &*label(operation)));
                OPERATION.map(|line| names.series(line, Kind::Counter, own, tick))
            });
            for (position, (id, value)) in ids.iter().zip(numbers).enumerate() {
                let value = match position < FIRST_TIME {
                    true => value as f64,
                    false => (value % DURATION_MODULUS) as f64 / 1000.0,
                };
                tick.set(*id, value);
            }
        }
        self.operations.end(tick);
    }
}

fn transport_series(names: Names<'_>, position: usize, tick: &Tick) -> [SeriesId; TRANSPORT.len()] {
    let position = position.to_string();
    TRANSPORT.map(|line| {
        let kind = if line.0.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        names.series(line, kind, Some(("transport", &position)), tick)
    })
}

/// Records the numbers of a line; where the line is missing they are zero, as in node_exporter.
fn record_line(body: &[u8], word: &[u8], ids: &[SeriesId], tick: &mut Tick) {
    let found = lines(body).map(fields).find_map(|mut parts| (parts.next()? == word).then_some(parts));
    let mut numbers = found.into_iter().flatten().map(|field| number(field).unwrap_or_default());
    for id in ids {
        tick.set(*id, numbers.next().unwrap_or_default() as f64);
    }
}

/// The mounts: the line that begins with `device` (or says that there is none) and those below it.
fn sections(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (head, below) = crate::text::split_once(rest, b'\n').unwrap_or((rest, b""));
        let n_below: usize = below
            .split_inclusive(|byte| *byte == b'\n')
            .take_while(|line| !is_head(line))
            .map(<[u8]>::len)
            .sum();
        rest = &below[n_below..];
        (!head.is_empty() || !rest.is_empty()).then_some((head, &below[..n_below]))
    })
    .filter(|(head, _)| is_head(head))
}

fn is_head(line: &[u8]) -> bool {
    line.starts_with(b"device ") || line.starts_with(b"no device ")
}

/// What is mounted and where, of a line such as `device server:/x mounted on /mnt with fstype nfs4
/// statvers=1.1`. Nothing for other file systems.
fn nfs_mount(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = fields(head);
    let (export, mountpoint, kind) = (parts.nth(1)?, parts.nth(2)?, parts.nth(2)?);
    let has_statistics = parts.next().is_some();
    (has_statistics && matches!(kind, b"nfs" | b"nfs4")).then_some((export, mountpoint))
}

/// The option `addr=` of the file system (the last field of a line of mountinfo).
fn server_address(line: &[u8]) -> &[u8] {
    let options = fields(line).last().unwrap_or_default();
    options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"addr=")).unwrap_or_default()
}

/// Protocol and numbers of each line `xprt:`. Those of UDP lack three numbers and those of RDMA
/// have others in place of the last three; these are zero.
fn transports(body: &[u8]) -> impl Iterator<Item = (&[u8], [u64; N_TRANSPORT])> {
    lines(body).filter_map(|line| {
        let mut parts = fields(line);
        let protocol = parts.nth(1).filter(|_| line.trim_ascii_start().starts_with(b"xprt:"))?;
        let mut numbers = [0; N_TRANSPORT];
        let shown: &[usize] = match protocol {
            b"udp" => &[0, 1, 5, 6, 7, 8, 9, 10, 11, 12],
            b"rdma" => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            _ => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        };
        for (at, field) in shown.iter().zip(parts) {
            numbers[*at] = number(field)?;
        }
        if protocol == b"tcp" || protocol == b"rdma" {
            numbers[4] %= DURATION_MODULUS;
        }
        Some((protocol, numbers))
    })
}

/// Name and numbers of each line below `per-op statistics`.
fn operations(body: &[u8]) -> impl Iterator<Item = (&[u8], [u64; OPERATION.len()])> {
    let below = lines(body).skip_while(|line| !line.trim_ascii_start().starts_with(b"per-op")).skip(1);
    below.filter_map(|line| {
        let mut parts = fields(line);
        let name = parts.next()?;
        let mut numbers = [0; OPERATION.len()];
        for slot in &mut numbers {
            *slot = number(parts.next()?)?;
        }
        Some((name.strip_suffix(b":").unwrap_or(name), numbers))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const STATS: &str = "device rootfs mounted on / with fstype rootfs
no device mounted on /sys with fstype sysfs
device 192.168.1.1:/srv/test mounted on /mnt/a with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.0
\tage:\t13968
\tevents:\t52 226 0 0 1 13 398 0 0 331 0 47 0 0 77 0 0 77 99 5 0 0 0 0 0 0 6
\tbytes:\t1207640230 0 0 0 1210214218 0 295483 0
\txprt:\ttcp 832 0 1 0 11 6428 6428 0 12154 0 24 26 5726
\tper-op statistics
\t        NULL: 0 0 0 0 0 0 0 0
\t        READ: 1298 1299 0 207680 1210292152 6 79386 79407

device 192.168.1.1:/srv/test mounted on /mnt/b with fstype nfs4 statvers=1.1
\tage:\t13968
\txprt:\ttcp 832 0 1 0 11 6428 6428 0 12154 0 24 26 5726
device [::1]:/x mounted on /mnt/u with fstype nfs statvers=1.1
\txprt:\tudp 832 1 6428 6429 0 12154 7 24 26 5726
";
    const INFO: &str = "1 0 0:1 / / rw - rootfs rootfs rw
2 1 0:2 / /sys rw - sysfs sysfs rw
3 1 0:3 / /mnt/a rw - nfs4 192.168.1.1:/srv/test rw,vers=4,addr=192.168.1.1
4 1 0:3 / /mnt/b rw - nfs4 192.168.1.1:/srv/test rw,vers=4,addr=192.168.1.1
";

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/self/mountstats", STATS);
        write(tree.path(), "proc/self/mountinfo", INFO);
        tree
    }

    #[test]
    fn mount_points_of_one_export_share_its_counters() {
        let lines = page(tree().path(), build).unwrap();
        let names = "export=\"192.168.1.1:/srv/test\",mountaddr=\"192.168.1.1\"";
        let udp = "export=\"[::1]:/x\",mountaddr=\"\"";
        for line in [
            format!("node_mountstats_nfs_age_seconds_total{{{names},protocol=\"tcp\"}} 13968"),
            format!("node_mountstats_nfs_event_truncation_total{{{names},protocol=\"tcp\"}} 5"),
            format!("node_mountstats_nfs_event_pnfs_write_total{{{names},protocol=\"tcp\"}} 6"),
            format!(
                "node_mountstats_nfs_mountpoint_info{{{names},mountpoint=\"/mnt/b\",protocol=\"tcp\"}} 1"
            ),
            format!(
                "node_mountstats_nfs_operations_request_time_seconds_total{{{names},operation=\"READ\",protocol=\"tcp\"}} 79.407"
            ),
            format!(
                "node_mountstats_nfs_transport_idle_time_seconds{{{names},protocol=\"tcp\",transport=\"0\"}} 11"
            ),
            format!(
                "node_mountstats_nfs_transport_receives_total{{{udp},protocol=\"udp\",transport=\"0\"}} 6429"
            ),
            format!(
                "node_mountstats_nfs_transport_connect_total{{{udp},protocol=\"udp\",transport=\"0\"}} 0"
            ),
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
        let mut distinct = lines.clone();
        distinct.dedup();
        assert_eq!(lines, distinct);
    }

    #[test]
    fn mount_that_goes_ends() {
        let tree = tree();
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        let first = bench.pass(1000).unwrap();
        assert_eq!(first, bench.pass(2000).unwrap());
        write(tree.path(), "proc/self/mountstats", "device rootfs mounted on / with fstype rootfs\n");
        assert!(bench.pass(3000).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: Vec<u8>) {
            for (head, body) in sections(&text) {
                nfs_mount(head);
                transports(body).count();
                operations(body).count();
            }
            transports(&text).count();
            operations(&text).count();
            server_address(&text);
        }

        #[test]
        fn text_cut_anywhere_is_survived(length in 0..STATS.len()) {
            for (head, body) in sections(&STATS.as_bytes()[..length]) {
                nfs_mount(head);
                transports(body).count();
                operations(body).count();
            }
        }
    }
}
