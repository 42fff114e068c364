// What a host is: its system, hardware, disks, file systems and interfaces, as its agent measured them.
import type { ComponentChildren } from "preact";
import { now, queryAt } from "../api/client";
import type { Agent, Vector } from "../api/types";
import { quote } from "../chart/history";
import { bytes, instant, longSpan, percent } from "../format";
import { List } from "../parts/columns";
import { useLoaded } from "../parts/loaded";
import { Meter } from "../parts/meters";
import { Problem, Waiting } from "../parts/messages";

const ASKED =
  "node_uname_info|node_os_info|node_dmi_info|node_cpu_info|node_memory_(MemTotal|SwapTotal)_bytes|node_boot_time_seconds|" +
  "node_filesystem_(size|avail|files|files_free)(_bytes)?|node_network_info|node_network_(speed|mtu)_bytes|node_network_up|node_disk_info|node_time_clocksource_current_info|node_selinux_enabled";

interface Found {
  rows: Vector[];
  cores: number;
}

export function Facts({ agent, instance }: { agent: Agent; instance: string }) {
  const at = agent.link.state === "up" ? null : (agent.newest_ms ?? null);
  const { data, problem } = useLoaded<Found>(`${instance} ${at ?? "now"}`, 0, async (abort) => {
    const own = `instance=${quote(instance)}`;
    const when = at ?? now();
    const [all, cores] = await Promise.all([
      queryAt(`{__name__=~"${ASKED}",${own}}`, when, abort),
      queryAt(`count(count by (cpu) (node_cpu_seconds_total{${own}}))`, when, abort),
    ]);
    return { rows: all.result, cores: Number(cores.result[0]?.value?.[1] ?? 0) };
  });
  const found = data.value;
  return (
    <>
      <Problem text={problem.value} />
      {!found && !problem.value && <Waiting what="Asking for facts" />}
      {found && (
        <div class="fact-grid">
          <System agent={agent} found={found} />
          <FileSystems rows={found.rows} />
          <Interfaces rows={found.rows} />
          <Disks rows={found.rows} />
        </div>
      )}
    </>
  );
}

const named = (rows: Vector[], name: string) => rows.filter((row) => row.metric.__name__ === name);
const first = (rows: Vector[], name: string) => named(rows, name)[0];
const valueOf = (row: Vector | undefined) => (row?.value ? Number(row.value[1]) : null);

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return children == null || children === "" ? null : (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function System({ agent, found: { rows, cores } }: { agent: Agent; found: Found }) {
  const uname = first(rows, "node_uname_info")?.metric;
  const os = first(rows, "node_os_info")?.metric;
  const dmi = first(rows, "node_dmi_info")?.metric;
  const cpu = first(rows, "node_cpu_info")?.metric;
  const boot = valueOf(first(rows, "node_boot_time_seconds"));
  return (
    <section class="panel" aria-label="System">
      <header>
        <h2>System</h2>
      </header>
      <dl class="facts">
        <Fact name="Operating system">{os?.pretty_name}</Fact>
        <Fact name="Kernel">{uname && `${uname.sysname} ${uname.release}`}</Fact>
        <Fact name="Architecture">{uname?.machine}</Fact>
        <Fact name="Node name">{uname?.nodename}</Fact>
        <Fact name="Hardware">{dmi && [dmi.system_vendor, dmi.product_name].filter(Boolean).join(" ")}</Fact>
        <Fact name="Processors">{`${cores}${cpu?.model_name ? ` × ${cpu.model_name}` : ""}`}</Fact>
        <Fact name="Memory">{bytes(valueOf(first(rows, "node_memory_MemTotal_bytes")))}</Fact>
        <Fact name="Swap">{bytes(valueOf(first(rows, "node_memory_SwapTotal_bytes")))}</Fact>
        <Fact name="Clock source">{first(rows, "node_time_clocksource_current_info")?.metric.clocksource}</Fact>
        <Fact name="Booted">{boot !== null && `${instant(boot * 1000)}, ${longSpan(now() - boot * 1000)} ago`}</Fact>
        <Fact name="Agent">{`${agent.version}, ${agent.mode.mode === "poll" ? `polled at ${agent.mode.address ?? "?"}` : "dials the hub"}`}</Fact>
        <Fact name="Agent id">
          <code>{agent.id}</code>
        </Fact>
        <Fact name="Last heard of">{agent.last_seen_ms ? instant(agent.last_seen_ms) : "never"}</Fact>
      </dl>
    </section>
  );
}

/** `numbers`: which of its columns are numbers. */
function Table(props: { title: string; head: string[]; numbers?: string[]; rows: ComponentChildren[][] }) {
  if (props.rows.length === 0) return null;
  return (
    <section class="panel" aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
      </header>
      <List name={props.title} columns={props.head.map((title, at) => ({ title, class: props.numbers?.includes(title) ? "num" : undefined, show: (cells: ComponentChildren[]) => cells[at] }))} rows={props.rows} keyOf={(cells) => cells.slice(0, 2).join(" ")} isDense />
    </section>
  );
}

function FileSystems({ rows }: { rows: Vector[] }) {
  const sizes = named(rows, "node_filesystem_size_bytes");
  const free = new Map(named(rows, "node_filesystem_avail_bytes").map((row) => [row.metric.mountpoint, valueOf(row)]));
  const cells = sizes.map((row) => {
    const size = valueOf(row) ?? 0;
    const available = free.get(row.metric.mountpoint) ?? null;
    const share = size > 0 && available !== null ? 1 - available / size : null;
    return [
      row.metric.mountpoint,
      row.metric.device,
      row.metric.fstype,
      bytes(size),
      bytes(available),
      <Meter key="share" share={share} title={`${percent(share, 1)} used`} />,
    ];
  });
  return <Table title="File systems" head={["Mounted at", "Device", "Type", "Size", "Available", "Used"]} numbers={["Size", "Available"]} rows={cells} />;
}

function Interfaces({ rows }: { rows: Vector[] }) {
  const by = (name: string) => new Map(named(rows, name).map((row) => [row.metric.device, valueOf(row)]));
  const [speed, mtu] = [by("node_network_speed_bytes"), by("node_network_mtu_bytes")];
  const cells = named(rows, "node_network_info").map(({ metric }) => {
    const rate = speed.get(metric.device) ?? null;
    return [
      metric.device,
      metric.operstate,
      metric.address,
      rate !== null && rate > 0 ? `${Math.round((rate * 8) / 1e6)} Mbit/s` : "–",
      String(mtu.get(metric.device) ?? "–"),
      metric.duplex || "–",
    ];
  });
  return <Table title="Interfaces" head={["Device", "State", "Address", "Speed", "MTU", "Duplex"]} numbers={["Speed", "MTU"]} rows={cells} />;
}

function Disks({ rows }: { rows: Vector[] }) {
  const cells = named(rows, "node_disk_info").map(({ metric }) => [
    metric.device,
    metric.model || "–",
    metric.serial || "–",
    metric.rotational === "1" ? "rotates" : metric.rotational === "0" ? "solid state" : "–",
  ]);
  return <Table title="Disks" head={["Device", "Model", "Serial", "Kind"]} rows={cells} />;
}
