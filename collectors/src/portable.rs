//! Measures through the sysinfo library, for platforms without a reader of their own: fewer series,
//! under node_exporter's names where they mean the same. The one home of sysinfo.
//!
//! What has no equal there: the share of time that a core was busy (sysinfo has no counters) and
//! sensors (no chips), which are `fieldpost_*`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;

use fieldpost_model::{SeriesId, Tick};
use sysinfo::{
    Components, CpuRefreshKind, DiskRefreshKind, Disks, Networks, ProcessRefreshKind, ProcessesToUpdate,
    System,
};

use crate::collector::{CollectError, Collector, Entry, Env, entry};
use crate::seen::Seen;

/// The closed list of this backend. A collector has the settings of the native one of its name, of
/// which only `enabled` and `interval` count.
#[rustfmt::skip]
pub const PORTABLE: &[Entry] = &[
    entry!(cpu, on, Apart, 0, "busy share of each core", cpu),
    entry!(diskstats, on, Apart, 0, "bytes read and written by device", diskstats),
    entry!(filesystem, on, Apart, 5, "size and free space by mount", filesystem),
    entry!(hwmon, on, Apart, 10, "temperatures", sensors),
    entry!(loadavg, on, Sampler, 0, "load averages", loadavg),
    entry!(meminfo, on, Sampler, 0, "memory and swap of the machine", meminfo),
    entry!(netdev, on, Apart, 0, "interface traffic and errors", netdev),
    entry!(os, on, Sampler, 60, "system facts, start of the machine", os),
    entry!(processes, on, Apart, 10, "number of processes", processes),
];

/// Addresses of all network interfaces of this machine, each with the length of its prefix.
pub fn networks() -> Vec<(OsString, Vec<String>)> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let shown = networks.iter().map(|(name, data)| {
        let networks =
            data.ip_networks().iter().map(|network| format!("{}/{}", network.addr, network.prefix));
        (name.clone(), networks.collect())
    });
    shown.collect()
}

fn failed(error: impl std::fmt::Display) -> CollectError {
    CollectError::Other(format!("sysinfo: {error}"))
}

struct Cpu {
    system: System,
    ids: Vec<SeriesId>,
    is_first: bool,
}

fn cpu(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Cpu { system: System::new().map_err(failed)?, ids: Vec::new(), is_first: true }))
}

impl Collector for Cpu {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        // The first reading is the average since the machine started.
        if std::mem::take(&mut self.is_first) {
            return Ok(());
        }
        for (position, cpu) in self.system.cpus().iter().enumerate() {
            if position == self.ids.len() {
                self.ids.push(tick.gauge(
                    "fieldpost_cpu_busy_ratio",
                    "Share of the time since the pass before in which a core was busy.",
                    &[("cpu", &position.to_string())],
                ));
            }
            tick.set(self.ids[position], f64::from(cpu.usage()) / 100.0);
        }
        Ok(())
    }
}

struct Diskstats {
    disks: Disks,
    seen: Seen<[SeriesId; 2]>,
}

fn diskstats(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Diskstats { disks: Disks::new().map_err(failed)?, seen: Seen::default() }))
}

impl Collector for Diskstats {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
        self.seen.begin();
        let mut done = HashSet::new();
        for disk in self.disks.iter() {
            let name = disk.name().to_string_lossy();
            let name = name.strip_prefix("/dev/").unwrap_or(&name).to_owned();
            let ids = *self.seen.get(name.as_bytes(), || {
                let labels = [("device", name.as_str())];
                [
                    tick.counter(
                        "node_disk_read_bytes_total",
                        "The total number of bytes read successfully.",
                        &labels,
                    ),
                    tick.counter(
                        "node_disk_written_bytes_total",
                        "The total number of bytes written successfully.",
                        &labels,
                    ),
                ]
            });
            // A device that is mounted twice is listed twice.
            if done.insert(name) {
                let usage = disk.usage();
                tick.set(ids[0], usage.total_read_bytes as f64);
                tick.set(ids[1], usage.total_written_bytes as f64);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

struct Filesystem {
    disks: Disks,
    seen: Seen<[SeriesId; 3]>,
}

fn filesystem(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Filesystem { disks: Disks::new().map_err(failed)?, seen: Seen::default() }))
}

impl Collector for Filesystem {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        self.seen.begin();
        let mut done = HashSet::new();
        for disk in self.disks.iter() {
            let device = disk.name().to_string_lossy();
            let (mount, kind) = (disk.mount_point().to_string_lossy(), disk.file_system().to_string_lossy());
            let key = format!("{device}\0{mount}\0{kind}");
            let ids = *self.seen.get(key.as_bytes(), || mount_series(tick, &device, &mount, &kind));
            if done.insert(key) {
                tick.set(ids[0], disk.total_space() as f64);
                tick.set(ids[1], disk.available_space() as f64);
                tick.set(ids[2], f64::from(u8::from(disk.is_read_only())));
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn mount_series(tick: &Tick, device: &str, mount: &str, kind: &str) -> [SeriesId; 3] {
    let labels = [("device", device), ("mountpoint", mount), ("fstype", kind), ("device_error", "")];
    [
        tick.gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", &labels),
        tick.gauge(
            "node_filesystem_avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            &labels,
        ),
        tick.gauge("node_filesystem_readonly", "Filesystem read-only status.", &labels),
    ]
}

struct Sensors {
    components: Components,
    seen: Seen<SeriesId>,
}

fn sensors(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Sensors { components: Components::new().map_err(failed)?, seen: Seen::default() }))
}

impl Collector for Sensors {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.components.refresh(true);
        self.seen.begin();
        let mut done: HashMap<String, u32> = HashMap::new();
        for component in self.components.iter() {
            let Some(celsius) = component.temperature() else { continue };
            // Sensors of one label are told apart by their order.
            let count = done.entry(component.label().to_owned()).or_default();
            *count += 1;
            let name = match *count {
                1 => component.label().to_owned(),
                count => format!("{} {count}", component.label()),
            };
            let id = *self.seen.get(name.as_bytes(), || {
                tick.gauge("fieldpost_sensor_celsius", "Temperature of a sensor.", &[("sensor", &name)])
            });
            tick.set(id, f64::from(celsius));
        }
        self.seen.end(tick);
        if done.is_empty() { Err(CollectError::NoData("no sensors".into())) } else { Ok(()) }
    }
}

struct Loadavg([SeriesId; 3]);

fn loadavg(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    Ok(Box::new(Loadavg([
        gauge("node_load1", "1m load average."),
        gauge("node_load5", "5m load average."),
        gauge("node_load15", "15m load average."),
    ])))
}

impl Collector for Loadavg {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let load = System::load_average().map_err(failed)?;
        for (id, value) in self.0.into_iter().zip([load.one, load.five, load.fifteen]) {
            tick.set(id, value);
        }
        Ok(())
    }
}

struct Meminfo {
    system: System,
    ids: [SeriesId; 5],
}

fn meminfo(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let names = ["MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree"];
    let ids = names.map(|name| {
        let help = format!("Memory information field {name}_bytes.");
        env.tick.gauge(&format!("node_memory_{name}_bytes"), &help, &[])
    });
    Ok(Box::new(Meminfo { system: System::new().map_err(failed)?, ids }))
}

impl Collector for Meminfo {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.system.refresh_memory();
        let system = &self.system;
        let values = [
            system.total_memory(),
            system.free_memory(),
            system.available_memory(),
            system.total_swap(),
            system.free_swap(),
        ];
        self.ids.iter().zip(values).for_each(|(id, value)| tick.set(*id, value as f64));
        Ok(())
    }
}

/// What is told of each interface, with node_exporter's words.
const TRAFFIC: [&str; 6] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
];

struct Netdev {
    networks: Networks,
    seen: Seen<[SeriesId; TRAFFIC.len()]>,
}

fn netdev(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Netdev { networks: Networks::new().map_err(failed)?, seen: Seen::default() }))
}

impl Collector for Netdev {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.networks.refresh(true);
        self.seen.begin();
        for (name, data) in self.networks.iter() {
            let ids = *self.seen.get(name.as_encoded_bytes(), || {
                let device = name.to_string_lossy();
                TRAFFIC.map(|what| {
                    let help = format!("Network device statistic {what}.");
                    tick.counter(&format!("node_network_{what}_total"), &help, &[("device", &device)])
                })
            });
            let values = [
                data.total_received(),
                data.total_packets_received(),
                data.total_errors_on_received(),
                data.total_transmitted(),
                data.total_packets_transmitted(),
                data.total_errors_on_transmitted(),
            ];
            ids.into_iter().zip(values).for_each(|(id, value)| tick.set(id, value as f64));
        }
        self.seen.end(tick);
        Ok(())
    }
}

struct Os {
    boot: SeriesId,
    info: SeriesId,
}

fn os(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let text = |answer: Result<String, sysinfo::Error>| answer.unwrap_or_default();
    let labels = [
        ("name", text(System::name())),
        ("version", text(System::os_version())),
        ("kernel", text(System::kernel_version())),
        ("machine", System::cpu_arch()),
        ("nodename", text(System::host_name())),
    ];
    let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
    Ok(Box::new(Os {
        boot: env.tick.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", &[]),
        info: env.tick.gauge("fieldpost_os_info", "The operating system; always 1.", &labels),
    }))
}

impl Collector for Os {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        tick.set(self.boot, System::boot_time().map_err(failed)? as f64);
        tick.set(self.info, 1.0);
        Ok(())
    }
}

struct Processes {
    system: System,
    id: SeriesId,
}

fn processes(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let id = env.tick.gauge("node_processes_pids", "Number of PIDs", &[]);
    Ok(Box::new(Processes { system: System::new().map_err(failed)?, id }))
}

impl Collector for Processes {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        // Without this every thread would count as a process.
        let kind = ProcessRefreshKind::nothing().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        tick.set(self.id, self.system.processes().len() as f64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use fieldpost_model::Catalog;

    use crate::config::{Backend, Config};
    use crate::unit::build_all;

    /// Series of both backends that are to be equal, and by how much of the value they may differ:
    /// one is read a little later than the other.
    const EQUAL: [(&str, f64); 8] = [
        ("node_memory_MemTotal_bytes", 0.0),
        ("node_memory_SwapTotal_bytes", 0.0),
        ("node_memory_MemAvailable_bytes", 0.2),
        ("node_load1", 0.5),
        ("node_load15", 0.2),
        ("node_boot_time_seconds", 1e-6),
        ("node_network_receive_bytes_total{device=\"lo\"}", 0.1),
        ("node_network_transmit_packets_total{device=\"lo\"}", 0.1),
    ];

    /// All series of a backend on this machine, after two passes.
    fn page(backend: Backend) -> Vec<(String, f64)> {
        let config = Arc::new(Config { backend, ..Config::default() });
        let catalog = Catalog::new();
        let wanted = ["cpu", "filesystem", "loadavg", "meminfo", "netdev", "os", "processes", "stat"];
        let mut units = build_all(&config, &catalog, Duration::from_secs(1));
        units.retain(|unit| wanted.contains(&unit.entry.name));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut page = Vec::new();
        for unit in &mut units {
            for pass in 0..2 {
                let pass = unit.run(now.as_millis() as i64 + 1000 * pass);
                assert!(pass.error.is_none(), "{}: {:?}", unit.entry.name, pass.error);
            }
            let view = catalog.read();
            let samples = unit.tick().samples().iter();
            page.extend(samples.map(|sample| (view.get(sample.id).unwrap().text.to_string(), sample.value)));
        }
        page
    }

    #[test]
    fn backends_agree_on_what_both_measure() {
        let (native, portable) = (page(Backend::Native), page(Backend::Portable));
        let find = |page: &[(String, f64)], text: &str| {
            page.iter().find(|(other, _)| other == text).map(|(_, v)| *v)
        };
        for (text, tolerance) in EQUAL {
            let (one, two) = (find(&native, text).expect(text), find(&portable, text).expect(text));
            let scale = one.abs().max(1.0);
            assert!((one - two).abs() <= tolerance * scale, "{text}: native {one}, portable {two}");
        }
        let sizes = portable.iter().filter(|(text, _)| text.starts_with("node_filesystem_size_bytes{"));
        for (text, size) in sizes {
            if let Some(native) = find(&native, text) {
                assert_eq!(native, *size, "{text}");
            }
        }
    }

    #[test]
    fn list_is_sorted_and_each_name_is_in_the_native_list_too() {
        let names: Vec<_> = super::PORTABLE.iter().map(|entry| entry.name).collect();
        assert!(names.is_sorted());
        assert!(names.iter().all(|name| crate::COLLECTORS.iter().any(|entry| entry.name == *name)));
    }
}
