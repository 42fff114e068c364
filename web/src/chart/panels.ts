// What the charts of a host show. Each is said once, and read in two ways: as PromQL over what the hub
// has stored, and out of the ticks of this moment.

/** What labels must be. */
export type Where = [label: string, how: "=~" | "!~", pattern: string][];

/** One thing that is measured, added up by a label. */
export interface Source {
  metric: string;
  /** Grows, and is shown as growth a second. */
  isRate?: boolean;
  /** The label by which it is told apart; without it all is one. */
  by?: string;
  where?: Where;
}

/** A line: one, or one for each value of the label of source `per`. */
export interface Line {
  name?: string;
  per?: string;
  color?: Color;
  value: (of: (source: string) => number | null) => number | null;
}

export type Color = "blue" | "orange" | "green" | "red" | "purple" | "sky" | "brown" | "grey" | "pink" | "teal" | "ink";
export type Unit = "share" | "bytes" | "bytes/s" | "count" | "count/s" | "seconds" | "celsius" | "cores";

export interface Panel {
  id: string;
  title: string;
  unit: Unit;
  isStacked?: boolean;
  /** Of a stack so many lines, from the bottom, are what is compared with another time. */
  compared?: number;
  /** The axis goes to this at least; a source's name: to what that is. */
  top?: number;
  sources: Record<string, Source>;
  lines: Line[];
  /** The most lines that are drawn, those with the largest peaks. */
  most?: number;
  /** What must not be hidden where a point stands for minutes: the largest value within each. */
  peak?: Peak;
}

/** PromQL of a number, from a metric with conditions and the span of its rates. */
export interface Peak {
  name: string;
  of: (series: (metric: string, where?: Where) => string, span: string) => string;
}

const NO_DISK: Where = [["device", "!~", "loop\\d+|ram\\d+|zram\\d+|dm-\\d+|sr\\d+|fd\\d+"]];
const NO_NETWORK: Where = [["device", "!~", "lo|veth.*|br-.*|docker.*|virbr.*|cni.*|flannel.*|cali.*|lxc.*"]];
const NO_FILES: Where = [["fstype", "!~", "tmpfs|devtmpfs|ramfs|squashfs|overlay|iso9660|efivarfs"]];
const MODES: [string, string, Color][] = [
  ["user", "user", "blue"],
  ["system", "system", "orange"],
  ["nice", "nice", "sky"],
  ["softirq|irq", "interrupts", "purple"],
  ["steal", "stolen by the hypervisor", "red"],
  ["iowait", "idle, waiting for disks", "grey"],
];

function both(a: number | null, b: number | null, how: (a: number, b: number) => number): number | null {
  return a === null || b === null ? null : how(a, b);
}
const less = (a: number | null, b: number | null) => both(a, b, (x, y) => Math.max(0, x - y));
const ratio = (a: number | null, b: number | null) => both(a, b, (x, y) => (y > 0 ? x / y : 0));

/** Nobody waits more than all the time; what seems so is the jitter of two clocks. */
const whole = (share: number | null) => (share === null ? null : Math.min(1, share));

function gauge(metric: string, by?: string, where?: Where): Source {
  return { metric, by, where };
}
function rate(metric: string, by?: string, where?: Where): Source {
  return { metric, by, where, isRate: true };
}
const pressure = (of: string) => rate(`node_pressure_${of}_seconds_total`);

export const PANELS: Panel[] = [
  {
    id: "cpu",
    title: "CPU",
    unit: "share",
    isStacked: true,
    compared: 5,
    top: 1,
    peak: {
      name: "highest",
      of: (series, span) =>
        `1 - sum(rate(${series("node_cpu_seconds_total", [["mode", "=~", "idle|iowait"]])}[${span}])) / sum(rate(${series("node_cpu_seconds_total")}[${span}]))`,
    },
    sources: { all: rate("node_cpu_seconds_total", "mode") },
    lines: MODES.map(([modes, name, color]) => {
      const sources = modes.split("|").map((mode) => `all/${mode}`);
      return {
        name,
        color,
        value: (of) => {
          const parts = sources.map(of).filter((part) => part !== null);
          return parts.length > 0 ? ratio(parts.reduce((a, b) => a + b, 0), of("all/*")) : null;
        },
      };
    }),
  },
  {
    id: "memory",
    title: "Memory",
    unit: "bytes",
    isStacked: true,
    compared: 1,
    peak: { name: "most used", of: (series) => `sum(${series("node_memory_MemTotal_bytes")}) - sum(${series("node_memory_MemAvailable_bytes")})` },
    sources: {
      total: gauge("node_memory_MemTotal_bytes"),
      available: gauge("node_memory_MemAvailable_bytes"),
      free: gauge("node_memory_MemFree_bytes"),
    },
    lines: [
      { name: "used", color: "blue", value: (of) => less(of("total"), of("available")) },
      { name: "cache that can be given back", color: "teal", value: (of) => less(of("available"), of("free")) },
      { name: "free", color: "grey", value: (of) => of("free") },
    ],
  },
  {
    id: "pressure",
    title: "Waiting (PSI)",
    unit: "share",
    peak: { name: "highest, for CPU", of: (series, span) => `sum(rate(${series("node_pressure_cpu_waiting_seconds_total")}[${span}]))` },
    sources: {
      cpu: pressure("cpu_waiting"),
      memory: pressure("memory_waiting"),
      io: pressure("io_waiting"),
      stalled: pressure("io_stalled"),
    },
    lines: [
      { name: "for CPU", color: "blue", value: (of) => whole(of("cpu")) },
      { name: "for memory", color: "purple", value: (of) => whole(of("memory")) },
      { name: "for disks", color: "orange", value: (of) => whole(of("io")) },
      { name: "all, for disks", color: "red", value: (of) => whole(of("stalled")) },
    ],
  },
  {
    id: "load",
    title: "Load",
    unit: "count",
    peak: { name: "most running", of: (series) => `sum(${series("node_procs_running")})` },
    sources: {
      one: gauge("node_load1"),
      five: gauge("node_load5"),
      fifteen: gauge("node_load15"),
      running: gauge("node_procs_running"),
    },
    lines: [
      { name: "1 min", color: "blue", value: (of) => of("one") },
      { name: "5 min", color: "orange", value: (of) => of("five") },
      { name: "15 min", color: "green", value: (of) => of("fifteen") },
      { name: "running now", color: "grey", value: (of) => of("running") },
    ],
  },
  {
    id: "disk",
    title: "Disk throughput",
    unit: "bytes/s",
    most: 8,
    peak: {
      name: "highest, both",
      of: (series, span) =>
        `sum(rate(${series("node_disk_read_bytes_total", NO_DISK)}[${span}])) + sum(rate(${series("node_disk_written_bytes_total", NO_DISK)}[${span}]))`,
    },
    sources: { read: rate("node_disk_read_bytes_total", "device", NO_DISK), written: rate("node_disk_written_bytes_total", "device", NO_DISK) },
    lines: [
      { name: "read", per: "read", value: (of) => of("read") },
      { name: "written", per: "written", value: (of) => of("written") },
    ],
  },
  {
    id: "busy",
    title: "Disk utilisation",
    unit: "share",
    most: 8,
    peak: { name: "highest", of: (series, span) => `max(rate(${series("node_disk_io_time_seconds_total", NO_DISK)}[${span}]))` },
    sources: { busy: rate("node_disk_io_time_seconds_total", "device", NO_DISK) },
    lines: [{ per: "busy", value: (of) => whole(of("busy")) }],
  },
  {
    id: "latency",
    title: "Disk latency",
    unit: "seconds",
    most: 8,
    peak: {
      name: "highest, of a disk",
      of: (series, span) => {
        const [time, n] = ["time_seconds", "completed"].map((of) => ["read", "write"].map((way) => `rate(${series(`node_disk_${way}${of === "completed" ? "s" : ""}_${of}_total`, NO_DISK)}[${span}])`).join(" + "));
        return `max((${time}) / (${n}))`;
      },
    },
    sources: {
      readTime: rate("node_disk_read_time_seconds_total", "device", NO_DISK),
      reads: rate("node_disk_reads_completed_total", "device", NO_DISK),
      writeTime: rate("node_disk_write_time_seconds_total", "device", NO_DISK),
      writes: rate("node_disk_writes_completed_total", "device", NO_DISK),
    },
    lines: [
      { name: "read", per: "reads", value: (of) => ratio(of("readTime"), of("reads")) },
      { name: "write", per: "writes", value: (of) => ratio(of("writeTime"), of("writes")) },
    ],
  },
  {
    id: "files",
    title: "File systems, used",
    unit: "share",
    top: 1,
    most: 10,
    peak: {
      name: "fullest",
      of: (series) => `max(1 - ${series("node_filesystem_avail_bytes", NO_FILES)} / ${series("node_filesystem_size_bytes", NO_FILES)})`,
    },
    sources: { size: gauge("node_filesystem_size_bytes", "mountpoint", NO_FILES), available: gauge("node_filesystem_avail_bytes", "mountpoint", NO_FILES) },
    lines: [{ per: "size", value: (of) => ratio(less(of("size"), of("available")), of("size")) }],
  },
  {
    id: "network",
    title: "Network",
    unit: "bytes/s",
    most: 8,
    peak: {
      name: "highest, both",
      of: (series, span) =>
        `sum(rate(${series("node_network_receive_bytes_total", NO_NETWORK)}[${span}])) + sum(rate(${series("node_network_transmit_bytes_total", NO_NETWORK)}[${span}]))`,
    },
    sources: { in: rate("node_network_receive_bytes_total", "device", NO_NETWORK), out: rate("node_network_transmit_bytes_total", "device", NO_NETWORK) },
    lines: [
      { name: "in", per: "in", value: (of) => of("in") },
      { name: "out", per: "out", value: (of) => of("out") },
    ],
  },
  {
    id: "trouble",
    title: "Network trouble",
    unit: "count/s",
    peak: {
      name: "most errors and drops",
      of: (series, span) => ["receive_errs", "transmit_errs", "receive_drop", "transmit_drop"].map((of) => `sum(rate(${series(`node_network_${of}_total`)}[${span}]))`).join(" + "),
    },
    sources: {
      errorsIn: rate("node_network_receive_errs_total"),
      errorsOut: rate("node_network_transmit_errs_total"),
      dropsIn: rate("node_network_receive_drop_total"),
      dropsOut: rate("node_network_transmit_drop_total"),
      again: rate("node_netstat_Tcp_RetransSegs"),
    },
    lines: [
      { name: "errors", color: "red", value: (of) => both(of("errorsIn"), of("errorsOut"), (a, b) => a + b) },
      { name: "dropped", color: "orange", value: (of) => both(of("dropsIn"), of("dropsOut"), (a, b) => a + b) },
      { name: "TCP sent again", color: "blue", value: (of) => of("again") },
    ],
  },
  {
    id: "sockets",
    title: "Sockets",
    unit: "count",
    peak: { name: "most established", of: (series) => `sum(${series("node_netstat_Tcp_CurrEstab")})` },
    sources: {
      tcp: gauge("node_sockstat_TCP_inuse"),
      wait: gauge("node_sockstat_TCP_tw"),
      established: gauge("node_netstat_Tcp_CurrEstab"),
      udp: gauge("node_sockstat_UDP_inuse"),
    },
    lines: [
      { name: "TCP established", color: "blue", value: (of) => of("established") },
      { name: "TCP in use", color: "sky", value: (of) => of("tcp") },
      { name: "TCP time-wait", color: "orange", value: (of) => of("wait") },
      { name: "UDP in use", color: "green", value: (of) => of("udp") },
    ],
  },
  {
    id: "cores",
    title: "CPU by core",
    unit: "share",
    top: 1,
    most: 64,
    peak: {
      name: "highest of a core",
      of: (series, span) => `1 - min(sum by (cpu) (rate(${series("node_cpu_seconds_total", [["mode", "=~", "idle|iowait"]])}[${span}])))`,
    },
    sources: {
      idle: rate("node_cpu_seconds_total", "cpu", [["mode", "=~", "idle|iowait"]]),
      all: rate("node_cpu_seconds_total", "cpu"),
    },
    lines: [{ per: "all", value: (of) => ratio(less(of("all"), of("idle")), of("all")) }],
  },
  {
    id: "switches",
    title: "Kernel",
    unit: "count/s",
    peak: { name: "most context switches", of: (series, span) => `sum(rate(${series("node_context_switches_total")}[${span}]))` },
    sources: {
      switches: rate("node_context_switches_total"),
      interrupts: rate("node_intr_total"),
      forks: rate("node_forks_total"),
    },
    lines: [
      { name: "context switches", color: "blue", value: (of) => of("switches") },
      { name: "interrupts", color: "orange", value: (of) => of("interrupts") },
      { name: "new processes", color: "green", value: (of) => of("forks") },
    ],
  },
  {
    id: "paging",
    title: "Swap and paging",
    unit: "count/s",
    peak: { name: "highest, swapped", of: (series, span) => `sum(rate(${series("node_vmstat_pswpin")}[${span}])) + sum(rate(${series("node_vmstat_pswpout")}[${span}]))` },
    sources: { in: rate("node_vmstat_pswpin"), out: rate("node_vmstat_pswpout"), major: rate("node_vmstat_pgmajfault") },
    lines: [
      { name: "pages swapped in", color: "blue", value: (of) => of("in") },
      { name: "pages swapped out", color: "orange", value: (of) => of("out") },
      { name: "major faults", color: "red", value: (of) => of("major") },
    ],
  },
  {
    id: "heat",
    title: "Temperatures",
    unit: "celsius",
    most: 10,
    peak: { name: "highest", of: (series) => `max(${series("node_hwmon_temp_celsius")}) or max(${series("node_thermal_zone_temp")})` },
    sources: { hwmon: gauge("node_hwmon_temp_celsius", "sensor"), zone: gauge("node_thermal_zone_temp", "type") },
    lines: [
      { per: "hwmon", value: (of) => of("hwmon") },
      { per: "zone", value: (of) => of("zone") },
    ],
  },
];

/** All metrics that are read, for the selector of the live lane. */
export const METRICS = [...new Set(PANELS.flatMap((panel) => Object.values(panel.sources).map((source) => source.metric)))];
